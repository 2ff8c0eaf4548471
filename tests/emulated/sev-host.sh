#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The command sev-host itself: what it passes through, what it refuses, what it leaves behind
# (nothing).
# shellcheck disable=SC2317 # functions are called by trap and by name
set -u
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
sev_host=${SEV_HOST:-$top/emulator/sev-host}
# shellcheck source=tests/tap.sh
. "$top/tests/tap.sh"
# hosts of its own, out of the way of others
export SEV_HOST_RUNTIME=$tmp/run XDG_STATE_HOME=$tmp/state

cleanup() {
	local h
	for h in a b; do "$sev_host" stop "$h" >/dev/null 2>&1; done
}
explain() { ends_of "$tmp/err"; }

# verdict STATUS WHAT
verdict() { if [ "$1" -eq 0 ]; then ok "$2"; else not_ok "$2"; fi; }

# status WHAT EXPECTED COMMAND...: its exit status; its stderr is in $tmp/err
status() {
	local what=$1 expected=$2 got=0
	shift 2
	"$@" </dev/null >"$tmp/out" 2>"$tmp/err" || got=$?
	[ "$got" = "$expected" ] || sed 's/^/# /' "$tmp/err"
	is "$what" "$expected" "$got"
}

# complains WHAT STATUS TEXT COMMAND...
complains() {
	local what=$1 text=$3
	status "$what: status" "$2" "${@:4}"
	grep -qF -- "$text" "$tmp/err" || sed 's/^/# /' "$tmp/err"
	grep -qF -- "$text" "$tmp/err"
	verdict $? "$what: says '$text'"
}

exec_in() { "$sev_host" exec "$@"; }
processes() { pgrep -f -- "$SEV_HOST_RUNTIME/(hosts|links)/" | wc -l; }
none_left() { [ "$(processes)" -eq 0 ]; }
tools_of_a() { sed -n 's/^tools=//p' "$SEV_HOST_RUNTIME/hosts/a/info"; }
in_a() { exec_in a -- sh -c "$1" </dev/null; }
# runs_in_a PATTERN: a process whose command line matches; [x] keeps the asking command from
# matching
runs_in_a() { in_a "ps | grep -q '$1'"; }
gone_from_a() { ! runs_in_a "$1"; }
more_than_one() { [ "$(processes)" -gt 1 ]; }

