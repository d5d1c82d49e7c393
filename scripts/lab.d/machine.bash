# What a guest of the lab is made of: QEMU, a kernel, an initramfs; and its command. Sourced by scripts/lab, whose variables these are:
# $cache keeps what was fetched and made, $scratch is this run's.

has_igb() { command -v qemu-system-x86_64 >/dev/null && [[ "$(qemu-system-x86_64 -device help 2>/dev/null)" == *'name "igb"'* ]]; }

# Where the release itself comes from, and by which key, into need_qemu's own variables. Fails if apt has not looked yet.
release_archive() {
    read -r archive key < <(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(SIGNED_BY)' 'Identifier: Packages' 'Component: main' |
        awk -v codename="$codename" '$2 == codename { print $1, $3; exit }')
}

# Installs QEMU, from backports if this release's has no igb: the same archive and key as the release's own, in a list that goes again.
need_qemu() {
    has_igb && return
    command -v apt-get >/dev/null || fail "qemu-system-x86_64 with igb is not here" "install QEMU 8 or newer"
    local codename archive key candidate
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:?}")
    release_archive || { as_root apt-get update -qq >&2 && release_archive; } || true
    candidate=$(apt-cache policy qemu-system-x86 | awk '$1 == "Candidate:" { print $2 }')
    if dpkg --compare-versions "${candidate:-0}" ge 1:8; then
        need_packages qemu-system-x86
        has_igb || fail "this release's QEMU has no igb" "install QEMU 8 or newer by hand"
        return
    fi
    [ -n "${archive:-}" ] || fail "this machine's Debian archive is not to be found" "install QEMU 8 or newer by hand"
    [ -f "${key:-}" ] || key=/usr/share/keyrings/debian-archive-keyring.gpg
    say "installing with apt-get from $codename-backports: qemu-system-x86"
    as_root bash -s -- "$archive" "$codename-backports" "$key" >&2 <<'ROOT'
        set -euo pipefail
        export DEBIAN_FRONTEND=noninteractive
        list=/etc/apt/sources.list.d/weir-lab.sources
        trap 'rm -f "$list"' EXIT
        printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$1" "$2" "$3" >"$list"
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends -t "$2" qemu-system-x86 </dev/null
ROOT
    has_igb || fail "the QEMU that was installed has no igb" "install QEMU 8 or newer by hand"
}

# The guest's kernel and modules, in $cache/kernel; fetched again when the archive has another.
need_kernel() {
    local package image
    package=$(apt-cache depends linux-image-amd64 2>/dev/null | awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }')
    if [ -z "$package" ]; then
        as_root apt-get update -qq >&2
        package=$(apt-cache depends linux-image-amd64 | awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }')
    fi
    [ -n "$package" ] || fail "there is no linux-image-amd64 in this machine's archive" "the lab wants Debian's kernel"
    [ "$(cat "$cache/kernel/package" 2>/dev/null)" != "$package" ] || return 0
    say "fetching the guest's kernel: $package"
    # The download wants a folder that apt's own user can write.
    mkdir -p "$cache" "$scratch/download"
    chmod 777 "$scratch/download"
    chmod 755 "$scratch"
    (cd "$scratch/download" && apt-get download -qq "$package" >&2)
    rm -rf "$cache/kernel"
    mkdir "$cache/kernel"
    dpkg -x "$scratch"/download/*.deb "$scratch/image"
    image=$(echo "$scratch"/image/boot/vmlinuz-*)
    cp "$image" "$cache/kernel/bzImage"
    unpack_kernel "$image" >"$cache/kernel/vmlinux" || rm -f "$cache/kernel/vmlinux"
    # Debian 13 has modules in /usr.
    mv "$(find "$scratch/image" -type d -path '*/modules/*' -name kernel -print -quit)" "$cache/kernel/modules"
    printf '%s' "$package" >"$cache/kernel/package"
}

# netdevsim, which Debian does not build: from Debian's own sources of the same kernel (140 MB, fetched once) against its headers.
need_netdevsim() {
    local package version series folder=$scratch/netdevsim file
    [ ! -e "$cache/kernel/modules/netdevsim.ko" ] || return 0
    package=$(cat "$cache/kernel/package")
    version=${package#linux-image-}
    series=$(grep -oE '^[0-9]+\.[0-9]+' <<<"$version")
    say "building netdevsim for the guest's kernel, from linux-source-$series"
    mkdir -p "$folder" "$scratch/sources"
    chmod 777 "$scratch/sources"
    chmod 755 "$scratch"
    (cd "$scratch/sources" && apt-get download -qq "linux-headers-$version" "linux-headers-${version%-amd64}-common" "linux-kbuild-$series" "linux-source-$series" >&2)
    for file in "$scratch"/sources/linux-headers-* "$scratch"/sources/linux-kbuild-*; do dpkg -x "$file" "$folder"; done
    # The headers look for each other where they would be installed.
    sed -i "s,^include /usr/src,include $folder/usr/src," "$folder/usr/src/linux-headers-$version/Makefile"
    dpkg-deb --fsys-tarfile "$scratch"/sources/linux-source-* | tar -xO "./usr/src/linux-source-$series.tar.xz" |
        tar -xJ -C "$folder" --strip-components=3 --wildcards 'linux-source-*/drivers/net/netdevsim'
    make -s -C "$folder/usr/src/linux-headers-$version" M="$folder/netdevsim" CONFIG_NETDEVSIM=m CONFIG_PSAMPLE=m modules >"$scratch/make" 2>&1 ||
        { cat "$scratch/make" >&2; fail "netdevsim does not build" "is $version's headers' compiler here? see .kernelvariables in its headers"; }
    strip --strip-debug -o "$cache/kernel/modules/netdevsim.ko" "$folder/netdevsim/netdevsim.ko"
}

