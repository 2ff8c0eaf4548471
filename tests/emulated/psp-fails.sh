#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# sevmirror on secure processors that fail: at each command of a launch, a migration and a recovery.
# A guest that ran keeps running, the message names the command and the firmware's status, and the
# firmware keeps nothing of what failed.
# shellcheck source=tests/emulated/payload-guests.sh
. "$(dirname "$0")/payload-guests.sh"

two_hosts psf
why=HWERROR_PLATFORM
policy='NODBG|NOKS|SEV'

# fail HOST CMD:N...: from now on
fail() {
	local host=$1 f options=()
	shift
	for f in "$@"; do options+=(--psp-fail "$f:$why"); done
	"$sev_host" psp "$host" "${options[@]}" ||
		not_ok "the secure processor of $host does as it is told"
}
good() { "$sev_host" psp "$1" --psp-fail none; }

# guests HOST N: the firmware there keeps N guests
keeps() { on "$1" sevmirror platform status | grep -q "^guests  *$2\$"; }
guests() { within 120 keeps "$@"; }

running() { on "$1" sevmirror status guest | grep -q running; }

check "'sev-host psp' shows what is set" [ "$("$sev_host" psp $one | tr '\n' ' ')" = \
	"delay: 0 us fail: none " ]
check "a fault is set" "$sev_host" psp $one --psp-fail LAUNCH_START:2:HWERROR_PLATFORM \
	--psp-fail 0x43:all:7 --psp-delay 5
check "and shown" [ "$("$sev_host" psp $one | tr '\n' ' ')" = \
	"delay: 5 us fail: 0x30:2:0x13/0x43:0:0x7 " ]
good $one

# A launch. KVM does ACTIVATE as a part of LAUNCH_START.
launch_fails() {
	local cmd=$1 named=$2
	fail $one "$cmd:all"
	"$sev_host" exec $one --timeout 60 -- sevmirror run --sev on --name guest \
		--payload /dirtier --memory 32M --policy "$policy" \
		>"$tmp/said" 2>&1
	check "launch, $cmd fails: status 1" [ $? -eq 1 ]
	check "launch, $cmd fails: it says $named and $why" grep -q "$named.*$why" "$tmp/said"
	good $one
	check "launch, $cmd fails: the firmware keeps no guest" guests $one 0
}
launch_fails LAUNCH_START LAUNCH_START
launch_fails ACTIVATE LAUNCH_START
launch_fails LAUNCH_UPDATE_DATA LAUNCH_UPDATE_DATA
launch_fails LAUNCH_MEASURE LAUNCH_MEASURE
launch_fails LAUNCH_FINISH LAUNCH_FINISH

check "a guest is launched when it is good again" launch $one 32M "$policy"

# A migration from $one to $two. migration_fails HOST WORD WHOSE FAULT...: which host's firmware
# fails, and what the message names
migration_fails() {
	local host=$1 named=$2 what="migration, ${*:4} of the $3 fails" said
	local faults=("${@:4}")
	on $two rm -f /out /status
	check "$what: the target waits" await $two
	fail "$host" "${faults[@]}"
	fails "$what: migrate fails" move $one $two
	said=$(on $two cat /out; cat "$tmp/moved")
	check "$what: somebody says $named and $why" grep -q "$named.*$why" <<<"$said" ||
		echo "$said"
	good "$host"
	check "$what: the guest runs on" running $one
	wait_for $two /status
	check "$what: the target ends with 1" [ "$(on $two cat /status)" = 1 ]
	check "$what: the target's firmware keeps nothing" guests $two 0
}
move() { "$sev_host" exec "$1" --timeout 240 -- sevmirror migrate guest --to "$2:4000" \
	--psk-file /psk --timeout 60 --max-downtime 4000 >"$tmp/moved" 2>&1; }

# The target asks for its certificates before it listens.
fail $two PDH_CERT_EXPORT:all
says "receive, PDH_CERT_EXPORT fails" "PDH_CERT_EXPORT: firmware error $why" "$sev_host" exec $two \
	--timeout 60 -- \
	sevmirror receive --name guest --listen 0.0.0.0:4000 --psk-file /psk \
	--vendor-chain /vendor.cert
good $two
migration_fails $one PDH_CERT_EXPORT source PDH_CERT_EXPORT:all
migration_fails $one SEND_START source SEND_START:all
migration_fails $one SEND_UPDATE_DATA source SEND_UPDATE_DATA:1
migration_fails $one SEND_UPDATE_DATA source SEND_UPDATE_DATA:20
migration_fails $two RECEIVE_START target RECEIVE_START:all
migration_fails $two RECEIVE_START target ACTIVATE:all
migration_fails $two RECEIVE_UPDATE_DATA target RECEIVE_UPDATE_DATA:1
migration_fails $two RECEIVE_UPDATE_DATA target RECEIVE_UPDATE_DATA:20
migration_fails $two RECEIVE_FINISH target RECEIVE_FINISH:all
# The guest is left in SUPDATE; the next migration, below, finds it so.
migration_fails $one SEND_UPDATE_DATA source SEND_UPDATE_DATA:20 SEND_CANCEL:all

# SEND_FINISH is asked for when the guest runs on the target: its failure cannot undo that.
on $two rm -f /out /status
check "SEND_FINISH fails: the target waits" await $two
fail $one SEND_FINISH:all
check "SEND_FINISH fails: the guest moves nevertheless" move $one $two
good $one
check "SEND_FINISH fails: and runs there" running $two
check "SEND_FINISH fails: a warning says so" grep \
	-q "SEND_FINISH.*$why" <(cat "$tmp/moved"; on $one cat /out) || on $one cat /out
check "SEND_FINISH fails: the source's firmware keeps nothing" guests $one 0

# Post-copy back, and the connection breaks. What follows asks nothing more of the firmware until
# the last page.
on $one rm -f /out /status
check "recovery: the host waits" await $one
"$sev_host" exec $two --timeout 240 -- sevmirror migrate guest --to "$one:4000" --psk-file /psk \
	--timeout 60 --postcopy always --bandwidth 2M \
	>"$tmp/moved" 2>&1 &
mover=$!
wait_for $one /out
true_on $one grep -q "memory is arriving" /out
# shellcheck disable=SC2016 # for the host's shell
on $two sh -c 'for p in $(pidof sevmirror); do ! grep -q migrate /proc/$p/cmdline ||
	kill -INT $p; done'
wait $mover
check "recovery: the connection breaks" [ $? -eq 10 ]
fail $two SEND_START:all SEND_UPDATE_DATA:all SEND_CANCEL:all SEND_FINISH:all
fail $one RECEIVE_START:all RECEIVE_UPDATE_DATA:all RECEIVE_FINISH:all LAUNCH_START:all ACTIVATE:all
check "recovery: it succeeds under both failing" "$sev_host" exec $two --timeout 240 -- sevmirror \
	migrate guest --recover
good $one
good $two
check "recovery: the guest runs" running $one
check "recovery: the other firmware keeps nothing" guests $two 0

# Slow is not failing: 100 commands of 20 ms.
on $two rm -f /out /status
check "a slow one: the target waits" await $two
"$sev_host" psp $one --psp-delay 20000
"$sev_host" psp $two --psp-delay 20000
check "a slow one: the guest moves" move $one $two
on $two sevmirror stop guest >/dev/null
wait_for $two /status
check "and found every page as it wrote it, through all of this" [ "$(on $two cat /status)" = 0 ] ||
	on $two cat /out
finished
