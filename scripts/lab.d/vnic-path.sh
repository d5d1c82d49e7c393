# What failover.sh and net-failover.sh share: vNIC v1 in VLAN 100, whose path is VF 0 of eth0 or software, under traffic from the wire. They say
# in $vm which interface its VM has, in $in_vm what stands before a command that is run where that is, and in $mac the vNIC's MAC.
far=020000000901
rest=88b5$(printf '%092d' 0)
bare() { echo "$1" | tr -d :; }

# office: the head of a policy whose vNICs may have VFs. vnic NUMBER MAC INTERFACE MORE: one of them, which may send from any address.
office() {
    cat <<TOML
[[switch]]
name = "default"
iov = true
bandwidth_mode = "absolute"
[[vm_network]]
name = "office"
isolation = "vlan"
vlan = 100
[[vm_network.subnet]]
name = "desks"
prefixes = ["10.1.0.0/24"]
TOML
}
vnic() {
    cat <<TOML
[[vnic]]
name = "v$1"
host = "h1"
subnet = "desks"
mac = "$2"
addresses = ["10.1.0.1$1"]
attach = "net_af_packet$1,iface=$3"
allowed_sources = ["0.0.0.0/0", "::/0"]
$4
TOML
}

# path [NUMBER]: vf, or why not; of v1 if not said.
path() { weir get vnic "v${1:-1}" -o json 2>/dev/null | sed -n 's/.*"path_reason": "\([a-z_]*\)".*/\1/p; s/.*"path": "\(vf\)".*/\1/p'; }
# comes NAME PATH [NUMBER]: it has that path within ten seconds.
comes() {
    within 10 has_path "$2" "${3:-1}"
    same "$1" "$2" "$(path "${3:-1}")"
}
has_path() { [ "$(path "$2")" = "$1" ]; }

# at INTERFACE: frames that the VM got there; nothing if it has no such.
at() { $in_vm cat "/sys/class/net/$1/statistics/rx_packets" 2>/dev/null; }

# listens [WANTED], then hears: frames from the wire that the VM's own system got meanwhile. Where WANTED are there, it does not wait for more.
listens() {
    rm -f got
    $in_vm /bin/frames count "$vm" 500 "$@" >got &
    counting=$!
    within 10 grep -q ready got
}
hears() {
    kill -TERM $counting
    # No `wait`: it is not this subshell's child.
    within 10 grep -q '^end' got
    awk -v from=02:00:00:00:09:01 '$1 == from { n = $2 } END { print n + 0 }' got
}

# Two hundred frames a second to the VM while something happens; what is lost may be a second's.
RATE=200
begins() {
    listens
    ask start w0 $RATE "$(bare $mac)${far}81000064$rest" >/dev/null
    usleep 300000
}
# ends NAME
ends() {
    local sent got
    sent=$(ask stop w0)
    sent=${sent#sent }
    got=$(hears)
    least "$1: of $sent frames to the VM at most a second's are lost" $((sent - RATE)) "$got"
    echo "$1: lost $((sent - got)) of $sent to the VM" >>lost
}
# moved NAME HERE OTHER: in the second that follows, frames come to the VM by the one and none by the other, if it has it.
moved() {
    local here other
    here=$(at "$2") other=$(at "$3")
    sleep 1
    least "$1: a second later frames come by $2" $((${here:-0} + RATE / 2)) "$(at "$2")"
    [ -z "$other" ] || same "$1: and none by $3" "$other" "$(at "$3")"
}
