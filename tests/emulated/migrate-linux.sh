#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An encrypted Linux guest moves between two hosts with different chips while it works, there and
# back: its ticks have no gap, its load finds no error, its clock is right, and neither host's
# memory holds its canary.
# shellcheck source=tests/emulated/driver.sh
. "$(dirname "$0")/driver.sh"

build=$programs/../..
one=mil-$$-one two=mil-$$-two
start $one --cpus 2 --memory 1G --chip-seed migrate-one --link mil-$$
start $two --cpus 2 --memory 1G --chip-seed migrate-two --link mil-$$
(umask 077 && od -An -tx1 -N32 /dev/urandom | tr -d ' \n' >"$tmp/psk")
for h in $one $two; do
	"$sev_host" copy "$build/cli/sevmirror" "$h:/usr/bin/sevmirror" || exit 1
	"$sev_host" copy "$top/emulator/psp/vendor/ask_ark_emulation.cert" "$h:/vendor.cert" \
		|| exit 1
	"$sev_host" copy "$tmp/psk" "$h:/psk" || exit 1
done
mkdir "$tmp/root"
"$sev_host" copy "$one:/usr/bin/busybox" "$tmp/root/busybox" &&
	cp "$here/migrate-guest-init" "$tmp/root/init" || exit 1
(cd "$tmp/root" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) | gzip -n >"$tmp/initrd"
"$sev_host" copy "$tmp/initrd" "$one:/initrd" || exit 1
word=$(head -c 600 /dev/urandom | LC_ALL=C tr -dc a-z | head -c 24)
canary=$(tr a-z n-za-m <<<"$word")

# says_in HOST FILE TEXT: until the text is in the file there
says_in() { true_on "$1" grep -q "$3" "$2"; }

# await HOST: waits for a guest, its console in /console there
await() {
	on "$1" sh -c 'rm -f /out; touch /out
		setsid sevmirror receive --name guest --listen 0.0.0.0:4000 --psk-file /psk \
		--vendor-chain /vendor.cert --timeout 60 </dev/null >/console 2>/out
		echo $? >/status' >/dev/null 2>&1 &
	says_in "$1" /out waiting
}

# move FROM TO: prints what migrate says
move() {
	"$sev_host" exec "$1" --timeout 400 -- sevmirror migrate guest --to "$2:4000" \
		--psk-file /psk --timeout 60 --max-downtime 8000 --json 2>&1
}

# no_canary HOST [WORD]: not in all RAM of the host; WORD is, so that the search is known to find
# what is there
no_canary() {
	rm -f "$tmp/ram"
	"$sev_host" dump-memory "$1" "$tmp/ram" >/dev/null 2>&1
	[ -z "${2-}" ] || check "what is in clear in the memory of $1 is found" grep -aqF "$2" \
		"$tmp/ram"
	if [ -s "$tmp/ram" ] && ! grep -aqF "$canary 3" "$tmp/ram"; then
		ok "the canary is nowhere in the memory of $1"
	else
		not_ok "the canary is nowhere in the memory of $1"
	fi
	rm -f "$tmp/ram"
}

on $one sh -c "setsid sevmirror run --sev on --name guest --kernel /boot/vmlinuz --initrd /initrd \
	--memory 256M \
	--cmdline 'console=ttyS0 quiet canary=$word' </dev/null >/console 2>/out
		echo \$? >/status" >/dev/null 2>&1 &
check "the guest ticks" says_in $one /console 'tick 20 '
check "its kernel knows that it is encrypted" says_in $one /console 'AMD SEV'
on $one cat /console >"$tmp/log"
check "the other host waits" await $two
if move $one $two >"$tmp/there"; then ok "there"
else not_ok "there [$(cat "$tmp/there") $(on $two cat /out)]"; fi
echo "# $(tr -d '\n' <"$tmp/there")"
check "it ticks there" says_in $two /console '^tick'
no_canary $one "canary=$word"
no_canary $two
on $one cat /console >"$tmp/log"
check "the first host waits" await $one
if move $two $one >"$tmp/back"; then ok "and back"
else not_ok "and back [$(cat "$tmp/back") $(on $one cat /out)]"; fi
echo "# $(tr -d '\n' <"$tmp/back")"
on $two cat /console >>"$tmp/log"
check "it ticks here again" says_in $one /console '^tick'
check "and works" says_in $one /console '^load'
on $one cat /console >>"$tmp/log"

# The last line may have been copied while it was written.
tr -d '\r' <"$tmp/log" | sed '$d' >"$tmp/plain"
# no_gap: ticks without a gap; prints where there is one
no_gap() {
	awk '$1 == "tick" {
			if (last && $2 != last + 1) {
				print "after \"" before "\" comes \"" $0 "\" in line " NR
				bad = 1
			}
			last = $2
			before = $0
		}
		END {
			if (last < 30) print "the last of " NR " lines with a tick: " before
			exit bad || last < 30
		}' "$tmp/plain"
}
check "the guest's log has no gap ($(grep -c '^tick' "$tmp/plain") ticks)" no_gap
if grep -q 'LOAD ERROR' "$tmp/plain"; then not_ok "its load finds no error"
else ok "its load finds no error"; fi
# Uptime and time of day advance together, also over the stops.
if awk '$1 == "tick" && NF == 4 { d = $4 - $3; if (n++ == 0) first = d; last = d }
	END { x = last - first; exit x > 3 || x < -3 }' "$tmp/plain"; then
	ok "its clocks agree before and after"; else not_ok "its clocks agree before and after"; fi
finished
