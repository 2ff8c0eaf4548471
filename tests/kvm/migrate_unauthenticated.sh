#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What people run into: something else than sevmirror at the other end, another version of it, a
# full file system. Each is named, ends with the exit status that is documented, and leaves the
# guest where it was.
#
# usage: migrate_unauthenticated.sh SEVMIRROR PAYLOAD-DIRTIER WIRE-GATE FULL-DISK
set -u

sevmirror=$(realpath "${1:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER WIRE-GATE FULL-DISK}")
dirtier=$(realpath "${2:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER WIRE-GATE FULL-DISK}")
wire_gate=$(realpath "${3:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER WIRE-GATE FULL-DISK}")
full_disk=$(realpath "${4:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER WIRE-GATE FULL-DISK}")
here=$(dirname "$0")
# shellcheck source=tests/kvm/vmm_hosts.sh
. "$here/vmm_hosts.sh"
run_options=(--memory 16M)
psk=(--psk-file "$tmp/psk")

stranger() { python3 "$here/unauthenticated_peer.py" "$@"; }
dirty() { launch 1 1 21 2000 1048576 1 0 0 1; }

# told WHAT FILE TEXT: it is in there
told() { if grep -qF -- "$3" "$2"; then ok "$1: '$3'"; else not_ok "$1: '$3'"; fi; }
runs_on() { if state 1 running; then ok "$1: the guest runs on"
else not_ok "$1: the guest runs on"; fi; }

# crowd ADDRESS KIND: peers connect there and say nothing, or a byte now and then, until dispersed
crowd() {
	rm -f "$tmp/crowd.in"
	mkfifo "$tmp/crowd.in"
	: >"$tmp/crowd.out"
	stranger connect "$1" "$2" <"$tmp/crowd.in" >"$tmp/crowd.out" &
	pid[crowd]=$!
	exec 7>"$tmp/crowd.in"
	until_true grep -q here "$tmp/crowd.out"
}
disperse() {
	exec 7>&-
	wait "${pid[crowd]}"
	unset 'pid[crowd]'
}

# Before the source: rejected with the reason; the target keeps waiting, also when peers are silent.
dirty
await 2 "${psk[@]}" --timeout 120
for kind in random http ssh tls close; do stranger connect "$address" \
	$kind >"$tmp/stranger" 2>&1; done
move 1 --psk-file "$tmp/psk2"
is "the key of others" 1 "$status"
runs_on "the key of others"
crowd "$address" silent
move 1 "${psk[@]}" --timeout 10
is "behind strangers of all kinds the guest moves" 0 "$status"
disperse
ended 1
until_true state 2 running
told "of the strangers" "$tmp/2.err" "rejected a peer that is not the source: 127.0.0.1:"
for text in "TLS: the peer does not speak TLS" "offers no pre-shared key" "closed the connection" \
	"has another pre-shared key"; do
	told "of the strangers" "$tmp/2.err" "$text"
done
verified 2 "after strangers"

# Forty tricklers all the time, TLS or not, in pre-copy and post-copy: the source gets in within its
# deadline.
for way in "" "--postcopy always"; do
	for security in "${psk[*]}" --insecure; do
		dirty
		# shellcheck disable=SC2086 # options without spaces
		await 2 $security --timeout 120
		there=$address
		what="forty tricklers, ${security%% *} $way"
		# Without security the first peer that speaks is the source: they come after it.
		if [ "$security" = --insecure ]; then
			gate '<CORE_DONE'
			# shellcheck disable=SC2086
			move 1 $security $way --timeout 10 &
			pid[mover]=$!
			gate_reached
			crowd "$there" trickle
			gate_pass
			wait "${pid[mover]}"
			unset 'pid[mover]'
			gate_gone
			is "$what: no failure of the source" "" \
				"$(grep -F 'still runs here' "$tmp/said")"
		else
			crowd "$there" trickle
			# shellcheck disable=SC2086
			move 1 $security $way --timeout 10
			is "$what: the guest moves" 0 "$status"
		fi
		ended 1
		disperse
		verified 2 "$what"
	done
done

# At the data streams' port.
dirty
await 2 --insecure --timeout 120
there=$address
gate '<CORE_DONE'
move 1 --insecure --timeout 120 &
pid[mover]=$!
gate_reached
crowd "$there" silent
for kind in random http close; do stranger connect "$there" $kind >"$tmp/stranger" 2>&1; done
gate_pass
wait "${pid[mover]}"
unset 'pid[mover]'
gate_gone
disperse
ended 1
is "strangers among the data streams: the guest moves" 8 "$(cat "$tmp/status")"
verified 2 "strangers among the data streams"

# Without any security the first peer is taken for the source.
dirty
for kind in random http ssh; do
	await 2 --insecure
	stranger connect "$address" $kind >"$tmp/stranger"
	ended 2
	is "--insecure: $kind ends the wait" 1 "$(cat "$tmp/status")"
	told "--insecure: $kind" "$tmp/2.err" \
		"no guest arrived: the peer sent something that is not a sevmirror control message"
done
told "text is shown as text" "$tmp/2.err" "it begins with 'SSH-'"
nothing_left "after strangers" 2