refusals() {
	complains "unknown command" 2 "no command 'frob'" "$sev_host" frob
	complains "unknown option" 2 "unknown option '--frob'" "$sev_host" start a --frob
	complains "option without value" 2 "--memory needs a value" "$sev_host" start a --memory
	complains "bad memory" 2 "'lots' is not a size" "$sev_host" start a --memory lots
	complains "bad number of CPUs" 2 "'0' is not a number" "$sev_host" start a --cpus 0
	complains "bad name" 2 "is not a name" "$sev_host" start ../a
	complains "bad kernel" 2 "there is 6.12 and 6.1" "$sev_host" start a --kernel 5.10
	complains "missing disk" 125 "there is no file" "$sev_host" start a --disk "$tmp/none"
	complains "a disk that is a terminal or the like" 125 \
		"'/dev/null' is a character special file" "$sev_host" start a --disk /dev/null
	complains "a PSP's delay that is no number" 2 "--psp-delay: '1s' is not a number" \
		"$sev_host" start a --psp-delay 1s
	complains "a PSP's delay of an hour" 2 "--psp-delay: '3600000000'" "$sev_host" start a \
		--psp-delay 3600000000
	complains "half a fault" 2 "'LAUNCH_START:1' is not CMD:N:CODE" "$sev_host" start a \
		--psp-fail LAUNCH_START:1
	complains "too much of a fault" 2 "is not CMD:N:CODE" "$sev_host" start a \
		--psp-fail LAUNCH_START:1:1:1
	complains "an unknown command of the PSP" 2 "'LAUNCH' is not a command" "$sev_host" start \
		a --psp-fail LAUNCH:1:1
	complains "the 0th command" 2 "'0' is neither" "$sev_host" start a \
		--psp-fail LAUNCH_START:0:1
	complains "an unknown status of the PSP" 2 "'NOPE' is not a status" "$sev_host" start a \
		--psp-fail LAUNCH_START:1:NOPE
	complains "success is no fault" 2 "'0' is not a status" "$sev_host" start a \
		--psp-fail LAUNCH_START:1:0
	complains "the PSP of an unknown host" 125 "no host 'a'" "$sev_host" psp a
	complains "unknown system" 2 "there is debian12 and debian13, not 'arch'" "$sev_host" \
		start a --system arch
	complains "a kernel that the system lacks" 2 "Debian's trixie has no kernel 6.1" \
		"$sev_host" start a --system debian13 --kernel 6.1
	complains "bad package" 2 "'a b' is not the name" "$sev_host" start a --package "a b"
	complains "the disk's size of a small host" 2 "--disk-size is for system hosts" \
		"$sev_host" start a --disk-size 10G
	complains "a disk that is too small" 2 "'1G' is not from 8G" "$sev_host" start a \
		--system debian13 --disk-size 1G
	complains "guest-disk without a folder" 125 "no folder '$tmp/none'" "$sev_host" guest-disk \
		"$tmp/none/disk"
	complains "ssh to an unknown host" 125 "no host 'a'" "$sev_host" ssh a
	complains "stop of an unknown host" 125 "no host 'a'" "$sev_host" stop a
	complains "exec in an unknown host" 125 "no host 'a'" "$sev_host" exec a -- true
	complains "exec without --" 2 "write -- before" "$sev_host" exec a true
	complains "exec --fresh of a missing file" 125 "no '$tmp/none'" "$sev_host" \
		exec --fresh --add "$tmp/none:/x" -- true
	complains "unknown link" 125 "no link 'wire'" "$sev_host" link wire --cut
	complains "boot timeout" 125 "did not come up in time" "$sev_host" start a --boot-timeout 1
	none_left
	verdict $? "a refused start leaves no process"
}

streams() {
	head -c 3000000 /dev/urandom >"$tmp/random"
	exec_in a -- cat <"$tmp/random" >"$tmp/out"
	cmp -s "$tmp/out" "$tmp/random"
	verdict $? "3 MB of random bytes there and back"
	exec_in a -- sh -c 'cat >&2' <"$tmp/random" 2>"$tmp/err" >"$tmp/out"
	cmp -s "$tmp/err" "$tmp/random" && [ ! -s "$tmp/out" ]
	verdict $? "stderr is apart from stdout"
	is "arguments stay as they are" "|a b||\$x|'|" \
		"$(exec_in a -- printf '|%s' 'a b' '' "\$x" "'" '' </dev/null)"
	# shellcheck disable=SC2016 # for the host's shell
	is "a background process does not hold the command up" hi "$(in_a 'sleep 1000 & echo hi')"
	yes | exec_in a -- head -n 1 >"$tmp/out" 2>"$tmp/err"
	is "a command that does not read its input to the end" "0 y" \
		"${PIPESTATUS[1]} $(cat "$tmp/out" "$tmp/err")"
	exec_in a -- yes only-once </dev/null 2>"$tmp/err" | head -n 1 >"$tmp/out"
	is "a reader that has enough" "only-once" "$(cat "$tmp/out" "$tmp/err")"
	within 120 gone_from_a 'onl[y]-once'
	verdict $? "and its command ends"
}

statuses() {
	status "exit status 0" 0 exec_in a -- true
	status "exit status 42" 42 exec_in a -- sh -c 'exit 42'
	# shellcheck disable=SC2016 # for the host's shell
	status "ended by SIGKILL" 137 exec_in a -- sh -c 'kill -9 $$'
	status "no such command" 127 exec_in a -- /no/such
	status "not a program" 126 exec_in a -- /etc
	status "timeout" 124 exec_in a --timeout 0.5 -- sleep 1001
	status "timeout of a command that ignores SIGTERM" 124 exec_in a --timeout 0.5 \
		-- sh -c 'trap "" TERM; sleep 1002; sleep 1002'
	gone_from_a 'slee[p] 100[12]'
	verdict $? "nothing of them is left"
}

