# Unplug and rebind, a hundred times in all: six VFs at once, between vfio-pci and their kernel driver, beside a daemon that has the seventh;
# then that one between the lives of its daemon. What a link takes (2 s) is waited for by none. Nothing may be left: VFs, IOMMU groups, a
# process's files and mbufs, hugepages.
#: what unplug and rebind a hundred times over seven VFs at once: no VF, group, file, mbuf or hugepage is left
#: seconds 27
#: guest main
#: memory 1024
load igb vfio-pci igbvf
workplace 64
accepted "seven VFs" create eth0 7
ip link set eth0 up
linked eth0
addresses() { for vf in 0 1 2 3 4 5 6; do vf eth0 $vf; done; }
groups() { ls /sys/kernel/iommu_groups | sort -n | tr '\n' ' '; }
before_addresses=$(addresses)
before_groups=$(groups)

# A daemon that has VF 6 as its uplink lives through it all.
accepted "VF 6 to vfio-pci" bind eth0 6 vfio-pci
{ host h1 0; uplink up0 "$(vf eth0 6)" 192.168.50.1; } >h1.toml
printf '[[host]]\nname = "h1"\nprovider_addresses = ["192.168.50.1"]\n' >policy.toml
daemon h1
serves h1
# What the daemon has open and in use.
has() {
    weir status --socket /run/weir/h1.sock -o json >status
    echo "$(ls "/proc/$daemon/fd" | wc -l) files, $(sed -n 's/.*"mbufs_free": *\([0-9]*\).*/\1/p' status) of $(sed -n 's/.*"mbufs_total": *\([0-9]*\).*/\1/p' status) mbufs free"
}
before_has=$(has)
before_pages=$(pages)
shows "it has mbufs" " of 4095 mbufs" "$before_has"

# rebinds VF: eight times to vfio-pci and back, and counts what went well. Each is an unplug and a rebind.
rebinds() {
    local vf=$1 turn=0 well=0 device=/sys/class/net/eth0/device/virtfn$1
    while [ $((turn += 1)) -le 8 ]; do
        weir vf bind eth0 "$vf" vfio-pci >/dev/null 2>>"rebinds$vf.log" &&
            [ -e "/dev/vfio/$(basename "$(readlink $device/iommu_group)")" ] && well=$((well + 1))
        weir vf bind eth0 "$vf" kernel >/dev/null 2>>"rebinds$vf.log" &&
            [ "$(basename "$(readlink $device/driver)")" = igbvf ] && well=$((well + 1))
    done
    echo "$well" >"well$vf"
}
for vf in 0 1 2 3 4 5; do rebinds $vf & eval "rebinds$vf=$!"; done
wait $rebinds0 $rebinds1 $rebinds2 $rebinds3 $rebinds4 $rebinds5
same "96 rebinds, of six VFs at once" "16 16 16 16 16 16" "$(cat well0 well1 well2 well3 well4 well5 | tr '\n' ' ' | sed 's/ $//')"
cat rebinds?.log | give rebinds.log
same "the same VFs" "$before_addresses" "$(addresses)"
same "the same groups" "$before_groups" "$(groups)"
same "a group's file for VF 6 alone" 1 "$(ls /dev/vfio | grep -c '[0-9]')"
i=0
while [ "$(has)" != "$before_has" ] && [ $((i += 1)) -lt 10 ]; do usleep 200000; done
same "the daemon has as many files and mbufs" "$before_has" "$(has)"
same "as many hugepages" "$before_pages" "$(pages)"

# Four lives of a daemon with VF 6: it is kept while that runs, and free and whole for the next when it has ended or was killed.
kill $daemon
wait $daemon
for turn in 1 2 3 4; do
    daemon h1
    serves h1
    refused "life $turn: its VF is not taken while it runs" in-use bind eth0 6 kernel
    # The first two are killed: what they leave is the next one's to find.
    [ $turn -gt 2 ] && kill $daemon || kill -9 $daemon
    wait $daemon 2>/dev/null
    accepted "life $turn: and is free after it" bind eth0 6 kernel
    accepted "life $turn: for the next" bind eth0 6 vfio-pci
done
accepted "all VFs back" release eth0 6
same "no group's file is left" 0 "$(ls /dev/vfio | grep -c '[0-9]')"
same "no hugepage is left" 0 "$(pages)"
accepted "none again" create eth0 0
same "no device is left" 0 "$(ls -d /sys/bus/pci/devices/*/physfn 2>/dev/null | wc -l)"
