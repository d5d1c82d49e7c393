# What scenarios share. They run in the guest, in busybox's shell.

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

# Waits until an interface has a link, at most ten seconds.
linked() {
    local i=0
    while [ "$(cat "/sys/class/net/$1/operstate")" != up ] && [ $((i += 1)) -lt 100 ]; do usleep 100000; done
}

# verdict ok|failed NAME [DETAIL]
verdict() { printf 'check\t%s\t%s\t%s\n' "$1" "$2" "$(printf %s "$3" | tr '\n\t' '  ' | cut -c1-400)" >/dev/ttyS1; }

# shows NAME WANTED TEXT: whether a text has another in it.
shows() {
    case $3 in
    *"$2"*) verdict ok "$1" ;;
    *) verdict failed "$1" "wanted $2 in: $3" ;;
    esac
}

# same NAME WANTED FOUND
same() {
    if [ "$2" = "$3" ]; then verdict ok "$1"; else verdict failed "$1" "wanted $2, found $3"; fi
}

# give NAME: puts standard input beside the results on the host.
give() {
    printf 'file\t%s\n' "$1" >/dev/ttyS1
    sed 's/^/\t/' >/dev/ttyS1
}

# All that a command could have changed of the NICs.
state() {
    ip -d link show eth0
    for device in /sys/bus/pci/devices/*; do
        [ ! -e "$device/sriov_numvfs" ] || cat "$device/sriov_numvfs"
        [ ! -e "$device/physfn" ] || echo "$device $(readlink "$device/driver") $(cat "$device/driver_override")"
    done
}

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
