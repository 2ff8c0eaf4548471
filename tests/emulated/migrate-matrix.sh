#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Encrypted Linux guests with a disk and a TCP connection move between two hosts, again and again:
# one CPU and four, idle and writing all the time. The guest compares its memory page by page, its
# disk block by block, and counts its messages. Disks that the hosts do not share are refused.
# shellcheck source=tests/emulated/linux-guests.sh
. "$(dirname "$0")/linux-guests.sh"

two_hosts mix
last=0 # the number of the guest's present process
host=  # where it is
calls=0

# launch N WORDS OPTIONS...: a guest on $one
launch() {
	last=$1 host=$one calls=$((calls + 1))
	guest_works "$@"
}

# other: the host where the guest is not
other() { if [ $host = $one ]; then echo $two; else echo $one; fi; }

# moves OPTIONS...: what migrate says is in $tmp/moved
moves() { move_guest $host "$(other)" --json "$@" >"$tmp/moved" 2>&1; }

# hop WHAT OPTIONS...: the guest moves to the other host and verifies there all that it has
hop() {
	local what=$1 to next=$((last + 1))
	shift
	to=$(other)
	await_guest $next "$to" --disk-dir /shared
	if moves "$@"; then ok "$what"; else
		not_ok "$what"
	fi
	echo "# $(tr -d '{}\n' <"$tmp/moved")"
	host=$to last=$next
	goes_on "$what" $next "$(last_tick $((next - 1)))"
}

# no_disk WHAT TEXT OPTIONS...: what the other host is given for the disk is refused before a page
# has moved, and the guest keeps running
no_disk() {
	local what=$1 text=$2 next=refused-$((++refusals)) tick
	shift 2
	await_guest $next "$(other)" "$@"
	tick=$(last_tick $last)
	fails "$what: no migration" moves
	check "$what: '$text'" grep -qF "$text" "$tmp/moved"
	check "$what: before any page" grep -q '"pages": 0,' "$tmp/moved"
	fails "$what: the other host ends" wait "${process[$next]}"
	check "$what: the guest keeps running" until_true --of "${process[$last]}" ticked $last \
		$((tick + 2))
}
refusals=0

# One CPU, a disk on storage that both hosts have.
on $one sh -c 'demo-disk make /shared/disk && demo-disk make /shared/short &&
	truncate -s 2M /shared/short'
launch 1 "memory=16 rest=10 idle disk" --disk /shared/disk
says "a second opener, on the other host" "in use by another VM" on $two sevmirror run \
	--name second --kernel /boot/vmlinuz --disk /shared/disk
on $two sh -c 'cp /shared/disk /copy && mknod /device b 7 0'
no_disk "a disk that is not there" "/nowhere: No such file" --disk /nowhere
no_disk "a copy of the disk" "the disk /copy is not locked by the source" --disk /copy
no_disk "a disk of another length" "the disk /shared/short does not have the size" \
	--disk /shared/short
no_disk "a folder" "the disk /shared: Is a directory" --disk /shared
hop "one CPU, idle" --max-downtime 8000
says "a second opener, on the host of the disk" "in use by another VM" on $one sevmirror run \
	--name second --kernel /boot/vmlinuz --disk /shared/disk
hop "and back" --max-downtime 8000
type_to $last w
for n in 3 4 5 6 7 8 9 10; do hop "migration $n of ten, writing" --max-downtime 8000; done
flushes=$(number_after $last "flushed")
guest_ends "ten migrations" 1 $last $calls
for h in $one $two; do check "all blocks of the disk are whole, by $h" on $h demo-disk check \
	/shared/disk; done
check "the disk was written and flushed ($flushes times)" [ "$flushes" -gt 10 ]

# Four CPUs.
launch 21 "memory=8 threads=4 idle" --cpus 4
check "it has four CPUs" grep -aq 'demo: the guest is up, 4 CPUs' "$tmp/console-21"
hop "four CPUs, idle" --max-downtime 8000
type_to $last w
hop "four CPUs, writing, throttled" --throttle --max-downtime 400 --max-rounds 200
guest_ends "four CPUs" 21 $last $calls
finished
