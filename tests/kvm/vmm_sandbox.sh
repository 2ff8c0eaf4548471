#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the process of a running VM still has: privileges, system calls by thread, file descriptors,
# memory that a core dump would hold.
#
# usage: vmm_sandbox.sh SEVMIRROR PAYLOAD-DIRTIER
set -u

sevmirror=$(realpath "${1:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER}")
dirtier=$(realpath "${2:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER}")
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"
pid=

cleanup() { [ -z "$pid" ] || { kill -9 "$pid" && wait "$pid"; } 2>/dev/null; }
explain() { ends_of "$tmp/err"; }

if [ ! -w /dev/kvm ]; then
	echo "1..0 # SKIP no usable /dev/kvm"
	exit 0
fi

export SEVMIRROR_RUNTIME_DIR=$tmp/run
# A user that is no longer root must reach what it boots from; nobody else needs to read the rest.
chmod 711 "$tmp"
mkdir -m 700 "$tmp/run"
install -m 755 "$dirtier" "$tmp/dirtier"

running() { "$sevmirror" status guest --json 2>/dev/null | grep -q '"state": "running"'; }

running_or_ended() { running || ! kill -0 "$pid"; }

# begin WHAT OPTIONS...: a VM in the background with things left open for it to inherit; sets pid
begin() {
	local what=$1
	shift
	(
		exec 7</etc/hostname 8>"$tmp/leaked" 9<>"$tmp/leaked"
		exec "$sevmirror" run --name guest --sev off --payload "$tmp/dirtier" --memory 64M \
			--cpus 2 "$@" \
			--arg 1 --arg 1000 --arg 1048576 </dev/null >"$tmp/out" 2>"$tmp/err"
	) &
	pid=$!
	until_true running_or_ended && running || not_ok "$what"
	ok "$what"
}

end() {
	"$sevmirror" stop guest --force >/dev/null 2>&1
	wait "$pid" 2>/dev/null
	echo $? >"$tmp/status"
	pid=
}

# field NAME FILE: of a status file
field() { awk -v name="$1:" \
	'$1 == name { $1 = ""; sub(/^ /, ""); gsub(/\t/, " "); print; exit }' "$2"; }
