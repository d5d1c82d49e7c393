# A NIC that steers: eight bridged vNICs, four of each worker, one of them in a VLAN. First by VMDq, on the first NIC by vfio-pci; its frames are
# sent outside of the guest. Then by rules, on a tap, whose frames are sent in the guest. What comes to the VMs is counted where they are, on one
# veth: each frame's source says for whom it is.
#: what a NIC under Weir that gives each vNIC's MAC to the queue of its worker: by VMDq, and by rules
#: seconds 30
#: guest paths
#: modules tun sch_ingress sch_multiq cls_flower act_skbedit
#: drivers net_tap
load igb vfio-pci veth
echo 64 >/proc/sys/vm/nr_hugepages
mkdir /tmp/lab
cd /tmp/lab

quiet command
pf=$(basename "$(readlink /sys/class/net/eth0/device)")
ip netns add vms
quiet ip netns exec vms
ip link add vms type veth peer name eth0 netns vms
ip link set vms up
ip -n vms link set eth0 up
# driven DRIVER [OVERRIDE]: the NIC by another driver.
driven() {
    echo "$2" >"/sys/bus/pci/devices/$pf/driver_override"
    echo "$pf" >"/sys/bus/pci/devices/$pf/driver/unbind"
    echo "$pf" >/sys/bus/pci/drivers_probe
    same "the NIC is $1's" "$1" "$(basename "$(readlink "/sys/bus/pci/devices/$pf/driver")")"
}
driven vfio-pci vfio-pci

