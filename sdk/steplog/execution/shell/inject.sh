# inject.sh SHELL NAME ARG…: becomes SHELL, called as NAME with ARG…, with the prelude before its
# own first line. `$0`, `$@`, options, line numbers and the exit status are those of a plain call.

shell=$1 name=$2
shift 2

# There is nobody to record for: the environment was made anew.
if [ -z "${STEPLOG_EXEC_SINK-}" ] || [ ! -r "${STEPLOG_EXEC_FOLDER-}/sh.sh" ]; then
    exec "$shell" "$@"
fi

# Reads the options of a shell; fails where it cannot tell what the shell would do with them.
# Sets `taken`, how many arguments they are, `settings`, what `set` makes of them, and `kind`.
read_options() {
    taken=0 settings='' kind=script
    while [ "$#" -gt 0 ]; do
        case $1 in
            --) taken=$((taken + 1)); return 0 ;;
            - | + | --*) return 1 ;;
            [-+]*) ;;
            *) return 0 ;;
        esac
        sign=${1%"${1#?}"} letters=${1#?}
        taken=$((taken + 1))
        case $letters in *[!abCcefmouvx]*) return 1 ;; esac
        case $letters in *c*) kind=text letters=${letters%%c*}${letters#*c} ;; esac
        case $letters in
            *o)
                case ${2-} in '' | *[!a-z]*) return 1 ;; esac
                settings="$settings set $sign$letters $2;" taken=$((taken + 1))
                shift ;;
            *o*) return 1 ;;
            ?*) settings="$settings set $sign$letters;" ;;
        esac
        shift
    done
}

# The prelude runs with plain options; the `set` that the call asked for comes after it.
begin='. "$STEPLOG_EXEC_FOLDER/sh.sh"'

read_options "$@" || exec "$shell" "$@"
if [ "$kind" = text ]; then
    [ "$#" -gt "$taken" ] || exec "$shell" "$@"
    shift "$taken"
    text=$1
    shift
    if [ "$#" -gt 0 ]; then name=$1; shift; fi
    exec "$shell" -c "$begin
        __steplog_look_at_text \"\$1\"
        __steplog_text=\$1; shift
        eval \"$settings\$__steplog_text\"" "$name" "$text" "$@"
fi
# A script on stdin shares it with its own commands, which only the shell itself reads rightly.
[ "$#" -gt "$taken" ] || exec "$shell" "$@"
shift "$taken"
file=$1
case $file in */*) path=$file ;; *) path=./$file ;; esac
# The shell says best what is wrong with a file.
if [ ! -f "$path" ] || [ ! -r "$path" ]; then exec "$shell" "$@"; fi
shift
exec "$shell" -c "$begin
    __steplog_stand_in_for_scripts <\"\$1\"
    __steplog_text=\$1; shift
    $settings . \"\$__steplog_text\"" "$file" "$path" "$@"
