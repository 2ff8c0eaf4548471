#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Post-copy by the command line, between two sevmirror processes: the guest runs on the target while
# its memory is not there yet, the connection breaks, and either side is asked things meanwhile. The
# guest verifies its memory itself.
#
# usage: postcopy_vmm.sh SEVMIRROR PAYLOAD-DIRTIER WIRE-GATE
# shellcheck source=tests/kvm/vmm_hosts.sh
. "$(dirname "$0")/vmm_hosts.sh"

sevmirror=$(realpath "${1:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER WIRE-GATE}")
dirtier=$(realpath "${2:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER WIRE-GATE}")
wire_gate=$(realpath "${3:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER WIRE-GATE}")

if [ ! -w /dev/userfaultfd ] && [ "$(id -u)" != 0 ] &&
	[ "$(cat /proc/sys/vm/unprivileged_userfaultfd 2>/dev/null)" != 1 ]; then
	echo "1..0 # SKIP no userfaultfd for this user"
	exit 0
fi

# leave: a migration with post-copy in the background, slow enough to be met in the middle; $mover
# is its process
leave() {
	: >"$tmp/said"
	SEVMIRROR_RUNTIME_DIR=$tmp/1 "$sevmirror" migrate guest --to "$address" \
		--psk-file "$tmp/psk" --postcopy always --bandwidth 4M \
		>"$tmp/said" 2>&1 &
	mover=$!
	until_true grep -q 'memory is arriving' "$tmp/2.err"
}

# break_off: Ctrl-C in the middle; the source keeps what the target lacks
break_off() {
	kill -INT "$mover"
	wait "$mover"
	is "$1: Ctrl-C in post-copy ends with 10" 10 $?
	if until_true grep -q 'connection to the source broke' "$tmp/2.err"; then
		ok "$1: the target says so"
	else
		not_ok "$1: the target says so"
	fi
}

# answers WHAT HOST COMMAND...: it does, however long CPUs wait for pages
answers() {
	local what=$1 host=$2
	shift 2
	if at "$host" "$@" >"$tmp/said" 2>&1; then ok "$what"; else not_ok "$what"; fi
}

# refuses WHAT HOST WORDS COMMAND...
refuses() {
	local what=$1 host=$2 words=$3
	shift 3
	at "$host" "$@" >"$tmp/said" 2>&1
	is "$what" 1 $?
	if grep -q -- "$words" "$tmp/said"; then ok "$what: it says why"
	else not_ok "$what: it says why"; fi
}

# All of memory after the guest, four CPUs at it.
launch 1 4 21 0 0 1 0 2 1
await 2 --psk-file "$tmp/psk"
move 1 --psk-file "$tmp/psk" --postcopy always --bandwidth 32M --json
is "post-copy at once" 0 "$status"
if grep -q '"fault-p99-ms"' "$tmp/said"; then ok "the summary tells of its faults"
else not_ok "the summary tells of its faults"; fi
ended 1
is "the source's process ends with 8" 8 "$(cat "$tmp/status")"
nothing_left "post-copy at once" 1
verified 2 "post-copy at once"

# As ordered, or not at all.
launch 1 2 27 0 0 1 0 2 1
address=127.0.0.1:1
move 1 --psk-file "$tmp/psk" --postcopy sometimes
is "a mode that there is not is a mistake" 2 "$status"
await 2 --psk-file "$tmp/psk"
move 1 --psk-file "$tmp/psk" --postcopy always --postcopy-after 2 --bandwidth 64M --json
is "post-copy after two rounds" 0 "$status"
if grep -q '"rounds": 2,' "$tmp/said"; then ok "there were two"; else not_ok "there were two"; fi
if grep -q '"fault-p99-ms"' "$tmp/said"; then ok "and pages missing"
else not_ok "and pages missing"; fi
ended 1
verified 2 "post-copy after two rounds"

# Half of memory written faster than the link takes it.
launch 1 2 22 0 33554432 1 0 1 1
await 2 --psk-file "$tmp/psk"
move 1 --psk-file "$tmp/psk" --bandwidth 16M --max-downtime 20 --max-rounds 4 --postcopy never
is "pre-copy alone does not converge" 1 "$status"
ended 2
await 2 --psk-file "$tmp/psk"
move 1 --psk-file "$tmp/psk" --bandwidth 16M --max-downtime 20 --max-rounds 4 --postcopy auto
is "post-copy does" 0 "$status"
if grep -q 'post-copy  *[1-9]' "$tmp/said"; then ok "with pages after the guest"
else not_ok "with pages after the guest"; fi
sed -n 's/^  downtime/# downtime/p' "$tmp/said"
if grep -q 'downtime .* ms (limit 20 ms, without post-copy an estimated [0-9.]* ms)' \
	"$tmp/said"; then ok "the downtime is shown with its limit"
	else not_ok "the downtime is shown with its limit"; fi
ended 1
verified 2 "auto"

# The connection breaks. Either side answers, refuses what would hurt, and continues when told.
launch 1 4 23 0 0 1 0 2 1
await 2 --psk-file "$tmp/psk"
leave
answers "status while pages come" 2 status guest
answers "pause while pages come" 2 pause guest
if state 2 paused; then ok "it is paused"; else not_ok "it is paused"; fi
answers "resume while pages come" 2 resume guest
break_off "recovery"
answers "status while CPUs wait" 2 status guest
answers "pause while CPUs wait" 2 pause guest
answers "resume while CPUs wait" 2 resume guest
refuses "the source does not run it again" 1 recover resume guest
refuses "nor ends it without force" 1 recover stop guest
refuses "nor sends it elsewhere" 1 recover migrate guest --to "$address" --psk-file "$tmp/psk"
at 1 migrate guest --recover --streams 2 >"$tmp/said" 2>&1
is "recovery takes no new options" 2 $?
answers "recovery" 1 migrate guest --recover
if grep -q '1 recoveries' "$tmp/said"; then ok "which is told of"
else not_ok "which is told of"; fi
ended 1
is "the source's process ends with 8 after a recovery" 8 "$(cat "$tmp/status")"
verified 2 "recovery"

