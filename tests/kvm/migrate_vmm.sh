#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A guest moves between two sevmirror processes as people move it, by the command line; what it must
# not lose it verifies itself. The two hosts are two runtime directories.
#
# usage: migrate_vmm.sh SEVMIRROR PAYLOAD-DIRTIER
# shellcheck source=tests/kvm/vmm_hosts.sh
. "$(dirname "$0")/vmm_hosts.sh"

sevmirror=$(realpath "${1:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER}")
dirtier=$(realpath "${2:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER}")
# There and back, TLS with a pre-shared key; every page is written and swept over all the time.
launch 1 2 11 20000 8388608 1 0 2 1
here=1
for turn in 1 2 3 4 5 6; do
	there=$((3 - here))
	await "$there" --psk-file "$tmp/psk"
	move "$here" --psk-file "$tmp/psk" --json --max-downtime 2000 --streams $((turn % 3 + 1))
	is "turn $turn: migrate says so" 0 "$status"
	grep -q '"outcome": "migrated"' "$tmp/said" || not_ok "turn $turn: the JSON summary"
	ended "$here"
	is "turn $turn: the source's process ends with 8" 8 "$(cat "$tmp/status")"
	if state "$there" running; then ok "turn $turn: it runs there"
	else not_ok "turn $turn: it runs there"; fi
	nothing_left "turn $turn" "$here"
	here=$there
done

# A target listens until the migration has ended, and no longer. The source hears of the end first.
refused() { ! (exec 3<>"/dev/tcp/${address%:*}/${address##*:}") 2>"$tmp/said"; }
check "a guest has come: its port is closed" until_true refused
check "the host refuses the connection" grep -q refused "$tmp/said"
at "$here" migrate guest --attach >"$tmp/said" 2>&1
check "and the target still knows how it ended" grep -q 'The guest runs here' "$tmp/said"
other=$((3 - here))
SEVMIRROR_RUNTIME_DIR=$tmp/$other "$sevmirror" receive --sev off --name next --listen "$address" \
	--psk-file "$tmp/psk" </dev/null >"$tmp/$other.out" 2>"$tmp/$other.err" &
pid[$other]=$!
check "and another target can wait there" \
	until_true grep -q "waiting for the source on $address" "$tmp/$other.err"
kill -INT "${pid[$other]}"
ended "$other"
verified "$here" "six migrations"

# A paused guest is paused on the other host, too, and continues when told.
launch 1 1 12 1000 1048576
at 1 pause guest >/dev/null
await 2 --psk-file "$tmp/psk"
move 1 --psk-file "$tmp/psk" --max-downtime 2000
is "a paused guest moves" 0 "$status"
ended 1
if state 2 paused; then ok "and stays paused"; else not_ok "and stays paused"; fi
at 2 resume guest >/dev/null
verified 2 "a paused guest"

# A peer that does not know the key.
launch 1 1 13 1000 1048576
await 2 --psk-file "$tmp/psk2"
move 1 --psk-file "$tmp/psk"
is "a wrong key is refused" 1 "$status"
if state 1 running; then ok "the guest runs on"; else not_ok "the guest runs on"; fi
if state 2 incoming; then ok "the target keeps waiting"
else not_ok "the target keeps waiting"; fi
kill -INT "${pid[2]}"
ended 2
is "a signal ends the wait with 7" 7 "$(cat "$tmp/status")"
nothing_left "a target that was stopped" 2

# Nobody listens.
address=127.0.0.1:1
move 1 --psk-file "$tmp/psk"
is "a target that is not there" 1 "$status"


# slow: a migration that takes long, in the background; $! is its process
slow() {
	: >"$tmp/said"
	SEVMIRROR_RUNTIME_DIR=$tmp/1 "$sevmirror" migrate guest --to "$address" \
		--psk-file "$tmp/psk" --bandwidth 2M \
		--timeout 20 >"$tmp/said" 2>&1 &
	mover=$!
}

await 2 --psk-file "$tmp/psk"
slow
until_true building 2
kill -INT $mover
wait $mover
is "Ctrl-C gives it up" 1 $?
ended 2
is "the target ends with 1" 1 "$(cat "$tmp/status")"
nothing_left "given up" 2
if state 1 running; then ok "the guest runs on"; else not_ok "the guest runs on"; fi

await 2 --psk-file "$tmp/psk"
slow
until_true building 2
kill -9 "${pid[2]}"
ended 2
wait $mover
is "the target is killed: migrate says that the guest stays" 1 $?
if state 1 running; then ok "the guest runs on"; else not_ok "the guest runs on"; fi

await 2 --psk-file "$tmp/psk"
move 1 --psk-file "$tmp/psk" --max-downtime 2000 --throttle --zero-marks
is "after all that it moves" 0 "$status"
ended 1
verified 2 "cancelled, abandoned, moved"

# The source dies: the target keeps nothing.
launch 1 1 14 1000 1048576
await 2 --psk-file "$tmp/psk"
slow
until_true building 2
kill -9 "${pid[1]}"
ended 1
ended 2
is "the source is killed: the target ends with 1" 1 "$(cat "$tmp/status")"
nothing_left "the source is killed" 2
wait $mover
is "and migrate does not know what became of it" 9 $?

finished
