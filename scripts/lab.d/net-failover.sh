# The kernel's own net_failover in a VM: a virtio NIC that offers VIRTIO_NET_F_STANDBY, and the VF of the same MAC, which the kernel makes one
# interface by itself. The guest is the VM and its host at once: the standby's other end is a second virtio NIC, which Weir has as the vNIC's
# software path, and a VF is plugged into the VM when igbvf has it and not when vfio-pci has it; to change that is what QEMU's device_add and
# device_del are. While a VF is plugged in, net_failover drops what comes by the standby, so that Weir has to have it unplugged.
#: what net_failover: the kernel's own pairing of VF and virtio: frames go on when policy takes the VF, gives it back, and it is yanked
#: guest failover
#: memory 1024
#: standby 02:00:00:00:06:01
#: modules failover net_failover virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_net
load igb vfio-pci
echo 96 >/proc/sys/vm/nr_hugepages
mkdir /tmp/lab
cd /tmp/lab
mac=02:00:00:00:06:01
far=020000000901

accepted "a VF" create eth0 1
quiet command
ip link set eth0 up
linked eth0
accepted "with the vNIC's MAC" set eth0 0 --mac $mac
vf=$(basename "$(readlink /sys/class/net/eth0/device/virtfn0)")
device=/sys/bus/pci/devices/$vf

load failover net_failover virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_net
for name in $(ls /sys/class/net); do
    case $(cat "/sys/class/net/$name/address") in
    $mac) if [ -e "/sys/class/net/$name/master" ]; then standby=$name; else vm=$name; fi ;;
    52:54:00:bb:00:01) software=$name ;;
    esac
done
same "virtio_net and net_failover made an interface and its standby" "$vm $standby" "$(basename "$(readlink "/sys/class/net/$standby/master")") $(basename /sys/class/net/"$vm"/lower_* | sed s/lower_//)"
ip link set "$software" up
ip link set "$vm" up
load igbvf
# primary: the VF's interface, if it is the VM's.
primary() {
    local name
    for name in $(ls "$device/net" 2>/dev/null); do [ ! -e "/sys/class/net/$vm/lower_$name" ] || echo "$name"; done
}
# A VF that is probed while its PF resets has a MAC of its own making; it is probed again then.
i=0
until [ -n "$(primary)" ] || [ $((i += 1)) -gt 200 ]; do
    usleep 100000
    if [ $((i % 30)) -eq 0 ] && [ "$(cat "$device"/net/*/address 2>/dev/null)" != $mac ]; then
        echo "probed again: its MAC is $(cat "$device"/net/*/address 2>/dev/null)" >>probed
        echo "$vf" >"$device/driver/unbind"
        echo "$vf" >/sys/bus/pci/drivers_probe
    fi
done
same "the VF is taken for its primary, unasked" "1 $mac" "$(primary | wc -w) $(cat "$device"/net/*/address)"
[ ! -e probed ] || cat probed >&2
until [ "$(cat "/sys/class/net/$(primary)/carrier" "/sys/class/net/$vm/operstate" 2>/dev/null | tr '\n' ' ')" = "1 up " ] || [ $((i += 1)) -gt 400 ]; do usleep 100000; done
vm_is() { echo "$(cat "/sys/class/net/$vm/ifindex") $(cat "/sys/class/net/$vm/address") $(cat "/sys/class/net/$vm/carrier_changes") $(cat "/sys/class/net/$vm/operstate")"; }
vm_was=$(vm_is)

# What Weir runs.
cat >plug <<'SH'
#!/bin/busybox sh
# plug igbvf|vfio-pci: into the VM, or out of it. What was torn out is not plugged out; what has not the vNIC's MAC is plugged in anew.
device=/sys/bus/pci/devices/$WEIR_VF_ADDRESS
driver=$(basename "$(readlink "$device/driver")")
case $1 in
igbvf) [ "$driver" != igbvf ] || [ "$(cat "$device"/net/*/address)" != "$WEIR_MAC" ] || exit 0 ;;
vfio-pci) [ "$driver" = igbvf ] || exit 0 ;;
esac
echo "$1" >"$device/driver_override"
[ -z "$driver" ] || echo "$WEIR_VF_ADDRESS" >"$device/driver/unbind"
echo "$WEIR_VF_ADDRESS" >/sys/bus/pci/drivers_probe
SH
chmod +x plug
cat >h1.toml <<TOML
name = "h1"
[dataplane]
workers = [1]
idle = "adaptive"
mbufs = 4095
[[uplink]]
name = "up0"
device = "net_af_packet0,iface=eth0"
provider_addresses = ["192.168.50.1/24"]
[iov]
vf_up = "/tmp/lab/plug igbvf"
vf_down = "/tmp/lab/plug vfio-pci"
unplug_first = true
[store]
kind = "file"
path = "policy.toml"
TOML
# policy MORE
policy() {
    cat >policy.new <<TOML
[[switch]]
name = "default"
iov = true
[[vm_network]]
name = "office"
isolation = "vlan"
vlan = 100
[[vm_network.subnet]]
name = "desks"
prefixes = ["10.1.0.0/24"]
[[vnic]]
name = "v1"
host = "h1"
subnet = "desks"
mac = "$mac"
addresses = ["10.1.0.11"]
attach = "net_af_packet1,iface=$software"
allowed_sources = ["0.0.0.0/0", "::/0"]
vf = "up0/0"
$1
TOML
    mv policy.new policy.toml
}
policy
weir run --host h1.toml 2>h1.log &
h1=$!
i=0
until grep -q "h1 ready" h1.log || [ $((i += 1)) -gt 400 ]; do usleep 100000; done

