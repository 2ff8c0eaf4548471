#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A guest with more memory than this host has, or than the target permits, is refused before any of
# it is touched. While memory is populated the VM's status can be asked for, and SIGTERM ends it.
#
# usage: memory_limits.sh SEVMIRROR PAYLOAD-DIRTIER
set -u
sevmirror=$(realpath "${1:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER}")
dirtier=$(realpath "${2:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER}")
# shellcheck source=tests/kvm/vmm_hosts.sh
. "$(dirname "$0")/vmm_hosts.sh"
psk=(--psk-file "$tmp/psk")
available=$(awk '/^(MemAvailable|SwapFree):/ { n += $2 } END { print int(n / 1024) }' /proc/meminfo)

told() { if grep -qF -- "$2" "$tmp/said"; then ok "$1: '$2'"; else not_ok "$1: '$2'"; fi; }

# refused WHAT SIZE TEXT [COMMAND...]: by the command that runs the command line
refused() {
	local what=$1 size=$2 text=$3
	shift 3
	SEVMIRROR_RUNTIME_DIR=$tmp/1 timeout 60 "$@" "$sevmirror" run --name guest --sev off \
		--payload "$dirtier" --memory "$size" </dev/null >"$tmp/said" 2>&1
	is "$what: exit status" 4 $?
	told "$what" "$text"
	is "$what: nothing is left" "" "$(find "$tmp/1" -name '*.sock')"
}

refused "more than any guest can have" 2T "more than the Migration Helper can serve"
if [ "$available" -lt $((800 << 10)) ]; then
	refused "more than the host has" 800G \
		"the guest needs 800 GiB of memory, and 804 MiB for its Migration Helper, and this"
else
	skip "more than the host has" "this host has 800 GiB"
fi

# The cgroup's limit, where one can be made.
group=/sys/fs/cgroup/sevmirror-test-$$
if grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null && mkdir "$group" 2>/dev/null &&
	echo 64M 2>/dev/null >"$group/memory.max"; then
	# shellcheck disable=SC2016 # for the shell there
	refused "more than the cgroup has" 256M "memory.max of the cgroup" \
		sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group"
else
	skip "more than the cgroup has" "no cgroup of version 2 with the memory controller"
fi
rmdir "$group" 2>/dev/null

# populates HOST: its status says so
populates() { at "$1" status guest 2>/dev/null | grep -q ' populated'; }

# ends_soon WHAT HOST: SIGTERM ends the VM's process there before its memory is populated
ends_soon() {
	kill -TERM "${pid[$2]}"
	ended "$2"
	is "$1: SIGTERM ends it: exit status" 7 "$(cat "$tmp/status")"
}

# As much as half of what is available, so that there is time to look.
size=$((available / 2 < 16384 ? available / 2 / 2 * 2 : 16384))
SEVMIRROR_RUNTIME_DIR=$tmp/1 "$sevmirror" run --name guest --sev off --payload "$dirtier" \
	--memory ${size}M </dev/null >"$tmp/1.out" 2>"$tmp/1.err" &
pid[1]=$!
until_true eval 'populates 1 || state 1 running'
if populates 1; then
	at 1 status guest --json >"$tmp/said"
	told "while memory is populated: status" '"state": "starting"'
	ends_soon "while memory is populated" 1
	cp "$tmp/1.err" "$tmp/said"
	told "while memory is populated" "stopped while its memory was populated"
else
	skip "while memory is populated" "it took no time"
	kill -TERM "${pid[1]}"
	ended 1
fi

# At a target: the operator's limit.
run_options=(--memory 64M)
launch 1 1 21 2000 1048576 1 0 0 1
await 2 "${psk[@]}" --memory-max 32M
move 1 "${psk[@]}"
is "--memory-max: migrate ends with 1" 1 "$status"
told "--memory-max" "the VM has 64M of memory, and the target takes one with at most 32M"
ended 2
check "--memory-max: the guest runs on" state 1 running
await 2 "${psk[@]}" --memory-max 64M
move 1 "${psk[@]}"
is "--memory-max as large as the guest: it moves" 0 "$status"
ended 1
verified 2 "--memory-max"
finished
