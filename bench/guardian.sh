# Ends the processes of a measurement and removes its folders once it is over, however it ended: it is told on its
# standard input what there is, and the closing of that pipe, which even a killed program cannot avoid, sets it off.
trap '' INT TERM HUP
processes=
set --
while read -r word value; do
    case $word in
    folder) set -- "$@" "$value" ;;
    started) processes="$processes $value" ;;
    ended)
        rest=
        for pid in $processes; do [ "$pid" = "$value" ] || rest="$rest $pid"; done
        processes=$rest
        ;;
    esac
done
for pid in $processes; do kill -TERM "$pid" 2>/dev/null; done
# Ten seconds for all of them to end by themselves.
tries=100
for pid in $processes; do
    while kill -0 "$pid" 2>/dev/null; do
        if [ $tries -eq 0 ]; then
            kill -KILL "$pid"
            break
        fi
        tries=$((tries - 1))
        sleep 0.1
    done
done
for folder in "$@"; do rm -rf "$folder"; done
