# A vNIC's path between a VF and software, under traffic. The VM is a namespace with both: igbvf's interface of the VF, and the software
# path (veth), under one bond whose active part is switched by the commands that Weir runs; a VF that vanishes the bond notices by itself.
# What is counted: frames that the wire sends (scripts/lab.d/outside), that the VM gets, and at which of its two interfaces.
#: what failover: a vNIC goes from its VF to software and back, for policy, a capture, a VF yanked, a PF reset, no free VF
#: seconds 45
#: guest failover
#: memory 1024
#: modules tls bonding
load tls bonding igb veth
workplace 96
mac=02:00:00:00:01:01 vm=bond0 in_vm="/sbin/ip netns exec v1"
. /lab/vnic-path.sh

accepted "two VFs" create eth0 2
quiet command
ip link set eth0 up
linked eth0
# igbvf takes the MAC that its VF has when it is loaded: what a VM's NIC does that is plugged in with its vNIC's.
accepted "the VF has the vNIC's MAC before it is plugged in" set eth0 0 --mac $mac
load igbvf
vf=$(vf eth0 0)

ip netns add v1
quiet ip netns exec v1
for i in 1 2 3; do ip link add "sw$i" type veth peer name "p$i"; done
ip link set p1 netns v1 name sw
ip -n v1 link add bond0 type bond mode active-backup miimon 50
ip -n v1 link set bond0 address $mac
ip -n v1 link set sw master bond0
ip -n v1 link set bond0 up
for name in sw1 sw2 sw3 p2 p3; do ip link set $name up; done
ip link set p2 address 02:00:00:00:01:02
ip link set p3 address 02:00:00:00:01:03

# What Weir runs: plugs the VF in, if it is not or has forgotten its MAC, and makes one of the two the active one. igbvf asks its PF for
# its MAC when it is reset, which it is when its interface goes down.
cat >path <<'SH'
#!/bin/busybox sh
ip() { /sbin/ip "$@"; }
[ "$WEIR_VNIC" = v1 ] || exit 0
active() { ip -n v1 link set bond0 type bond active_slave "$1" 2>/dev/null; }
# The one that is there already is switched to at once.
active "$1"
if [ "$1" = vf0 ] && [ "$(ip netns exec v1 /bin/busybox cat /sys/class/net/vf0/address 2>/dev/null)" != "$WEIR_MAC" ]; then
    name=$(ls "/sys/bus/pci/devices/$WEIR_VF_ADDRESS/net" 2>/dev/null)
    [ -z "$name" ] || ip link set "$name" netns v1 name vf0
    ip -n v1 link set vf0 nomaster
    ip -n v1 link set vf0 up
    ip -n v1 link set vf0 down
    ip -n v1 link set vf0 master bond0
fi
# A VF's link comes back some seconds after its PF's.
until=$(($(cut -d. -f1 /proc/uptime) + 25))
until active "$1"; do
    [ "$(cut -d. -f1 /proc/uptime)" -lt $until ] || exit 1
    usleep 100000
done
SH
chmod +x path

{
    host h1 1
    uplink up0 net_af_packet0,iface=eth0 192.168.50.1
    cat <<'TOML'
capacity = "1Gbit"
[iov]
vf_up = "/tmp/lab/path vf0"
vf_down = "/tmp/lab/path sw"
TOML
} >h1.toml
# policy MORE-OF-V1 MORE-OF-V2 MORE-OF-V3
policy() {
    {
        office
        vnic 1 $mac sw1 "$1"
        vnic 2 02:00:00:00:01:02 sw2 "$2"
        vnic 3 02:00:00:00:01:03 sw3 "$3"
    } >policy.new
    mv policy.new policy.toml
}
pinned='vf = "up0/0"' two='iov_weight = 20' three='iov_weight = 10'
policy "$pinned" "$two" "$three"
daemon h1
serves h1

# active INTERFACE: until the VM uses that and the commands that Weir ran have ended, which may have it use the other one for a moment, thirty
# seconds at most.
active() { within 30 settled "$1"; }
settled() { ! pidof path >/dev/null && [ "$($in_vm cat /sys/class/net/bond0/bonding/active_slave)" = "$1" ]; }
# a_second_later NAME INTERFACE OTHER: the VM gets all at the one and none at the other.
a_second_later() {
    sleep 1
    moved "$@"
}

