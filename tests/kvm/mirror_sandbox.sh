#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the process of a mirror still has, while a workload runs in it: privileges, system calls by
# thread, file descriptors; and that the workload still does its work, as another user, too.
#
# usage: mirror_sandbox.sh SEVMIRROR PAYLOADS-DIR
# shellcheck source=tests/kvm/vmm_hosts.sh
. "$(dirname "$0")/vmm_hosts.sh"

sevmirror=$(realpath "${1:?usage: $0 SEVMIRROR PAYLOADS-DIR}")
payloads=$(realpath "${2:?usage: $0 SEVMIRROR PAYLOADS-DIR}")
dirtier=$payloads/payload-dirtier

# A job that does not end while the test lasts, and one that does
endless=()
for ((i = 0; i < 1000; i++)); do endless+=(--range 0+60M); done
short=(--range 0x80000+0x20000)

# mirror_runs OPTIONS...: in the background, with things left open for it to inherit, until the
# workload has the mirror
mirror_runs() {
	(
		exec 7</etc/hostname 8>"$tmp/leaked"
		SEVMIRROR_RUNTIME_DIR=$tmp/1 exec "$sevmirror" mirror attach guest "$@" \
			"${endless[@]}" </dev/null \
			>"$tmp/mirror.out" 2>"$tmp/mirror.err"
	) &
	pid[mirror]=$!
	if until_true working; then ok "a mirror runs${*:+ ($*)}"
	else not_ok "a mirror runs${*:+ ($*)}"; fi
}
# shellcheck disable=SC2317  # by until_true
# The vCPU's thread is there, and the main one has settled.
working() { [ "$(threads workload State | cut -c 1)" ] && at 1 status guest |
	grep -q '^mirror *attached'; }
stop_mirror() {
	kill -INT "${pid[mirror]}"
	ended mirror
	is "$1" 1 "$(cat "$tmp/status")"
}

# threads NAME FIELD: the different values of a field of /proc/PID/status in all threads whose name
# begins so
threads() {
	local t
	for t in /proc/"${pid[mirror]}"/task/*; do
		case $(cat "$t/comm") in "$1"*)
			awk -v name="$2:" \
				'$1 == name { $1 = ""; sub(/^ /, ""); gsub(/\t/, " ")
					print; exit }' "$t/status"
			;;
		esac
	done | sort -u | tr '\n' ' ' | sed 's/ $//'
}
caps() {
	local c
	for c in CapInh CapPrm CapEff CapBnd CapAmb; do
		threads '' $c
		echo
	done | sort -u
}
# What is open besides standard descriptors: KVM's, eventfds, the link to the VM, the guest's
# memory.
not_needed() {
	local allowed='^(/dev/null|/dev/kvm|anon_inode:kvm-vm|anon_inode:kvm-vcpu:[0-9]+'
	allowed+='|anon_inode:\[eventfd\]|anon_inode:\[signalfd\]|/memfd:.*|socket:.*'
	allowed+="|$tmp/mirror\\.out|$tmp/mirror\\.err)\$"
	for f in /proc/"${pid[mirror]}"/fd/*; do readlink "$f"; done | grep -vE "$allowed"
}

export run_options=(--mirror-payload "$payloads/payload-memscan")
launch 1 1 21 2000 1048576

mirror_runs
is "system calls are filtered in every thread" 2 "$(threads '' Seccomp)"
is "no new privileges" 1 "$(threads '' NoNewPrivs)"
if [ "$(id -u)" -eq 0 ]; then is "no capabilities" "0000000000000000" "$(caps)"; fi
if grep -q Seccomp_filters "/proc/${pid[mirror]}/status"; then
	outer=$(awk '$1 == "Seccomp_filters:" { print $2 }' /proc/self/status)
	is "the thread that reads what the workload writes has a filter of its own" $((outer + 2)) \
		"$(threads sevmirror Seccomp_filters)"
	is "and so has the mirror's CPU" $((outer + 2)) "$(threads workload Seccomp_filters)"
else
	skip "the number of filters" "the kernel does not say it (Linux 5.9)"
fi
is "no core file" "0 0 bytes" \
	"$(awk '/^Max core file size/ { print $5, $6, $7 }' "/proc/${pid[mirror]}/limits")"
is "no descriptor that it does not need" "" "$(not_needed)"
stop_mirror "a signal ends it"

if [ "$(id -u)" -eq 0 ]; then
	mirror_runs --user 65534
	is "another user" "65534 65534 65534 65534" "$(threads '' Uid)"
	is "another group" "65534 65534 65534 65534" "$(threads '' Gid)"
	is "no other groups" 65534 "$(threads '' Groups)"
	is "no capabilities" "0000000000000000" "$(caps)"
	is "other processes of that user see nothing of it" 0 \
		"$(stat -c %u "/proc/${pid[mirror]}/environ")"
	is "no descriptor that it does not need" "" "$(not_needed)"
	stop_mirror "a signal ends it"
	at 1 mirror attach guest --user 65534 "${short[@]}" >"$tmp/said" 2>&1
	is "the workload does its work for another user" 0 $?
else
	skip "--user" "only root can become another user"
fi

mirror_runs --no-sandbox
if grep -q 'warning.*--no-sandbox' "$tmp/mirror.err"; then ok "--no-sandbox is warned of"
else not_ok "--no-sandbox is warned of"; fi
is "and then nothing is filtered" "$(awk '$1 == "Seccomp:" { print $2 }' /proc/self/status)" \
	"$(threads '' Seccomp)"
is "but no new privileges" 1 "$(threads '' NoNewPrivs)"
stop_mirror "a signal ends it"

# refused WHAT STATUS WORDS OPTIONS...
refused() {
	local what=$1 status=$2 words=$3
	shift 3
	at 1 mirror attach guest "$@" "${short[@]}" >"$tmp/said" 2>&1
	is "$what" "$status" $?
	if grep -q -- "$words" "$tmp/said"; then ok "$what: it says why"
	else not_ok "$what: it says why"; fi
}
refused "an unknown user" 1 'no such user' --user nobody-of-this-name
refused "--user with --no-sandbox" 2 'exclude each other' --user 65534 --no-sandbox

verified 1 "mirrors in the sandbox"
finished
