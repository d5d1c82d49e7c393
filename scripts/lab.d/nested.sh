# In the guest of nested.host: Weir with VF 0 of each NIC as an uplink, and a VM of each tenant in a namespace.
load igb vfio-pci veth
workplace 96
quiet command

# both NAME ARGUMENTS...: `weir vf` for both NICs at once, each of which waits for its driver; NIC stands for its number.
both() {
    local name=$1 pids= nic
    shift
    for nic in 0 1; do
        accepted "$name of NIC $nic" $(echo "$*" | sed "s/NIC/$nic/") &
        pids="$pids $!"
    done
    wait $pids
}
for nic in 0 1; do ip link set eth$nic up; done
both "a VF" create ethNIC 1
for nic in 0 1; do
    linked eth$nic
    accepted "VF of NIC $nic: MAC and VLAN" set eth$nic 0 --mac 02:00:00:00:01:0$nic --vlan 101
    accepted "VF of NIC $nic: to vfio-pci" bind eth$nic 0 vfio-pci
done

cp /lab/nested.policy policy.toml
{
    host h1 0
    uplink up0 "$(vf eth0 0)" 192.168.50.1
    uplink up1 "$(vf eth1 0)" 192.168.51.1
} >h1.toml
for name in blue red; do
    ip netns add $name
    quiet ip netns exec $name
    ip link add $name type veth peer name eth0 netns $name
    ip link set $name up
    ip -n $name link set eth0 address 02:00:00:00:02:01 mtu 1400 up
    ip -n $name addr add 10.1.0.11/24 dev eth0
done
doctor=$(weir doctor --host h1.toml -o json)
shows "weir doctor tells of the first uplink" "up0 is VF 0 of eth0: MAC 02:00:00:00:01:00, VLAN 101, spoof check on, trust off" "$doctor"
shows "and of the second" "up1 is VF 0 of eth1: MAC 02:00:00:00:01:01, VLAN 101, spoof check on, trust off" "$doctor"

daemon h1
serves h1

pings() { ip netns exec $1 /bin/busybox ping -c "$2" -i 0.1 -W 1 10.1.0.12 | sed -n 's/.* \([0-9]*\) packets received.*/\1/p'; }
sent() { weir stats --socket /run/weir/h1.sock -o json | awk -v uplink="\"uplink\": \"$1\"" 'index($0, uplink) { found = 1 } found' | sed -n 's/.*"tx_packets": \([0-9]*\).*/\1/p' | head -1; }
# Neighbours are found, and links come up, with the first.
one_ping() { [ "$(pings "$1" 1)" = 1 ]; }
for name in blue red; do within 40 one_ping $name; done
ask clear >/dev/null
for name in blue red; do
    case $name in
    blue) own=up0 other=up1 ;;
    red) own=up1 other=up0 ;;
    esac
    before=$(sent $own) idle=$(sent $other)
    same "twenty pings of $name" 20 "$(pings $name 20)"
    least "by $own" 20 $(($(sent $own) - before))
    # An answer to the neighbour's ARP is all that the other may have sent.
    least "and not by $other" $(($(sent $other) - 2)) "$idle"
done
# Each echo and its answer passed the wire in the VLAN: no frame of IP passed it untagged.
set -- $(ask count nic0 vlan 101 type 0800)
least "the wire has them in VLAN 101" 80 "$1"
set -- $(ask count nic0 vlan none type 0800)
same "and none without" 0 "$1"
same "nothing was dropped for the tag that the PF took off" 0 "$(weir drops --socket /run/weir/h1.sock -o json | grep -c '"outer_vlan"')"

kill $daemon
wait $daemon
same "the daemon ends" 0 $?
load igbvf
for nic in 0 1; do accepted "VF of NIC $nic is free" release eth$nic 0; done
both "none again" create ethNIC 0
give h1.log <h1.log
