# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the drivers share: hosts with names of their own that are stopped at the end, and TAP.
#
# usage of a driver: DRIVER PROGRAMS-DIR (where meson has put the static programs and owner)
set -u

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
sev_host=${SEV_HOST:-$top/emulator/sev-host}
programs=$(cd "${1:?usage: $0 PROGRAMS-DIR}" && pwd) || exit 2
tmp=$(mktemp -d)
hosts=()
failed=0

# The firmware's platform state of the tests' hosts is the tests' own.
export XDG_STATE_HOME=$tmp/state

finish() {
	local h
	trap '' INT TERM
	for h in "${hosts[@]}"; do "$sev_host" stop "$h" >/dev/null 2>&1; done
	rm -rf "$tmp"
}
trap finish EXIT
trap 'exit 143' INT TERM

ok() { echo "ok - $*"; }
not_ok() {
	echo "not ok - $*"
	failed=1
}

# check WHAT COMMAND...: ok if the command succeeds; what it says is shown if not
check() {
	local what=$1 said
	shift
	if said=$("$@" 2>&1); then
		ok "$what"
	else
		not_ok "$what [status $?: ${said//$'\n'/ }]"
		return 1
	fi
}

# fails WHAT COMMAND...: ok if the command fails
fails() {
	local what=$1
	shift
	if "$@" >/dev/null 2>&1; then not_ok "$what"; else ok "$what"; fi
}

# says WHAT TEXT COMMAND...: ok if the command fails and says TEXT
says() {
	local what=$1 text=$2 said
	shift 2
	if said=$("$@" 2>&1) || [[ $said != *"$text"* ]]; then
		not_ok "$what: $text [said: ${said//$'\n'/ }]"
	else
		ok "$what: $text"
	fi
}

# start NAME OPTIONS...: a host that ends with this script
start() {
	local name=$1 said
	shift
	hosts+=("$name")
	if said=$("$sev_host" start "$name" "$@" 2>&1); then
		ok "host $name starts ($*)"
	else
		not_ok "host $name starts ($*)"
		echo "$said"
		exit 1
	fi
}

on() {
	local name=$1
	shift
	"$sev_host" exec "$name" -- "$@"
}

# put NAME PROGRAM...: copy test programs into the host's /t
put() {
	local name=$1
	shift
	on "$name" mkdir -p /t
	tar c -C "$programs" "$@" | on "$name" tar x -C /t || {
		not_ok "copying test programs to $name"
		exit 1
	}
}

# passed STATUS OUTPUT-FILE WHAT: pass the program's TAP on; it must have come to its plan
passed() {
	cat "$2"
	grep -q '^1\.\.' "$2" || not_ok "$3 ended early, status $1"
	[ "$1" -eq 0 ] || failed=1
}

# run NAME PROGRAM ARGS...: a test program in the host, bounded
run() {
	local name=$1 program=$2 out=$tmp/out.$2
	shift 2
	"$sev_host" exec "$name" --timeout 200 -- "/t/$program" "$@" >"$out" 2>&1
	passed $? "$out" "$program on $name"
}

# finished: the last line of a driver
finished() { exit "$failed"; }

owner() { "$programs/owner" "$@"; }

# fetch NAME DIR: the host's certificates into DIR
fetch() {
	mkdir -p "$2"
	on "$1" sh -c 'mkdir -p /x && /t/certs export /x && cd /x && tar c pdh.cert chain.cert id.bin version' | tar x -C "$2"
}

# wait_for NAME FILE: until the file is in the host
wait_for() {
	# shellcheck disable=SC2016 # expanded in the host
	on "$1" sh -c 'n=600; until [ -e "$0" ] || [ $n = 0 ]; do n=$((n - 1)); sleep 0.1; done; [ -e "$0" ]' "$2"
}
