#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Faults at every phase of a migration between two sevmirror processes: a gate in the network
# (wire_gate.c) stops at a message, and exactly there the network is cut, one of the two VMMs is
# killed, or somebody presses Ctrl-C. The table says what must come of it; the guest verifies its
# memory all the time, and all of it in the end.
#
# usage: migrate_faults.sh SEVMIRROR PAYLOAD-DIRTIER WIRE-GATE
set -u

sevmirror=$(realpath "${1:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER WIRE-GATE}")
dirtier=$(realpath "${2:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER WIRE-GATE}")
wire_gate=$(realpath "${3:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER WIRE-GATE}")
# shellcheck source=tests/kvm/vmm_hosts.sh
. "$(dirname "$0")/vmm_hosts.sh"
run_options=(--memory 16M)

# Where the gate stops, in the order of the protocol, and which host has the guest if the
# conversation ends there: the message at which the gate stops is not delivered.
# untouched: the guest is at the source, and the target has received nothing.
# here: the guest keeps running at the source.
# doubt: the source cannot know, and the target has nothing.
# doubt-there: the source cannot know, and the target runs the guest.
phases='
connect        untouched    connect
>HELLO         here         handshake
<HELLO         here         handshake
>COMPAT        here         handshake
>CONFIG        here         handshake
<ACCEPT        here         handshake
>CORE          here         trust
<CORE_DONE     here         trust
frame          here         the first round of pre-copy
>ROUND         here         the first round of pre-copy
<ROUND         here         the first round of pre-copy
>ROUND:2       here         the guest is stopped, the last round is sent
<ROUND:2       here         the guest is stopped, the last round is there
>STATE         here         state
>MANIFEST      here         manifest
<READY         here         ready
>COMMIT        doubt        commit
<RUNNING       doubt-there  the target has taken over
'

# The guest on host 1: there is one, and it runs.
guest_here() {
	[ -n "${pid[1]-}" ] || launch 1 1 21 2000 1048576 1 0 2 1
	state 1 running
}

# depart: migrate to the address, in the background; $mover
depart() {
	SEVMIRROR_RUNTIME_DIR=$tmp/1 "$sevmirror" migrate guest --to "$address" \
		--insecure --timeout "${timeout:-120}" \
		--max-downtime 3000 >"$tmp/said" 2>&1 8>&- &
	mover=$!
	pid[mover]=$mover
}
arrived() {
	wait "$mover"
	status=$?
	unset 'pid[mover]'
}

# begin POINT: a migration under way that has come to the point
begin() {
	guest_here || { wrong+="; not: the guest runs before that"; return 1; }
	await 2 --insecure --timeout "${timeout:-120}"
	gate "$1"
	depart
	gate_reached || { wrong+="; not: the migration comes there"; return 1; }
}

# The guest is the source's at this point, without a doubt.
is_here() { [ "$who" = here ] || [ "$who" = untouched ]; }

who=
wrong=
# must WHAT COMMAND...: remember what does not hold
must() {
	local what=$1
	shift
	"$@" || wrong+="; not: $what"
}
verdict() { if [ -z "$wrong" ]; then ok "$1"; else not_ok "$1$wrong"; fi; }

# target_has_nothing STATUS: its process has ended with it, and left nothing. One that has heard of
# nothing still waits.
target_has_nothing() {
	if [ "$who" = untouched ] && [ "${1:-1}" = 1 ]; then
		state 2 incoming && kill -INT "${pid[2]}" && ended 2
		return
	fi
	ended 2
	[ "$(cat "$tmp/status")" = "${1:-1}" ] && [ -z "$(find "$tmp/2" -mindepth 1)" ]
}
says() { grep -qF -- "$1" "$tmp/said"; }
exit_is() { [ "$status" -eq "$1" ]; }
guest_verifies() {
	at "$1" stop guest >/dev/null && ended "$1" && [ "$(cat "$tmp/status")" = 0 ]
}
source_stopped() {
	at 1 stop guest --force >/dev/null && ended 1 && [ "$(cat "$tmp/status")" = 7 ]
}

# After UNKNOWN: the guest is paused here, and both sides said what there is to say.
doubt_is_said() {
	must "migrate ends with 9" exit_is 9
	must "it says what resolves it" says '`resume` here'
	must "and the other way" says '`stop --force` here'
	must "the guest is paused" state 1 paused
	must "the VM's process says so too" grep -q '`resume` here' "$tmp/1.err"
}
resumed_here() {
	must "resume is obeyed" at 1 resume guest >/dev/null
	must "the guest runs on here" state 1 running
}

# cut POINT: the network is cut there
cut() {
	begin "$1" || return
	gate_gone
	arrived
	case $who in
	here | untouched)
		must "migrate ends with 1" exit_is 1
		must "it says where the guest is" says 'still runs here'
		must "the guest runs on" state 1 running
		must "the target ends with 1 and leaves nothing" target_has_nothing
		;;
	doubt)
		doubt_is_said
		must "the target ends with 1 and leaves nothing" target_has_nothing
		resumed_here
		;;
	doubt-there)
		doubt_is_said
		must "the target runs the guest" state 2 running
		must "the source is stopped by force" source_stopped
		must "the guest there finds every page as it wrote it" guest_verifies 2
		;;
	esac
}