# threads NAME FIELD: the different values of a field in all threads whose name begins so
threads() {
	local t
	for t in /proc/"$pid"/task/*; do
		case $(cat "$t/comm") in "$1"*) field "$2" "$t/status" ;; esac
	done | sort -u | tr '\n' ' ' | sed 's/ $//'
}
caps() {
	local c
	for c in CapInh CapPrm CapEff CapBnd CapAmb; do
		threads '' $c
		echo
	done | sort -u
}

begin "a VM runs in the sandbox"
is "system calls are filtered in every thread" 2 "$(threads '' Seccomp)"
is "no new privileges" 1 "$(threads '' NoNewPrivs)"
if [ "$(id -u)" -eq 0 ]; then
	is "no capabilities" "0000000000000000" "$(caps)"
fi
if grep -q Seccomp_filters "/proc/$pid/status"; then
	outer=$(field Seccomp_filters /proc/self/status)
	is "the process has one filter" $((outer + 1)) "$(threads sevmirror Seccomp_filters)"
	is "the guest's CPUs have one of their own" $((outer + 2)) "$(threads vcpu Seccomp_filters)"
else
	skip "the number of filters" "the kernel does not say it (Linux 5.9)"
fi
is "no core file" "0 0 bytes" \
	"$(awk '/^Max core file size/ { print $5, $6, $7 }' "/proc/$pid/limits")"

# What is open: the standard descriptors, KVM's, eventfds, the guest's memory, the control socket
# and its lock.
allowed='^(/dev/null|/dev/kvm|/dev/sev|/dev/userfaultfd|anon_inode:kvm-vm|anon_inode:kvm-vcpu:[0-9]+'
allowed+='|anon_inode:\[eventfd\]|anon_inode:\[signalfd\]'
allowed+='|/memfd:guest-ram.*|/memfd:sevmirror-helper.*|socket:.*'
allowed+="|$tmp/out|$tmp/err|$tmp/run/guest\\.lock)\$"
is "no descriptor that it does not need" "" \
	"$(for f in /proc/"$pid"/fd/*; do readlink "$f"; done | grep -vE "$allowed")"

# The guest's memory and the helper's region, once mapped: 'dd' is MADV_DONTDUMP.
for memory in guest-ram sevmirror-helper; do
	flags=$(awk -v name="/memfd:$memory" \
		'index($0, name) { in_it = 1 } in_it && /^VmFlags/ { print; exit }' \
		"/proc/$pid/smaps")
	case " $flags " in *" dd "*) ok "$memory stays out of core dumps" ;; *) not_ok \
		"$memory stays out of core dumps ($flags)" ;; esac
done

is "the runtime directory is its owner's" 700 "$(stat -c %a "$tmp/run")"
is "and the socket" 600 "$(stat -c %a "$tmp/run/guest.sock")"
is "and the lock" 600 "$(stat -c %a "$tmp/run/guest.lock")"
"$sevmirror" pause guest >/dev/null && "$sevmirror" resume guest >/dev/null
is "it can be paused and resumed" 0 $?
end
is "it was stopped, not killed" 7 "$(cat "$tmp/status")"
is "socket and lock are gone" "" "$(ls "$tmp/run")"

if [ "$(id -u)" -eq 0 ]; then
	begin "a VM runs as another user" --user 65534
	is "another user" "65534 65534 65534 65534" "$(threads '' Uid)"
	is "another group" "65534 65534 65534 65534" "$(threads '' Gid)"
	is "no other groups" 65534 "$(threads '' Groups)"
	is "no capabilities" "0000000000000000" "$(caps)"
	is "other processes of that user see nothing of it" 0 "$(stat -c %u "/proc/$pid/environ")"
	if setpriv --reuid 65534 --regid 65534 --clear-groups cat \
		"/proc/$pid/maps" >/dev/null 2>&1; then
		not_ok "nor its memory"
	else
		ok "nor its memory"
	fi
	is "its descriptors" "" \
		"$(for f in /proc/"$pid"/fd/*; do readlink "$f"; done | grep -vE "$allowed")"
	"$sevmirror" pause guest >/dev/null && "$sevmirror" resume guest >/dev/null
	is "root can pause and resume it" 0 $?
	end
	is "and stop it" 7 "$(cat "$tmp/status")"
else
	skip "--user" "only root can become another user"
fi

begin "a VM runs without a sandbox" --no-sandbox
if grep -q 'warning.*--no-sandbox' "$tmp/err"; then ok "--no-sandbox is warned of"
else not_ok "--no-sandbox is warned of"; fi
is "and then nothing is filtered" "$(field Seccomp /proc/self/status)" "$(threads '' Seccomp)"
is "but no new privileges" 1 "$(threads '' NoNewPrivs)"
end

# refused WHAT STATUS WORDS OPTIONS...
refused() {
	local what=$1 status=$2 words=$3
	shift 3
	"$sevmirror" run --sev off --payload "$tmp/dirtier" "$@" </dev/null >"$tmp/out" 2>"$tmp/err"
	is "$what" "$status" $?
	if grep -q -- "$words" "$tmp/err"; then ok "$what: it says why"
	else not_ok "$what: it says why"; fi
}
if [ "$(id -u)" -eq 0 ]; then
	refused "--allow-unix as root" 2 'name a user with --user' --allow-unix
	begin "root that says so may use Unix sockets" --allow-unix --user root
	is "and stays root" "0 0 0 0" "$(threads '' Uid)"
	end
else
	skip "--allow-unix as root" "this is not root"
fi
refused "an unknown user" 1 'no such user' --user nobody-of-this-name
refused "--user with --no-sandbox" 2 'exclude each other' --user 65534 --no-sandbox

done_testing
