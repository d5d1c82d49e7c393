# A NIC that does what igb does not: minimum, link state, 802.1ad, and a switch in switchdev mode with representors and their rates. The
# kernel's own simulation of one (drivers/net/netdevsim); the judges are ip and devlink. It carries no packets.
#: what what igb refuses, on netdevsim: minimum, link state, 802.1ad, switchdev mode, representors, their rates
#: seconds 7
#: guest main
#: netdevsim
load psample netdevsim
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
echo "1 1" >/sys/bus/netdevsim/new_device
pf=$(ls /sys/bus/netdevsim/devices/netdevsim1/net)
ip link set "$pf" up

vf_line() { ip -d link show "$pf" | sed -n "s/^ *vf $1 //p"; }
judged() {
    local name=$1 wanted=$2 vf=$3 said
    shift 3
    if said=$(weir vf set "$pf" "$vf" "$@" 2>&1); then shows "$name" "$wanted" "$(vf_line "$vf")"; else verdict failed "$name" "$said"; fi
}
state() {
    ip -d link
    cat /sys/bus/netdevsim/devices/netdevsim1/sriov_numvfs
    devlink dev eswitch show netdevsim/netdevsim1
    devlink port function rate show
}
# Its link is seen to be there a moment after it was set up.
seen=
until [ "$seen" = "$(state)" ]; do
    seen=$(state)
    usleep 500000
done
mode() { devlink dev eswitch show netdevsim/netdevsim1; }

shows "it offers four" '"total_vfs": 4' "$(weir vf list "$pf" -o json)"
refused "more than it has" too-many-vfs create "$pf" 5
accepted "three VFs" create "$pf" 3
same "the kernel has three" 3 "$(cat /sys/bus/netdevsim/devices/netdevsim1/sriov_numvfs)"

judged "MAC" "link/ether 02:00:00:00:03:01" 1 --mac 02:00:00:00:03:01
judged "802.1ad" "vlan 200, qos 5, vlan protocol 802.1ad" 1 --vlan 200 --qos 5 --vlan-protocol 802.1ad
judged "spoof check" "spoof checking on" 1 --spoof-check on
judged "trust" "trust on" 1 --trust on
judged "link down" "link-state disable" 1 --link down
judged "link up" "link-state enable" 1 --link up
judged "minimum" "min_tx_rate 100Mbps" 1 --min 100Mbit
judged "maximum" "max_tx_rate 800Mbps" 1 --max 800Mbit
shows "and the minimum is still what it was" "min_tx_rate 100Mbps" "$(vf_line 1)"
judged "both, upwards past the old maximum" "max_tx_rate 2000Mbps, min_tx_rate 1000Mbps" 1 --min 1Gbit --max 2Gbit
judged "both, downwards past the old minimum" "max_tx_rate 300Mbps, min_tx_rate 200Mbps" 1 --min 200Mbit --max 300Mbit
refused "a minimum above the maximum" bad-value set "$pf" 1 --min 400Mbit
# 16 bits is what the kernel's simulation keeps of a rate.
refused "a rate that does not read back" not-kept set "$pf" 1 --max 100Gbit
refused "a VF past those there are" no-such-vf set "$pf" 3 --vlan 7
refused "nobody can have such a VF" not-of-driver bind "$pf" 0 vfio-pci

shows "its switch is in legacy mode" '"switch_mode": "legacy"' "$(weir vf list "$pf" -o json)"
before=$(state)
shows "without rights the mode is not changed" '"name": "no-privilege"' "$(nobody weir vf switch "$pf" switchdev -o json)"
same "and nothing is" "$before" "$(state)"
accepted "switchdev mode" switch "$pf" switchdev
shows "devlink says so" "mode switchdev" "$(mode)"
shows "once more is no change" already "$(weir vf switch "$pf" switchdev)"
shows "weir vf list says so" '"switch_mode": "switchdev"' "$(weir vf list "$pf" -o json)"
representor=$(devlink port show | sed -n 's/.* netdev \([^ ]*\) flavour pcivf .* vfnum 1 .*/\1/p')
shows "VF 1's representor is named" "\"representor\": \"$representor\"" "$(weir vf list "$pf" -o json)"
rate() { devlink port function rate show "netdevsim/netdevsim1/$(devlink port show | sed -n 's,^netdevsim/netdevsim1/\([0-9]*\): .* vfnum '"$1"' .*,\1,p')"; }
rated() {
    local name=$1 wanted=$2 vf=$3 said
    shift 3
    if said=$(weir vf set "$pf" "$vf" "$@" -o json 2>&1); then shows "$name" "$wanted" "$(rate "$vf")"; else verdict failed "$name" "$said"; fi
}
rated "its promise at the representor" "tx_share 50Mbit" 1 --min 50Mbit --max 0
rated "its limit" "tx_max 1Gbit" 1 --max 1Gbit
shows "and the promise is still what it was" "tx_share 50Mbit" "$(rate 1)"
shows "both read back" '"min_mbit": 50, "max_mbit": 1000' "$(weir vf list "$pf" -o json | tr -d '\n' | tr -s ' ')"
same "no other VF was touched" 2 "$(devlink port function rate show | grep -vc tx_)"
refused "a limit above the simulated link, which the driver explains" value-refused set "$pf" 1 --max 6Gbit
shows "in its own words" "exceed link maximum speed" "$(weir vf set "$pf" 1 --max 6Gbit 2>&1)"
record-vf "$pf" | give recording.txt
accepted "released" release "$pf" 1
same "without a promise and a limit" "" "$(rate 1 | grep -o 'tx_.*')"
accepted "legacy mode again" switch "$pf" legacy
shows "devlink says so again" "mode legacy" "$(mode)"
same "no representor is left" 0 "$(devlink port show | grep -c pcivf)"
accepted "none again" create "$pf" 0
same "the kernel has none" 0 "$(cat /sys/bus/netdevsim/devices/netdevsim1/sriov_numvfs)"
echo 1 >/sys/bus/netdevsim/del_device
umount /sys/kernel/debug