# A client that is ended takes its command along.
cancelled() {
	local signal pid
	for signal in INT TERM KILL; do
		"$sev_host" exec a -- sleep 2000 </dev/null 2>/dev/null &
		pid=$!
		within 120 runs_in_a 'slee[p] 2000'
		verdict $? "a command to be ended by SIG$signal runs"
		kill -"$signal" "$pid"
		wait "$pid"
		within 120 gone_from_a 'slee[p] 2000'
		verdict $? "SIG$signal for the client ends it"
	done 2>/dev/null
}

parallel() {
	local i pids=()
	for i in 1 2 3 4 5 6 7 8; do
		exec_in a -- sh -c "cat; exit $i" <"$tmp/random" >"$tmp/parallel.$i" &
		pids+=($!)
	done
	local got=
	for i in "${pids[@]}"; do
		wait "$i"
		got+="$? "
	done
	is "eight commands at once: statuses" "1 2 3 4 5 6 7 8 " "$got"
	got=0
	for i in 1 2 3 4 5 6 7 8; do cmp -s "$tmp/random" "$tmp/parallel.$i" || got=1; done
	verdict $got "eight commands at once: output"
}

copies() {
	head -c 64M /dev/urandom >"$tmp/big"
	chmod 751 "$tmp/big"
	status "copy 64 MiB in" 0 "$sev_host" copy "$tmp/big" a:/tmp/
	is "with its mode" 751 "$(in_a 'stat -c %a /tmp/big')"
	status "and out" 0 "$sev_host" copy a:/tmp/big "$tmp/back"
	cmp -s "$tmp/big" "$tmp/back"
	verdict $? "unchanged"
	is "with its mode again" 751 "$(stat -c %a "$tmp/back")"

	mkdir -p "$tmp/d/in ner"
	echo text >"$tmp/d/in ner/f"
	chmod 640 "$tmp/d/in ner/f"
	ln -s f "$tmp/d/in ner/l"
	status "copy a folder" 0 "$sev_host" copy "$tmp/d" a:/tmp
	status "to a new name" 0 "$sev_host" copy "$tmp/d" a:/tmp/e
	status "and back" 0 "$sev_host" copy a:/tmp/e "$tmp/e"
	status "the same folder, modes and links" 0 diff -r "$tmp/d" "$tmp/e"
	is "link and mode" "f 640" "$(readlink "$tmp/e/in ner/l") $(stat -c %a "$tmp/e/in ner/f")"
	is "an existing folder gets it inside" text "$(in_a 'cat "/tmp/d/in ner/f"')"
	complains "copy of nothing" 125 "there is no" "$sev_host" copy "$tmp/none" a:/tmp
	complains "copy of nothing from the host" 125 "there is no" "$sev_host" copy \
		a:/tmp/none "$tmp"
	complains "copy between nobody" 2 "NAME:PATH" "$sev_host" copy "$tmp/d" "$tmp/f"

	# a program with shared libraries that the image does not have
	status "copy a dynamic program" 0 "$sev_host" copy "$(command -v cpio)" a:/usr/bin/cpio
	status "and run it" 0 exec_in a -- /usr/bin/cpio --version
}

