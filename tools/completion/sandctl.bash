# bash completion for sandctl(1)                            -*- shell-script -*-
# SPDX-License-Identifier: LGPL-2.1-or-later

# Names come from the catalogue, which anyone may read; with --host, and where there is none, from sandctl.
__sandctl_applications() {
        local entry found=
        if [[ -z $1 ]]; then
                for entry in /var/lib/sand/catalogue/*.json; do
                        [[ -e $entry ]] || continue
                        entry=${entry##*/}
                        printf '%s\n' "${entry%.json}"
                        found=1
                done
        fi
        [[ $found ]] || sandctl ${1:+--host="$1"} --no-legend --no-pager --json=off list 2>/dev/null | cut -d' ' -f1
}

# The keys of "functions" in what describes an application as JSON.
__sandctl_function_names() {
        awk '{
                while (match($0, /"([^"\\]|\\.)*"|[][{}]/)) {
                        token = substr($0, RSTART, RLENGTH)
                        $0 = substr($0, RSTART + RLENGTH)
                        if (token ~ /^[[{]/) depth++
                        else if (token ~ /^[]}]/) depth--
                        else if (!/^ *:/) continue
                        else if (depth == 1) key = token
                        else if (depth == 2 && key == "\"functions\"") print substr(token, 2, length(token) - 2)
                }
        }'
}

# APP/FUNCTION of one application. Without --host nobody need be asked.
__sandctl_functions() {
        local entry=/var/lib/sand/catalogue/$1.json name
        if [[ -z $2 && -e $entry ]]; then
                cat "$entry"
        else
                sandctl ${2:+--host="$2"} --no-ask-password --no-pager --json=short show "$1" 2>/dev/null
        fi | __sandctl_function_names | while read -r name; do
                printf '%s/%s\n' "$1" "$name"
        done
}

# Names of an application's secrets, for who may list them without being asked for a password.
__sandctl_secrets() {
        sandctl ${2:+--host="$2"} --no-ask-password --no-legend --no-pager --json=off secret list "$1" 2>/dev/null |
                awk '{ print $2 }'
}

# Versions of an application that are kept.
__sandctl_versions() {
        sandctl ${2:+--host="$2"} --no-ask-password --no-legend --no-pager --json=off versions "$1" 2>/dev/null | cut -d' ' -f1
}

# Ids of its tokens, likewise.
__sandctl_tokens() {
        sandctl ${2:+--host="$2"} --no-ask-password --no-legend --no-pager --json=off token list "$1" 2>/dev/null |
                awk '{ print $2 }'
}

# Ids of the newest events, or of dead letters, for who may list them.
__sandctl_events() {
        sandctl ${2:+--host="$2"} --no-ask-password --no-legend --no-pager --json=off "$1" list 2>/dev/null | cut -d' ' -f1
}

# Timers of an application.
__sandctl_timers() {
        sandctl ${2:+--host="$2"} --no-legend --no-pager --json=off trigger list "$1" 2>/dev/null | grep -o ' timer-[0-9]*'
}

