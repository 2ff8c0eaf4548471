#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The emulator's QEMU against a machine that is out to crash it (hostile/hostile.c): random mailbox
# commands and registers, VMCBs and page tables. A guest gone wild may reset its machine, which ends
# the run early; QEMU must survive each one.
# usage: hostile.sh PROGRAMS-DIR; HOSTILE_SEEDS: other seeds than the ones of the regression
# shellcheck source=tests/emulated/driver.sh
. "$(dirname "$0")/driver.sh"

qemu=$("$top/emulator/qemu/build" 2>/dev/null | tail -n 1)
check "the emulator is built" test -x "$qemu" || exit 1
complete=0

# little_endian NUMBER: its eight bytes as printf's escapes
little_endian() {
	local i
	for i in 0 1 2 3 4 5 6 7; do printf '\\x%02x' $(($1 >> (8 * i) & 255)); done
}

# attack SEED CPUS: the seed is at offset 8 of the image
attack() {
	local seed=$1 status=0
	cp "$programs/hostile" "$tmp/image"
	printf '%b' "$(little_endian "$seed")" |
		dd of="$tmp/image" bs=1 seek=8 conv=notrunc status=none
	timeout -k 20 100 "$qemu" -machine q35 -accel tcg,thread=single -smp "$2" -m 256M \
		-device amd-psp,chip-seed=hostile \
		-global ICH9-LPC.disable_s3=1 -global ICH9-LPC.disable_s4=1 \
		-cpu EPYC,+svm,+npt,+nrip-save,+decodeassists,+flushbyasid,sev-emu=on,phys-bits=48 \
		-nodefaults -no-user-config \
		-display none -bios "$tmp/image" -serial "file:$tmp/serial" \
		-no-reboot >"$tmp/said" 2>&1 </dev/null || status=$?
	sed 's/^/# /' "$tmp/serial"
	# 124: the machine runs for ever, but QEMU obeyed when told to end.
	if [ $status -ne 0 ] && [ $status -ne 124 ] || grep -q '^not ok' "$tmp/serial"; then
		sed 's/^/# /' "$tmp/said"
		not_ok "seed $seed, $2 CPUs: status $status"
	else
		ok "seed $seed, $2 CPUs"
	fi
	if grep -q '^1\.\.' "$tmp/serial"; then complete=$((complete + 1)); fi
}

for seed in ${HOSTILE_SEEDS:-1 2 3 4 6 9 165}; do
	attack "$seed" $((1 + seed % 2))
done
check "$complete runs came to their end" test $complete -gt 0
finished