# target_dies POINT: kill -9; what is on its way to the source then arrives. With READY it is a race
# whether the source hears of the death before it says COMMIT: that case is in migrate_sabotage.c,
# without one.
target_dies() {
	begin "$1" || return
	kill -9 "${pid[2]}"
	ended 2
	gate_pass
	arrived
	gate_gone
	case $who in
	here | untouched)
		must "migrate ends with 1" exit_is 1
		must "the guest runs on" state 1 running
		;;
	doubt)
		doubt_is_said
		resumed_here
		;;
	doubt-there)
		# RUNNING was the target's last word: the guest was its, and died with it.
		must "migrate ends with 0" exit_is 0
		ended 1
		must "the source's process ends with 8" test "$(cat "$tmp/status")" = 8
		;;
	esac
}

settled() { state 2 running || ! kill -0 "${pid[2]}"; }

# source_dies POINT: kill -9, and the guest with it unless the target has it
source_dies() {
	begin "$1" || return
	kill -9 "${pid[1]}"
	ended 1
	gate_pass
	arrived
	gate_gone
	must "migrate says that it does not know" exit_is 9
	if [ "$who" = doubt-there ]; then
		must "the target runs the guest" state 2 running
		must "the guest there finds every page as it wrote it" guest_verifies 2
	elif [ "$who" = doubt ]; then
		# COMMIT is on its way, and so is the end of the data streams: the target has taken
		# the source's word, or has nothing.
		until_true settled
		if state 2 running; then
			must "the guest there finds every page as it wrote it" guest_verifies 2
		else
			must "the target ends with 1 and leaves nothing" target_has_nothing
		fi
	else
		must "the target ends with 1 and leaves nothing" target_has_nothing
	fi
}

# interrupt POINT: Ctrl-C at `migrate`
interrupt() {
	begin "$1" || return
	kill -INT "$mover"
	if is_here; then
		arrived
		must "migrate ends with 1" exit_is 1
		must "it says so" says 'the migration was cancelled. The guest still runs here'
		must "the guest runs on" state 1 running
		gate_gone
		must "the target ends with 1 and leaves nothing" target_has_nothing
	else
		# It is too late for that.
		gate_pass
		arrived
		gate_gone
		must "migrate ends with 0" exit_is 0
		ended 1
		must "the target runs the guest" state 2 running
		must "the guest there finds every page as it wrote it" guest_verifies 2
	fi
}

# interrupt_target POINT: Ctrl-C at `receive`, at a place where it has not taken over
interrupt_target() {
	begin "$1" || return
	kill -INT "${pid[2]}"
	must "the target ends with 7 and leaves nothing" target_has_nothing 7
	gate_pass
	arrived
	gate_gone
	must "migrate ends with 1" exit_is 1
	must "it says where the guest is" says 'still runs here'
	must "the guest runs on" state 1 running
}

# still POINT: nothing goes through any more, and no connection is closed
still() {
	local timeout=15
	begin "$1" || return
	arrived
	if is_here; then
		must "migrate ends with 1" exit_is 1
		must "the guest runs on" state 1 running
		must "the target ends with 1 and leaves nothing" target_has_nothing
	elif [ "$who" = doubt ]; then
		doubt_is_said
		must "the target ends with 1 and leaves nothing" target_has_nothing
		resumed_here
	else
		doubt_is_said
		must "the target runs the guest" state 2 running
		must "the source is stopped by force" source_stopped
		must "the guest there finds every page as it wrote it" guest_verifies 2
	fi
	gate_gone
}

# column FAULT WHAT [POINT...]: the fault at each of the phases, or at these; $who has the guest
# there
column() {
	local fault=$1 what=$2 point phase only
	shift 2
	only=" $* "
	while read -r point who phase; do
		[ -n "$point" ] || continue
		[ $# -eq 0 ] || [[ $only == *" $point "* ]] || continue
		"$fault" "$point" </dev/null
		verdict "$what at $point ($phase)"
	done <<<"$phases"
}

one_a_phase=(connect '>HELLO' '>CORE' '<CORE_DONE' frame '>ROUND' '>ROUND:2' '>STATE'
	'>MANIFEST' '<READY' '>COMMIT' '<RUNNING')
for part in ${PARTS:-cut target_dies source_dies interrupt interrupt_target still}; do
	case $part in
	cut) column cut "the network is cut" ;;
	target_dies) column target_dies "the target is killed" "${one_a_phase[@]/<READY/}" ;;
	source_dies) column source_dies "the source is killed" "${one_a_phase[@]:1}" ;;
	interrupt) column interrupt "Ctrl-C at migrate" connect '>HELLO' '>CORE' frame \
		'<ROUND' '>ROUND:2' '<READY' '>COMMIT' '<RUNNING' ;;
	interrupt_target) column interrupt_target "Ctrl-C at receive" connect '<HELLO' \
		'>CORE' frame '<ROUND' '>STATE' '<READY' '>COMMIT' ;;
	still) column still "the network stalls" '<ACCEPT' frame '>ROUND:2' '>COMMIT' \
		'<RUNNING' ;;
	esac
done

if [ -n "${pid[1]-}" ]; then verified 1 "after all the faults that it outlived"; fi
finished
