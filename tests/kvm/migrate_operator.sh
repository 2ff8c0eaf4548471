#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: migrate_operator.sh SEVMIRROR DIRTIER
# What an operator does about a migration while it runs, from another terminal: look, change its
# limits, cancel it, stop the guest.
sevmirror=$1
dirtier=$2
here=$(dirname "$0")
# shellcheck source=tests/kvm/vmm_hosts.sh
. "$here/vmm_hosts.sh"

# answers WHAT STATUS PATTERN HOST COMMAND...
answers() {
	local what=$1 status=$2 pattern=$3 host=$4
	shift 4
	at "$host" "$@" >"$tmp/said" 2>&1
	is "$what" "$status" $?
	if grep -qE -- "$pattern" "$tmp/said"; then ok "$what: it says so"
	else not_ok "$what: it says so ('$pattern' is missing)"; fi
}
moving() { at 1 status guest --json | grep -q '"phase": "precopy"'; }
# depart OPTIONS...: a slow migration begins, and this command does not wait for it
# shellcheck disable=SC2120 # mostly without options
depart() { at 1 migrate guest --to "$address" --psk-file "$tmp/psk" --bandwidth 4M \
	--detach "$@" >"$tmp/said" 2>&1; }

# It has its connection and waits for what the VM says.
attached() {
	find "/proc/${pid[attach]}/fd" -lname 'socket:*' | grep -q . &&
		grep -q '^State:.S' "/proc/${pid[attach]}/status"
}

launch 1 1 11 100 1048576 1 0 0 1
answers "nothing to cancel" 1 "guest: .*no migration is under way" 1 migrate guest --cancel
answers "nothing to change" 1 "no migration is under way" 1 migrate guest --change --bandwidth 5M
answers "nothing to show" 1 "no migration" 1 migrate guest --attach
at 1 status guest >"$tmp/said"
is "status in normal operation: the state, and no sentence about it" cpus \
	"$(awk 'NR == 3 { print $1 }' "$tmp/said")"
await 2 --psk-file "$tmp/psk"
answers "resume of a VM that waits is refused" 1 "guest: The guest has not arrived yet" 2 \
	resume guest
answers "status of a VM that waits" 0 "state *incoming" 2 status guest
if grep -q 'cpus' "$tmp/said"; then not_ok "which has no CPUs yet"
else ok "which has no CPUs yet"; fi
depart
is "--detach returns" 0 $?
if until_true moving; then ok "status has the phase"; else not_ok "status has the phase"; fi
answers "status for people" 0 "moving *round 1" 1 status guest
answers "a second one is refused" 1 "guest: A migration is under way" 1 migrate guest \
	--to "$address" --psk-file "$tmp/psk"
answers "post-copy after a time needs post-copy" 2 "--on-max-time postcopy needs --postcopy" 1 \
	migrate guest --to 127.0.0.1:1 --insecure --max-time 5 --on-max-time postcopy
answers "what to do after a time needs the time" 2 "--on-max-time needs --max-time" 1 \
	migrate guest --to 127.0.0.1:1 --insecure --on-max-time force
answers "a limit that makes no sense" 2 "bandwidth must be at least" 1 migrate guest \
	--change --bandwidth 1
answers "limits change" 0 "new limits" 1 migrate guest --change --bandwidth 5M --max-downtime 900
answers "--cancel" 0 "cancelled. The guest still runs here" 1 migrate guest --cancel
answers "--attach shows how it ended" 1 "cancelled. The guest still runs here" 1 migrate guest \
	--attach
if state 1 running; then ok "the guest runs"; else not_ok "the guest runs"; fi
ended 2

# A limit that is lifted: what would take seconds is done at once.
await 2 --psk-file "$tmp/psk"
depart
until_true moving
SEVMIRROR_RUNTIME_DIR=$tmp/1 "$sevmirror" migrate guest --attach --json >"$tmp/followed" 2>&1 &
pid[attach]=$!
until_true attached
answers "the limits are lifted" 0 "new limits" 1 migrate guest --change --bandwidth 100G \
	--max-downtime 60000
wait "${pid[attach]}"
is "--attach ends with the migration" 0 $?
unset 'pid[attach]'
if grep -q '"max-downtime-ms": 60000' "$tmp/followed"; then ok "which knows its new limit"
else not_ok "which knows its new limit"; fi
ended 1
is "the guest has gone" 8 "$(cat "$tmp/status")"
answers "--attach at the target" 0 "The guest runs here" 2 migrate guest --attach
verified 2 "changed limits"

