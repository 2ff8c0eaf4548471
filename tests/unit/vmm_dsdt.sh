#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: vmm_dsdt.sh DSDT.AML   The compiled DSDT can be read back and says where each device is: an
# iasl has written broken lengths.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo 1..3
if iasl -d -p "$work/dsdt" "$1" >"$work/log" 2>&1 && [ -s "$work/dsdt.dsl" ]; then
	echo "ok 1 - the DSDT can be disassembled"
else
	sed 's/^/# /' "$work/log"
	echo "not ok 1 - the DSDT can be disassembled"
	exit 1
fi
grep -oE '0xD000[0-7]000' "$work/dsdt.dsl" | sort -u >"$work/slots"
[ "$(wc -l <"$work/slots")" -eq 8 ] || printf 'not '
echo "ok 2 - eight virtio windows"
grep -A1 -E 'Interrupt \(ResourceConsumer, Level' "$work/dsdt.dsl" >/dev/null &&
	[ "$(grep -cE '^ +0x000000(10|11|12|13|14|15|16|17),' "$work/dsdt.dsl")" -eq 8 ] ||
	printf 'not '
echo "ok 3 - their interrupts are 16 to 23"