path() { weir get vnic v1 -o json 2>/dev/null | sed -n 's/.*"path_reason": "\([a-z_]*\)".*/\1/p; s/.*"path": "\(vf\)".*/\1/p'; }
# comes NAME PATH: it has that path within ten seconds.
comes() {
    local i=0
    while [ "$(path)" != "$2" ] && [ $((i += 1)) -lt 50 ]; do usleep 200000; done
    same "$1" "$2" "$(path)"
}
# at INTERFACE: frames that came there.
at() { cat "/sys/class/net/$1/statistics/rx_packets" 2>/dev/null; }

rest=88b5$(printf '%092d' 0)
to_vm=$(echo $mac | tr -d :)${far}81000064$rest
from_vm=$far$(echo $mac | tr -d :)$rest
# listens, then hears: frames from the wire that the VM's own system got meanwhile.
listens() {
    local i=0
    rm -f got
    frames count "$vm" 500 >got &
    counting=$!
    until grep -q ready got 2>/dev/null || [ $((i += 1)) -gt 200 ]; do usleep 50000; done
}
hears() {
    local i=0
    kill -TERM $counting
    # No `wait`: it is not this subshell's child.
    until grep -q '^end' got || [ $((i += 1)) -gt 200 ]; do usleep 50000; done
    awk -v from=02:00:00:00:09:01 '$1 == from { n = $2 } END { print n + 0 }' got
}
# Two hundred frames a second each way while something happens; what is lost may be a second's.
RATE=200 SPOKEN=800
begins() {
    listens
    ask clear >/dev/null
    frames send "$vm" $SPOKEN "$from_vm" $RATE &
    speaking=$!
    ask start w0 $RATE "$to_vm" >/dev/null
    usleep 300000
}
# ends NAME
ends() {
    local sent got spoke
    sent=$(ask stop w0)
    sent=${sent#sent }
    got=$(hears)
    wait $speaking
    spoke=$(ask count w0 out src $mac vlan 100 type 88b5 | cut -d' ' -f1)
    least "$1: of $sent frames to the VM at most a second's are lost" $((sent - RATE)) "$got"
    least "$1: and of $SPOKEN that it sends" $((SPOKEN - RATE)) "$spoke"
    same "$1: its interface noticed nothing" "$vm_was" "$(vm_is)"
    echo "$1: lost $((sent - got)) of $sent to the VM, $((SPOKEN - spoke)) of $SPOKEN from it" >>lost
}
# by_software NAME, by_vf NAME: a second after this, the VM gets frames there.
by_software() {
    local had
    sleep 1
    had=$(at "$standby")
    sleep 1
    same "$1: a second later it has no VF" "" "$(primary)"
    least "$1: and gets frames by its standby" $((had + RATE / 2)) "$(at "$standby")"
}
by_vf() {
    local had here
    sleep 1
    had=$(at "$standby") here=$(at "$(primary)")
    sleep 1
    least "$1: a second later frames come by the VF" $((${here:-0} + RATE / 2)) "$(at "$(primary)")"
    same "$1: and none by the standby" "$had" "$(at "$standby")"
}

comes "v1 has the VF" vf
standby_had=$(at "$standby")
listens
ask send w0 400 "$to_vm" 400 >/dev/null
same "all frames come" 400 "$(hears)"
same "and none by software" "$standby_had" "$(at "$standby")"
ask clear >/dev/null
frames send "$vm" 200 "$from_vm" 400
sleep 1
same "what the VM sends is on the wire, in its VLAN" 200 "$(ask count w0 out src $mac vlan 100 type 88b5 | cut -d' ' -f1)"

begins
policy 'bandwidth = { max_rx = "100Mbit" }'
by_software "policy asks for a maximum"
same "policy asks for a maximum: the reason" bandwidth "$(path)"
ends "policy asks for a maximum"
begins
policy
by_vf "policy asks for none"
ends "policy asks for none"
same "policy asks for none: the path" vf "$(path)"

begins
weir capture drop --vnic v1 -w capture.pcapng >/dev/null 2>&1 &
capture=$!
comes "a capture: the reason" capture
by_software "a capture"
ends "a capture"
begins
kill -INT $capture
wait $capture
by_vf "the capture ends"
ends "the capture ends"

begins
echo "$vf" >/sys/bus/pci/drivers/igbvf/unbind
by_software "the VF is yanked"
same "the VF is yanked: the reason" driver "$(path)"
ends "the VF is yanked"
begins
echo vfio-pci >"$device/driver_override"
echo "$vf" >/sys/bus/pci/drivers_probe
comes "it is there again" vf
by_vf "it is there again"
ends "it is there again"

kill $h1
wait $h1
same "the daemon ends" 0 $?
same "and the VM keeps its VF" 1 "$(primary | wc -w)"
for log in h1.log lost; do give $log <$log; done
ip link set "$vm" down
accepted "no VF is left" create eth0 0
