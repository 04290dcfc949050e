# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Throw-away hosts: a real systemd of a bare Debian 12 in a container, in about five seconds, without
# network. To be sourced by bash programs running as root. What is guaranteed: a host's disk is a copy of its
# own; everything that was started is ended by its process id and removed when the program that
# sourced this exits, however it exits (SIGKILL apart; rig_sweep removes what that leaves).
#
#     rig_need PROGRAM[:PACKAGE]...           programs, installed by apt when absent
#     rig_start NAME                          boots a host; returns when systemd says "running"
#     rig NAME COMMAND...                     runs a command in it, as root, in /
#     rig_install NAME DEB...                 installs packages by apt, their dependencies from the cache
#     rig_copy NAME FILE... DIRECTORY         copies files into it
#     rig_fetch NAME FILE... DIRECTORY        copies files out of it
#     rig_reboot NAME                         shuts it down and boots it again
#     rig_stop NAME                           shuts it down and removes it
#     rig_kill NAME                           as a power cut
#
# A base root is made once for a list of packages and kept in $RIG_CACHE.

RIG_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
RIG_CACHE=${RIG_CACHE:-${XDG_CACHE_HOME:-/var/cache}/sand-rig}
RIG_MIRROR=${RIG_MIRROR:-http://deb.debian.org/debian}
RIG_SUITE=bookworm
# A host's disks and logs. Not /tmp, which may be memory.
RIG_RUN=
declare -A RIG_NSPAWN=() RIG_LEADER=()

# What a small installation of Debian has, and no more: the rest must come as a dependency of our packages.
RIG_PACKAGES=(systemd systemd-sysv dbus polkitd iproute2 procps less curl ca-certificates)

rig_say() {
        printf 'rig: %s\n' "$*" >&2
}

# The packages of a section of tests/requires.
rig_list() {
        sed -n "/^\[$1\]/,/^\[/{/^[a-z0-9]/p}" "$RIG_TOP/tests/requires"
}

# Installs packages that are absent, quietly; one apt run for all.
rig_apt() {
        local p absent=()
        for p in "$@"; do
                [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null) == ii* ]] || absent+=("$p")
        done
        ((${#absent[@]})) || return 0
        rig_say "installing ${absent[*]}"
        (
                export DEBIAN_FRONTEND=noninteractive
                log=$(mktemp)
                { apt-get -qq update && apt-get -qq -y --no-install-recommends install "${absent[@]}"; } \
                        >"$log" 2>&1 </dev/null || { tail -n 20 "$log" >&2; rm -f "$log"; exit 1; }
                rm -f "$log"
        )
}

# rig_need PROGRAM[:PACKAGE]...
rig_need() {
        local need packages=()
        for need in "$@"; do
                command -v "${need%%:*}" >/dev/null || packages+=("${need#*:}")
        done
        rig_apt "${packages[@]}"
}

# What a base depends on: its lists, and how it is made.
rig_base_key() {
        { printf '%s\n' "$RIG_SUITE" "$RIG_MIRROR" "${RIG_PACKAGES[@]}"; rig_list host
          declare -f rig_make_base; } | sha256sum | cut -c1-16
}

# Prints the directory of the base root, after making it if needed.
rig_base() {
        local key dir
        key=$(rig_base_key)
        dir=$RIG_CACHE/$key
        if [[ ! -e $dir/made ]]; then
                mkdir -p "$RIG_CACHE"
                (
                        flock 9
                        [[ ! -e $dir/made ]] || exit 0
                        rig_need mmdebstrap || exit 1
                        rig_say "making a Debian root in $dir (once; about a minute)"
                        rm -rf --one-file-system "$dir"
                        mkdir -p "$dir"
                        rig_make_base "$dir" >"$dir.log" 2>&1 </dev/null ||
                                { tail -n 20 "$dir.log" >&2; exit 1; }
                        rm -f "$dir.log"
                        touch "$dir/made"
                        # Bases of earlier lists that nobody has used for a month.
                        find "$RIG_CACHE" -mindepth 2 -maxdepth 2 -name made -mtime +30 -printf '%h\0' |
                                xargs -0r rm -rf --one-file-system
                ) 9>"$RIG_CACHE/lock" || return 1
        fi
        touch "$dir/made"
        printf '%s\n' "$dir/root"
}

rig_make_base() {
        local dir=$1 security=${RIG_MIRROR%/debian}/debian-security
        local list=${RIG_PACKAGES[*]}
        mmdebstrap --variant=minbase --include="${list// /,}" \
                --skip=cleanup/apt/lists \
                --dpkgopt='path-exclude=/usr/share/man/*' \
                --dpkgopt='path-exclude=/usr/share/doc/*' \
                --dpkgopt='path-include=/usr/share/doc/*/copyright' \
                --dpkgopt='path-exclude=/usr/share/locale/*' \
                --customize-hook='rm "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap' \
                "$RIG_SUITE" "$dir/root" \
                "deb $RIG_MIRROR $RIG_SUITE main" \
                "deb $RIG_MIRROR $RIG_SUITE-updates main" \
                "deb $security $RIG_SUITE-security main" || return 1
        # Archives that apt finds there when it has no network.
        rig_list host | xargs -r env DEBIAN_FRONTEND=noninteractive chroot "$dir/root" \
                apt-get -y -q --no-install-recommends --download-only \
                -o APT::Keep-Downloaded-Packages=true install || return 1
        printf '%s\n' 'APT::Install-Recommends "false";' \
                'APT::Keep-Downloaded-Packages "true";' 'APT::Sandbox::User "root";' \
                >"$dir/root/etc/apt/apt.conf.d/90rig"
        : >"$dir/root/etc/machine-id"
        rm -f "$dir/root/etc/hostname" "$dir/root/etc/resolv.conf"
        # No consoles to watch, no waiting for a network that never comes.
        ln -sf /dev/null "$dir/root/etc/systemd/system/console-getty.service"
        ln -sf /dev/null "$dir/root/etc/systemd/system/apt-daily.timer"
        ln -sf /dev/null "$dir/root/etc/systemd/system/apt-daily-upgrade.timer"
        # The tests look at hours of log after minutes, and at every line.
        mkdir -p "$dir/root/etc/systemd/journald.conf.d"
        printf '[Journal]\nRateLimitIntervalSec=0\n' >"$dir/root/etc/systemd/journald.conf.d/rig.conf"
}

rig_setup() {
        [[ -z $RIG_RUN ]] || return 0
        ((EUID == 0)) || { rig_say 'hosts need root'; return 1; }
        rig_need systemd-nspawn:systemd-container nsenter:util-linux flock:util-linux || return 1
        RIG_RUN=$(mktemp -d /var/tmp/sand-rig.XXXXXXXX) || return 1
        printf '%s\n' "$BASHPID" >"$RIG_RUN/owner"
        trap 'rig_cleanup' EXIT
        trap 'exit 129' HUP
        trap 'exit 130' INT
        trap 'exit 143' TERM
}

# Of the program's own hosts, and of vm.sh. Programs with an EXIT trap of their own call it from there.
rig_cleanup() {
        local name
        ! declare -F vm_cleanup >/dev/null || vm_cleanup
        for name in "${!RIG_NSPAWN[@]}"; do
                rig_kill "$name"
        done
        [[ -z $RIG_RUN ]] || rm -rf --one-file-system "$RIG_RUN"
        RIG_RUN=
}

# Removes hosts whose program is gone without having cleaned up.
rig_sweep() {
        local run owner pid
        for run in /var/tmp/sand-rig.*; do
                [[ -e $run/owner && ! -e $run/keep ]] || continue
                owner=$(<"$run/owner")
                [[ ! -d /proc/$owner ]] || continue
                for pid in "$run"/*.pid; do
                        [[ -e $pid ]] || continue
                        # The id may be another's by now: it must be an nspawn with this directory.
                        grep -qzxF -- "--directory=${pid%.pid}" "/proc/$(<"$pid")/cmdline" 2>/dev/null &&
                                kill -KILL "$(<"$pid")" && sleep 0.5
                done
                rm -rf --one-file-system "$run"
        done
}

# rig_start NAME [NSPAWN-OPTION...]: options such as --bind=...
rig_start() {
        local base
        rig_setup || return 1
        base=$(rig_base) || return 1
        cp -a --reflink=auto "$base" "$RIG_RUN/$1" || return 1
        rig_boot "$@"
}

# With the disk that is there.
rig_boot() {
        local name=$1 root=$RIG_RUN/$1 own=() i state
        shift
        # Where PID 1 is not systemd there is nobody to ask for a unit of the host's own.
        [[ -d /run/systemd/system ]] || own=(--keep-unit)
        systemd-nspawn --quiet --directory="$root" --boot --register=no "${own[@]}" --capability=all \
                --private-network --resolv-conf=off --timezone=off --hostname="$name" \
                --machine="sand-$BASHPID-$name" "$@" >"$root.log" 2>&1 </dev/null &
        RIG_NSPAWN[$name]=$!
        printf '%s\n' "$!" >"$root.pid"
        for ((i = 0; i < 600; i++)); do
                RIG_LEADER[$name]=$(rig_child "${RIG_NSPAWN[$name]}")
                if [[ -n ${RIG_LEADER[$name]} ]]; then
                        state=$(rig "$name" systemctl is-system-running 2>/dev/null)
                        [[ $state != running && $state != degraded ]] || break
                fi
                [[ -d /proc/${RIG_NSPAWN[$name]} ]] || break
                sleep 0.1
        done
        if [[ ${state:-} != running ]]; then
                rig_say "host $name does not come up (${state:-no systemd})"
                [[ ${state:-} != degraded ]] || rig "$name" systemctl --failed --no-pager >&2
                tail -n 30 "$root.log" >&2
                rig_kill "$name"
                return 1
        fi
}

# The one child of nspawn: systemd, PID 1 of the host.
rig_child() {
        local children
        children=$(cat "/proc/$1/task/$1/children" 2>/dev/null) || return 0
        printf '%s' "${children%% *}"
}

rig() {
        local name=$1
        shift
        nsenter -t "${RIG_LEADER[$name]:?no host $name}" -m -u -i -n -p -C -r -w \
                env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
                LANG=C.UTF-8 SYSTEMD_PAGER= TERM="${TERM:-dumb}" "$@"
}

rig_copy() {
        local name=$1
        shift
        local to=${*: -1}
        mkdir -p "$RIG_RUN/$name$to"
        cp -aL --no-preserve=ownership -t "$RIG_RUN/$name$to" "${@:1:$#-1}"
}

rig_fetch() {
        local name=$1 file
        shift
        for file in "${@:1:$#-1}"; do
                cp --no-preserve=ownership -t "${*: -1}" "$RIG_RUN/$name$file" || return 1
        done
}

rig_install() {
        local name=$1 deb paths=()
        shift
        rig_copy "$name" "$@" /root/debs || return 1
        for deb in "$@"; do
                paths+=("/root/debs/${deb##*/}")
        done
        rig "$name" env DEBIAN_FRONTEND=noninteractive apt-get -y -q --allow-downgrades install "${paths[@]}"
}

# rig_reboot NAME [NSPAWN-OPTION...]
rig_reboot() {
        rig_shut_down "$1"
        wait "${RIG_NSPAWN[$1]}" 2>/dev/null
        rig_boot "$@"
}

rig_reap() {
        local name=$1
        wait "${RIG_NSPAWN[$name]}" 2>/dev/null
        rm -rf --one-file-system "${RIG_RUN:?}/$name" "$RIG_RUN/$name".{pid,log}
        unset "RIG_NSPAWN[$name]" "RIG_LEADER[$name]"
}

rig_shut_down() {
        local name=$1 i
        rig "$name" systemctl --no-block poweroff >/dev/null 2>&1
        for ((i = 0; i < 300; i++)); do
                [[ -d /proc/${RIG_NSPAWN[$name]} ]] || break
                sleep 0.1
        done
}

rig_stop() {
        rig_shut_down "$1"
        rig_kill "$1"
}

# The pid namespace goes with its first process, and takes all others along.
rig_kill() {
        local name=$1
        [[ -n ${RIG_NSPAWN[$name]:-} ]] || return 0
        [[ -z ${RIG_LEADER[$name]:-} ]] || kill -KILL "${RIG_LEADER[$name]}" 2>/dev/null
        sleep 0.2
        kill -KILL "${RIG_NSPAWN[$name]}" 2>/dev/null
        rig_reap "$name"
}
