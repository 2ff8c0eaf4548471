#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Workloads in mirrors of a running guest, by the command line, from another process: what memscan
# finds is what is there; a mirror that crashes, loops or is killed does not disturb the guest; a
# mirror does not outlive it; and a guest that is migrated has all that its mirrors wrote. The guest
# writes and verifies its memory all the time.
#
# usage: mirror_vmm.sh SEVMIRROR PAYLOADS-DIR
# shellcheck source=tests/kvm/vmm_hosts.sh
. "$(dirname "$0")/vmm_hosts.sh"

sevmirror=$(realpath "${1:?usage: $0 SEVMIRROR PAYLOADS-DIR}")
payloads=$(realpath "${2:?usage: $0 SEVMIRROR PAYLOADS-DIR}")
dirtier=$payloads/payload-dirtier

# What the dirtier leaves alone, and the mirror may read; and all of the memory in front of its
# region.
untouched=0x80000+0x20000
everything=0+62M

# guest WORKLOAD [SEED]: one that has this to be run in its mirrors begins on host 1
guest() {
	run_options=(--mirror-payload "$payloads/payload-$1")
	launch 1 1 "${2-21}" 2000 1048576
}

# mirror HOST OPTIONS...: attach, in the foreground; sets status, its words are in said
mirror() {
	local host=$1
	shift
	at "$host" mirror attach guest "$@" >"$tmp/said" 2>&1
	status=$?
}

# mirror_runs HOST OPTIONS...: attach, in the background, until the workload has the mirror
mirror_runs() {
	local host=$1
	shift
	: >"$tmp/mirror.out"
	SEVMIRROR_RUNTIME_DIR=$tmp/$host "$sevmirror" mirror attach guest \
		"$@" </dev/null >"$tmp/mirror.out" 2>"$tmp/mirror.err" &
	pid[mirror]=$!
	until_true attached "$host"
}

# attached HOST: somebody has the mirror
attached() { at "$1" status guest | grep -q '^mirror *attached'; }

# A job that memscan does not finish while a test lasts
endless=()
for ((i = 0; i < 1000; i++)); do endless+=(--range "$everything"); done

# said WHAT TEXT FILE
said() { if grep -q -- "$2" "$3"; then ok "$1"; else not_ok "$1 (not said: $2)"; fi; }

goes_on() {
	local before
	before=$(beats)
	if until_true beyond "$before"; then ok "$1: the guest keeps running"
	else not_ok "$1: the guest keeps running"; fi
}
# The dirtier's shared area, with its heartbeat
beats() { memory_of 0x200000 4096 | sha256sum; }
beyond() { [ "$(beats)" != "$1" ]; }

