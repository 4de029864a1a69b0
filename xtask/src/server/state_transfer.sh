#!/bin/sh
# What nodes of a cluster on one machine run to agree on a state transfer. A node that comes back
# gets what it missed from what another remembers; if nobody remembers it, that fails. A copy of
# all the data, for which programs would have to be installed, never comes this way.
#
# A joining node runs this with its address, and learns from it how far its own data is; the node
# that gives runs it with this position.
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
    # The node may die without ending this.
    until [ -e "$file" ]; do kill -s 0 "$parent" || exit; sleep 0.05; done
    cat -- "$file"
else
    [ -n "$bypass" ] || exit 1
    echo "$position" >"$file.part" && mv -- "$file.part" "$file" && echo "done $position"
fi
