#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What an encrypted Linux guest's owner gets when a migration goes wrong between two hosts: one case
# for each outcome and each part that can fail. (Every phase: tests/kvm/migrate_faults.sh. A
# post-copy that breaks and is mended: postcopy-linux.sh.) After each the guest counts on and
# verifies its memory, or those who have lost it say so.
# shellcheck source=tests/emulated/linux-guests.sh
. "$(dirname "$0")/linux-guests.sh"

two_hosts fal
for h in $one $two; do "$sev_host" copy "$build/tests/kvm/wire-gate" "$h:/bin/wire-gate"; done
on $one demo-disk make /shared/disk
try=0  # the number of the last process
n=     # that of the guest's
host=$one target=$two # where the guest is and where it is to go

# new_guest: on $one
new_guest() {
	host=$one target=$two n=$((++try))
	guest_works $n "memory=8 rest=5 disk" --cpus 2 --disk /shared/disk
}

# depart OPTIONS...: a migration begins, what migrate says is in $tmp/moved; $mover, and the
# target's process $try
depart() {
	: $((++try))
	await_guest $try $target --disk /shared/disk "${patience[@]}"
	: >"$tmp/moved"
	move_guest $host $target "${patience[@]}" "$@" >"$tmp/moved" 2>&1 &
	mover=$!
}
patience=()

# comes_to PATTERN: until migrate has said so
source_moves() { guest_moves $host; }
comes_to() {
	check "$what: it comes that far" until_true --watch source_moves --of $mover \
		grep -aq "$1" "$tmp/moved"
}
first_round() { comes_to '^round 1 .* pages left'; }

# signal HOST SIGNAL WORD: to the sevmirror there that has the word on its command line
signal() {
	# shellcheck disable=SC2016 # for the host's shell
	on "$1" sh -c 'for p in $(pidof sevmirror); do ! grep -q "$1" /proc/$p/cmdline ||
		kill -"$0" $p; done' "$2" "$3"
}

# migrate_ends STATUS TEXT...: with it, and it says that
migrate_ends() {
	local text
	wait $mover
	is "$what: migrate ends with" "$1" $?
	for text in "${@:2}"; do check "$what: '$text'" grep -qF -- "$text" "$tmp/moved"; done
}

# guests HOST N: the secure processor there keeps N guests
guests() { on "$1" sevmirror platform status | grep -q "^guests  *$2\$"; }

ended() { ! kill -0 "$1" 2>/dev/null; }

# target_ends STATUS [TEXT]: with it, it says that, and leaves nothing
target_ends() {
	# One to which nobody came waits for ever.
	within 180 ended "${process[$try]}" || signal $target TERM receive
	wait "${process[$try]}"
	is "$what: the target ends with" "$1" $?
	[ -z "${2-}" ] || check "$what: and says '$2'" grep -qF -- "$2" "$tmp/said-$try"
	fails "$what: no process is left there" on $target pidof sevmirror
	check "$what: no guest is left in its secure processor" within 60 guests $target 0
}

no_gap_in() { guest_log "$@" >"$tmp/log" && no_gap "$tmp/log"; }

# unharmed: the guest counts on where it is and finds no error
unharmed() {
	goes_on "$what" $n $(($(last_tick $n) + 1))
	check "$what: no error" [ "$(guest_log 1 $n | grep -ac 'demo: ERROR')" -eq 0 ]
}

# gate POINT: a network that stops there (tests/kvm/wire_gate.c), for migrations without TLS; $port
# of $host
gate() {
	rm -f "$tmp/gate.in"
	mkfifo "$tmp/gate.in"
	: >"$tmp/gate.out"
	"$sev_host" exec $host -- wire-gate "$target:7777" "$1" <>"$tmp/gate.in" >"$tmp/gate.out" &
	process[gate]=$!
	until_true grep -q listening "$tmp/gate.out"
	port=$(sed -n 's/^listening .*://p' "$tmp/gate.out")
}
# depart_by_gate POINT: until the migration is there
depart_by_gate() {
	security=(--insecure)
	gate "$1"
	depart --to "127.0.0.1:$port" --max-downtime 20000
	check "$what: it comes that far" until_true --watch source_moves --of $mover \
		grep -q reached "$tmp/gate.out"
	security=(--psk-file /psk)
}
# gate_does WORD: with what waits there
gate_does() { echo "$1" >"$tmp/gate.in"; }
gate_gone() {
	gate_does cut
	kill "${process[gate]}" 2>/dev/null
	wait "${process[gate]}" 2>/dev/null
}

new_guest
what="the target is killed"
depart --bandwidth 2M
first_round
signal $target KILL receive
migrate_ends 1 "still runs here"
target_ends 137
unharmed

