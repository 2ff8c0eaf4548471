#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An encrypted Linux guest prints 10 KiB a second: what that costs by count, on virtio-console and
# on the serial port, and that the latter stops no CPU of the guest while it is migrated on busy
# hosts. MIGRATIONS: how many.
# shellcheck source=tests/emulated/linux-guests.sh
. "$(dirname "$0")/linux-guests.sh"

two_hosts con
check "metrics are exported" on "$one" \
	sh -c 'setsid sevmirror exporter --listen 9433 </dev/null >/exporter 2>&1 &'

# sum PATTERN: of all samples in $tmp/metrics whose name and labels match
sum() { awk -v name="^$1" '$0 ~ name { s += $NF } END { print int(s) }' "$tmp/metrics"; }
# counts DEVICE REASON: of what the guest has printed there, and of the exits that are its
counts() {
	on "$one" wget -q -O - http://127.0.0.1:9433/metrics </dev/null >"$tmp/metrics" || return
	bytes=$(sum "sevmirror_console_bytes_total.*$1")
	writes=$(sum "sevmirror_console_writes_total.*$1")
	interrupts=$(sum sevmirror_serial_interrupts_total)
	exits=$(sum "sevmirror_vcpu_exits_total.*$2")
	[ "$bytes" -gt 0 ]
}
printed() { counts "$1" "$2" && [ $((bytes - before)) -ge 30000 ]; }

# at_most DEVICE WHAT LIMIT COUNT: in each KiB of what was printed
at_most() {
	local a_kib=$(($4 * 1024 / (bytes - before)))
	echo "# a KiB on $1: $a_kib $2"
	check "a KiB on $1 is at most $3 $2" [ $a_kib -le "$3" ]
}

# costs DEVICE REASON EXITS WRITES N: what the Nth process's guest prints there, in each KiB
costs() {
	local writes_before interrupts_before exits_before
	before=0
	check "the guest's counters are there" until_true --of "${process[$5]}" counts "$1" "$2"
	before=$bytes writes_before=$writes interrupts_before=$interrupts exits_before=$exits
	check "the guest prints" until_true --of "${process[$5]}" printed "$1" "$2"
	at_most "$1" "exits" "$3" $((exits - exits_before))
	at_most "$1" "writes" "$4" $((writes - writes_before))
	[ "$1" != serial ] || at_most serial "interrupts" 128 $((interrupts - interrupts_before))
}

# The limits are an eighth of what a KiB on the serial port once cost, when a byte was an exit, a
# write and an interrupt: 1218 exits, 1025 writes, 1024 interrupts.
#
# The first guest has nothing but its consoles, so all its MMIO is theirs: for each line of 64
# bytes Linux acknowledges two interrupts (text; CR and LF).
launch_guest 1 "$one" /initrd "memory=8 chat=10,/dev/hvc0" --memory 96M
costs virtio mmio 152 128 1
type_to 1 q
wait "${process[1]}"
check "it has ended by itself" [ $? -eq 0 ]

# On the serial port an eighth of the exits is out of reach: Linux needs 3 for a FIFO of 16 bytes,
# which are 192 a KiB, and some to start and stop.
guest_works 2 "memory=8 threads=2 chat=10,/dev/ttyS0" --cpus 2
costs serial io 260 128 2

# stalls HOST N: what the guest's kernel has said there about CPUs that did nothing else
stalls() { on "$1" grep \
	-aE 'soft lockup|rcu.*(stall|self-detected)|hung_task|blocked for more than' "/serial-$2"; }

from=$one to=$two
for ((n = 3; n < 3 + ${MIGRATIONS:-3}; n++)); do
	what="migration $((n - 2))"
	check "$what: the target waits" await_guest $n "$to"
	check "$what" move_guest "$from" "$to" --max-downtime 8000 --throttle
	goes_on "$what" $n "$(last_tick $((n - 1)))"
	fails "$what: no CPU of the guest stalled at the source" stalls "$from" $((n - 1))
	fails "$what: nor at the target" stalls "$to" $n
	check "$what: it prints there" true_on "$to" test -s "/serial-$n"
	host=$to to=$from from=$host
done
guest_ends "printing" 2 $((n - 1)) 1
finished
