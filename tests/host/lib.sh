# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# For the tests that run inside a host where our packages are. A test is a function test_NAME of a program
# that ends with tests_run; it fails with the first command that does, or by `fail WHY`. Each prints
# "ok NAME" or "not ok NAME: why".

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034 # for those that source this
APPS=$HERE/apps EXAMPLES=/usr/lib/sand/examples
URL=http://127.0.0.1:8080

fail() {
        printf 'why: %s\n' "$*"
        exit 1
}

# What a test measured, to stand beside its name.
note() {
        printf 'note: %s\n' "$*"
}

# expect WHAT FOUND PATTERN: a pattern as in [[ == ]].
expect() {
        # shellcheck disable=SC2053
        [[ $2 == $3 ]] || fail "$1: found '${2:0:600}', expected '$3'"
}

# Waits until a command succeeds: within SECONDS COMMAND...
within() {
        local end=$((SECONDS + $1))
        shift
        until "$@" >/dev/null 2>&1; do
                ((SECONDS <= end)) || return 1
                sleep 0.1
        done
}

# post TARGET [CURL-OPTION...]: the answer is in $STATUS, $BODY and $HEADERS.
post() {
        local target=$1 head body
        shift
        head=$(mktemp) body=$(mktemp)
        STATUS=$(curl -sS -o "$body" -D "$head" -w '%{http_code}' -X POST -m 60 "$@" "$URL/invoke/$target") || {
                rm -f "$head" "$body"
                fail "no answer from $target"
        }
        # What is binary is written to a file by the caller's own -o.
        BODY=$(tr -d '\0' <"$body") HEADERS=$(tr -d '\r' <"$head")
        rm -f "$head" "$body"
}

# json EXPRESSION: of $BODY, in Python, as `it`.
json() {
        /usr/bin/python3 -c 'import json, sys
it = json.loads(sys.stdin.read())
print(eval(sys.argv[1]))' "$1" <<<"$BODY"
}

# error_is X STATUS [CLASS]: the last post's answer is this problem, in all of its forms.
error_is() {
        expect "status ($BODY)" "$STATUS" "$2"
        expect 'content type' "$HEADERS" '*[Cc]ontent-[Tt]ype: application/problem+json*'
        expect 'type' "$(json 'it["type"]')" "urn:sand:error:$1"
        [[ -z ${3:-} ]] || expect 'error' "$(json 'it["error"]')" "$3"
}

deploy() {
        sandctl deploy "$1" || fail "sandctl deploy $1 exits $?"
}

# The programs of an application's machine, as the host sees them; one process id a line.
machine_pids() {
        local leader
        leader=$(machinectl show -p Leader --value "$1" 2>/dev/null) || return 0
        [[ -n $leader ]] || return 0
        local namespace pid
        namespace=$(readlink "/proc/$leader/ns/pid")
        for pid in /proc/[0-9]*; do
                [[ $(readlink "$pid/ns/pid" 2>/dev/null) != "$namespace" ]] || printf '%s\n' "${pid#/proc/}"
        done
}

stopped() {
        ! systemctl is-active --quiet "sand-app@$1.service"
}

stop_machine() {
        systemctl stop "sand-app@$1.service" 2>/dev/null
}

tests_run() {
        local name output status why note failed=0 names=("$@")
        # In the order in which they are written; or those that are named.
        (($#)) || mapfile -t names < <(sed -n 's/^\(test_[a-z0-9_]*\)().*/\1/p' "$0")
        for name in "${names[@]}"; do
                output=$(set -eu; "$name" 2>&1)
                status=$?
                name=${name#test_}
                note=$(sed -n 's/^note: //p' <<<"$output" | paste -sd, -)
                if ((status == 0)); then
                        printf 'ok %s%s\n' "${name//_/-}" "${note:+ ($note)}"
                else
                        failed=1
                        why=$(sed -n 's/^why: //p' <<<"$output" | head -n 1)
                        printf 'not ok %s: %s\n' "${name//_/-}" \
                                "${why:-status $status$(printf '%s' "$output" | tail -n 5 | sed 's/^/ | /' | tr -d '\n')}"
                fi
        done
        exit "$failed"
}