# DIR/FUNCTION of the bundle in a folder, if it is a good one.
__sandctl_folder_functions() {
        local dir=$1 name
        [[ $dir == '~/'* ]] && dir=$HOME/${dir#'~/'}
        [[ -f $dir/sand.json ]] || return
        sandctl --json=short check "$dir" 2>/dev/null | __sandctl_function_names | while read -r name; do
                printf '%s/%s\n' "$1" "$name"
        done
}

__sandctl_targets() {
        local cur=$1 host=$2
        case $cur in
        [./~]*)
                compopt -o nospace
                compgen -W "$(__sandctl_folder_functions "${cur%/*}")" -- "$cur"
                compgen -d -S / -- "$cur"
                ;;
        */*)
                compgen -W "$(__sandctl_functions "${cur%%/*}" "$host")" -- "$cur"
                ;;
        *)
                compopt -o nospace
                compgen -W "$(__sandctl_applications "$host")" -S / -- "$cur"
                ;;
        esac
}

_sandctl() {
        local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
        local verbs='new build check run deploy remove list show edit status versions rollback invoke emit execution dead-letter logs secret shell token trigger'
        local common='--help --version --host= --json= --no-pager --no-legend --no-ask-password --quiet -h -H -j -q'
        local -A own=(
                [new]='--runtime=' [run]='--listen= --credentials=' [deploy]='--name=' [remove]='--keep-state' [status]='--lines='
                [edit]='--drop-in= --stdin --revert --apply' [token]='--name= --expires='
                [invoke]='--data= --file= --content-type= --timeout= --verbose --credentials= --async --wait --delay= --max-age=
                        --idempotency-key= --callback='
                [emit]='--data= --file= --content-type= --delay= --max-age= --idempotency-key='
                [execution]='--status= --limit=' [dead-letter]='--limit= --all'
                [logs]='--follow --lines= --since= --until= --execution= --output='
        )
        local verb= host= word i words=()

        # "--option=value" is three words to readline.
        if [[ $cur == '=' ]]; then
                cur=
        elif [[ $prev == '=' ]]; then
                prev=${COMP_WORDS[COMP_CWORD - 2]}
        fi
        for ((i = 1; i < COMP_CWORD; i++)); do
                word=${COMP_WORDS[i]}
                case $word in
                --host | -H)
                        host=${COMP_WORDS[i + 1]}
                        [[ $host == '=' ]] && host=${COMP_WORDS[++i + 1]}
                        ((i++))
                        ;;
                --json | --runtime | --name | --drop-in | --listen | --credentials | --data | -d | --file | --content-type | -t | --timeout | --lines | -n | \
                        --since | -S | --until | -U | --execution | --output | -o | --expires | --delay | --max-age | --idempotency-key | \
                        --callback | --status | --limit)
                        [[ ${COMP_WORDS[i + 1]} == '=' ]] && ((i++))
                        ((i++))
                        ;;
                -* | =) ;;
                *) [[ $verb ]] && words+=("$word") || verb=$word ;;
                esac
        done

        COMPREPLY=()
        case $prev in
        --json) COMPREPLY=($(compgen -W 'pretty short off' -- "$cur")); return ;;
        --runtime) COMPREPLY=($(compgen -W 'python3 native exec' -- "$cur")); return ;;
        --status) COMPREPLY=($(compgen -W 'accepted running done dead' -- "$cur")); return ;;
        --host | -H) COMPREPLY=($(compgen -A hostname -- "$cur")); return ;;
        --credentials)
                compopt -o filenames
                COMPREPLY=($(compgen -d -- "$cur"))
                return
                ;;
        --file)
                compopt -o filenames
                COMPREPLY=($(compgen -f -- "$cur"))
                return
                ;;
        --content-type | -t)
                COMPREPLY=($(compgen -W 'application/json application/octet-stream text/plain image/jpeg' -- "$cur"))
                return
                ;;
        --output | -o)
                COMPREPLY=($(compgen -W "$(journalctl --output=help 2>/dev/null)" -- "$cur"))
                return
                ;;
        --name | --drop-in | --listen | --data | -d | --timeout | --lines | -n | --since | -S | --until | -U | --execution | --expires | --delay | --max-age | \
                --idempotency-key | --callback | --limit)
                return
                ;;
        esac

        if [[ $cur == -* ]]; then
                COMPREPLY=($(compgen -W "$common ${verb:+${own[$verb]}}" -- "$cur"))
                [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
                return
        fi
        case $verb in
        '') COMPREPLY=($(compgen -W "$verbs" -- "$cur")) ;;
        new | build | check | run)
                compopt -o filenames
                COMPREPLY=($(compgen -d -- "$cur"))
                ;;
        deploy)
                compopt -o filenames
                COMPREPLY=($(compgen -d -- "$cur") $(compgen -f -X '!*.tar*' -- "$cur"))
                ;;
        rollback)
                case ${#words[@]} in
                0) COMPREPLY=($(compgen -W "$(__sandctl_applications "$host")" -- "$cur")) ;;
                1) COMPREPLY=($(compgen -W "$(__sandctl_versions "${words[0]}" "$host")" -- "$cur")) ;;
                esac
                ;;
        remove | list | show | edit | status | versions | shell)
                COMPREPLY=($(compgen -W "$(__sandctl_applications "$host")" -- "$cur"))
                ;;
        emit)
                [[ ${#words[@]} -eq 0 ]] && COMPREPLY=($(compgen -W "$(__sandctl_applications "$host")" -- "$cur"))
                ;;
        execution)
                case ${#words[@]},${words[0]} in
                0,) COMPREPLY=($(compgen -W 'list show' -- "$cur")) ;;
                1,list) COMPREPLY=($(__sandctl_targets "$cur" "$host")) ;;
                1,show) COMPREPLY=($(compgen -W "$(__sandctl_events execution "$host")" -- "$cur")) ;;
                esac
                ;;
        dead-letter)
                case ${#words[@]},${words[0]} in
                0,) COMPREPLY=($(compgen -W 'list show replay drop' -- "$cur")) ;;
                1,list) COMPREPLY=($(__sandctl_targets "$cur" "$host")) ;;
                1,show | *,replay | *,drop) COMPREPLY=($(compgen -W "$(__sandctl_events dead-letter "$host")" -- "$cur")) ;;
                esac
                ;;
        invoke | logs) COMPREPLY=($(__sandctl_targets "$cur" "$host")) ;;
        trigger)
                case ${#words[@]},${words[0]} in
                0,) COMPREPLY=($(compgen -W 'list fire' -- "$cur")) ;;
                1,*) COMPREPLY=($(compgen -W "$(__sandctl_applications "$host")" -- "$cur")) ;;
                2,fire) COMPREPLY=($(compgen -W "$(__sandctl_timers "${words[1]}" "$host")" -- "$cur")) ;;
                esac
                ;;
        secret)
                case ${#words[@]},${words[0]} in
                0,) COMPREPLY=($(compgen -W 'list set remove' -- "$cur")) ;;
                1,*) COMPREPLY=($(compgen -W "$(__sandctl_applications "$host")" -- "$cur")) ;;
                *,set | *,remove) COMPREPLY=($(compgen -W "$(__sandctl_secrets "${words[1]}" "$host")" -- "$cur")) ;;
                esac
                ;;
        token)
                case ${#words[@]},${words[0]} in
                0,) COMPREPLY=($(compgen -W 'list create revoke' -- "$cur")) ;;
                1,*) COMPREPLY=($(compgen -W "$(__sandctl_applications "$host")" -- "$cur")) ;;
                *,revoke) COMPREPLY=($(compgen -W "$(__sandctl_tokens "${words[1]}" "$host")" -- "$cur")) ;;
                esac
                ;;
        esac
}

complete -F _sandctl sandctl
