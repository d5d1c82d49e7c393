# The kernel's own net_failover in a VM: a virtio NIC that offers VIRTIO_NET_F_STANDBY, and the VF of the same MAC, which the kernel makes one
# interface by itself. The guest is the VM and its host at once: the standby's other end is a second virtio NIC, which Weir has as the vNIC's
# software path, and a VF is plugged into the VM when igbvf has it and not when vfio-pci has it; to change that is what QEMU's device_add and
# device_del are. While a VF is plugged in, net_failover drops what comes by the standby, so that Weir has to have it unplugged.
#: what net_failover: the kernel's own pairing of VF and virtio: frames go on when policy takes the VF, gives it back, and it is yanked
#: seconds 38
#: memory 1024
#: standby 02:00:00:00:06:01
#: modules failover net_failover virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_net
load igb vfio-pci
workplace 96
mac=02:00:00:00:06:01 vm='' in_vm=''
. /lab/vnic-path.sh

accepted "a VF" create eth0 1
quiet command
ip link set eth0 up
linked eth0
accepted "with the vNIC's MAC" set eth0 0 --mac $mac
vf=$(vf eth0 0)
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
# Only now: a VF that igbvf has from its making on has a MAC that igbvf made up, and is nobody's primary.
load igbvf
# primary: the VF's interface, if it is the VM's.
primary() {
    local name
    for name in $(ls "$device/net" 2>/dev/null); do [ ! -e "/sys/class/net/$vm/lower_$name" ] || echo "$name"; done
}
paired() { [ -n "$(primary)" ]; }
within 20 paired
same "the VF is taken for its primary, unasked" "1 $mac" "$(primary | wc -w) $(cat "$device"/net/*/address)"
up() { [ "$(cat "/sys/class/net/$(primary)/carrier" "/sys/class/net/$vm/operstate" 2>/dev/null | tr '\n' ' ')" = "1 up " ]; }
within 20 up
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
{
    host h1 1
    uplink up0 net_af_packet0,iface=eth0 192.168.50.1
    cat <<'TOML'
[iov]
vf_up = "/tmp/lab/plug igbvf"
vf_down = "/tmp/lab/plug vfio-pci"
unplug_first = true
TOML
} >h1.toml
# policy MORE
policy() {
    {
        office
        vnic 1 $mac "$software" "vf = \"up0/0\"
$1"
    } >policy.new
    mv policy.new policy.toml
}
policy
daemon h1
serves h1

# Both ways while something happens: what the VM sends, too, may lose a second's, and its interface notices nothing.
SPOKEN=600
from_vm=$far$(bare $mac)$rest
both_begin() {
    ask clear >/dev/null
    frames send "$vm" $SPOKEN "$from_vm" $RATE &
    speaking=$!
    begins
}
both_end() {
    local spoke
    ends "$1"
    wait $speaking
    spoke=$(ask count w0 out src $mac vlan 100 type 88b5 | cut -d' ' -f1)
    least "$1: and of $SPOKEN that it sends" $((SPOKEN - RATE)) "$spoke"
    same "$1: its interface noticed nothing" "$vm_was" "$(vm_is)"
    echo "$1: lost $((SPOKEN - spoke)) of $SPOKEN from it" >>lost
}
# by_software NAME, by_vf NAME: a second after this, the VM gets frames there.
by_software() {
    sleep 1
    moved "$1" "$standby"
    same "$1: and it has no VF" "" "$(primary)"
}
by_vf() {
    sleep 1
    moved "$1" "$(primary)" "$standby"
}

comes "v1 has the VF" vf
standby_had=$(at "$standby")
listens 400
ask send w0 400 "$(bare $mac)${far}81000064$rest" 400 >/dev/null
same "all frames come" 400 "$(hears)"
same "and none by software" "$standby_had" "$(at "$standby")"
ask clear >/dev/null
frames send "$vm" 200 "$from_vm" 400
sleep 1
same "what the VM sends is on the wire, in its VLAN" 200 "$(ask count w0 out src $mac vlan 100 type 88b5 | cut -d' ' -f1)"

both_begin
policy 'bandwidth = { max_rx = "100Mbit" }'
by_software "policy asks for a maximum"
same "policy asks for a maximum: the reason" bandwidth "$(path)"
both_end "policy asks for a maximum"
both_begin
policy
by_vf "policy asks for none"
both_end "policy asks for none"
same "policy asks for none: the path" vf "$(path)"

both_begin
weir capture drop --vnic v1 -w capture.pcapng >/dev/null 2>&1 &
capture=$!
comes "a capture: the reason" capture
by_software "a capture"
both_end "a capture"
both_begin
kill -INT $capture
wait $capture
by_vf "the capture ends"
both_end "the capture ends"

both_begin
echo "$vf" >/sys/bus/pci/drivers/igbvf/unbind
by_software "the VF is yanked"
same "the VF is yanked: the reason" driver "$(path)"
both_end "the VF is yanked"
both_begin
echo vfio-pci >"$device/driver_override"
echo "$vf" >/sys/bus/pci/drivers_probe
comes "it is there again" vf
by_vf "it is there again"
both_end "it is there again"

kill $daemon
wait $daemon
same "the daemon ends" 0 $?
same "and the VM keeps its VF" 1 "$(primary | wc -w)"
for log in h1.log lost; do give $log <$log; done
ip link set "$vm" down
accepted "no VF is left" create eth0 0
