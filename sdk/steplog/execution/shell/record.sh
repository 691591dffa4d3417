# What every shell of a command is given before its own first line: its exports reach the sink.
# Read by dash, by bash, and by bash as sh. What -x would show of it goes nowhere.

# Appends this shell's environment to the sink when it has something to track; returns $1, so that
# the `$?` of whoever calls is kept. In a subshell, where options and positions are its own.
__steplog_record() {
    (
        set +eux
        case $(export -p) in *_TRACK_*) ;; *) exit ;; esac
        IFS=' '
        set -- $STEPLOG_EXEC_SINK
        sink=/proc/$1/fd/$2 started=$3
        # Another process may have the number of an exec that is gone, or in another namespace.
        read -r stat <"/proc/$1/stat"
        set -- ${stat##*) }
        [ "${20}" = "$started" ] || exit
        # One write: nothing else gets in between. A value of more than 128 KiB is too long for any
        # program's environment, but not for the shell itself.
        LC_ALL=C command -p grep -az _TRACK_ /proc/self/environ |
            command -p dd bs=4194304 iflag=fullblock >>"$sink" ||
            { printf '\0'; export -p; printf '\0'; } >>"$sink"
    ) </dev/null >/dev/null 2>&1
    return "$1"
}

# Sets our traps. `if` lets `$?` reach the handler of the script, also under -e.
__steplog_arm() {
    case $__steplog_on_exit in
        '' | -) command trap '{ __steplog_record "$?" || :; } 2>/dev/null' EXIT ;;
        *) command trap '
            if { __steplog_record "$?"; } 2>/dev/null
            then eval "$__steplog_on_exit"
            else eval "$__steplog_on_exit"
            fi
            { __steplog_record 0; } 2>/dev/null' EXIT ;;
    esac
    case $__steplog_last_words in
        ?*) command trap "$__steplog_last_words" URG ;;
    esac
    read -r __steplog_armed _ </proc/self/stat || :
    # A subshell ends by itself, and `$$` is not its own.
    if [ -n "$__steplog_guard" ] && [ "$__steplog_armed" = "$$" ]; then
        for __steplog_signal in HUP INT QUIT TERM; do
            command trap "$__steplog_guard $__steplog_signal
                command kill -$__steplog_signal \"\$\$\"" "$__steplog_signal"
        done
    fi
}

# Gives back the signals of a whole group, as long as the script has no trap for any of them.
__steplog_unguard() {
    if [ -n "$__steplog_guard" ]; then command trap - HUP INT QUIT TERM; fi
}

# `trap` as the script calls it: its handler for EXIT is kept, and run after ours.
__steplog_trap() {
    {
        if [ "${1-}" = -- ]; then shift; fi
        case ${1--p} in
            -[lp]) __steplog_list_traps "$@" ;;
            *[!0-9]* | '') if [ "$#" -eq 1 ]; then set -- - "$1"; fi; __steplog_set_traps "$@" ;;
            *) __steplog_set_traps - "$@" ;;
        esac
    } 3>&2 2>/dev/null
}

# Lists the traps as if ours were not there. A subshell, which has none, must not get the handler.
__steplog_list_traps() {
    case $__steplog_on_exit in
        '') command trap - EXIT ;;
        *) command trap -- "$__steplog_on_exit" EXIT ;;
    esac
    case $__steplog_last_words in
        ?*) command trap - URG ;;
    esac
    __steplog_unguard
    command trap "$@" 2>&3
    set -- "$?"
    read -r __steplog_pid _ </proc/self/stat || :
    if [ "$__steplog_pid" = "$__steplog_armed" ]; then __steplog_arm; else command trap - EXIT; fi
    return "$1"
}

# Leaves a signal that is ours, and those that go with it, to the script.
__steplog_let_go() {
    case $1 in
        *[Uu][Rr][Gg] | 23 | *[Tt][Ee][Rr][Mm] | 15)
            __steplog_unguard
            if [ -n "$__steplog_last_words" ]; then command trap - URG; fi
            __steplog_let_go=${__steplog_last_words:-$__steplog_let_go}
            __steplog_guard= __steplog_last_words=
            case $1 in *[Uu][Rr][Gg] | 23) __steplog_let_go= ;; esac ;;
        *[Hh][Uu][Pp] | *[Ii][Nn][Tt] | *[Qq][Uu][Ii][Tt] | [123])
            __steplog_unguard
            __steplog_guard= ;;
    esac
}

# Lets the shell be heard again before it dies of a signal that the script has given back.
__steplog_take_back() {
    case $1,$__steplog_let_go in
        *[Tt][Ee][Rr][Mm],?* | 15,?*)
            __steplog_last_words=$__steplog_let_go
            command trap "$__steplog_last_words" URG ;;
    esac
}

__steplog_set_traps() {
    __steplog_action=$1 __steplog_status=0
    shift
    for __steplog_condition; do
        case $__steplog_condition in
            0 | [Ee][Xx][Ii][Tt])
                __steplog_on_exit=$__steplog_action
                if [ "$__steplog_action" = - ]; then __steplog_on_exit=; fi
                __steplog_arm ;;
            *)
                __steplog_let_go "$__steplog_condition"
                command trap -- "$__steplog_action" "$__steplog_condition" 2>&3 ||
                    __steplog_status=$?
                if [ "$__steplog_action" = - ]; then __steplog_take_back "$__steplog_condition"; fi ;;
        esac
    done
    return "$__steplog_status"
}

# Lets a stand-in, which records it too, take the place of each script that the text on stdin names
# by its path and that the kernel would hand to a plain sh: nothing that is in a script's environment
# makes dash read a prelude.
__steplog_stand_in_for_scripts() {
    {
        __steplog_rest=$(
            command -p head -c 65536 | command -p grep -aoE '[A-Za-z0-9_.+-]*(/[A-Za-z0-9_.+-]+)+' |
                command -p sort -u | while read -r word; do
                    if [ -f "$word" ] && [ -x "$word" ] && __steplog_is_for_sh "$word"
                    then printf '%s\n' "$word"
                    fi
                done
        ) || :
        while [ -n "$__steplog_rest" ]; do
            __steplog_stand_in "${__steplog_rest%%"$__steplog_newline"*}"
            case $__steplog_rest in
                *"$__steplog_newline"*) __steplog_rest=${__steplog_rest#*"$__steplog_newline"} ;;
                *) __steplog_rest= ;;
            esac
        done
    } 2>/dev/null
}

# Tells whether the first line of a file names sh or dash by its path.
__steplog_is_for_sh() {
    __steplog_line=
    IFS= read -r __steplog_line <"$1" || :
    case $__steplog_line in
        '#!'*) ;;
        *) return 1 ;;
    esac
    __steplog_line=${__steplog_line#'#!'}
    __steplog_line=${__steplog_line#"${__steplog_line%%[! ]*}"}
    case ${__steplog_line%% *} in
        /bin/sh | /bin/dash | /usr/bin/sh | /usr/bin/dash) return 0 ;;
    esac
    return 1
}

__steplog_on_exit= __steplog_let_go=
__steplog_newline='
'
__steplog_arm
