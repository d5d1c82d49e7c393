# Control of VFs by `weir vf`. The kernel's own tool, ip, is the judge of what they are set to.
#: what VFs made, set, bound, released by weir vf: every setting, every refusal of igb's driver by name
#: seconds 23
#: guest main

vf_line() { ip -d link show eth0 | sed -n "s/^ *vf $1 //p"; }

# judged NAME WANTED VF SETTING...: sets a VF and has ip say what it is.
judged() {
    local name=$1 wanted=$2 vf=$3 said
    shift 3
    if said=$(weir vf set eth0 "$vf" "$@" 2>&1); then shows "$name" "$wanted" "$(vf_line "$vf")"; else verdict failed "$name" "$said"; fi
}

without_mac() { echo "$1" | sed 's/link.ether [^ ]*//'; }

load igb
same "two NICs with seven VFs each" 2 "$(weir vf list -o json | grep -c '"total_vfs": 7')"
refused "there is no such NIC" no-such-pf create eth7 1
refused "an interface that is no NIC" no-sriov create lo 1
refused "a VF before there is one" no-such-vf set eth0 0 --vlan 7
refused "more than the NIC has" too-many-vfs create eth0 8
same "and not a VF was made" 0 "$(cat /sys/class/net/eth0/device/sriov_numvfs)"

accepted "seven VFs" create eth0 7
same "the kernel has seven" 7 "$(cat /sys/class/net/eth0/device/sriov_numvfs)"
shows "seven again are there already" already "$(weir vf create eth0 7)"
refused "from seven to three in one step" vfs-there create eth0 3
new=$(vf_line 3)
weir vf list eth0 -o json | give list.json

# igb takes rates only with a link.
ip link set eth0 up
ip link set eth1 up
linked eth0

for vf in 0 1 2 3 4 5 6; do
    judged "VF $vf: MAC" "link/ether 02:00:00:00:01:0$vf" $vf --mac 02:00:00:00:01:0$vf
done
judged "VLAN and priority" "vlan 100, qos 3" 3 --vlan 100 --qos 3
judged "another VLAN" "vlan 101, qos 3" 3 --vlan 101
judged "spoof check off" "spoof checking off" 3 --spoof-check off
judged "trust on" "trust on" 3 --trust on
judged "maximum" "tx rate 500 (Mbps), max_tx_rate 500Mbps" 3 --max 500Mbit
shows "and the MAC is still what it was" "link/ether 02:00:00:00:01:03" "$(vf_line 3)"
shows "what is so already is not written" '"changed": []' "$(weir vf set eth0 3 --vlan 101 --trust on --max 500Mbit -o json)"
same "no other VF was touched" 6 "$(ip -d link show eth0 | grep -c 'vf .*spoof checking on.*trust off')"

refused "a minimum" value-refused set eth0 3 --min 10Mbit
refused "a maximum above the link's speed" value-refused set eth0 3 --max 2Gbit
refused "802.1ad" vlan-protocol set eth0 3 --vlan 102 --vlan-protocol 802.1ad
refused "link state" not-of-driver set eth0 3 --link down
refused "a group's MAC" bad-value set eth0 3 --mac 01:00:00:00:00:01
refused "VLAN 4095" bad-value set eth0 3 --vlan 4095
refused "a VF past the total" no-such-vf set eth0 7 --vlan 7
refused "what was written before a refusal is put back" value-refused set eth0 3 --mac 02:00:00:00:09:09 --vlan 200 --trust off --min 10Mbit

before=$(state)
shows "without rights" '"name": "no-privilege"' "$(nobody weir vf set eth0 3 --vlan 9 -o json)"
shows "without rights, no VFs are removed" '"name": "no-privilege"' "$(nobody weir vf create eth0 0 -o json)"
shows "without rights, none is released" '"name": "no-privilege"' "$(nobody weir vf release eth0 3 -o json)"
same "and nothing changed" "$before" "$(state)"

for verb in "set eth7 0 --vlan 7" "bind eth7 0 kernel" "release eth7 0" "switch eth7 switchdev"; do
    refused "no such NIC: ${verb%% *}" no-such-pf $verb
done
for verb in "bind eth0 7 kernel" "release eth0 7"; do
    refused "past the total: ${verb%% *}" no-such-vf $verb
done
refused "igb's switch has no modes" not-of-driver switch eth0 switchdev

refused "vfio-pci that is not loaded" driver-missing bind eth0 3 vfio-pci
refused "a kernel driver that is not loaded" not-bound bind eth0 3 kernel
load vfio-pci
before=$(state)
shows "without rights, none is bound" '"name": "no-privilege"' "$(nobody weir vf bind eth0 3 vfio-pci -o json)"
same "and nothing changed" "$before" "$(state)"
for vf in 0 1 2 3 4 5 6; do
    accepted "VF $vf to vfio-pci" bind eth0 $vf vfio-pci
done
same "all seven are with it" 7 "$(ls -d /sys/bus/pci/drivers/vfio-pci/0000:* | wc -l)"
same "each alone in a group" 7 "$(ls /dev/vfio | grep -c '[0-9]')"
shows "and once more is no change" already "$(weir vf bind eth0 3 vfio-pci)"

group=$(basename "$(readlink /sys/class/net/eth0/device/virtfn3/iommu_group)")
sleep 1000 <>"/dev/vfio/$group" &
user=$!
refused "a VF that a process has open is not unbound" in-use bind eth0 3 kernel
refused "nor released" in-use release eth0 3
refused "nor removed" in-use create eth0 0
shows "and the refusal says who" "process $user (sleep)" "$(weir vf create eth0 0 2>&1)"
kill $user
wait $user 2>/dev/null

load igbvf
accepted "released" release eth0 3
same "it is as a new one" "$(without_mac "$new")" "$(without_mac "$(vf_line 3)")"
# igbvf makes up a MAC where none is given, and igb shows it from then on: NET_ADDR_RANDOM.
same "without the MAC that it had" 1 "$(cat /sys/class/net/eth0/device/virtfn3/net/*/addr_assign_type)"
same "with its kernel driver" igbvf "$(basename "$(readlink /sys/class/net/eth0/device/virtfn3/driver)")"
same "without an override" "(null)" "$(cat /sys/class/net/eth0/device/virtfn3/driver_override)"
shows "released again, nothing is to do" "as new already" "$(weir vf release eth0 3)"

interface=$(ls /sys/class/net/eth0/device/virtfn3/net)
ip link set "$interface" up
refused "a VF whose interface is up is not bound elsewhere" in-use bind eth0 3 vfio-pci
refused "nor removed" in-use create eth0 0
ip link set "$interface" down

accepted "none again" create eth0 0
same "the kernel has none" 0 "$(cat /sys/class/net/eth0/device/sriov_numvfs)"
same "no group is left" 0 "$(ls /dev/vfio | grep -c '[0-9]')"

accepted "two VFs with their kernel driver" create eth0 2
# igb starts its port anew when VFs come or go.
linked eth0
record-vf eth0 >/tmp/recording
shows "the recording tool records" "netlink eth0 " "$(cut -c1-40 /tmp/recording)"
give recording.txt </tmp/recording
accepted "and none" create eth0 0
