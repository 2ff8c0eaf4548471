#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A target whose guest memory is of reserved huge pages: userfaultfd continues such a page only
# whole, so post-copy is refused there, by name and before any page moves. Everything else goes
# there. It reserves the huge pages that it needs, and gives them back.
#
# usage: postcopy_hugepages.sh SEVMIRROR PAYLOAD-DIRTIER
# shellcheck source=tests/kvm/vmm_hosts.sh
. "$(dirname "$0")/vmm_hosts.sh"

sevmirror=$(realpath "${1:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER}")
dirtier=$(realpath "${2:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER}")

pool=/sys/kernel/mm/hugepages/hugepages-2048kB
need=33 # for 64 MiB of guest memory and what it is aligned by
added=0
number() { cat "$pool/$1" 2>/dev/null || echo 0; }
# Only what was added here: others on the machine may have reserved some meanwhile.
give_back() { [ $added -eq 0 ] || echo $(($(number nr_hugepages) - added)) >$pool/nr_hugepages; }
trap 'give_back; tap_end' EXIT
if [ -w $pool/nr_hugepages ] && [ "$(number free_hugepages)" -lt $need ]; then
	had=$(number nr_hugepages)
	# The kernel finds more of them once memory is gathered.
	echo 1 2>/dev/null >/proc/sys/vm/compact_memory
	echo $((had + need)) >$pool/nr_hugepages
	added=$(($(number nr_hugepages) - had))
fi
if [ "$(number free_hugepages)" -lt $need ]; then
	echo "1..0 # SKIP post-copy to huge pages is NOT tested: the machine has no $need free" \
		"huge pages of 2 MiB and none can be reserved"
	exit 0
fi

# refused WHAT OPTIONS...: nothing has moved, and the guest has noticed nothing
refused() {
	local what=$1
	shift
	await 2 --psk-file "$tmp/psk" --hugepages
	move 1 --psk-file "$tmp/psk" --json "$@"
	is "$what is refused" 1 "$status"
	if grep -q 'the target cannot do post-copy: its guest memory consists of huge pages' \
		"$tmp/said"; then ok "$what: by name"; else not_ok "$what: by name"; fi
	if grep -q '"pages": 0,' "$tmp/said"; then ok "$what: before a page has moved"
	else not_ok "$what: before a page has moved"; fi
	ended 2
	if state 1 running; then ok "$what: the guest runs on"
	else not_ok "$what: the guest runs on"; fi
	nothing_left "$what" 2
}

launch 1 2 31 500 0 1 0 2 1
refused "post-copy to huge pages" --postcopy always
refused "post-copy that may not be needed" --postcopy auto

await 2 --psk-file "$tmp/psk" --hugepages
move 1 --psk-file "$tmp/psk" --max-downtime 2000
is "without post-copy it goes to huge pages" 0 "$status"
used=$(($(number nr_hugepages) - $(number free_hugepages)))
if [ $used -ge 32 ]; then ok "which its memory is of"
else not_ok "which its memory is of ($used in use)"; fi
ended 1
verified 2 "huge pages"

finished