# cut_at POINT: a migration with post-copy whose network ends there
cut_at() {
	await 2 --insecure --timeout 120
	there=$address
	gate "$1"
	SEVMIRROR_RUNTIME_DIR=$tmp/1 "$sevmirror" migrate guest --to "$address" \
		--insecure --timeout 120 --postcopy always >"$tmp/said" 2>&1 8>&- &
	mover=$!
	until_true grep -q reached "$tmp/gate.out"
	gate_gone
	wait "$mover"
	status=$?
}

# The connection breaks in the hand-over: the source does not know, and asks.
launch 1 2 28 0 0 1 0 2 1
cut_at '<RUNNING'
is "RUNNING is lost: 9" 9 "$status"
if grep -q -- 'migrate --recover' "$tmp/said"; then ok "what to do is said"
else not_ok "what to do is said"; fi
if state 1 paused; then ok "the guest is paused on the source"
else not_ok "the guest is paused on the source"; fi
answers "recovery finds out" 1 migrate guest --recover --to "$there"
ended 1
verified 2 "RUNNING was lost"

launch 1 2 29 0 0 1 0 2 1
cut_at '>COMMIT'
is "COMMIT is lost: 9" 9 "$status"
ended 2
is "the target has nothing" 1 "$(cat "$tmp/status")"
at 1 migrate guest --recover --to "$there" >"$tmp/said" 2>&1
is "nobody answers a recovery: 9" 9 $?
before=$(find "/proc/${pid[1]}/fd" -lname '*sevmirror-window*' | wc -l)
answers "the guest is taken back" 1 resume guest
is "and nothing is kept for a recovery" "1 0" \
	"$before $(find "/proc/${pid[1]}/fd" -lname '*sevmirror-window*' | wc -l)"
verified 1 "COMMIT was lost"

# The target has the last page, and the source does not hear of it: what the target says decides.
launch 1 2 30 0 0 1 0 2 1
cut_at '<LAST_PAGE'
is "the end of post-copy is lost: 10" 10 "$status"
# shellcheck disable=SC2016 # words of the message
if grep -qF '`status` on the target shows the guest and no migration' "$tmp/said"; then
	ok "how to find out is said"
else
	not_ok "how to find out is said"
fi
at 1 migrate guest --recover --to "$there" >"$tmp/said" 2>&1
is "nobody answers a recovery: 10" 10 $?
at 2 status guest >"$tmp/said"
if grep -q '^state *running' "$tmp/said" && ! grep -q '^moving' "$tmp/said"; then
	ok "the target shows the guest and no migration"
else
	not_ok "the target shows the guest and no migration"
fi
answers "what is left at the source is ended" 1 stop guest --force
ended 1
is "its process ends with 7" 7 "$(cat "$tmp/status")"
verified 2 "the end of post-copy was lost"

# A guest that is asked to end while the page by which it is asked is missing ends when it is there.
launch 1 2 24 0 0 1 0 2 1
await 2 --psk-file "$tmp/psk"
leave
answers "stop while pages come" 2 stop guest
wait "$mover"
is "the migration is not disturbed" 0 $?
ended 1
ended 2
is "the guest ends well" 0 "$(cat "$tmp/status")"

# The source is given up.
launch 1 4 25 0 0 1 0 2 1
await 2 --psk-file "$tmp/psk"
leave
break_off "source given up"
answers "the source is given up by force" 1 stop guest --force
ended 1
is "its process ends with 7" 7 "$(cat "$tmp/status")"
nothing_left "source given up" 1
answers "the target ends by force while CPUs wait" 2 stop guest --force
ended 2
is "the target's process ends with 7" 7 "$(cat "$tmp/status")"
nothing_left "source given up" 2

# The target gives up while the source listens: both know that it is over.
launch 1 4 27 0 0 1 0 2 1
await 2 --psk-file "$tmp/psk"
leave
answers "the target is stopped by force while pages come" 2 stop guest --force
wait "$mover"
is "migrate ends with 6" 6 $?
if grep -aq 'gave up: .* never arrived.*The guest is lost' "$tmp/said"; then
	ok "and says that the guest is lost"
else
	not_ok "and says that the guest is lost"
fi
ended 2
is "the target's process ends with 7" 7 "$(cat "$tmp/status")"
answers "what is left on the source is stopped" 1 stop guest --force
ended 1
nothing_left "the target gives up" 1
nothing_left "the target gives up" 2

# The target dies.
launch 1 2 26 0 0 1 0 2 1
await 2 --psk-file "$tmp/psk"
leave
kill -9 "${pid[2]}"
wait "$mover"
is "the target is killed: 10" 10 $?
ended 2
at 1 migrate guest --recover >"$tmp/said" 2>&1
is "and stays away: 10" 10 $?
kill -INT "${pid[1]}"
ended 1
is "a signal ends the source" 7 "$(cat "$tmp/status")"
nothing_left "the target is killed" 1

finished
