#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An encrypted Linux guest prints 10 KiB a second on its serial port: what that costs by count, and
# that it stops no CPU of the guest while it is migrated on busy hosts. MIGRATIONS: how many (3).
# shellcheck source=tests/emulated/linux-guests.sh
. "$(dirname "$0")/linux-guests.sh"

two_hosts con
guest_works 1 "memory=8 threads=2 chat=10" --cpus 2
check "metrics are exported" on "$one" \
	sh -c 'setsid sevmirror exporter --listen 9433 </dev/null >/exporter 2>&1 &'

# sum NAME: of all samples in $tmp/metrics whose name and labels match
sum() { awk -v name="^$1" '$0 ~ name { s += $NF } END { print int(s) }' "$tmp/metrics"; }
counts() {
	on "$one" wget -q -O - http://127.0.0.1:9433/metrics </dev/null >"$tmp/metrics" || return
	bytes=$(sum 'sevmirror_console_bytes_total.*serial') \
		writes=$(sum 'sevmirror_console_writes_total.*serial')
	interrupts=$(sum sevmirror_serial_interrupts_total) \
		exits=$(sum 'sevmirror_vcpu_exits_total.*"io"')
}

# at_most WHAT LIMIT COUNT: a KiB of what was printed
at_most() {
	local a_kib=$(($3 * 1024 / bytes))
	if [ $a_kib -le "$2" ]; then ok "a KiB on the serial port is $a_kib $1"
	else not_ok "a KiB on the serial port is $a_kib $1, not at most $2"; fi
}
enough() { counts && [ $((bytes - before)) -ge 30000 ]; }
before=0
check "the guest's counters are there" until_true counts
counts
before=$bytes writes_before=$writes interrupts_before=$interrupts exits_before=$exits
until_true enough || not_ok "the guest prints"
bytes=$((bytes - before))
# With one exit, two changes of the line and one write a byte there were 1218, 1025 and up to 1024.
at_most "exits" 320 $((exits - exits_before))
at_most "interrupts" 100 $((interrupts - interrupts_before))
at_most "writes" 100 $((writes - writes_before))

# stalls HOST N: what the guest's kernel has said there about CPUs that did nothing else
stalls() { on "$1" grep \
	-aE 'soft lockup|rcu.*(stall|self-detected)|hung_task|blocked for more than' "/serial-$2"; }

from=$one to=$two
for ((n = 2; n < 2 + ${MIGRATIONS:-3}; n++)); do
	await_guest $n "$to"
	if ! move_guest "$from" "$to" --max-downtime 8000 \
		--throttle >"$tmp/moved" 2>&1; then not_ok "migration $((n - 1))"; fi
	goes_on "migration $((n - 1))" $n "$(last_tick $((n - 1)))"
	fails "migration $((n - 1)): no CPU of the guest stood still at the source" stalls "$from" \
		$((n - 1))
	fails "migration $((n - 1)): nor at the target" stalls "$to" $n
	check "migration $((n - 1)): it prints there" true_on "$to" test -s "/serial-$n"
	host=$to to=$from from=$host
done
guest_ends "printing" 1 $((n - 1)) 1
finished
