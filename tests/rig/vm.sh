# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Throw-away machines with a kernel of their own: Debian 12 in qemu, in software emulation (KVM is not asked
# for), without network. For what a container of rig.sh cannot show: cgroup v2 alone, limits, mount options,
# reboots. To be sourced after rig.sh. A boot takes about half a minute, all is several times slower than the
# machine, and so no time measured there means anything but beside another one.
#
#     vm_start NAME                           boots a machine; again on the same disk after vm_kill
#     vm NAME COMMAND...                      runs a command in it, as root, in /; its output, its exit status
#     vm_copy NAME FILE... DIRECTORY          copies files into it
#     vm_install NAME DEB...                  installs packages; what they depend on is there
#     vm_reboot NAME                          by systemctl reboot
#     vm_kill NAME                            as a power cut
#
# Machines end with the program that sourced this, however it ends; they are to be started by it itself, not
# by a subshell. A base disk is made once for a list of packages and kept in $RIG_CACHE.
#
# Commands and their output go over a serial line of their own: a line in is a command in base64; what comes
# out is "|" and a line of output, and in the end "=" and the exit status. Files go in by a second disk.

VM_PACKAGES=(linux-image-cloud-amd64 systemd systemd-sysv dbus polkitd iproute2 procps curl python3)
VM_MEMORY=${VM_MEMORY:-1024}
declare -A VM_QEMU=() VM_OUT=()

vm_base_key() {
        { printf '%s\n' "$RIG_SUITE" "$RIG_MIRROR" "${VM_PACKAGES[@]}"; rig_list host
          declare -f vm_make_base vm_agent; } | sha256sum | cut -c1-16
}

# Prints the directory of the base: root.img, vmlinuz, initrd.img.
vm_base() {
        local dir
        dir=$RIG_CACHE/vm-$(vm_base_key)
        if [[ ! -e $dir/made ]]; then
                mkdir -p "$RIG_CACHE"
                (
                        flock 9
                        [[ ! -e $dir/made ]] || exit 0
                        rig_need mmdebstrap mkfs.ext4:e2fsprogs || exit 1
                        rig_say "making a disk for virtual machines in $dir (once; about two minutes)"
                        rm -rf --one-file-system "$dir"
                        mkdir -p "$dir"
                        vm_make_base "$dir" >"$dir.log" 2>&1 </dev/null ||
                                { tail -n 20 "$dir.log" >&2; exit 1; }
                        rm -f "$dir.log"
                        touch "$dir/made"
                ) 9>"$RIG_CACHE/vm-lock" || return 1
        fi
        touch "$dir/made"
        printf '%s\n' "$dir"
}

vm_make_base() {
        local dir=$1 root=$1/root list
        list=$(printf '%s\n' "${VM_PACKAGES[@]}" "$(rig_list host)" | sort -u | paste -sd,)
        mmdebstrap --variant=minbase --include="$list" \
                --dpkgopt='path-exclude=/usr/share/man/*' \
                --dpkgopt='path-exclude=/usr/share/doc/*' \
                --dpkgopt='path-exclude=/usr/share/locale/*' \
                --customize-hook='rm "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap' \
                "$RIG_SUITE" "$root" \
                "deb $RIG_MIRROR $RIG_SUITE main" \
                "deb $RIG_MIRROR $RIG_SUITE-updates main" \
                "deb ${RIG_MIRROR%/debian}/debian-security $RIG_SUITE-security main" || return 1
        vm_agent >"$root/usr/local/sbin/rig-agent"
        chmod +x "$root/usr/local/sbin/rig-agent"
        printf '%s\n' '[Unit]' 'Description=Commands from the test rig' \
                '[Service]' 'ExecStart=/usr/local/sbin/rig-agent' \
                'StandardOutput=null' 'StandardError=journal+console' 'Environment=LANG=C.UTF-8 HOME=/root SYSTEMD_PAGER=' \
                '[Install]' 'WantedBy=multi-user.target' >"$root/etc/systemd/system/rig-agent.service"
        chroot "$root" systemctl -q enable rig-agent.service || return 1
        : >"$root/etc/machine-id"
        printf 'vm\n' >"$root/etc/hostname"
        rm -f "$root/etc/resolv.conf"
        local unit
        for unit in apt-daily.timer apt-daily-upgrade.timer getty@tty1.service serial-getty@ttyS0.service; do
                ln -sf /dev/null "$root/etc/systemd/system/$unit"
        done
        cp "$root"/boot/vmlinuz-* "$dir/vmlinuz" && cp "$root"/boot/initrd.img-* "$dir/initrd.img" || return 1
        mkfs.ext4 -q -d "$root" "$dir/root.img" 3G || return 1
        rm -rf --one-file-system "$root"
}

# What answers in the machine. It runs as a service, so its commands are where nobody's login session is.
vm_agent() {
        cat <<'EOF'
#!/bin/bash
cd /
until [[ -c /dev/virtio-ports/rig ]]; do
        sleep 0.1
done
exec 3<>/dev/virtio-ports/rig
echo '=0' >&3
while IFS= read -r line <&3; do
        bash -c "$(base64 -d <<<"$line")" 2>&1 </dev/null | awk '{ print "|" $0; fflush() }' >&3
        echo "=${PIPESTATUS[0]}" >&3
done
EOF
}

