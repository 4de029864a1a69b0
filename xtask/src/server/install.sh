# Installs a server's packages, but keeps them from starting a server of their own, now and at the next boot, and from
# creating its data. The files that prevent this are removed at the end, also after an error or a signal.
#
# $1: the file that forbids services to start; $2: the file that keeps systemd from enabling them; $3: the settings file
# or nothing; $4: its content; the rest: the packages.
policy=$1 preset=$2 settings=$3 content=$4
shift 4
made_policy= made_preset= made_settings= made_folder=

clean_up() {
    if [ -n "$made_policy" ]; then rm -f -- "$policy"; fi
    if [ -n "$made_preset" ]; then rm -f -- "$preset"; fi
    if [ -n "$made_settings" ]; then rm -f -- "$settings"; fi
    if [ -n "$made_folder" ]; then rmdir -- "$made_folder" 2>/dev/null; fi
}
trap clean_up EXIT
trap 'exit 130' HUP INT TERM

if [ ! -e "$policy" ]; then
    made_policy=1
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" || exit
fi
if [ ! -e "$preset" ]; then
    mkdir -p -- "$(dirname -- "$preset")" || exit
    made_preset=1
    echo 'disable *' >"$preset" || exit
fi
if [ -n "$settings" ] && [ ! -e "$settings" ]; then
    folder=$(dirname -- "$settings")
    if [ ! -d "$folder" ]; then made_folder=$folder; fi
    mkdir -p -- "$folder" || exit
    made_settings=1
    printf '%s\n' "$content" >"$settings" || exit
fi

export DEBIAN_FRONTEND=noninteractive
# One unreachable mirror of several may not matter. If it does, the installation fails and says so.
apt-get -q update || echo "apt-get update failed with $?" >&2
# The packages of one database can conflict with those of another, which must not be removed.
apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 install --no-install-recommends --no-remove "$@"