platform() {
	in_a 'test -c /dev/sev && test -c /dev/kvm'
	verdict $? "the host has /dev/sev and /dev/kvm"
	is "the TSC has the machine's frequency, whatever the emulated timer says" \
		"$(($("$(tools_of_a)/tsc") / 1000))" \
		"$(in_a dmesg | sed -n 's/.*tsc: Detected \([0-9]*\)\..* MHz processor/\1/p')"
	in_a 'dmesg' | grep -q 'kvm_amd: SEV enabled'
	verdict $? "its kernel says that SEV is enabled"
	# shellcheck disable=SC2016 # for the host's shell
	in_a 'test -s /boot/vmlinuz && test -e /lib/modules/$(uname -r)/kernel'
	verdict $? "it has its kernel as a file"
	"$sev_host" log a | grep -q 'Linux version 6.12'
	verdict $? "log shows its kernel log"
	is "two CPUs" 2 "$(in_a nproc)"
	is "the disk" "$(head -c 16 "$tmp/disk")" "$(in_a 'head -c 16 /dev/vda')"
	status "writing to the disk" 0 exec_in a \
		-- sh -c 'echo from-the-host-- | dd of=/dev/vda bs=16 count=1 conv=fsync'
	is "shows outside" "from-the-host--" "$(head -c 15 "$tmp/disk")"
	in_a 'dmesg' | grep -q 'ACPI: PM: (supports S0 S5)'
	verdict $? "the machine has no S3 and no S4"
	is "the secure processor is as told at the start" \
		"delay: 10 us fail: 0x3:2:0x13/0x9:0:0x7 " "$("$sev_host" psp a | tr '\n' ' ')"
	status "it is told otherwise" 0 "$sev_host" psp a --psp-fail DF_FLUSH:1:ACTIVE
	is "and does so" "delay: 0 us fail: 0xa:1:0x12 " "$("$sev_host" psp a | tr '\n' ' ')"
	complains "it is told nonsense" 2 "psp: unknown option '--frob'" "$sev_host" psp a --frob
	status "it is good again" 0 "$sev_host" psp a --psp-fail none
	is "its name" a "$(in_a hostname)"
	complains "a second host of its name" 125 "there is a host 'a' already" "$sev_host" start a
	is "monitor" "VM status: running" "$("$sev_host" monitor a 'info status' | tr -d '\r')"
}

# An idle host costs next to nothing: hundredths of a second of CPU time in ten seconds.
idle() {
	local pid before
	pid=$(pgrep -f -- "-name sev-host-a .*$SEV_HOST_RUNTIME/hosts/a/qmp")
	before=$(awk '{ print $14 + $15 }' "/proc/$pid/stat")
	sleep 10
	[ $(($(awk '{ print $14 + $15 }' "/proc/$pid/stat") - before)) \
		-lt $(($(getconf CLK_TCK) * 10 * 5 / 100)) ]
	verdict $? "an idle host takes less than 5 % of a CPU"
}

memory() {
	# the pattern is in memory once as such, and never in this script's own words
	in_a 'printf "%s%s" sev-host-mark- 7f3a9c >/tmp/mark'
	status "dump-memory" 0 "$sev_host" dump-memory a "$tmp/ram"
	is "is as large as the host's RAM" $((768 << 20)) "$(stat -c %s "$tmp/ram")"
	grep -qaF "sev-host-mark-7f3a9c" "$tmp/ram"
	verdict $? "and holds what the host has in clear"
	rm -f "$tmp/ram"
	is "the host keeps running" "VM status: running" \
		"$("$sev_host" monitor a 'info status' | tr -d '\r')"
}

links() {
	local addr
	addr=$("$sev_host" start b --link wire --memory 512M --chip-seed other |
		sed -n 's/^address on wire: //p')
	is "the second host's address" "10.77.1.2" "$addr"
	"$sev_host" list >"$tmp/out"
	[ "$(grep -cE '^(a|b) .* wire:10\.77\.1\.[12]' "$tmp/out")" -eq 2 ]
	verdict $? "list shows both and their addresses"
	status "ping by name" 0 exec_in a -- ping -c 1 -W 20 b
	status "and back" 0 exec_in b -- ping -c 1 -W 20 a
	status "capture" 0 "$sev_host" link wire --capture "$tmp/wire.pcap"
	# busybox's nc closes the connection at the end of its own input, so that must not come
	exec_in b -- sh -c 'mkfifo /tmp/never && nc -l -p 4000 >/tmp/got <>/tmp/never' </dev/null &
	within 120 eval 'exec_in b -- sh -c "netstat -ltn | grep -q :4000" </dev/null'
	exec_in a -- sh -c 'cat - /tmp/mark | nc b 4000' <"$tmp/random"
	wait $!
	exec_in b -- head -c 3000000 /tmp/got </dev/null | cmp -s - "$tmp/random"
	verdict $? "3 MB by TCP from host to host"
	status "end of the capture" 0 "$sev_host" link wire --no-capture
	grep -qaF "sev-host-mark-7f3a9c" "$tmp/wire.pcap" &&
		[ "$(stat -c %s "$tmp/wire.pcap")" -gt 3000000 ]
	verdict $? "the capture has it"
	status "cut" 0 "$sev_host" link wire --cut
	status "no ping gets through" 1 exec_in a -- ping -c 1 -W 3 b
	"$sev_host" link wire --status | grep -q '^cut, 2 hosts'
	verdict $? "status says cut"
	status "restore" 0 "$sev_host" link wire --restore
	status "ping again" 0 exec_in a -- ping -c 3 -W 20 b
	status "a host leaves" 0 "$sev_host" stop b
	status "the other stays" 0 exec_in a -- true
}