what="the network is cut"
patience=(--timeout 20)
depart --bandwidth 2M
first_round
"$sev_host" link fal-$$ --cut >/dev/null
migrate_ends 1 "still runs here"
"$sev_host" link fal-$$ --restore >/dev/null
target_ends 1
patience=()
unharmed

what="Ctrl-C"
depart --bandwidth 2M
first_round
signal $host INT migrate
migrate_ends 1 "the migration was cancelled. The guest still runs here"
target_ends 1 "the source gave up: cancelled"
unharmed

# The code of the helper is overwritten in the host's memory, where it is the guest's ciphertext;
# then it is put back. The helper's region is a file of its own, whose page 7 begins the code
# (docs/protocol.md).
what="the helper dies"
depart --bandwidth 2M
first_round
# shellcheck disable=SC2016 # for the host's shell
check "$what: its code is overwritten" on $host \
	sh -ec 'for f in /proc/$(pidof sevmirror | tr " " "\n" | sort -n | head -n 1)/fd/*; do
	case $(readlink $f) in *sevmirror-helper*) region=$f && break ;; esac; done
	dd if=$region of=/helper bs=4096 skip=7 count=80 2>/dev/null
	dd if=/dev/urandom of=$region bs=4096 seek=7 count=80 conv=notrunc 2>/dev/null
	echo $region >/region'
migrate_ends 1 "still runs here" "the helper crashed"
target_ends 1 "the helper crashed"
# shellcheck disable=SC2016 # for the host's shell
check "$what: its code is put back" on $host \
	sh -c 'dd if=/helper of=$(cat /region) bs=4096 seek=7 conv=notrunc'
unharmed

what="a record is changed on the wire"
depart_by_gate frame
gate_does spoil
migrate_ends 1 "still runs here"
target_ends 1
gate_gone
unharmed

what="a packet of the secure processor's is changed on the wire"
depart_by_gate '>CORE'
gate_does spoil
migrate_ends 1 "still runs here"
target_ends 1
gate_gone
unharmed

what="the network breaks before COMMIT is heard"
depart_by_gate '>COMMIT'
gate_gone
# shellcheck disable=SC2016 # words of the message
migrate_ends 9 '`stop --force` here' '`resume` here'
target_ends 1
check "$what: the guest is paused" \
	sh -c "'$sev_host' exec $host -- sevmirror status guest | grep -q paused"
check "$what: it is resumed" on $host sevmirror resume guest
unharmed

what="the network breaks before RUNNING is heard"
depart_by_gate '<RUNNING'
gate_gone
# shellcheck disable=SC2016 # words of the message
migrate_ends 9 '`stop --force` here' '`resume` here'
check "$what: the guest runs there" \
	sh -c "'$sev_host' exec $target -- sevmirror status guest | grep -q running"
check "$what: the source is given up" on $host sevmirror stop guest --force
wait "${process[$n]}"
check "$what: its process ends with 7" [ $? -eq 7 ]
host=$two target=$one tick=$(last_tick $n) n=$try
goes_on "$what" $n "$tick"
check "$what: its log has no gap" no_gap_in 1 $n

# follows OPTIONS...: a post-copy in whose middle the guest runs there
follows() {
	depart --postcopy always --bandwidth 1M
	check "$what: it goes over" until_true --watch source_moves --of $mover \
		grep -q 'memory is arriving' "$tmp/said-$try"
}

# given_up: what is left of the guest at the source ends
given_up() {
	check "$what: what is left of it can be given up" on $host sevmirror stop guest --force
	wait "${process[$n]}"
	check "$what: that process ends with 7" [ $? -eq 7 ]
	fails "$what: no process is left" on $host pidof sevmirror
	check "$what: no guest is left in the secure processor" within 60 guests $host 0
}

what="the target is killed in post-copy"
follows
signal $target KILL receive
# shellcheck disable=SC2016 # words of the message
migrate_ends 10 '`migrate --recover`' '`stop --force`'
target_ends 137
says "$what: there is no target to continue with" "refused" on $host sevmirror migrate guest \
	--recover
says "$what: the source does not run it again" "guest: The guest was running on the target" \
	on $host sevmirror resume guest
given_up

what="the source is killed"
new_guest
depart --bandwidth 2M
first_round
signal $host KILL run
migrate_ends 9 "The VM's process ended before it reported the outcome"
target_ends 1 "no guest arrived: "
check "$what: no guest is left in its secure processor" within 60 guests $host 0

what="the target gives up in post-copy"
new_guest
follows
check "$what: it is stopped there" on $target sevmirror stop guest --force
migrate_ends 6 "never arrived" "The guest is lost"
target_ends 7 "stopped from outside"
given_up
finished
