# MAC and VLAN isolation between VFs, by counted frames: four VMs (network namespaces with a VF by igbvf), and the wire outside. VFs 0 and 1
# are in VLAN 101, VF 2 in 102, VF 3 in none. Every frame has a sender of its own kind, so that each count is of one way.
#: what MAC and VLAN isolation between VFs, by frames counted at each VM and on the wire
#: seconds 16
#: guest main
load igb
quiet command
accepted "four VFs" create eth0 4
ip link set eth0 up
linked eth0
for vf in 0 1 2 3; do accepted "VF $vf: its MAC" set eth0 $vf --mac "02:00:00:00:01:0$vf"; done
accepted "VF 0 in VLAN 101" set eth0 0 --vlan 101
accepted "VF 1 in VLAN 101" set eth0 1 --vlan 101
accepted "VF 2 in VLAN 102" set eth0 2 --vlan 102
# igbvf comes last: it takes over its VF's MAC then, and once its PF is reset it resets its VF for ten seconds no more.
load igbvf
for vf in 0 1 2 3; do
    ip netns add "vm$vf"
    quiet ip netns exec "vm$vf"
    ip link set "$(ls /sys/class/net/eth0/device/virtfn$vf/net)" netns "vm$vf" name eth0
    ip -n "vm$vf" link set eth0 up
done
# A link takes some two seconds.
up() { ip -n "vm$1" link show eth0 | grep -q "state UP"; }
for vf in 0 1 2 3; do within 10 up $vf; done

# frame DESTINATION SOURCE [TAG]: 100 bytes of an experiment's type (0x88b5), in hex. The two are last octets: VMs are 00 to 03, the
# outside's are from 10 on.
frame() { echo "0200000001${1}0200000001$2${3:+8100$3}88b5$(printf '%0172d' 0)"; }
counting() {
    for vf in 0 1 2 3; do
        # Not by the function ip, which would be a process more.
        /sbin/ip netns exec "vm$vf" /bin/frames count eth0 800 >"/tmp/seen$vf" &
        eval "counter$vf=$!"
    done
    until [ "$(cat /tmp/seen? | grep -c ready)" = 4 ]; do usleep 50000; done
    ask clear >/dev/null
}
# Frames are sent slowly and waited for, since a guest that is emulated beside builds is slow to take them.
counted() {
    kill $counter0 $counter1 $counter2 $counter3
    wait $counter0 $counter1 $counter2 $counter3
}
# seen VF SOURCE: the frames and bytes that it got from there.
seen() { sed -n "s/^02:00:00:00:01:$2 //p" "/tmp/seen$1" | grep . || echo 0 0; }

# And some frames more until it carries any.
i=0
until [ "${heard:-0}" = 4 ] || [ $((i += 1)) -gt 20 ]; do
    counting
    for to in "00 1f 0065" "01 1f 0065" "02 1f 0066" "03 1f"; do ask send w0 3 "$(frame $to)" >/dev/null; done
    counted
    heard=$(cat /tmp/seen? | grep -c '^02:00:00:00:01:1f 3 ')
done
same "all four hear what is for them" 4 "$heard"

counting
ask send w0 50 "$(frame 00 10 0065)" 200 >/dev/null
ask send w0 50 "$(frame 02 11 0065)" 200 >/dev/null
ask send w0 50 "$(frame 02 12 0066)" 200 >/dev/null
ask send w0 50 "$(frame 03 13)" 200 >/dev/null
ask send w0 50 "$(frame 00 14)" 200 >/dev/null
counted
same "from the wire to VF 0, in its VLAN: all, without the tag" "50 5000" "$(seen 0 10)"
same "to VF 2's MAC in another's VLAN: none there" "0 0" "$(seen 2 11)"
same "nor at anybody else" "0 0 0 0 0 0" "$(seen 0 11) $(seen 1 11) $(seen 3 11)"
same "in its own: all" "50 5000" "$(seen 2 12)"
same "to VF 3, which has no VLAN: all" "50 5000" "$(seen 3 13)"
same "to VF 0 without a tag: none" "0 0" "$(seen 0 14)"
same "others saw nothing of it" "0 0 0 0 0 0" "$(seen 1 10) $(seen 2 10) $(seen 3 10)"

counting
send() { ip netns exec "vm$1" /bin/frames send eth0 40 "$2"; }
send 0 "$(frame 01 00)"
send 2 "$(frame 01 02)"
send 2 "$(frame 2e 02)"
send 3 "$(frame 2f 03)"
counted
same "VF 0 to VF 1, of one VLAN: all" "40 4000" "$(seen 1 00)"
same "not seen outside" "0 0" "$(ask count w0 out src 02:00:00:00:01:00)"
same "VF 2 to VF 1's MAC, of another VLAN: none there" "0 0" "$(seen 1 02)"
same "VF 2 to one outside: all, in its own VLAN" "40 4160" "$(ask count w0 out src 02:00:00:00:01:02 dst 02:00:00:00:01:2e vlan 102)"
same "and nothing of it in another" "0 0" "$(ask count w0 out src 02:00:00:00:01:02 not vlan 102)"
same "VF 3 to one outside: all, without a tag" "40 4000" "$(ask count w0 out src 02:00:00:00:01:03 vlan none)"
same "and no VM saw it" "0 0 0 0 0 0" "$(seen 0 03) $(seen 1 03) $(seen 2 03)"

counting
ask send w0 30 "$(echo "$(frame 00 15 0065)" | sed 's/^............/ffffffffffff/')" 200 >/dev/null
counted
same "a broadcast in VLAN 101: both of its VFs" "30 3000 30 3000" "$(seen 0 15) $(seen 1 15)"
same "and none of the others" "0 0 0 0" "$(seen 2 15) $(seen 3 15)"

shows "igb counts nothing of its VFs, and weir vf says so" '"counters": null' "$(weir vf list eth0 -o json)"
for vf in 0 1 2 3; do ip netns del "vm$vf"; done
given_back() { [ "$(ls -d /sys/class/net/eth0/device/virtfn?/net/* 2>/dev/null | wc -l)" = 4 ]; }
within 5 given_back
accepted "none again" create eth0 0
