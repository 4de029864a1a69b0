#!/bin/sh
# The nodes of a cluster on one machine run this to agree on a state transfer. A node that returns gets the
# transactions it has missed from the cache of another node. The transfer fails if no cache has them: a full copy of
# the data would need more programs.
#
# The joining node runs this with its address, and reads its own position from the output. The donor runs this with
# that position.
role= address= position= parent= bypass=
while [ $# -gt 0 ]; do
    case $1 in
        --role) role=$2 ;;
        --address) address=$2 ;;
        --gtid) position=$2 ;;
        --gtid-domain-id) position="$position $2" ;;
        --parent) parent=$2 ;;
        --bypass) bypass=yes ;;
        --mysqld-args) break ;;
    esac
    shift
done
file=${0%/*}/position-${address##*:}

if [ "$role" = joiner ]; then
    rm -f -- "$file"
    echo "ready $address"
    # The node can die without ending this script.
    until [ -e "$file" ]; do kill -s 0 "$parent" || exit; sleep 0.05; done
    cat -- "$file"
else
    [ -n "$bypass" ] || exit 1
    echo "$position" >"$file.part" && mv -- "$file.part" "$file" && echo "done $position"
fi