# A kernel that is not packed boots in half the time. Its start is found by the packer's magic number.
unpack_kernel() {
    local at
    at=$(LC_ALL=C grep -abom1 $'\xfd7zXZ' "$1" | head -1 | cut -d: -f1)
    if [ -n "$at" ]; then
        tail -c +"$((at + 1))" "$1" | xz -dc 2>/dev/null >"$scratch/vmlinux" || true
    else
        at=$(LC_ALL=C grep -abom1 $'\x28\xb5\x2f\xfd' "$1" | head -1 | cut -d: -f1)
        tail -c +"$((at + 1))" "$1" | zstd -dcq 2>/dev/null >"$scratch/vmlinux" || true
    fi
    [ "$(head -c 4 "$scratch/vmlinux" | tail -c 3)" = ELF ] && cat "$scratch/vmlinux"
}

need_weir() {
    if [ -z "${WEIR:-}" ]; then
        need_cargo
        cargo build --locked --release -q -p weir >&2
        WEIR=$target/release/weir
    fi
    [ -x "$WEIR" ] || fail "$WEIR is not here" "build it: cargo build --release -p weir"
}

# Copies a program and the libraries it wants into the guest's root.
add_program() {
    local file
    install -D "$1" "$scratch/root$2"
    for file in $(ldd "$1" | grep -oE '/[^ ]+\.so[^ ]*'); do
        [ -e "$scratch/root$file" ] || install -D "$(realpath "$file")" "$scratch/root$file"
    done
}

