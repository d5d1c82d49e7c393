# A PF that DPDK drives, with VFs: h1's uplink is the first NIC's PF by vfio-pci, h2's is VF 0 of it. The kernel opens the VF to who names the
# token that the PF was opened with. What each answers is counted on the wire outside; what passes between them is the NIC's own switch.
#: what a PF under Weir with VFs, one of them under another Weir: opened with the PF's token alone, frames both ways
#: seconds 15
#: guest paths
load igb vfio-pci
workplace 96
quiet command

pf=$(basename "$(readlink /sys/class/net/eth0/device)")
# driven DRIVER [OVERRIDE]: the NIC by another driver.
driven() {
    echo "$2" >"/sys/bus/pci/devices/$pf/driver_override"
    echo "$pf" >"/sys/bus/pci/devices/$pf/driver/unbind"
    echo "$pf" >/sys/bus/pci/drivers_probe
    same "the NIC is $1's" "$1" "$(basename "$(readlink "/sys/bus/pci/devices/$pf/driver")")"
}
driven vfio-pci vfio-pci
refused "vfio-pci makes no VFs if it was not told to" driver-missing create "$pf" 2
echo 1 >/sys/module/vfio_pci/parameters/enable_sriov
accepted "told to, it makes two" create "$pf" 2
same "they are vfio-pci's, too" 2 "$(weir vf list "$pf" -o json | grep -c '^ *"driver": "vfio-pci",\{0,1\}$' | awk '{ print $1 - 1 }')"
shows "what they are set to is not known, and why" "whoever drives it from user space sets its VFs" "$(weir vf list "$pf" -o json)"
refused "nor can it be set" no-interface set "$pf" 0 --mac 02:00:00:00:01:01
vf=$(basename "$(readlink "/sys/bus/pci/devices/$pf/virtfn0")")

token=5d3a8f0e-52c5-4b43-9f1d-0a6a1e6b7c01
# weir_host NUMBER CORES DEVICE [TOKEN]: its host.toml.
weir_host() {
    { host "h$1" "$2" "${4:+vf_token = \"$4\"}" && uplink up0 "$3" "192.168.50.$1" && echo "mac = \"02:00:00:00:01:0$1\""; } >"h$1.toml"
}
for host in 1 2; do
    printf '[[host]]\nname = "h%s"\nprovider_addresses = ["192.168.50.%s"]\n' $host $host
    printf '[[vnic]]\nname = "vm%s"\nhost = "h%s"\nsubnet = "web"\nmac = "02:00:00:00:02:0%s"\naddresses = ["10.1.0.1%s"]\nattach = "vhost-user:/tmp/lab/vm%s"\n' $host $host $host $host $host
done >policy.toml
printf '[[vm_network]]\nname = "blue"\nisolation = "nv"\n[[vm_network.subnet]]\nname = "web"\nvsid = 5001\nprefixes = ["10.1.0.0/24"]\n' >>policy.toml

# refuses NAME NUMBER WORDS: Weir does not start, and says that.
refuses() {
    weir run --host "h$2.toml" 2>refused.log
    same "$1: refused" 1 $?
    shows "and why" "$3" "$(cat refused.log)"
    shows "with the mend" "vf_token at [dataplane]" "$(cat refused.log)"
}
get() { weir get "$2" up0 --socket "/run/weir/h$1.sock" -o json; }
fenced="VF 0 of $pf, which vfio-pci has"
weir_host 2 1 "$vf"
refuses "no token" 2 "$fenced"
shows "weir doctor says it, too" "the kernel opens it with $pf's token alone" "$(weir doctor --host h2.toml -o json)"
weir_host 1 0,1 "$pf" $token
daemon h1
h1=$daemon
serves h1
weir_host 2 1 "$vf" 00000000-52c5-4b43-9f1d-0a6a1e6b7c01
refuses "another token" 2 "$fenced"
weir_host 2 1 "$vf" $token
daemon h2
h2=$daemon
serves h2
same "nobody logs the token" 0 "$(cat h1.log h2.log refused.log | grep -c "${token%%-*}")"
shows "the PF has one queue beside its VFs" "2 VFs, and one receive queue" "$(get 1 uplink)"

# resolved NUMBER: whether it knows the other's MAC, by ARP through the NIC's own switch.
resolved() { weir get peer --socket "/run/weir/h$1.sock" -o json | sed -n 's/^ *"resolved": \(true\|false\).*/\1/p'; }
hear() { [ "$(resolved 1)$(resolved 2)" = truetrue ]; }
within 10 hear
same "the PF's Weir hears the VF's" true "$(resolved 1)"
same "and the VF's the PF's" true "$(resolved 2)"

# answers NUMBER: twenty questions by ARP from outside, to its MAC; frames of what it answers, and of what the other does.
answers() {
    ask clear >/dev/null
    ask send w0 20 "02000000010${1}02cc00000009080600010800060400""0102cc00000009c0a83263000000000000c0a8320$1" 200 >/dev/null
    for host in $1 $((3 - $1)); do ask count w0 out type 0806 src "02:00:00:00:01:0$host" dst 02:cc:00:00:00:09; done | cut -d' ' -f1 | tr '\n' ' '
}
same "twenty questions for the VF: it alone answers, by the wire" "20 0 " "$(answers 2)"
same "for the PF: it alone" "20 0 " "$(answers 1)"
stats=$(weir stats --socket /run/weir/h2.sock -o json)
# counter NAME: what the VF's driver has counted.
counter() { echo "$stats" | sed -n "s/^ *\"$1\": \([0-9]*\),\{0,1\}\$/\1/p" | tail -1; }
same "weir stats names the VF" "$pf/0" "$(echo "$stats" | sed -n '/"device"/,$s/^ *"vf": "\(.*\)",$/\1/p')"
least "and has its driver's counts: sent" 20 "$(counter tx_good_packets)"
least "received" 20 "$(counter rx_good_packets)"

refused "the VF is not taken from under it" in-use create "$pf" 0
kill $h2
wait $h2
same "the VF's daemon ends" 0 $?
kill $h1
wait $h1
same "and the PF's" 0 $?
accepted "and they can go" create "$pf" 0
echo 0 >/sys/module/vfio_pci/parameters/enable_sriov
driven igb
for log in h1 h2 refused; do give $log.log <$log.log; done
