#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A migration between two of the patched QEMUs that ends in each of its phases: cancelled, by the
# death of either QEMU, by a network that is cut. The guest, which keeps writing memory, runs in one
# place only, with what it wrote, and can be migrated again.
# shellcheck source=tests/emulated/driver.sh disable=SC2317 # called by check
. "$(dirname "$0")/driver.sh"
# shellcheck source=tests/emulated/qemu-native.sh
. "$here/qemu-native.sh"
machine=(-machine q35 -m 16M)
slow='{"max-bandwidth":200000,"downtime-limit":1}' # it takes more than a minute
# A round takes a quarter of a second, in which the guest writes more than the page that fits into
# the downtime: it comes to no end.
rounds='{"max-bandwidth":2000000,"downtime-limit":1}'

n=0
new_target() {
	n=$((n + 1))
	start_target "target$n" "$@"
}
# silent: somebody at the socket silent.in who takes the connection, and says nothing
silent() {
	python3 -c 'import socket, time
door = socket.socket(socket.AF_UNIX)
door.bind("silent.in")
door.listen(1)
peer = door.accept()[0]
while peer.recv(65536):
    pass' &
	echo $! >silent.pid
	disown
	until_true test -S silent.in
}
# in_phase PHASE TO: a migration from the source to that socket has come to it
in_phase() {
	local parameters=$slow pause=-pause-before-switchover
	case $1 in
	later) parameters=$rounds ;;
	switchover) parameters=$fast pause=pause-before-switchover ;;
	esac
	set_up source "$parameters" "$pause" && migrate source "$2" || return
	case $1 in
	setup) comes_to source setup ;;
	first) comes_to source active && until_true sent_more transferred 1000000 ;;
	later) until_true sent_more dirty-sync-count 4 ;;
	switchover) comes_to source pre-switchover ;;
	esac
}
sent_more() { [ "$(sent source "$1")" -gt "$2" ]; }

check "the guest is started" start_qemu source
check "and runs" runs_on source

for phase in setup first later switchover; do
	if [ $phase = setup ]; then
		check "a target that makes no offer" silent
		to=silent.in
	else
		check "a target is started" new_target
		to=target$n.in
	fi
	check "a migration has come to the phase '$phase'" in_phase $phase $to
	check "it is cancelled there" execute source migrate_cancel
	check "and ends" comes_to source cancelled
	check "the guest runs at the source" runs_on source
	rm -f silent.in
done

for phase in first later switchover; do
	check "a target is started" new_target
	check "a migration has come to the phase '$phase'" in_phase $phase "target$n.in"
	check "the target is killed there" end "target$n"
	[ $phase != switchover ] ||
		execute source migrate-continue '{"state":"pre-switchover"}' >/dev/null
	check "the migration fails" comes_to source failed
	check "the guest runs at the source" runs_on source
done

check "a target is started" new_target
python3 "$here/qemu_stream.py" road "target$n.in" silence 20 >road.said 2>&1 &
echo $! >road.pid
disown
check "and a road to it" until_true test -S road
set_up source "$fast" -pause-before-switchover >/dev/null
migrate source road >/dev/null
check "the network passes nothing on any more" until_true grep -q silence road.said
check "the guest runs at the source meanwhile" runs_on source
check "the migration is cancelled" execute source migrate_cancel
# QEMU closes a connection on which nothing moves, and may take that for the failure.
cut_short() { has_status source cancelled || has_status source failed; }
check "and ends" until_true cut_short
check "the guest runs at the source" runs_on source

for phase in first switchover; do
	check "a target is started" new_target
	check "a migration has come to the phase '$phase'" in_phase $phase "target$n.in"
	was=$(word source 0x604)
	mv source.pid dead.pid
	check "the source is killed there" end dead
	check "the target ends" until_true ended "target$n"
	check "and says why" grep -q "load of migration failed" "target$n.log"
	check "another guest is started" start_qemu source
	check "and runs" runs_on source
done

check "a target is started" new_target
set_up source "$fast" -pause-before-switchover >/dev/null
was=$(word source 0x604)
migrate source "target$n.in" >/dev/null
check "the guest is migrated after all" comes_to source completed
check "it runs at the target" runs_on "target$n"
check "and has not gone back behind round $was" counts_past "target$n" "$was"
execute source migrate_cancel >/dev/null
check "cancelled afterwards, the migration is still complete" has_status source completed
check "and the guest runs at the target" runs_on "target$n"
check "the source's has stopped" test "$(run_state source)" = postmigrate
finished
