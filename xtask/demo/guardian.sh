# Ends the demo's processes and removes its folder once the demo is over, however it ended: it is told on its
# standard input what there is, and the closing of that pipe, which even a killed demo cannot avoid, sets it off.
trap '' INT TERM HUP
folder= processes=
while read -r word value; do
    case $word in
    folder) folder=$value ;;
    started) processes="$processes $value" ;;
    ended)
        rest=
        for pid in $processes; do [ "$pid" = "$value" ] || rest="$rest $pid"; done
        processes=$rest
        ;;
    keep) exit 0 ;;
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
[ -z "$folder" ] || rm -rf "$folder"
