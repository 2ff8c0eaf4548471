#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What people see of a migration and decide about it, by the command line: progress on a terminal
# and elsewhere, the summary, the page of --report, and --throttle for a guest that writes faster
# than the network takes it.
#
# usage: migrate_people.sh SEVMIRROR PAYLOAD-DIRTIER
set -u

sevmirror=$(realpath "${1:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER}")
dirtier=$(realpath "${2:?usage: $0 SEVMIRROR PAYLOAD-DIRTIER}")
# shellcheck source=tests/kvm/vmm_hosts.sh
. "$(dirname "$0")/vmm_hosts.sh"

# says WHAT PATTERN: the last command did
says() { if grep -qE -- "$2" "$tmp/said"; then ok "$1"; else not_ok "$1 ('$2' is missing)"; fi; }

# page FILE WHAT PATTERN: it is one document without anything from outside, and says so (report_page
# reads it as a browser does)
page() {
	check "$2: the page needs no other file" python3 - "$1" <<-'END'
		import re, sys
		text = open(sys.argv[1], encoding="utf-8").read()
		foreign = re.search(r"https?://(?!www\.w3\.org/)|src=|href=|url\(|@import|NaN\b",
		                    text)
		sys.exit(not text.startswith("<!DOCTYPE html>") or foreign is not None)
	END
	if grep -qE -- "$3" "$1"; then ok "$2: it says so"
	else not_ok "$2: it says so ('$3' is missing)"; fi
}

# A guest that writes 8 MiB again and again, as fast as it can; the network takes 20 MiB a second.
fast=(--psk-file "$tmp/psk" --bandwidth 20M --max-downtime 60)
launch 1 1 21 0 8388608 1 0 0 1

for place in "$tmp/none/page.html" "$tmp" /dev/null; do
	address=127.0.0.1:1
	move 1 --psk-file "$tmp/psk" --report "$place"
	is "a report that cannot be written is refused: ${place##*/}" 1 "$status"
	says "and nothing else is tried" "^sevmirror: --report $place: it cannot be written"
done
if [ -c /dev/null ]; then ok "/dev/null is what it was"; else not_ok "/dev/null is what it was"; fi

address=127.0.0.1:1
move 1 --psk-file "$tmp/psk" --report "$tmp/nobody.html"
is "nobody listens" 1 "$status"
page "$tmp/nobody.html" "nobody listens" "still runs here.*refused"

await 2 --psk-file "$tmp/psk"
move 1 "${fast[@]}" --max-rounds 4 --report "$tmp/diverges.html"
is "without --throttle it does not converge" 1 "$status"
says "and says so" "does not converge"
says "a line for each round where there is no terminal" \
	"^round 3 .* pages left .* MiB/s .*dirty .* MiB/s .*downtime ~[0-9]+ ms"
page "$tmp/diverges.html" "it does not converge" "still runs here.*does not converge"
ended 2
if state 1 running; then ok "the guest runs on"; else not_ok "the guest runs on"; fi

await 2 --psk-file "$tmp/psk"
move 1 "${fast[@]}" --max-rounds 500 --throttle --report "$tmp/throttled.html"
is "with --throttle it does" 0 "$status"
says "the summary has the downtime, as it was and as it was expected" \
	"downtime .* ms \(estimated .* ms, limit of the estimate 60 ms\)"
page "$tmp/throttled.html" "throttled" "guest slowed down"
ended 1
verified 2 "throttled"

# On a terminal: one line, drawn again and again, and gone in the end.
launch 1 1 22 100 1048576 1 0 0 1
await 2 --psk-file "$tmp/psk"
SEVMIRROR_RUNTIME_DIR=$tmp/1 TERM=xterm script -qefc \
	"stty cols 60; '$sevmirror' migrate guest --to $address --psk-file '$tmp/psk' \
		--bandwidth 16M --report '$tmp/moved.html'" /dev/null \
	</dev/null >"$tmp/said" 2>&1
is "on a terminal it moves" 0 $?
tr '\r' '\n' <"$tmp/said" | grep -a 'pages left' >"$tmp/drawn"
if [ "$(wc -l <"$tmp/drawn")" -ge 3 ]; then ok "progress is drawn again and again"
else not_ok "progress is drawn again and again"; fi
if [ "$(sed 's/\x1b\[K//g' "$tmp/drawn" |
	awk '{ if (length($0) > n) n = length($0) } END { print n }')" -lt 60 ]; then
	ok "and never wraps"; else not_ok "and never wraps"; fi
page "$tmp/moved.html" "moved" "The guest runs on the target"
is "the page can be read by others" 644 "$(stat -c %a "$tmp/moved.html")"
is "no other file is left" "" "$(find "$tmp" -name '*.html.*')"
ended 1
verified 2 "on a terminal"

finished