# What happens to waiting clients when the host goes.
ends() {
	"$sev_host" exec a -- sleep 3000 </dev/null 2>"$tmp/err" &
	within 120 runs_in_a 'slee[p] 3000'
	"$sev_host" stop a
	wait $!
	is "a command whose host is stopped" "125 sev-host: the host has been stopped" \
		"$? $(cat "$tmp/err")"
	within 120 none_left
	verdict $? "after the last stop no process is left"

	"$sev_host" start a --memory 512M >/dev/null
	kill -9 "$(pgrep -f -- "daemon --dir $SEV_HOST_RUNTIME/hosts/a ")"
	within 120 none_left
	verdict $? "a daemon that is killed takes its QEMU along"
	complains "its host is gone" 125 "no host 'a'" "$sev_host" exec a -- true
	status "and can be started again" 0 "$sev_host" start a --memory 512M
	in_a 'poweroff -f' 2>"$tmp/err"
	grep -q 'the host has powered off' "$tmp/err"
	verdict $? "a host that powers itself off says so"
	within 120 none_left
	verdict $? "and leaves no process"

	"$sev_host" start a --memory 512M >/dev/null
	exec_in a -- sh -c 'echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger' \
		</dev/null >/dev/null 2>&1
	is "a host that crashes fails its command" 125 $?
	"$sev_host" log a | grep -q 'sysrq triggered crash'
	verdict $? "and its log is kept"
}

fresh() {
	local signal pid
	echo payload >"$tmp/payload"
	# shellcheck disable=SC2016 # for the host's shell
	is "exec --fresh" "payload here" \
		"$(echo here | "$sev_host" exec --fresh --memory 512M --add "$tmp/payload:/x/y" -- \
			sh -c 'echo $(cat /x/y -)')"
	status "its exit status" 9 "$sev_host" exec --fresh --memory 512M -- sh -c 'exit 9'
	none_left
	verdict $? "leaves no process"
	is "and no files" "" \
		"$(find "$SEV_HOST_RUNTIME/hosts" "$SEV_HOST_RUNTIME/logs" \
			"$XDG_STATE_HOME/sevmirror/hosts" -name '*fresh*')"
	for signal in INT TERM KILL; do
		rm -f "$tmp/up"
		"$sev_host" exec --fresh --memory 512M -- sh -c 'echo up; sleep 4000' </dev/null \
			>"$tmp/up" 2>/dev/null &
		pid=$!
		within 60 test -s "$tmp/up"
		kill -"$signal" "$pid"
		wait "$pid"
		within 120 none_left
		verdict $? "SIG$signal for a running exec --fresh leaves no process"
	done 2>/dev/null
	"$sev_host" exec --fresh --memory 512M -- true </dev/null >/dev/null 2>&1 &
	pid=$!
	within 120 more_than_one
	kill -TERM "$pid"
	wait "$pid" 2>/dev/null
	within 120 none_left
	verdict $? "and one that is still booting"
}

old_kernel() {
	is "--kernel 6.1 boots that kernel" "6.1." \
		"$("$sev_host" exec --fresh --memory 512M --kernel 6.1 -- uname -r </dev/null |
		cut -c1-4)"
}

"$sev_host" build || exit 1
truncate -s 16M "$tmp/disk"
printf 'from-the-outside' | dd of="$tmp/disk" conv=notrunc status=none
refusals
status "start" 0 "$sev_host" start a --cpus 2 --memory 768M --disk "$tmp/disk" --link wire \
	--psp-delay 10 \
	--psp-fail FACTORY_RESET:2:HWERROR_PLATFORM --psp-fail 0x9:all:7
platform
idle
streams
statuses
cancelled
parallel
copies
memory
links
ends
fresh
old_kernel
done_testing
