# How scenarios judge, in the guest (busybox's shell) and on the host (bash): each has `verdict ok|failed NAME [DETAIL]`.

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

# least NAME NUMBER FOUND: at least so many.
least() {
    if [ "${3:-0}" -ge "$2" ]; then verdict ok "$1"; else verdict failed "$1" "wanted $2 or more, found $3"; fi
}

# within SECONDS COMMAND...: until it succeeds, ten times a second; fails if it does not in that time.
within() {
    local now end
    read -r now _ </proc/uptime
    end=$((${now%.*} + $1))
    shift
    until "$@"; do
        read -r now _ </proc/uptime
        [ "${now%.*}" -lt $end ] || return 1
        sleep 0.1
    done
}