# memory_of GPA BYTES: as the host sees it, on host 1
memory_of() {
	local fd
	for fd in "/proc/${pid[1]}/fd"/*; do
		case $(readlink "$fd") in
		/memfd:guest-ram*) dd if="$fd" bs=4096 skip=$(($1 / 4096)) count=$(($2 / 4096)) \
			status=none; return ;;
		esac
	done
	return 1
}

# memscan: the guest's own memory, seen from inside
guest memscan
at 1 pause guest >/dev/null
mirror 1 --range 0x800000+1M --range $untouched
is "memscan of a paused guest" 0 "$status"
is "its hash is that of the memory" "$(memory_of 0x800000 0x100000 | sha256sum | cut -d ' ' -f 1)" \
	"$(awk 'NR == 1 { print $1 }' "$tmp/said")"
is "and of other memory too" "$(memory_of 0x80000 0x20000 | sha256sum | cut -d ' ' -f 1)" \
	"$(awk 'NR == 2 { print $1 }' "$tmp/said")"
mirror 1 --json
is "without a range all of the guest's memory, as JSON" 0 "$status"
python3 -c 'import json, sys
answer = json.load(open(sys.argv[1]))
ranges = answer["ranges"]
assert answer["workload"] == "memscan" and answer["outcome"] == "done"
assert [(r["gpa"], r["bytes"]) for r in ranges] == [(0, 62 << 20)], ranges
print(ranges[0]["sha256"])' "$tmp/said" >"$tmp/hash" 2>"$tmp/python.err"
is "its hash" "$(memory_of 0 0x3e00000 | sha256sum | cut -d ' ' -f 1)" "$(cat "$tmp/hash")"
for bad in 0x3e00000+4096:mirror-payload 0x140000000+4096:helper 0x4000000+4096:'no memory' \
	0x1001+4096:'whole pages' 0x1000:'expected ADDRESS+SIZE'; do
	mirror 1 --range "${bad%%:*}"
	is "a range of ${bad%%:*} is a usage error" 2 "$status"
	said "which says why" "${bad##*:}" "$tmp/said"
done
at 1 resume guest >/dev/null

# One at a time, by a signal, by its time; killed; and the guest keeps running.
mirror_runs 1 "${endless[@]}"
mirror 1 --range $untouched
is "a second mirror is refused" 1 "$status"
kill -INT "${pid[mirror]}"
ended mirror
is "a signal ends a mirror with 1" 1 "$(cat "$tmp/status")"
mirror 1 --timeout 1 "${endless[@]}"
is "its time ends it with 1" 1 "$status"
said "which says so" "did not finish" "$tmp/said"
mirror_runs 1 "${endless[@]}"
kill -9 "${pid[mirror]}"
ended mirror
goes_on "a mirror is killed"
mirror 1 --range $untouched
is "and another one is made" 0 "$status"

# A migration ends a mirror; there its memory is the same, seen from inside.
mirror_runs 1 "${endless[@]}"
await 2 --psk-file "$tmp/psk"
move 1 --psk-file "$tmp/psk" --max-downtime 2000
is "a guest with a mirror moves" 0 "$status"
ended 1
ended mirror
is "the mirror ends with 1" 1 "$(cat "$tmp/status")"
said "and says why" "handed over" "$tmp/mirror.err"
at 2 pause guest >/dev/null
mirror 2 --range $everything
is "memscan at the other host" 0 "$status"
before=$(awk '{ print $1 }' "$tmp/said")
await 1 --psk-file "$tmp/psk"
move 2 --psk-file "$tmp/psk" --max-downtime 2000
is "the paused guest moves back" 0 "$status"
ended 2
mirror 1 --range $everything
is "and has every byte that it had" "$before" "$(awk '{ print $1 }' "$tmp/said")"
at 1 resume guest >/dev/null

# A mirror whose process is stopped delays nothing, if it only reads.
mirror_runs 1 "${endless[@]}"
kill -STOP "${pid[mirror]}"
await 2 --psk-file "$tmp/psk" --timeout 60
move 1 --psk-file "$tmp/psk" --max-downtime 2000 --timeout 60
is "a guest with a stopped mirror moves" 0 "$status"
ended 1
kill -CONT "${pid[mirror]}"
ended mirror
is "which ends when it continues" 1 "$(cat "$tmp/status")"
verified 2 "all that"

# The guest goes first, then both at once.
for both in "" both; do
	guest memscan
	mirror_runs 1 "${endless[@]}"
	if [ "$both" ]; then kill -9 "${pid[mirror]}" "${pid[1]}"; else kill -9 "${pid[1]}"; fi
	ended 1
	ended mirror
	if [ "$both" ]; then
		is "guest and mirror are killed" 137 "$(cat "$tmp/status")"
	else
		is "the guest is killed: the mirror ends with 1" 1 "$(cat "$tmp/status")"
		said "and says why" "has ended" "$tmp/mirror.err"
	fi
	guest memscan
	mirror 1 --range $untouched
	is "a guest of that name can be started, and mirrored" 0 "$status"
	verified 1 "a guest after one that was killed"
done

# The SDK's example; and workloads that misbehave.
guest zeropages
mirror 1
is "zeropages" 0 "$status"
said "it counts" "^all zero 0x" "$tmp/said"
mirror 1 --range $untouched
is "a range for another workload than memscan is a usage error" 2 "$status"
verified 1 "zeropages"

guest intruder
mirror 1
is "a workload that writes unasked" 1 "$status"
said "crashes in its mirror" "crashed in its mirror" "$tmp/said"
is "and the memory is as it was" "$(head -c 4096 /dev/zero | sha256sum)" \
	"$(memory_of 0x80000 4096 | sha256sum)"
goes_on "a mirror has crashed"
verified 1 "a mirror has crashed"

guest loop
mirror 1 --timeout 1
is "a workload that loops is stopped" 1 "$status"
goes_on "a mirror has looped"
mirror_runs 1
await 2 --psk-file "$tmp/psk"
move 1 --psk-file "$tmp/psk" --max-downtime 2000
is "a guest with a mirror that loops moves" 0 "$status"
ended 1
ended mirror
verified 2 "a mirror has looped"

# No workload
run_options=()
launch 1 1 22 1000 1048576
mirror 1
is "a guest without a workload: exit status 4" 4 "$status"
verified 1 "no workload"

# finds WHAT HOST GENERATION: the mirror that writes finds no other there, and all of it
finds() {
	mirror "$2" --timeout 1
	if grep -q "found generation $3" "$tmp/said" &&
		! grep -q 'found an error' "$tmp/said"; then ok "$1"; else not_ok "$1"; fi
}

# A mirror that writes: what it wrote last is there, whenever the guest moves.
guest scribble
here=1
for turn in 1 2 3 4; do
	there=$((3 - here))
	mirror_runs $here
	until_true grep -q 'found generation' "$tmp/mirror.out"
	await $there --psk-file "$tmp/psk"
	move $here --psk-file "$tmp/psk" --max-downtime 2000
	is "turn $turn: a guest with a mirror that writes to it moves" 0 "$status"
	ended $here
	ended mirror
	is "turn $turn: the mirror is stopped" 1 "$(cat "$tmp/status")"
	# It says so if it came to it in the time that it was given to stop.
	wrote=$(awk '/wrote generation/ { print $3 "$" }' "$tmp/mirror.out")
	finds "turn $turn: it finds there what it wrote last" $there "${wrote:-0x}"
	here=$there
done

# One that may write prevents the migration when it is stopped, and the guest stays as it was.
mirror_runs $here
kill -STOP "${pid[mirror]}"
there=$((3 - here))
await $there --psk-file "$tmp/psk" --timeout 60
move $here --psk-file "$tmp/psk" --max-downtime 2000 --timeout 60
is "a mirror that may write and does not answer: no migration" 1 "$status"
ended $there
if state $here running; then ok "the guest runs on"; else not_ok "the guest runs on"; fi
kill -CONT "${pid[mirror]}"
kill -INT "${pid[mirror]}"
ended mirror
# Killed before a migration, or in it: whatever it wrote comes along.
for when in before in; do
	there=$((3 - here))
	mirror_runs $here
	await $there --psk-file "$tmp/psk"
	if [ $when = before ]; then kill -9 "${pid[mirror]}" && ended mirror; fi
	at $here migrate guest --to "$address" --psk-file "$tmp/psk" --max-downtime 2000 \
		--bandwidth 40M >"$tmp/said" 2>&1 &
	mover=$!
	if [ $when = in ]; then
		until_true building $there
		kill -9 "${pid[mirror]}" && ended mirror
	fi
	wait $mover
	is "a mirror is killed $when a migration: the guest moves" 0 $?
	ended $here
	finds "and what was written is there" $there 0x
	here=$there
done
verified $here "mirrors that write"

finished
