# What scenarios share. They run in the guest, in busybox's shell. The second serial port is open as 8, to scripts/lab.d/outside.
. /lab/checks.sh

# iproute2's. Busybox's shell takes its own before what is in the path.
ip() { /sbin/ip "$@"; }

# Loads a module and what it needs; what the kernel has not as a module is left out.
load() {
    local name
    for name in "$@"; do
        case $name in
        igb) needs="dca i2c-algo-bit" ;;
        vfio-pci) needs="irqbypass vfio vfio_iommu_type1 vfio_virqfd vfio-pci-core" ;;
        *) needs= ;;
        esac
        for name in $needs $name; do
            [ ! -e "/lab/$name.ko" ] || insmod "/lab/$name.ko" 2>/dev/null
        done
    done
}

# Waits until an interface has a link, ten seconds at most.
linked() { within 10 has_link "$1"; }
has_link() {
    local state
    read -r state <"/sys/class/net/$1/operstate"
    [ "$state" = up ]
}

# workplace PAGES: so many hugepages, and a folder to be in.
workplace() {
    echo "$1" >/proc/sys/vm/nr_hugepages
    mkdir /tmp/lab
    cd /tmp/lab
}

# vf INTERFACE NUMBER: the address of a VF.
vf() { basename "$(readlink "/sys/class/net/$1/device/virtfn$2")"; }

# host NAME CORES [MORE]: how the host.toml of a daemon begins whose policy is policy.toml, MORE for its dataplane; uplinks and the rest follow.
host() {
    cat <<TOML
name = "$1"
state_dir = "/tmp/lab"
[store]
kind = "file"
path = "policy.toml"
[dataplane]
workers = [$2]
idle = "adaptive"
mbufs = 4095
$3
TOML
}

# uplink NAME DEVICE ADDRESS: one of its uplinks; what more is said of that follows.
uplink() { printf '[[uplink]]\nname = "%s"\ndevice = "%s"\nprovider_addresses = ["%s/24"]\n' "$1" "$2" "$3"; }

# daemon NAME [COMMAND...]: Weir by NAME.toml, behind COMMAND; its log is NAME.log, its process $daemon. serves NAME: waits for it, 40 s at most.
daemon() {
    local name=$1
    shift
    rm -f "$name.log"
    "$@" /bin/weir run --host "$name.toml" 2>"$name.log" &
    daemon=$!
}
serves() {
    within 40 grep -q "$1 ready" "$1.log"
    shows "$1 serves" "$1 ready" "$(tail -c 300 "$1.log")"
}

# verdict ok|failed NAME [DETAIL]
verdict() { printf 'check\t%s\t%s\t%s\n' "$1" "$2" "$(printf %s "$3" | tr '\n\t' '  ' | cut -c1-400)" >&8; }

# ask WORDS...: what scripts/lab.d/outside answers: frames sent and counted on this guest's wires.
ask() {
    local answer=
    echo "$*" >&8
    read -r -t 60 answer <&8
    echo "$answer"
}

# give NAME: puts standard input beside the results on the host.
give() {
    printf 'file\t%s\n' "$1" >&8
    sed 's/^/\t/' >&8
}

# quiet COMMAND...: no IPv6 in the network namespace where the command runs, so that interfaces say nothing by themselves.
quiet() { "$@" /bin/busybox sh -c 'for name in all default; do echo 1 >/proc/sys/net/ipv6/conf/$name/disable_ipv6; done'; }

# pages: hugepages of 2 MB that are taken, of those there are.
pages() { awk '/^HugePages_Total/ { all = $2 } /^HugePages_Free/ { free = $2 } END { print all - free }' /proc/meminfo; }

# Processes of user space but for this shell and what it was started by; this one's name differs from theirs.
processes() {
    local name
    for name in $(grep -l . /proc/[0-9]*/cmdline 2>/dev/null); do
        name=${name%/cmdline}
        [ "${name#/proc/}" = $$ ] || cat "$name/comm" 2>/dev/null
    done | grep -vE '^(init|sh|cat|grep)$'
}

# leaves NAME: what a scenario has left behind is a failure and taken away: its processes, VFs, hugepages; so that the next begins as in a
# guest that has just booted. Namespaces, files in /tmp and modules are its furniture, and go with it.
tidy() {
    local left=$(processes) name
    for name in /sys/bus/pci/devices/*/sriov_numvfs; do [ "$(cat $name)" = 0 ] || left="$left VFs"; done
    [ "$(pages)" = 0 ] || left="$left hugepages"
    same "it leaves nothing behind" "" "$left"
    killall -9 weir 2>/dev/null
    ip -all netns delete
    for name in /sys/bus/pci/devices/*/sriov_numvfs; do [ "$(cat $name)" = 0 ] || echo 0 >$name; done
    echo 0 >/proc/sys/vm/nr_hugepages
    cd /
    rm -rf /tmp/* /run/weir/*
    # A namespace gives its interfaces back a while after it was deleted.
    within 10 unload
    same "and its modules go" "" "$(modules)"
}
# What others need goes behind them: the newest is first in /proc/modules, whose size is always told as 0.
modules() { cut -d' ' -f1 /proc/modules; }
unload() {
    local name
    for name in $(modules); do rmmod "$name" 2>/dev/null; done
    [ -z "$(modules)" ]
}

# All that a command could have changed of the NICs.
state() {
    ip -d link show eth0
    ls /sys/bus/pci/devices /sys/bus/pci/drivers/*/
    grep . /sys/bus/pci/devices/*/sriov_numvfs /sys/bus/pci/devices/*/driver_override
}

# As a user without rights.
nobody() { perl -e '$( = $) = "65534 65534"; $< = $> = 65534; exec @ARGV or die' "$@" 2>&1; }

# accepted NAME ARGUMENTS...: weir vf does that.
accepted() {
    local name=$1 said
    shift
    if said=$(weir vf "$@" -o json 2>&1); then verdict ok "$name"; else verdict failed "$name" "$said"; fi
}

# refused NAME REASON ARGUMENTS...: weir vf refuses that by that name, with a mend, with status 1, and nothing is other than before.
refused() {
    local name=$1 reason=$2 before said status
    shift 2
    before=$(state)
    said=$(weir vf "$@" -o json 2>&1)
    status=$?
    case $status$said in
    1*"\"name\": \"$reason\""*'"mend": "'[a-z0-9A-Z]*) ;;
    *)
        verdict failed "$name" "wanted $reason, status $status: $said"
        return
        ;;
    esac
    same "$name" "$before" "$(state)"
}