# vm_start NAME [QEMU-OPTION...]
vm_start() {
        local name=$1 base disk line out
        shift
        rig_setup || return 1
        rig_need qemu-system-x86_64:qemu-system-x86 setpriv:util-linux || return 1
        base=$(vm_base) || return 1
        disk=$RIG_RUN/$name
        if [[ ! -e $disk.img ]]; then
                cp --reflink=auto --sparse=always "$base/root.img" "$disk.img" || return 1
                truncate -s 256M "$disk.files"
        fi
        rm -f "$disk.rig.in" "$disk.rig.out"
        mkfifo "$disk.rig.in" "$disk.rig.out" || return 1
        setpriv --pdeathsig=KILL qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m "$VM_MEMORY" \
                -nodefaults -display none -no-reboot -nic none -serial "file:$disk.console" \
                -kernel "$base/vmlinuz" -initrd "$base/initrd.img" \
                -append 'console=ttyS0 root=/dev/vda rw quiet panic=-1 systemd.show_status=0' \
                -drive "file=$disk.img,if=virtio,format=raw,cache=unsafe" \
                -drive "file=$disk.files,if=virtio,format=raw" \
                -device virtio-rng-pci -device virtio-serial-pci \
                -chardev "pipe,id=rig,path=$disk.rig" -device virtserialport,chardev=rig,name=rig \
                "$@" >"$disk.log" 2>&1 </dev/null &
        VM_QEMU[$name]=$!
        exec {out}<>"$disk.rig.out"
        VM_OUT[$name]=$out
        if ! IFS= read -r -t 600 line <&"$out" || [[ $line != '=0' ]]; then
                rig_say "machine $name does not come up"
                tail -n 30 "$disk.log" "$disk.console" >&2
                vm_kill "$name"
                return 1
        fi
        vm "$name" systemctl is-system-running --wait >/dev/null || {
                rig_say "machine $name is not well"
                vm "$name" systemctl --failed --no-pager >&2
                vm_kill "$name"
                return 1
        }
}

# vm NAME COMMAND...: one word is a line for the shell, several are a command and its arguments.
vm() {
        local name=$1 line
        shift
        (($# == 1)) || set -- "${*@Q}"
        printf '%s\n' "$1" | base64 -w 0 >"$RIG_RUN/$name.rig.in"
        printf '\n' >"$RIG_RUN/$name.rig.in"
        # Nothing said for ten minutes is the end of it.
        while IFS= read -r -t 600 line <&"${VM_OUT[$name]:?no machine $name}"; do
                case $line in
                        '|'*) printf '%s\n' "${line#|}" ;;
                        '='*) return "${line#=}" ;;
                esac
        done
        return 255
}

# Through the second disk, as a tar without a file system; read past the machine's cache.
vm_copy() {
        local name=$1 disk=$RIG_RUN/$1.files size file
        shift
        local to=${*: -1} list=()
        for file in "${@:1:$#-1}"; do
                list+=(-C "$(cd "$(dirname "$file")" && pwd)" "$(basename "$file")")
        done
        tar -ch --owner=0 --group=0 "${list[@]}" >"$disk.tar" || return 1
        size=$(stat -c %s "$disk.tar")
        ((size <= 256 << 20)) || { rig_say 'too much for the second disk'; return 1; }
        dd if="$disk.tar" of="$disk" bs=1M conv=notrunc,fsync status=none || return 1
        rm -f "$disk.tar"
        vm "$name" "mkdir -p ${to@Q} && dd if=/dev/vdb bs=1M iflag=direct count=$(((size >> 20) + 1)) 2>/dev/null |
                tar -x -C ${to@Q}"
}

vm_install() {
        local name=$1
        shift
        vm_copy "$name" "$@" /root/debs || return 1
        vm "$name" 'cd /root/debs && DEBIAN_FRONTEND=noninteractive apt-get -y -q -o APT::Sandbox::User=root install ./*.deb'
}

# -no-reboot: qemu ends where the machine would begin again.
vm_reboot() {
        local name=$1 i
        vm "$name" systemctl --no-block reboot || return 1
        for ((i = 0; i < 6000; i++)); do
                [[ -d /proc/${VM_QEMU[$name]} && $(<"/proc/${VM_QEMU[$name]}/stat") != *') Z '* ]] || break
                sleep 0.1
        done
        ((i < 6000)) || { rig_say "machine $name does not go down"; return 1; }
        vm_kill "$name"
        vm_start "$name"
}

vm_kill() {
        local name=$1 out=${VM_OUT[$1]:-}
        [[ -n ${VM_QEMU[$name]:-} ]] || return 0
        kill -KILL "${VM_QEMU[$name]}" 2>/dev/null
        wait "${VM_QEMU[$name]}" 2>/dev/null || true # killed is what it says
        exec {out}>&-
        unset "VM_QEMU[$name]" "VM_OUT[$name]"
}

vm_cleanup() {
        local name
        for name in "${!VM_QEMU[@]}"; do
                vm_kill "$name"
        done
}
