#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Which of the target's files a guest gets: those that the target's operator named, and none that
# the source names by itself.
#
# usage: migrate_disks.sh SEVMIRROR WIRE_GATE
set -u
sevmirror=$(realpath "${1:?usage: $0 SEVMIRROR WIRE_GATE}")
wire_gate=$(realpath "${2:?usage: $0 SEVMIRROR WIRE_GATE}")
# shellcheck disable=SC2034  # vmm_hosts.sh
dirtier=
# shellcheck source=tests/kvm/vmm_hosts.sh
. "$(dirname "$0")/vmm_hosts.sh"

psk=(--psk-file "$tmp/psk")

# told WHAT FILE TEXT
told() { if grep -qF -- "$3" "$2"; then ok "$1: $3"; else not_ok "$1: $3 [$(cat "$2")]"; fi; }
check() {
	local what=$1
	shift
	if "$@"; then ok "$what"; else not_ok "$what"; fi
}

# A guest that does nothing, as payloads have no disks: a bzImage's header, and `jmp .` at its
# 64-bit entry.
python3 - "$tmp/kernel" <<'END'
import struct, sys
image = bytearray(0x400 + 0x400)
for at, form, value in [(0x1F1, "B", 1), (0x1F4, "I", 0x40), (0x1FE, "H", 0xAA55),
                        (0x200, "H", 0x6AEB), (0x202, "4s", b"HdrS"), (0x206, "H", 0x20F),
                        (0x211, "B", 1), (0x22C, "I", 0x7FFFFFFF), (0x230, "I", 0x200000),
                        (0x234, "B", 1), (0x236, "H", 1), (0x238, "I", 2047), (0x24C, "I", 0x400),
                        (0x258, "Q", 0x1000000), (0x260, "I", 0x1000), (0x600, "2s", b"\xeb\xfe")]:
    struct.pack_into("<" + form, image, at, value)
open(sys.argv[1], "wb").write(image)
END
mkdir "$tmp/disks" "$tmp/elsewhere"
truncate -s 1M "$tmp/disks/web.img" "$tmp/disks/data.img" "$tmp/elsewhere/secret"
ln -s ../elsewhere/secret "$tmp/disks/link"

# begin DISK...: a guest with these disks on host 1
begin() {
	local disk args=()
	for disk in "$@"; do args+=(--disk "$disk"); done
	SEVMIRROR_RUNTIME_DIR=$tmp/1 "$sevmirror" run --name guest --sev off \
		--kernel "$tmp/kernel" --memory 64M "${args[@]}" </dev/null \
		>"$tmp/1.out" 2>"$tmp/1.err" &
	pid[1]=$!
	until_true state 1 running
}
end_guest() {
	at "$1" stop guest --force >/dev/null
	ended "$1"
}

# refused WHAT TEXT RECEIVE-OPTIONS...: the target does not take it, says so, and the guest runs on
refused() {
	local what=$1 text=$2
	shift 2
	await 2 "${psk[@]}" "$@"
	move 1 "${psk[@]}"
	is "$what: migrate ends with 1" 1 "$status"
	told "$what: the source" "$tmp/said" "$text"
	ended 2
	is "$what: receive ends with 1" 1 "$(cat "$tmp/status")"
	check "$what: the guest runs on" state 1 running
}

# What a source may say is any path, whatever it has there itself.
begin "$tmp/elsewhere/secret,ro"
refused "no disk is named" \
	"the VM has the disk $tmp/elsewhere/secret: the target must name it with --disk"
refused "a file elsewhere" "is not in the target's --disk-dir $tmp/disks" --disk-dir "$tmp/disks"
refused "a directory whose name begins alike" "is not in the target's --disk-dir" \
	--disk-dir "$tmp/else"
end_guest 1
begin "$tmp/disks/../elsewhere/secret,ro"
refused "a way out of the directory" \
	"the disk $tmp/disks/../elsewhere/secret is not in the directory of --disk-dir" \
	--disk-dir "$tmp/disks"
end_guest 1
begin "$tmp/disks/link,ro"
refused "a symbolic link in the directory" \
	"the disk $tmp/disks/link is a symbolic link, or its path contains one" \
	--disk-dir "$tmp/disks"
end_guest 1

begin "$tmp/disks/web.img" "$tmp/disks/data.img,ro"
refused "one of two is named" "the VM has 2 disks, and --disk names 1 on the target" \
	--disk "$tmp/disks/web.img"
at 2 receive --sev off --listen 127.0.0.1:0 "${psk[@]}" --disk-dir "$tmp/disks" \
	--disk "$tmp/disks/web.img" >"$tmp/said" 2>&1
is "--disk and --disk-dir" 2 $?
await 2 "${psk[@]}" --disk-dir "$tmp/disks"
move 1 "${psk[@]}"
is "the directory has both: it moves" 0 "$status"
ended 1
check "the directory has both: it runs there" state 2 running
at 1 run --sev off --kernel "$tmp/kernel" --disk "$tmp/disks/web.img" >"$tmp/said" 2>&1
told "the directory has both: the target has the lock" "$tmp/said" "in use by another VM"

# It goes back, and while its memory moves somebody puts another file in the disk's place.
await 1 --insecure --disk "$tmp/disks/web.img" --disk "$tmp/disks/data.img"
gate '>STATE'
at 2 migrate guest --to "$address" --insecure >"$tmp/said" 2>&1 &
migrate=$!
gate_reached
mv "$tmp/disks/web.img" "$tmp/disks/web.old"
ln -s ../elsewhere/secret "$tmp/disks/web.img"
gate_pass
wait $migrate
is "a link in the disk's place: it moves" 0 $?
gate_gone
ended 2
check "a link in the disk's place: it runs there" state 1 running
is "a link in the disk's place: what was checked is what it has" \
	"$(realpath "$tmp/disks/web.old")" \
	"$(find "/proc/${pid[1]}/fd" -lname '*web.old' -printf '%l\n')"
is "a link in the disk's place: and not the link's file" "" \
	"$(find "/proc/${pid[1]}/fd" -lname '*secret')"
end_guest 1
finished
