# Weir on a VF. h1's uplink is VF 0 of the first NIC by vfio-pci, h2's is the second NIC by the kernel. They carry NVGRE between a VM here
# and a VM there: network namespaces. VF 0 is in no VLAN; nested.sh has that.
#: what Weir on a VF: its uplink is one by vfio-pci, NVGRE to another Weir; what the daemon has stays its own
#: seconds 16
#: guest paths
#: memory 1024
load igb vfio-pci veth
workplace 96

accepted "two VFs" create eth0 2
quiet command
ip link set eth0 up
# The other host has a namespace of its own, as it would be a machine of its own.
ip netns add far
quiet ip netns exec far
ip link set eth1 netns far
ip -n far link set eth1 up
linked eth0
accepted "its MAC" set eth0 0 --mac 02:00:00:00:01:00
accepted "to vfio-pci" bind eth0 0 vfio-pci

# vm NUMBER ADDRESS: a namespace with one interface, whose other end Weir has.
vm() {
    ip netns add "vm$1"
    quiet ip netns exec "vm$1"
    ip link add "blue$1" type veth peer name eth0 netns "vm$1"
    if [ "$1" = 2 ]; then
        ip link set blue2 netns far
        ip -n far link set blue2 up
    else
        ip link set blue1 up
    fi
    ip -n "vm$1" link set eth0 address "02:00:00:00:02:0$1" mtu 1400 up
    ip -n "vm$1" addr add "$2/24" dev eth0
}
vm 1 10.1.0.11
vm 2 10.1.0.12

{ host h1 0; uplink up0 "$(vf eth0 0)" 192.168.50.1; } >h1.toml
{ host h2 1; uplink up0 net_af_packet0,iface=eth1 192.168.50.2; } >h2.toml
cat >policy.toml <<TOML
[[host]]
name = "h1"
provider_addresses = ["192.168.50.1"]
[[host]]
name = "h2"
provider_addresses = ["192.168.50.2"]
[[vm_network]]
name = "blue"
isolation = "nv"
[[vm_network.subnet]]
name = "web"
vsid = 5001
prefixes = ["10.1.0.0/24"]
[[vnic]]
name = "blue1"
host = "h1"
subnet = "web"
mac = "02:00:00:00:02:01"
addresses = ["10.1.0.11"]
attach = "net_af_packet1,iface=blue1"
[[vnic]]
name = "blue2"
host = "h2"
subnet = "web"
mac = "02:00:00:00:02:02"
addresses = ["10.1.0.12"]
attach = "net_af_packet1,iface=blue2"
TOML

daemon h1
h1=$daemon
daemon h2 /sbin/ip netns exec far
h2=$daemon
serves h1
serves h2

# pings COUNT: how many of so many pings come back.
pings() { ip netns exec vm1 /bin/busybox ping -c "$1" -i 0.1 -W 1 10.1.0.12 | sed -n 's/.* \([0-9]*\) packets received.*/\1/p'; }
one_ping() { [ "$(pings 1)" = 1 ]; }

# Neighbours are found, and a VF's link comes up, with the first.
within 20 one_ping
drops() { weir drops --socket /run/weir/h1.sock -o json; }
before=$(drops)
ask clear >/dev/null
same "twenty pings through the VF" 20 "$(pings 20)"
same "nothing was dropped meanwhile" "$before" "$(drops)"
# A ping of 98 bytes and 42 of NVGRE's: Ethernet, IPv4, GRE with the key of VSID 5001.
nvgre=20006558001389
same "what left the VF, on the wire" "20 2800" "$(ask count w0 out src 02:00:00:00:01:00 has $nvgre)"
same "as it came to the second NIC" "20 2800" "$(ask count nic1 src 02:00:00:00:01:00 has $nvgre)"
same "and the answers" "20 2800" "$(ask count w0 out src 52:54:00:aa:00:02 dst 02:00:00:00:01:00 has $nvgre)"
same "nothing of a tenant left bare" "0 0" "$(ask count w0 out src 02:00:00:00:02:01)"

refused "what the daemon has is not set under it" in-use set eth0 0 --vlan 101
refused "nor bound elsewhere" in-use bind eth0 0 kernel
refused "nor released" in-use release eth0 0
refused "nor removed" in-use create eth0 0
shows "and the refusal says whose it is" "uplink up0 of the daemon at /run/weir/h1.sock" "$(weir vf bind eth0 0 kernel 2>&1)"
shows "weir vf list says it, too" "uplink up0 of the daemon" "$(weir vf list eth0 -o json)"

# By hand, since Weir will not: what another VLAN does.
ip link set eth0 vf 0 vlan 101
ask clear >/dev/null
same "in another VLAN nothing comes through" 0 "$(pings 3)"
same "three left with the VLAN's tag" "3 432" "$(ask count w0 out src 02:00:00:00:01:00 vlan 101 has $nvgre)"
same "none without" "0 0" "$(ask count w0 out src 02:00:00:00:01:00 vlan none)"
ip link set eth0 vf 0 vlan 0
within 20 one_ping
ask clear >/dev/null
same "out of it again, all does" 5 "$(pings 5)"
same "without a tag" "5 700" "$(ask count w0 out src 02:00:00:00:01:00 vlan none has $nvgre)"

kill $h1 $h2
wait $h1
same "the daemon ends" 0 $?
wait $h2
load igbvf
accepted "and the VF is free" release eth0 0
accepted "and can go" create eth0 0
for log in h1 h2; do give $log.log <$log.log; done
