#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A host without descriptors, or without address space: a limit is raised step by step until a guest
# starts, or arrives. Whatever fails before ends with a status and says why; no process crashes, and
# the guest keeps running where it was.
#
# usage: scarce_resources.sh SEVMIRROR PAYLOAD-DIRTIER
set -u
sevmirror=$(realpath "${1:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER}")
dirtier=$(realpath "${2:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER}")
# shellcheck source=tests/kvm/vmm_hosts.sh
. "$(dirname "$0")/vmm_hosts.sh"
run_options=(--memory 16M)
ulimit -c 0

# limited HOST LIMIT WHERE COMMAND...: in the background on the host, with no more than the limit
# (prlimit's option); its words in $tmp/WHERE
limited() {
	local host=$1 limit=$2 where=$3
	shift 3
	: >"$tmp/$where"
	SEVMIRROR_RUNTIME_DIR=$tmp/$host prlimit "$limit" "$sevmirror" "$@" </dev/null \
		>"$tmp/$host.out" 2>"$tmp/$where" &
	pid[$host]=$!
}
gone() { ! kill -0 "${pid[$1]}" 2>/dev/null; }

# said_why WHAT FILE: not by a signal, and in words
said_why() {
	local status
	status=$(cat "$tmp/status")
	case $status in
	1 | 4 | 127) grep -q . "$2" || not_ok "$1 ends with $status: it says why" ;;
	*) not_ok "$1: exit status $status is not one of a failure [$(cat "$2")]" ;;
	esac
}

# starts LIMIT: a guest on host 2, with it
starts() {
	limited 2 "$1" 2.err run --name guest --sev off --payload "$dirtier" --memory 16M \
		--cpus 4 --arg 1 --arg 100 --arg 0 --arg 0 --arg 0 --arg 0 --arg 0 --arg 0 --arg 1
	until_true eval 'gone 2 || state 2 running'
	if ! gone 2; then
		at 2 stop guest --force >/dev/null
		ended 2
		return
	fi
	ended 2
	said_why "run with $1" "$tmp/2.err"
	return 1
}

# A target that could not even take the connection still waits.
end_target() {
	within 5 gone 2 || kill -INT "${pid[2]}"
	ended 2
}

# arrives LIMIT: the guest of host 1 on host 2, with it
arrives() {
	limited 2 "$1" 2.err receive --sev off --name guest --listen 127.0.0.1:0 --insecure \
		--timeout 2
	until_true eval 'gone 2 || grep -q "waiting for the source" "$tmp/2.err"'
	if gone 2; then
		ended 2
		said_why "receive with $1" "$tmp/2.err"
		return 1
	fi
	address=$(sed -n 's/.*waiting for the source on \([^[:space:]]*\).*/\1/p' "$tmp/2.err")
	move 1 --insecure --timeout 2 --max-downtime 3000 --postcopy "${postcopy:-never}"
	if [ "$status" -eq 0 ]; then
		ended 1
		return
	fi
	[ "$status" -eq 1 ] || not_ok "migrate to a target with $1 ends with 1, not $status"
	grep -q 'still runs here' "$tmp/said" || not_ok "migrate to a target with $1 says so"
	state 1 running || not_ok "the guest keeps running after a target with $1"
	end_target
	[ "$(cat "$tmp/status")" = 7 ] || said_why "receive with $1" "$tmp/2.err"
	return 1
}

# departs OPTION SPARE: the guest of host 1, whose process gets no more than so much beyond what it
# has
departs() {
	local used limit before
	await 2 --insecure --timeout 2
	case $1 in
	--nofile) used=$(find "/proc/${pid[1]}/fd" -mindepth 1 -printf '%f\n' | sort -n | tail -n 1)
		limit=$((used + 1 + $2)) ;;
	--as) used=$(awk '{ print $1 * 4096 }' "/proc/${pid[1]}/statm")
		limit=$((used + $2 * 131072)) ;;
	esac
	before=$(prlimit --pid "${pid[1]}" "$1" --noheadings -o SOFT)
	prlimit --pid "${pid[1]}" "$1=$limit:"
	move 1 --insecure --timeout 2 --max-downtime 3000 --postcopy "${postcopy:-never}"
	prlimit --pid "${pid[1]}" "$1=${before// /}:" 2>/dev/null
	if [ "$status" -eq 0 ]; then
		ended 1
		return
	fi
	[ "$status" -eq 1 ] || not_ok "migrate of a source with $2 more ends with 1, not $status"
	state 1 running || not_ok "the guest keeps running on a source with $2 more"
	end_target
	[ "$(cat "$tmp/status")" = 7 ] || said_why "its target" "$tmp/2.err"
	return 1
}

# sweep WHAT FIRST STEP LAST COMMAND...: for each number, until it succeeds
sweep() {
	local what=$1 n=$2 step=$3 last=$4 failed=0
	shift 4
	until "${@//@/$n}"; do
		failed=$((failed + 1))
		n=$((n + step))
		[ $n -le "$last" ] || not_ok "$what: never enough, not with $last either"
	done
	[ $failed -gt 0 ] || not_ok "$what: already $n is enough, so nothing was tried"
	ok "$what: $failed times too little, each time with a status and words; $n are enough"
}

guest() { launch 1 4 21 100 0 0 0 0 1 0 1; }

at_the_start() {
	sweep "descriptors, at the start" 4 1 100 starts --nofile=@
	sweep "address space, at the start" 16 4 400 starts --as=@000000
}
at_the_target() {
	guest
	sweep "descriptors, at the target" 8 1 200 arrives --nofile=@
	verified 2 "descriptors, at the target"
	guest
	sweep "address space, at the target" 30 10 800 arrives --as=@000000
	verified 2 "address space, at the target"
}
at_the_source() {
	local postcopy
	for postcopy in never always; do
		guest
		sweep "descriptors, at the source, post-copy $postcopy" 0 1 100 departs --nofile @
		verified 2 "descriptors, at the source, post-copy $postcopy"
	done
	postcopy=never
	guest
	sweep "address space, at the source" 0 32 1000 departs --as @
	verified 2 "address space, at the source"
}

for part in ${PARTS:-at_the_start at_the_target at_the_source}; do $part; done
finished
