# The prelude of bash, its BASH_ENV: however a bash that is not interactive comes to be started.

{
    __steplog_options=$-
    set +eux
    if [ -n "${STEPLOG_EXEC_SINK-}" ] && [ -r "${STEPLOG_EXEC_FOLDER-}/record.sh" ]; then
        __steplog_last_words= __steplog_guard=
        . "$STEPLOG_EXEC_FOLDER/record.sh"
        trap() { __steplog_trap "$@"; }

        # No alias of bash has a slash in its name. A function runs in a process of its own in the
        # background, and whoever kills that misses the script: then there are no stand-ins.
        __steplog_stand_in() {
            eval "$1() { /bin/sh '$STEPLOG_EXEC_FOLDER/script.sh' $1 \"\$@\"; }"
        }
        __steplog_background='[^&>]&([^&>]|$)'
        if [[ ${BASH_EXECUTION_STRING-} == */* ]]; then
            if ! [[ $BASH_EXECUTION_STRING =~ $__steplog_background ]]
            then __steplog_stand_in_for_scripts <<<"$BASH_EXECUTION_STRING"
            fi
        elif [ -f "$0" ] && ! command -p grep -aqE "$__steplog_background" "$0"; then
            __steplog_stand_in_for_scripts <"$0"
        fi
    fi
    __steplog_line=
    if [ -n "${STEPLOG_EXEC_BASH_ENV-}" ]; then eval "__steplog_line=\"$STEPLOG_EXEC_BASH_ENV\""; fi
    case $__steplog_options in *e*) set -e ;; esac
    case $__steplog_options in *u*) set -u ;; esac
    case $__steplog_options in *x*) set -x ;; esac
    # A test that failed last would be the status of a text that bash cannot read.
    if [ ! -r "$__steplog_line" ]; then return 0; fi
} 2>/dev/null

# What the user's own BASH_ENV names.
. "$__steplog_line"