# answers KIND TEXT OPTIONS...: migrate meets KIND, fails and says so
answers() {
	local kind=$1 text=$2
	shift 2
	: >"$tmp/address"
	stranger listen "$kind" </dev/null >"$tmp/address" &
	pid[stranger]=$!
	until_true test -s "$tmp/address"
	address=$(head -n 1 "$tmp/address")
	move 1 "$@"
	is "$kind answers: migrate ends with 1" 1 "$status"
	told "$kind answers" "$tmp/said" "still runs here"
	told "$kind answers" "$tmp/said" "$text"
	runs_on "$kind answers"
	wait "${pid[stranger]}"
	unset 'pid[stranger]'
}
for kind in random http ssh; do answers $kind "TLS: the peer does not speak TLS" "${psk[@]}"; done
answers close "the peer closed the connection" "${psk[@]}"
answers random "not a sevmirror control message (it begins with 0x" --insecure
answers http "not a sevmirror control message (it begins with 'GET ')" --insecure

# Other versions, at either end.
ours=$(stranger version)
answers version \
	"the source speaks version $ours of the protocol, the target version $((ours + 1))" \
	--insecure
answers version-long \
	"the source speaks version $ours of the protocol, the target version $((ours + 1))" \
	--insecure
answers helper "different builds of the Migration Helper" --insecure
for kind in version version-long helper; do
	await 2 --insecure
	stranger connect "$address" $kind >"$tmp/stranger"
	ended 2
	is "$kind comes: receive ends with 1" 1 "$(cat "$tmp/status")"
	text="the source speaks version $((ours + 1)) of the protocol, the target version $ours"
	[ $kind != helper ] ||
		text="the source and the target have different builds of the Migration Helper"
	told "$kind comes" "$tmp/2.err" "no guest arrived: $text"
	told "$kind is told" "$tmp/stranger" "$text"
done

# No room for the report: said, and nothing else. (Limits are in KiB.)
for where in limit tmpfs; do
	await 2 "${psk[@]}"
	mkdir -p "$tmp/small"
	# shellcheck disable=SC2016 # for the shells there
	case $where in
	limit) inside=(bash -c 'ulimit -f 1 && exec "$@"' -) why="File too large" ;;
	tmpfs)
		inside=(unshare -m sh -c 'mount -t tmpfs -o size=4k none "$0" && exec "$@"'
			"$tmp/small") why="No space left on device"
		if ! unshare -m mount -t tmpfs -o size=4k none "$tmp/small" 2>/dev/null; then
			skip "no room for the report" "file systems cannot be mounted here"
			kill -INT "${pid[2]}"
			ended 2
			continue
		fi
		;;
	esac
	SEVMIRROR_RUNTIME_DIR=$tmp/1 "${inside[@]}" "$sevmirror" migrate guest --to "$address" \
		"${psk[@]}" --report "$tmp/small/page.html" \
		>"$tmp/said" 2>&1
	is "no room for the report ($where): the guest has moved nevertheless" 12 $?
	told "no room for the report ($where)" "$tmp/said" "--report $tmp/small/page.html: $why"
	is "no room for the report ($where): no half of it is left" "" "$(ls "$tmp/small")"
	ended 1
	verified 2 "no room for the report ($where)"
	dirty
done
at 1 stop guest --force >/dev/null
ended 1

# No room for what the guest wrote to its disk: the source's flush is the last that can fail before
# COMMIT. The guest is a kernel that does nothing, as payloads have no disks: a bzImage's header,
# and `jmp .` at its 64-bit entry.
truncate -s 1M "$tmp/disk"
python3 - "$tmp/kernel" <<'END'
import struct, sys
image = bytearray(0x400 + 0x400)
for at, form, value in [(0x1F1, "B", 1), (0x1F4, "I", 0x40), (0x1FE, "H", 0xAA55),
                        (0x200, "H", 0x6AEB), (0x202, "4s", b"HdrS"), (0x206, "H", 0x20F),
                        (0x211, "B", 1), (0x22C, "I", 0x7FFFFFFF), (0x230, "I", 0x200000),
                        (0x234, "B", 1), (0x236, "H", 1), (0x238, "I", 2047), (0x24C, "I", 0x400),
                        (0x258, "Q", 0x1000000), (0x260, "I", 0x1000), (0x600, "2s", b"\xeb\xfe")]:
    struct.pack_into("<" + form, image, at, value)
open(sys.argv[1], "wb").write(image)
END
LD_PRELOAD=$full_disk SEVMIRROR_RUNTIME_DIR=$tmp/1 "$sevmirror" run --name guest --sev off \
	--kernel "$tmp/kernel" --memory 64M \
	--disk "$tmp/disk" </dev/null >"$tmp/1.out" 2>"$tmp/1.err" &
pid[1]=$!
until_true state 1 running
await 2 "${psk[@]}" --disk "$tmp/disk"
move 1 "${psk[@]}" --report "$tmp/page.html"
is "no room for the disk: migrate ends with 1" 1 "$status"
told "no room for the disk" "$tmp/said" \
	"guest: the source cannot stop the guest and flush its disks: No space left on device"
told "no room for the disk: in the report" "$tmp/page.html" \
	"the source cannot stop the guest and flush its disks: No space left on device"
runs_on "no room for the disk"
ended 2
is "no room for the disk: the target ends with 1" 1 "$(cat "$tmp/status")"
told "no room for the disk: the target" "$tmp/2.err" \
	"source gave up: the source cannot stop the guest and flush its disks: No space left on"
nothing_left "no room for the disk" 2
# The guest has not heard of it, as it flushes nothing: it stays with what it takes for written.
await 2 "${psk[@]}" --disk "$tmp/disk"
move 1 "${psk[@]}"
is "nor does it leave before it knows" 1 "$status"
ended 2
runs_on "nor does it leave"
at 1 stop guest --force >/dev/null
ended 1
at 1 run --payload "$dirtier" --disk "$tmp/disk" >"$tmp/said" 2>&1
is "a payload with a disk is refused" 2 $?
told "a payload with a disk" "$tmp/said" "takes neither --disk nor --net"
finished
