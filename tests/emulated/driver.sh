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
hosts=()
# shellcheck source=tests/tap.sh
. "$top/tests/tap.sh"

# The firmware's platform state of the tests' hosts is the tests' own.
export XDG_STATE_HOME=$tmp/state

cleanup() {
	local h
	for h in "${hosts[@]}"; do "$sev_host" stop "$h" >/dev/null 2>&1; done
}

# start NAME OPTIONS...: a host that ends with this script
start() {
	local name=$1
	shift
	hosts+=("$name")
	check "host $name starts ($*)" "$sev_host" start "$name" "$@"
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
	tar c -C "$programs" "$@" | on "$name" tar x -C /t ||
		not_ok "copying test programs to $name"
}

# passed STATUS OUTPUT-FILE WHAT: pass the program's TAP on, in this script's numbers; the program
# must have come to its plan
passed() {
	awk -v n="$count" \
		'/^1\.\./ { next }
		/^(not )?ok [0-9]+/ { sub(/ok [0-9]+/, "ok " ++n) }
		{ print }' "$2"
	count=$((count + $(grep -cE '^(not )?ok [0-9]+' "$2")))
	grep -q '^1\.\.' "$2" || not_ok "$3 ended early, status $1"
	[ "$1" -eq 0 ] || not_ok "$3: status $1"
}

# run NAME PROGRAM ARGS...: a test program in the host, bounded
run() {
	local name=$1 program=$2 out=$tmp/out.$2
	shift 2
	"$sev_host" exec "$name" --timeout 200 -- "/t/$program" "$@" >"$out" 2>&1
	passed $? "$out" "$program on $name"
}

# finished: the last line of a driver
finished() { done_testing; }

owner() { "$programs/owner" "$@"; }

# fetch NAME DIR: the host's certificates into DIR
fetch() {
	mkdir -p "$2"
	on "$1" sh -c 'mkdir -p /x && /t/certs export /x && cd /x &&
		tar c pdh.cert chain.cert id.bin version' | tar x -C "$2"
}

# What a wait for something in $watched, a host, watches: what the programs there have written, and
# their CPU time in half seconds
watched=
host_moves() {
	# shellcheck disable=SC2016 # for the host's shell
	on "$watched" sh -c 'ls -l /out /console* /serial* /mirror.* /status 2>/dev/null
		awk "/\\((sevmirror|lib_|vmm-)/ { s += \$14 + \$15 }
			END { print int(s / 50) }" /proc/[0-9]*/stat 2>/dev/null'
}

# true_on NAME COMMAND...: until it succeeds in the host
true_on() {
	watched=$1
	until_true --watch host_moves on "$@"
}

# wait_for NAME FILE: until the file is in the host
wait_for() { true_on "$1" test -e "$2"; }