# The guest is stopped while it moves: neither host has it, and that is said.
for how in "stop guest --force" TERM; do
	launch 1 1 12 100 1048576 1 0 0 1
	await 2 --psk-file "$tmp/psk"
	depart
	until_true moving
	SEVMIRROR_RUNTIME_DIR=$tmp/1 "$sevmirror" migrate guest --attach --json >"$tmp/followed" \
		2>"$tmp/said" &
	pid[attach]=$!
	until_true attached
	if [ "$how" = TERM ]; then kill -TERM "${pid[1]}"; else at 1 $how >/dev/null; fi
	wait "${pid[attach]}"
	is "$how: migrate ends with 11" 11 $?
	unset 'pid[attach]'
	if grep -q '"outcome": "ended"' "$tmp/followed"; then ok "$how: the outcome"
	else not_ok "$how: the outcome"; fi
	if grep -q 'neither host runs it' "$tmp/said"; then ok "$how: the words"
	else not_ok "$how: the words"; fi
	ended 1
	is "$how: the source" 7 "$(cat "$tmp/status")"
	ended 2
	is "$how: the target has nothing" 1 "$(cat "$tmp/status")"
	nothing_left "$how" 2
done

# A paused guest is announced as paused on both sides; the report that cannot be written has a
# status of its own.
launch 1 1 13 100 1048576 1 0 0 1
await 2 --psk-file "$tmp/psk"
at 1 pause guest >/dev/null
mkdir "$tmp/reports"
SEVMIRROR_RUNTIME_DIR=$tmp/1 "$sevmirror" migrate guest --to "$address" --psk-file "$tmp/psk" \
	--bandwidth 16M --report "$tmp/reports/r.html" >"$tmp/said" 2>&1 &
pid[move]=$!
until_true moving
rm -rf "$tmp/reports"
wait "${pid[move]}"
is "the guest has moved, the report has not" 12 $?
unset 'pid[move]'
if grep -q 'The guest is paused on the target' "$tmp/said"; then
	ok "the source says that it is paused"
else
	not_ok "the source says that it is paused"
fi
ended 1
if until_true grep -q 'it is paused' "$tmp/2.err"; then ok "the target says so"
else not_ok "the target says so"; fi
at 2 resume guest >/dev/null
verified 2 "paused"

# Two hosts that do not agree on how they authenticate each other: both sides name it.
launch 1 1 14 100 1048576 1 0 0 1
disagree() {
	local what=$1 source=$2 target=$3
	at 1 migrate guest --to "$address" --timeout 3 ${4:+"$4"} ${5:+"$5"} >"$tmp/said" 2>&1
	is "$what: the guest stays" 1 $?
	if grep -q -- "$source" "$tmp/said"; then ok "$what: the source says why"
	else not_ok "$what: the source says why"; fi
	if until_true grep -q -- "$target" "$tmp/2.err"; then ok "$what: the target says why"
	else not_ok "$what: the target says why"; fi
	at 2 stop guest >/dev/null 2>&1
	ended 2
}
await 2 --psk-file "$tmp/psk"
disagree "another key" "the two hosts have different keys" "another pre-shared key" \
	--psk-file "$tmp/psk2"
await 2 --psk-file "$tmp/psk"
disagree "--insecure to TLS" "does the target run without --insecure" "runs with --insecure" \
	--insecure
await 2 --insecure
disagree "TLS to --insecure" "runs with --insecure" \
	"the peer speaks TLS, and this host runs with --insecure" --psk-file "$tmp/psk"
at 1 stop guest --force >/dev/null
ended 1

# stop of a VM that waits; the socket's file goes with it.
: >"$tmp/2.err" # an earlier target said there where it waits
SEVMIRROR_RUNTIME_DIR=$tmp/2 "$sevmirror" receive --name guest --sev off --listen "unix:$tmp/sock" \
	--insecure </dev/null >"$tmp/2.out" 2>"$tmp/2.err" &
pid[2]=$!
until_true grep -q 'waiting for the source' "$tmp/2.err"
answers "stop of a VM that waits" 0 "no longer waits for a guest" 2 stop guest
ended 2
is "it was stopped" 7 "$(cat "$tmp/status")"
if [ -e "$tmp/sock" ]; then not_ok "its socket is removed"; else ok "its socket is removed"; fi

# A guest that is held says so.
SEVMIRROR_RUNTIME_DIR=$tmp/1 "$sevmirror" run --name guest --sev off --payload "$dirtier" \
	--memory 64M --hold </dev/null >"$tmp/1.out" 2>"$tmp/1.err" &
pid[1]=$!
if until_true grep -q 'is held' "$tmp/1.err"; then ok "--hold says that it holds"
else not_ok "--hold says that it holds"; fi
at 1 stop guest --force >/dev/null
ended 1

finished
