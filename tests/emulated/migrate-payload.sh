#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An encrypted guest moves between two hosts with different chips, there and back, by the command
# line. The guest is a payload that writes and verifies private and shared memory all the time.
# shellcheck source=tests/emulated/payload-guests.sh
. "$(dirname "$0")/payload-guests.sh"

two_hosts mig
psp_commands() { sed -n 's/.*"psp-commands": \([0-9]*\).*/\1/p' "$1"; }

# The ccp driver gives each command to the secure processor in one function: a probe there sees what
# the firmware sees.
# watch_psp HOST
watch_psp() {
	# shellcheck disable=SC2016 # for the host's shell
	on "$1" sh -c 'mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
		cd /sys/kernel/tracing &&
		echo "p:psp ccp:__sev_do_cmd_locked cmd=%di:u32" >kprobe_events &&
		echo 1 >events/kprobes/psp/enable'
}
# seen_psp HOST: how many commands there were since the last time that belong to sending a guest:
# PDH_CERT_EXPORT (8) and SEND_START to SEND_CANCEL (64 to 68; include/linux/psp-sev.h)
seen_psp() {
	on "$1" sh -c 'grep -cE " cmd=(8|6[4-8])$" /sys/kernel/tracing/trace
		echo >/sys/kernel/tracing/trace'
}
check "the commands of $one's secure processor are watched" watch_psp $one
check "the commands of $two's secure processor are watched" watch_psp $two

# round_trip MEMORY: there and back; leaves the number of PSP commands in commands
round_trip() {
	check "a guest of $1 is launched, encrypted" launch $one "$1" 'NODBG|NOKS|SEV'
	on $two rm -f /out /status
	check "$1: the other host waits" await $two
	seen_psp $one >/dev/null
	seen_psp $two >/dev/null
	if move $one $two >"$tmp/there"; then ok "$1: there"
	else not_ok "$1: there [$(cat "$tmp/there")]"; fi
	# A target exports its PDH, too, when it waits and when the source has connected.
	is "$1: the report there counts the commands that the firmware saw" "$(seen_psp $one)" \
		"$(psp_commands "$tmp/there")"
	on $one rm -f /out /status
	check "$1: the first host waits" await $one
	seen_psp $two >/dev/null
	if move $two $one >"$tmp/back"; then ok "$1: and back"
	else not_ok "$1: and back [$(cat "$tmp/back")]"; fi
	commands=$(psp_commands "$tmp/there")
	is "$1: and the report back" "$(seen_psp $two)" "$(psp_commands "$tmp/back")"
	echo "# $1: PSP commands at the source: there $commands, back" \
		"$(psp_commands "$tmp/back"); $(grep '"downtime-ms' "$tmp/back")"
	on $one sevmirror stop guest >/dev/null
	wait_for $one /status
	if [ "$(on $one cat /status)" = 0 ]; then
		ok "$1: the guest finds every page as it wrote it"
	else
		not_ok "$1: the guest finds every page as it wrote it" \
			"[$(on $one cat /status /out)]"
	fi
	[ "$commands" = "$(psp_commands "$tmp/back")" ] && [ -n "$commands" ] ||
		not_ok "$1: as many PSP commands there as back"
}

round_trip 32M
small=$commands
round_trip 64M
if [ "$small" = "$commands" ]; then ok "$commands PSP commands whatever the memory's size"; else
	not_ok "PSP commands depend on the memory's size: $small, $commands"; fi

# A guest is stopped while it moves: from inside, by a mirror that each host makes for itself, its
# memory is the same.
scan() { "$sev_host" exec "$1" --timeout 120 -- sevmirror mirror attach guest --range 0x400000+64K \
	--range 0x800000+1M; }
check "a guest is launched that is looked at" launch $one 32M 'NODBG|NOKS|SEV'
check "it is paused" on $one sevmirror pause guest
check "memscan" scan $one
scan $one >"$tmp/scan.one"
on $two rm -f /out /status
check "the other host waits" await $two
if move $one $two >"$tmp/there"; then ok "it moves"
else not_ok "it moves [$(cat "$tmp/there")]"; fi
scan $two >"$tmp/scan.two"
check "memscan at the other host finds the same, under another key" cmp "$tmp/scan.one" \
	"$tmp/scan.two"
check "and not nothing" test "$(grep -cE '^[0-9a-f]{64} ' "$tmp/scan.two")" -eq 2
check "it continues there" on $two sevmirror resume guest
on $two sevmirror stop guest >/dev/null
wait_for $two /status
if [ "$(on $two cat /status)" = 0 ]; then ok "and finds every page as it wrote it"; else
	not_ok "and finds every page as it wrote it [$(on $two cat /status /out)]"; fi

# refused WHAT POLICY ERROR OPTIONS...: the firmware of $one does not send a guest of this policy to
# $two, and the guest keeps running
refused() {
	local what=$1 policy=$2 error=$3
	shift 3
	on $two rm -f /out /status
	check "$what: a guest is launched" launch $one 32M "$policy"
	check "$what: the other host waits" await $two
	says "$what" "$error" "$sev_host" exec $one --timeout 240 -- sevmirror migrate guest \
		--to "$two:4000" --psk-file /psk --timeout 60 "$@"
	wait_for $two /status
	if [ "$(on $two cat /status)" = 1 ]; then ok "$what: the target keeps nothing"
	else not_ok "$what: the target keeps nothing"; fi
	if on $one sevmirror status guest | grep -q running; then ok "$what: the guest runs on"
	else not_ok "$what: the guest runs on"; fi
	on $one sevmirror stop guest >/dev/null
	check "$what: it ends" gone $one
}

# Somebody else's root: the ARK's key is another one by a bit.
on $one sh -c 'cp /vendor.cert /other.cert && size=$(wc -c </other.cert) && printf "\001" |
	dd of=/other.cert bs=1 seek=$((size / 2 + 100)) conv=notrunc 2>/dev/null'
refused "policy NOSEND" 'NODBG|NOKS|NOSEND|SEV' POLICY_FAILURE
refused "policy DOMAIN and another owner's platform" 'NODBG|NOKS|DOMAIN|SEV' POLICY_FAILURE
refused "an unknown root" 'NODBG|NOKS|SEV' INVALID_CERTIFICATE --vendor-chain /other.cert
finished