comes "v1 has the VF that is pinned" vf
active vf0
same "and v2, of more weight, the other" "vf none_free" "$(path 2) $(path 3)"
shows "it is set for its VLAN, with spoof check" "vlan 100, spoof checking on" "$(ip link show eth0 | grep "vf 0")"
shows "weir vf list says whose it is" "vnic v1 of the daemon" "$(weir vf list eth0 -o json)"
refused "it is not set under the vNIC" in-use set eth0 0 --vlan 101
to_v1=$(bare $mac)${far}81000064$rest
vf_had=$(at vf0) sw_had=$(at sw)
listens 400
ask send w0 400 "$to_v1" 400 >/dev/null
same "all frames come by the VF" 400 "$(hears)"
least "as the VF counts" $((vf_had + 400)) "$(at vf0)"
same "and none by software" "$sw_had" "$(at sw)"
listens
ask send w0 100 "$(bare $mac)$far$rest" 400 >/dev/null
same "what is in no VLAN is not for it" 0 "$(hears)"
shows "igb's counters are said to be none" "driver igb counts nothing of VFs" "$(weir stats -o json)"
# from_vm COUNT TO: what the VM sends.
from_vm() { $in_vm /bin/frames send bond0 "$1" "$2$(bare $mac)$rest" 400; }
ask clear >/dev/null
from_vm 200 $far
sleep 1
same "what its VM sends is on the wire, in the VLAN" 200 "$(ask count w0 out src $mac vlan 100 type 88b5 | cut -d' ' -f1)"
# Between the NIC's switch and Weir's.
had=$(cat /sys/class/net/p3/statistics/rx_packets)
from_vm 100 020000000103
sleep 1
least "from the VF to a vNIC on its software path" $((had + 100)) "$(cat /sys/class/net/p3/statistics/rx_packets)"
listens
frames send p3 100 "$(bare $mac)020000000103$rest" 400
usleep 500000
hears >/dev/null
same "and back" 100 "$(awk '$1 == "02:00:00:00:01:03" { n = $2 } END { print n + 0 }' got)"

# rate MBIT: the VF shows that maximum within two seconds.
keeps() { ip link show eth0 | grep 'vf 0 ' | grep -q "max_tx_rate $1Mbps"; }
rate() {
    within 2 keeps "$1"
    shows "the VF keeps a maximum of $1 Mbit/s" "max_tx_rate $1Mbps" "$(ip link show eth0 | grep 'vf 0 ')"
}
# left: how often vNICs went to software so far.
left() { weir get switch -o json | sed -n 's/.*"changes_to_software": \([0-9]*\).*/\1/p'; }
# A maximum is the VF's own, and changes under it.
had=$(left)
begins
for mbit in 100 200; do
    policy "$pinned
bandwidth = { max = \"${mbit}Mbit\" }" "$two" "$three"
    rate $mbit
done
ends "a maximum comes and changes"
same "and the VF is not left" "${had:-not told}" "$(left)"
same "it is the VF's" "vf vf" "$(path 1) $(weir get vnic v1 -o json | sed -n '/"bandwidth": {/,/}/s/.*"by": "\([a-z]*\)".*/\1/p' | tail -n 1)"

begins
policy "$pinned
bandwidth = { min = \"50Mbit\", max = \"100Mbit\" }" "$two" "$three"
a_second_later "policy asks for a minimum, which igb has not" sw vf0
same "policy asks for a minimum: the reason" rate_refused "$(path 1)"
shows "and the refusal" '"path_refusal": "value-refused"' "$(weir get vnic v1 -o json)"
ends "policy asks for a minimum"
begins
policy "$pinned" "$two" "$three"
a_second_later "policy asks for none" vf0 sw
ends "policy asks for none"
same "and the VF has no limit" 0 "$(ip link show eth0 | grep 'vf 0 ' | grep -c max_tx_rate)"
same "policy asks for none: the path" vf "$(path 1)"

begins
weir capture drop --vnic v1 -w capture.pcapng >/dev/null 2>&1 &
capture=$!
comes "a capture: the reason" capture
a_second_later "a capture" sw vf0
kill -INT $capture
wait $capture
a_second_later "the capture ends" vf0 sw
ends "a capture and its end"

# igbvf resets its VF after its PF at once only if it has not done so for ten seconds: not behind what follows.
ip link set eth0 down
comes "the PF is down" no_link
ip link set eth0 up
linked eth0
comes "the PF is up" vf
active vf0
vf_had=$(at vf0)
listens 400
ask send w0 400 "$to_v1" 400 >/dev/null
same "and all frames come" 400 "$(hears)"
least "by the VF" $((vf_had + 400)) "$(at vf0)"

begins
echo "$vf" >/sys/bus/pci/drivers/igbvf/unbind
a_second_later "the VF is yanked" sw none
same "the VF is yanked: the reason" driver "$(path 1)"
ends "the VF is yanked"
echo "$vf" >/sys/bus/pci/drivers/igbvf/bind
comes "its driver is there again" vf
active vf0

had=$(cat /sys/class/net/p3/statistics/rx_packets)
ask send w0 100 "020000000103${far}81000064$rest" 400 >/dev/null
usleep 500000
least "who has no VF gets its frames by software" $((had + 100)) "$(cat /sys/class/net/p3/statistics/rx_packets)"
policy "$pinned" "$two" "iov_weight = 30"
comes "of more weight, it has the VF" vf 3
same "and the other has none" none_free "$(path 2)"

kill $daemon
wait $daemon
same "the daemon ends" 0 $?
same "and the VF keeps its VM's frames" "$mac" "$(ip link show eth0 | sed -n 's/.*vf 0 .*link\/ether \([0-9a-f:]*\).*/\1/p')"
for log in h1.log lost; do give $log <$log; done
ip netns delete v1
# A namespace gives its interfaces back a while after it was deleted.
given_back() { [ -n "$(ls "/sys/bus/pci/devices/$vf/net" 2>/dev/null)" ]; }
within 5 given_back
accepted "no VF is left" create eth0 0