# DPDK's drivers in the guest. Each is one file, by its name as a library and as a driver: as two it would register twice.
DRIVERS=(bus_pci bus_vdev mempool_ring net_e1000 net_af_packet)
add_drivers() {
    local folder name library
    folder=$(echo /usr/lib/*/dpdk/pmds-*)
    [ -d "$folder" ] || fail "DPDK's drivers are not in /usr/lib/*/dpdk/pmds-*" "scripts/setup build"
    mkdir -p "$scratch/root$folder"
    for name in "${DRIVERS[@]}"; do
        library=$(basename "$(readlink "$folder/librte_$name.so")")
        add_program "$folder/$library" "/lib/x86_64-linux-gnu/$library"
        ln -s "/lib/x86_64-linux-gnu/$library" "$scratch/root$folder/librte_$name.so"
    done
}

# Everything that the guests have, as one archive. Modules that this kernel has not (6.12 has no vfio_virqfd) are left out.
MODULES=(dca i2c-algo-bit igb igbvf irqbypass vfio vfio_iommu_type1 vfio_virqfd vfio-pci-core vfio-pci veth)
make_initramfs() {
    local root=$scratch/root name file
    mkdir -p "$root"/{bin,sbin,proc,sys,dev,tmp,etc,run,var,lab}
    ln -s /run "$root/var/run"
    install /bin/busybox "$root/bin/busybox"
    strip -o "$scratch/weir" "$WEIR"
    add_program "$scratch/weir" /bin/weir
    add_program "$(command -v ip || echo /sbin/ip)" /sbin/ip
    add_program "$(command -v devlink || echo /sbin/devlink)" /sbin/devlink
    add_program "$(command -v perl)" /bin/perl
    for name in "${programs[@]}"; do add_program "$(command -v "$name")" "/bin/$name"; done
    add_drivers
    for name in "${MODULES[@]}"; do
        file=$(find "$cache/kernel/modules" -name "$name.ko*" -print -quit)
        [ -n "$file" ] || continue
        case $file in
        *.xz) xz -dc "$file" >"$root/lab/$name.ko" ;;
        *) cp "$file" "$root/lab/$name.ko" ;;
        esac
    done
    for file in strict warnings; do
        name=$(perl -e "use $file; print \$INC{'$file.pm'}")
        install -D "$name" "$root$name"
    done
    install scripts/record-vf scripts/lab.d/frames "$root/bin"
    # record-vf is for any machine, where perl is in /usr/bin.
    mkdir -p "$root/usr/bin"
    ln -s /bin/perl "$root/usr/bin/perl"
    install scripts/lab.d/init "$root/init"
    cp scripts/lab.d/*.sh scripts/lab.d/*.policy "$root/lab/"
    printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
    (cd "$root" && find . -print0 | busybox cpio -o -0 -H newc -R 0:0 2>/dev/null) >"$scratch/initramfs"
}

# needs SCENARIO...: what these say in their heads that they need, into the variables of `guest`. The most that one of them wants.
needs() {
    local name value
    memory=512 nics=2 wires=one iommu=on standby=
    for name in "$@"; do
        value=$(head_of "$name" memory)
        [ "${value:-0}" -le "$memory" ] || memory=$value
        value=$(head_of "$name" nics)
        nics=${value:-$nics}
        value=$(head_of "$name" wires)
        wires=${value:-$wires}
        value=$(head_of "$name" iommu)
        iommu=${value:-$iommu}
        value=$(head_of "$name" standby)
        standby=${value:-$standby}
    done
}

# guest ID ACCELERATOR WORDS-FOR-THE-KERNEL QEMU-ARGUMENTS...: the command that is the guest, in the array `guest`. Wants `needs` first.
#
# Its NICs are emulated 82576s, eth0 and so on, MACs 52:54:00:aa:00:01 and so on. Wires are datagram sockets of `outside`: with `one`, w0
# and all NICs are on one hub; with `each`, NIC 0 is on w0, NIC 1 on w1 and so on; with `none`, on a hub without a wire. What passes each NIC
# is in guest-ID/nic0.pcap and so on, cut to 160 bytes a frame.
#
# Emulated processors lose a write to a device's memory now and then while another one changes the memory map (QEMU's issue 1921: it may abort,
# too). Seen: the end of a timer's interrupt, and the processor took none from then on. By x2apic (and eim, for the IOMMU) these are no writes
# to memory; without system management mode the firmware changes the map less.
guest() {
    local id=$1 accel=$2 words=$3 processor=Nehalem,rdrand=on,x2apic=on number folder=$cache/guest-$1
    shift 3
    case $accel in
    kvm) processor=host ;;
    tcg) accel=tcg,thread=multi ;;
    esac
    guest=(
        qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot
        -M q35,kernel-irqchip=split,smm=off -accel "$accel" -cpu "$processor" -smp 2 -m "$memory"
        -kernel "$kernel" -initrd "$scratch/initramfs"
        -append "console=ttyS0 panic=-1 quiet loglevel=3 intel_iommu=on iommu=pt mitigations=off nokaslr no_timer_check random.trust_cpu=on cryptomgr.notests unknown_nmi_panic panic_print=0x65 guest=$id $words"
    )
    [ "$iommu" = off ] || guest+=(-device intel-iommu,intremap=on,caching-mode=on,eim=on)
    [ "$wires" != one ] || add_wire 0 -netdev hubport,id=hub,hubid=0,netdev=w0
    for ((number = 0; number < nics; number++)); do
        guest+=(-device "pcie-root-port,id=rp$number,slot=$((number + 1))")
        case $wires in
        each) add_wire "$number" ;;
        *) guest+=(-netdev "hubport,id=h$number,hubid=0") ;;
        esac
        [ "$wires" = each ] && of=w$number || of=h$number
        guest+=(
            -device "igb,bus=rp$number,netdev=$of,mac=52:54:00:aa:00:0$((number + 1))"
            -object "filter-dump,id=dump$number,netdev=$of,maxlen=160,file=$folder/nic$number.pcap"
        )
    done
    [ -z "$standby" ] || guest+=(
        -netdev hubport,id=vm,hubid=1 -device "virtio-net-pci,netdev=vm,mac=$standby,failover=on,id=standby"
        -netdev hubport,id=host,hubid=1 -device virtio-net-pci,netdev=host,mac=52:54:00:bb:00:01
    )
    guest+=("$@")
}

# add_wire NUMBER QEMU-ARGUMENTS...: a wire of the guest whose command is being made.
add_wire() {
    local wire=$id.w$1 number=$1
    shift
    guest+=(-netdev "dgram,id=w$number,local.type=unix,local.path=$sockets/$wire.guest,remote.type=unix,remote.path=$sockets/$wire.outside" "$@")
    opening+=("$wire")
}
