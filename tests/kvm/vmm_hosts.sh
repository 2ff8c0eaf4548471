# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# VMs as people run and move them, by the command line: the two hosts are two runtime directories.
# Sourced, with sevmirror, dirtier and, for gates, wire_gate set to the paths of these.
set -u
: "${sevmirror:=}" "${dirtier:=}" "${wire_gate:=}"

# shellcheck source=tests/tap.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tap.sh"
declare -A pid # of the VM's process on host 1 and 2

cleanup() {
	local p
	for p in "${pid[@]}"; do kill -9 "$p" 2>/dev/null && wait "$p" 2>/dev/null; done
}
explain() { ends_of "$tmp"/*.err "$tmp"/*.out; }

if [ ! -w /dev/kvm ]; then
	echo "1..0 # SKIP no usable /dev/kvm"
	exit 0
fi

mkdir -m 700 "$tmp/1" "$tmp/2"
(umask 077 && od -An -tx1 -N32 /dev/urandom | tr -d ' \n' >"$tmp/psk" &&
	od -An -tx1 -N32 /dev/urandom | tr -d ' \n' >"$tmp/psk2")

# at HOST COMMAND...: the command line of a host
at() {
	local host=$1
	shift
	SEVMIRROR_RUNTIME_DIR=$tmp/$host "$sevmirror" "$@"
}

# state HOST STATE: the VM there is in it
state() { at "$1" status guest --json 2>/dev/null | grep -q "\"state\": \"$2\""; }

# ended HOST: wait for the VM's process there; its exit status
ended() {
	local status
	wait "${pid[$1]}" 2>/dev/null
	status=$?
	unset "pid[$1]"
	echo $status >"$tmp/status"
}

# launch HOST CPUS ARGS...: a dirtier begins there, with run_options. The process itself in the
# background, not a shell around it: it is killed later.
run_options=()
launch() {
	local host=$1 cpus=$2 a args=("${run_options[@]}")
	shift 2
	for a in "$@"; do args+=(--arg "$a"); done
	SEVMIRROR_RUNTIME_DIR=$tmp/$host "$sevmirror" run --name guest --sev off \
		--payload "$dirtier" --memory 64M --cpus "$cpus" "${args[@]}" </dev/null \
		>"$tmp/$host.out" 2>"$tmp/$host.err" &
	pid[$host]=$!
	until_true state "$host" running
}

# await HOST OPTIONS...: the host waits for a guest; sets address
await() {
	local host=$1
	shift
	: >"$tmp/$host.err"
	SEVMIRROR_RUNTIME_DIR=$tmp/$host "$sevmirror" receive --sev off --name guest \
		--listen 127.0.0.1:0 "$@" </dev/null >"$tmp/$host.out" 2>"$tmp/$host.err" &
	pid[$host]=$!
	until_true grep -q 'waiting for the source' "$tmp/$host.err"
	address=$(sed -n 's/.*waiting for the source on \([^[:space:]]*\).*/\1/p' "$tmp/$host.err")
}

# move FROM OPTIONS...: to the address; sets status
move() {
	local from=$1
	shift
	at "$from" migrate guest --to "$address" "$@" >"$tmp/said" 2>&1
	status=$?
}

# gate POINT: a network with a gate (wire_gate.c) to the address that is awaited; sets address to
# its own
gate() {
	rm -f "$tmp/gate.in"
	mkfifo "$tmp/gate.in"
	: >"$tmp/gate.out"
	"$wire_gate" "$address" "$1" <"$tmp/gate.in" >"$tmp/gate.out" &
	pid[gate]=$!
	exec 8>"$tmp/gate.in"
	until_true grep -q listening "$tmp/gate.out"
	address=$(sed -n 's/^listening //p' "$tmp/gate.out")
}
gate_reached() { until_true grep -q reached "$tmp/gate.out"; }
gate_pass() { echo pass >&8; }
gate_gone() {
	exec 8>&-
	kill "${pid[gate]}" 2>/dev/null
	wait "${pid[gate]}" 2>/dev/null
	unset 'pid[gate]'
}

# verified HOST WHAT: the guest there checks all its memory and ends well
verified() {
	at "$1" stop guest >/dev/null
	ended "$1"
	is "$2: the guest finds every page as it wrote it" 0 "$(cat "$tmp/status")"
}

nothing_left() { is "$1: nothing is left on host $2" "" "$(find "$tmp/$2" -name '*.sock')"; }

# building HOST: the target's VM has its memory, so pages are under way soon after
building() { at "$1" status guest --json 2>/dev/null | grep -q '"memory-bytes": 67108864'; }

# finished: the last line of a test
finished() { done_testing; }