# vnics NUMBER...: a policy with these; the last one is in a VLAN.
vnics() {
    printf '[[vm_network]]\nname = "lab"\nisolation = "none"\n[[vm_network.subnet]]\nname = "flat"\nprefixes = ["172.16.0.0/24"]\n'
    printf '[[vm_network]]\nname = "office"\nisolation = "vlan"\nvlan = 100\n[[vm_network.subnet]]\nname = "tagged"\nprefixes = ["172.16.0.0/24"]\n'
    local subnet
    for vnic in "$@"; do
        subnet=flat
        [ "$vnic" != 8 ] || subnet=tagged
        printf '[[vnic]]\nname = "vm%s"\nhost = "h1"\nsubnet = "%s"\nmac = "02:00:00:00:05:0%s"\naddresses = ["172.16.0.%s"]\nattach = "trunk:vms"\n' \
            "$vnic" $subnet "$vnic" "$vnic"
    done
}
# host STEERING DEVICE: host.toml. The odd ones are core 0's, the even ones core 1's.
host() {
    cat <<TOML
name = "h1"
state_dir = "/tmp/lab"
[dataplane]
workers = [0, 1]
idle = "adaptive"
balance = false
mbufs = 4095
[[uplink]]
name = "up0"
device = "$2"
provider_addresses = ["192.168.50.1/24"]
vlan = 50
steering = "$1"
[[trunk]]
name = "vms"
device = "net_af_packet0,iface=vms"
[store]
kind = "file"
path = "policy.toml"
TOML
    for vnic in 1 2 3 4 5 6 7 8; do printf '[[pin]]\nvnic = "vm%s"\ncore = %s\n' "$vnic" $(((vnic + 1) % 2)); done
}
# start STEERING DEVICE: Weir with it, which serves within 40 s and has a link within ten more.
start() {
    local i=0
    host "$1" "$2" >h1.toml
    weir run --host h1.toml 2>"$1.log" &
    h1=$!
    until grep -q "h1 ready" "$1.log"; do
        if ! kill -0 $h1 2>/dev/null || [ $((i += 1)) -gt 400 ]; then
            verdict failed "Weir serves ($1)" "$(tail -c 300 "$1.log")"
            return
        fi
        usleep 100000
    done
    verdict ok "Weir serves ($1)"
    i=0
    while [ "$(get uplink up0 | field link_up)" != true ] && [ $((i += 1)) -lt 100 ]; do usleep 100000; done
    usleep 300000
}
stop() {
    kill $h1
    wait $h1
    same "and ends" 0 $?
}
get() { weir get "$@" --socket /run/weir/h1.sock -o json; }
# field NAME: its first number or word in what was got.
field() { sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" | head -1; }
# drops REASON: packets.
drops() {
    weir drops --socket /run/weir/h1.sock -o json |
        awk -F'[:,]' -v reason="\"$1\"" '/[{]/ { n = own = 0 } /"packets"/ { n = $2 } /"reason"/ && index($0, reason) { own = 1 } /[}]/ && own { sum += n } END { print sum + 0 }'
}
# say COUNT VNIC...: so many frames to each, by $wire; 0 is everybody.
say() {
    local count=$1 vnic to tag
    shift
    for vnic in "$@"; do
        to=02000000050$vnic tag=
        [ "$vnic" != 0 ] || to=ffffffffffff
        [ "$vnic" != 8 ] || tag=81000064
        to=${to}02cc0000000${vnic}${tag}08004500002000000000401121e4ac1000c8ac10000110001000000c00000000000000000000000000000000000000000000
        case $wire in
        w0) ask send w0 "$count" "$to" >/dev/null ;;
        *) frames send $wire "$count" "$to" ;;
        esac
    done
}
# hear COUNT VNIC...: says that, and takes what the VMs got and the workers counted: $heard, as VNIC:FRAMES of each, and $counted: received by
# the first worker, handed over by it, and the same of the second.
hear() {
    local before ear i=0 wanted=$(($1 * ($# - 1)))
    [ "$2" != 0 ] || wanted=$(($1 * 7))
    before=$(counts)
    # Not the function ip, which would run in a shell of its own.
    /sbin/ip netns exec vms /bin/frames count eth0 1000 $wanted >heard &
    ear=$!
    # It hears once it sleeps in recv: packet sockets are told in /proc.
    while ! ip netns exec vms grep -q ' 0003 ' /proc/net/packet && [ $((i += 1)) -lt 50 ]; do usleep 50000; done
    say "$@"
    kill $ear
    wait $ear
    heard=$(echo $(sed -n 's/^02:cc:00:00:00:0\([0-9]\) \([0-9]*\) .*/\1:\2/p' heard))
    counted=$(echo "$before $(counts)" | awk '{ for (i = 1; i <= NF / 2; i++) printf "%s%d", (i > 1 ? " " : ""), $(i + NF / 2) - $i }')
}
counts() {
    weir stats --socket /run/weir/h1.sock -o json |
        perl -0777 -ne '($_) = /"workers":\s*\[(.*?)\]/s; print "$1 $2 " while /"rx_packets":\s*(\d+).*?"steered_out":\s*(\d+)/sg'
}
apply() { weir apply -f new.toml --socket /run/weir/h1.sock >/dev/null || verdict failed "a policy is applied"; }

# steers MEANS: the NIC, or what stands for it, gives each MAC to its worker.
steers() {
    get uplink up0 | give "$1.json"
    same "$1 steers" "$1" "$(get uplink up0 | field by)"
    same "it has eight MACs" 8 "$(get uplink up0 | field macs_in_hardware)"
    same "and a vNIC says so" "$1" "$(get vnic vm3 | field steered_by)"
    hear 50 1 2 3 4 5 6 7 8
    same "every frame comes to its VM, the tagged ones too" "1:50 2:50 3:50 4:50 5:50 6:50 7:50 8:50" "$heard"
    same "each on its worker's queue and no other" "200 0 200 0" "$counted"
    hear 50 1
    same "vm1 alone: the first worker's queue alone" "50 0 0 0" "$counted"
    hear 50 2
    same "vm2 alone: the second's" "0 0 50 0" "$counted"
    hear 10 0
    same "a broadcast comes once to each of the seven untagged VMs" "0:70" "$heard"
    vnics 1 3 4 5 6 7 8 >new.toml
    apply
    same "a vNIC that goes is not in the NIC any more" 7 "$(get uplink up0 | field macs_in_hardware)"
    hear 50 2 4
    same "what is for it goes to nobody" "4:50" "$heard"
}

vnics 1 2 3 4 5 6 7 8 >policy.toml
wire=w0
start vmdq "$pf"
# Idle workers are called by the NIC's queues and by the VMs' socket: all that follows comes out of silence.
idle() { get "$@" | sed -n '/"idle"/,/}/s/^ *"by": "\(.*\)",$/\1/p'; }
same "the NIC's queues have interrupts" interrupt "$(idle uplink up0)"
same "the VMs' port calls by its socket" interrupt "$(idle trunk vms)"
steers vmdq
same "what the other pool got of ten broadcasts is told" 10 "$(drops pool_copy)"
hear 50 2
same "what is for it comes to the default queue, no more to its worker's" "50 0 0 0" "$counted"
vnics 1 2 3 4 5 6 7 8 >new.toml
apply
hear 50 2 4
same "back again, it is on its worker's queue" "0 0 100 0" "$counted"
same "and its VM has it" "2:50 4:50" "$heard"
stop

# The same without the NIC's help, which must lose nothing, and which shows that the counts above could have been others.
start software "$pf"
same "software steers" software "$(get uplink up0 | field by)"
shows "weir vf list says whose the PF is" "uplink up0 of the daemon" "$(weir vf list "$pf" -o json)"
shows "and what drives it" '"driver": "vfio-pci"' "$(weir vf list "$pf" -o json)"
refused "no VFs are made under Weir" in-use create "$pf" 2
hear 50 1 2 3 4 5 6 7 8
same "every frame comes to its VM here, too" "1:50 2:50 3:50 4:50 5:50 6:50 7:50 8:50" "$heard"
set -- $counted
least "handed over by workers" 1 $(($2 + $4))
stop

# Rules: igb's driver takes none of a MAC address. A tap's does, and has the kernel carry them out.
host flow "$pf" >h1.toml
weir run --host h1.toml 2>refused.log
same "rules, which igb's driver does not take, are refused" 1 $?
shows "with the mend" "leave steering out" "$(cat refused.log)"
load tun sch_ingress sch_multiq cls_flower act_skbedit
wire=wire0
start flow "net_tap0,iface=wire0"
steers flow
stop
for log in vmdq software refused flow; do give $log.log <$log.log; done
driven igb
