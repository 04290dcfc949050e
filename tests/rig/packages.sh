# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Our packages, built out of a copy so that the tree stays clean, and built once for the same content. To be
# sourced after rig.sh.

# What is part of the source, one path a line: with git also what is not committed yet.
packages_files() {
        if git -C "$RIG_TOP" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
                git -C "$RIG_TOP" ls-files -co --exclude-standard | while IFS= read -r file; do
                        [[ ! -e $RIG_TOP/$file ]] || printf '%s\n' "$file"
                done
        else
                (cd "$RIG_TOP" && find . \( -path ./.git -o -path ./.cache -o -path './build*' \) -prune -o \
                        ! -type d -printf '%P\n')
        fi | LC_ALL=C sort
}

packages_build_dependencies() {
        rig_need dpkg-checkbuilddeps:dpkg-dev || return 1
        dpkg-checkbuilddeps "$RIG_TOP/debian/control" 2>/dev/null && return 0
        rig_say 'installing build dependencies'
        local log
        log=$(mktemp)
        (
                export DEBIAN_FRONTEND=noninteractive
                apt-get -qq update && cd "$RIG_TOP" && apt-get -qq -y --no-install-recommends build-dep ./
        ) >"$log" 2>&1 </dev/null || { tail -n 20 "$log" >&2; rm -f "$log"; return 1; }
        rm -f "$log"
}

# Prints the directory that holds the .debs and build.log, after building them if need be. On failure the
# errors are on stderr, and where the log is.
packages_build() {
        local key out work
        key=$(cd "$RIG_TOP" && packages_files | tar -c --no-recursion --files-from=- --sort=name --mtime=@0 \
                --owner=0 --group=0 --numeric-owner | sha256sum | cut -c1-16) || return 1
        out=$RIG_TOP/.cache/packages/$key
        if [[ ! -e $out/made ]]; then
                packages_build_dependencies || return 1
                work=$(mktemp -d /var/tmp/sand-packages.XXXXXXXX) || return 1
                if ! packages_build_in "$work" >"$work/build.log" 2>&1 </dev/null; then
                        mkdir -p "$RIG_TOP/.cache"
                        mv "$work/build.log" "$RIG_TOP/.cache/build-failed.log"
                        rm -rf "$work"
                        grep -E '(error|Error|FAILED|missing|undefined)' "$RIG_TOP/.cache/build-failed.log" |
                                cut -c 1-200 | tail -n 20 >&2
                        printf 'The whole log: %s\n' "$RIG_TOP/.cache/build-failed.log" >&2
                        return 1
                fi
                rm -rf "$RIG_TOP/.cache/packages"
                mkdir -p "$out"
                mv "$work"/*.deb "$work"/*.changes "$work"/*.buildinfo "$work/build.log" "$out"
                touch "$out/made"
                rm -rf "$work"
        fi
        printf '%s\n' "$out"
}

packages_build_in() {
        mkdir "$1/sand"
        (cd "$RIG_TOP" && packages_files | tar -c --no-recursion --files-from=-) | tar -x -C "$1/sand" || return 1
        # PATH: build with Debian's Python, whatever else the user has.
        (cd "$1/sand" && PATH=/usr/sbin:/usr/bin:/sbin:/bin DEB_BUILD_OPTIONS="nocheck noautodbgsym" \
                dpkg-buildpackage -us -uc -b)
}
