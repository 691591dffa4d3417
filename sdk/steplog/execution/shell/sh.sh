# The prelude of a plain sh. A special builtin cannot be a function there, but an alias stands
# before it. dash runs no EXIT trap when a signal ends it: a script that sends itself one records
# first, so does a shell that `last_words.py` asks to, and so does the command itself on the signals
# that a whole group gets. A shell below it does not: it would wait for its program before it ends.

__steplog_last_words='{ __steplog_record 0; } 2>/dev/null; command kill -TERM "$$"'
__steplog_guard=
if [ -z "${BASH_VERSION-}" ] && [ "$PPID" = "${STEPLOG_EXEC_SINK%% *}" ]; then
    __steplog_guard='{ __steplog_record 0; } 2>/dev/null; command trap -'
fi
. "$STEPLOG_EXEC_FOLDER/record.sh"

alias trap=__steplog_trap

# An assignment before `exec` leaves it the same command, in the same shell, and is the one place
# where something can be done before: the variable keeps its value.
__steplog_before_exec='STEPLOG_EXEC_FOLDER=$({ __steplog_record 0
    printf %s "${STEPLOG_EXEC_FOLDER-}"; } 2>/dev/null)'
alias exec="$__steplog_before_exec exec"

kill() {
    { __steplog_record 0; } 2>/dev/null
    command kill "$@"
}

# The word after an alias that ends in a blank may be an alias too.
__steplog_stand_in() {
    alias "$1=/bin/sh '$STEPLOG_EXEC_FOLDER/script.sh' $1" 'env=env ' 'nohup=nohup ' \
        "exec=$__steplog_before_exec exec "
}

__steplog_look_at_text() {
    case $1 in
        */*) __steplog_stand_in_for_scripts <<EOF ;;
$1
EOF
    esac
}
