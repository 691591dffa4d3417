# script.sh FILE ARG…: becomes FILE as the kernel would run it; a script for sh, with the prelude.

line=
if [ -f "$1" ] && [ -x "$1" ]; then IFS= read -r line <"$1"; fi
line=${line#'#!'}
line=${line#"${line%%[! ]*}"}
line=${line%"${line##*[! ]}"}
interpreter=${line%% *}
case $interpreter in
    /bin/sh | /bin/dash | /usr/bin/sh | /usr/bin/dash) ;;
    *) exec "$@" ;;
esac
option=${line#"$interpreter"}
option=${option#"${option%%[! ]*}"}
exec /bin/sh "${0%/*}/inject.sh" "$interpreter" "$interpreter" ${option:+"$option"} "$@"
