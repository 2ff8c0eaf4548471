#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An encrypted Linux guest with four CPUs goes over before its memory does: at once, when it would
# not converge, with a connection that breaks and is mended. It compares its memory page by page,
# its disk block by block, and its messages have no gap; neither host's memory holds its canary.
# shellcheck source=tests/emulated/linux-guests.sh
. "$(dirname "$0")/linux-guests.sh"

two_hosts pol
on "$one" demo-disk make /shared/disk
guest_works 1 "memory=12 threads=4 disk" --cpus 4 --disk /shared/disk

# arrived WHAT N: the guest's Nth process runs it, and it finds all that it had
arrived() { goes_on "$1" "$2" "$(last_tick $(($2 - 1)))"; }

# hop WHAT N FROM TO OPTIONS...
hop() {
	local what=$1 n=$2 from=$3 to=$4
	shift 4
	await_guest "$n" "$to" --disk-dir /shared
	if move_guest "$from" "$to" --json "$@" >"$tmp/moved" 2>&1; then ok "$what"; else
		not_ok "$what"
	fi
	echo "# $(tr -d '{}\n' <"$tmp/moved" | sed 's/"fault-times": \[[^]]*\], *//; s/   */ /g')"
	check "$what: with pages behind it" grep -q '"faults": [1-9]' "$tmp/moved"
	arrived "$what" "$n"
}

hop "post-copy at once" 2 $one $two --postcopy always

# Written faster than the link takes it.
await_guest refused $one --disk-dir /shared
fails "pre-copy alone does not converge" move_guest $two $one --bandwidth 5M --max-downtime 100 \
	--max-rounds 2
fails "the target ends" wait "${process[refused]}"
hop "post-copy when it would not converge" 3 $two $one --bandwidth 5M --max-downtime 100 \
	--max-rounds 2 --postcopy auto

# The connection breaks while pages are missing.
await_guest 4 $two --disk-dir /shared
move_guest $one $two --postcopy always --bandwidth 5M >"$tmp/moved" 2>&1 &
mover=$!
source_moves() { guest_moves $one; }
check "it goes over" until_true --watch source_moves --of $mover \
	grep -q 'memory is arriving' "$tmp/said-4"
# shellcheck disable=SC2016 # for the host's shell
on $one sh -c 'for p in $(pidof sevmirror); do ! grep -q migrate /proc/$p/cmdline ||
	kill -INT $p; done'
wait $mover
check "the connection breaks: 10" [ $? -eq 10 ]
check "the target says so" until_true grep -q 'connection to the source broke' "$tmp/said-4"
check "the target answers while CPUs wait" on $two sevmirror status guest
says "the source does not run it again" "guest: The guest was running on the target" on $one \
	sevmirror resume guest
for h in $one $two; do
	"$sev_host" dump-memory $h "$tmp/ram" >/dev/null 2>&1
	"$build/demo/demo-search" "$tmp/ram" >"$tmp/found"
	check "the private canary is nowhere in the memory of $h" [ $? -le 1 ]
	rm -f "$tmp/ram"
done
check "recovery" "$sev_host" exec $one --timeout 400 -- sevmirror migrate guest --recover
arrived "recovery" 4

guest_ends "post-copy" 1 4 1
check "all blocks of the disk are whole" on $two demo-disk check /shared/disk
finished
