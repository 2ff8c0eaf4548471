#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the memory model cannot do safely, the emulator's QEMU refuses at start-up, with a message
# that says what to do.
# shellcheck source=tests/emulated/driver.sh
. "$(dirname "$0")/driver.sh"

qemu=$("$top/emulator/qemu/build" 2>/dev/null | tail -n 1)
check "the emulator is built" test -x "$qemu" || exit 1
features=+svm,+npt,+nrip-save,+decodeassists,+flushbyasid
cpu=EPYC,$features,sev-emu=on,phys-bits=48
psp=(-device "amd-psp,chip-seed=refuse")
# no instruction is executed, so any 64 KiB are a BIOS
truncate -s 64K "$tmp/bios"
sleepless=(-global ICH9-LPC.disable_s3=1 -global ICH9-LPC.disable_s4=1)
rest=(-nodefaults -no-user-config -display none -S -qmp stdio -m 128M -bios "$tmp/bios")

# start_with OPTIONS...: start QEMU, stopped, and quit it
# shellcheck disable=SC2317 # called by check and says
start_with() {
	printf '{"execute":"qmp_capabilities"}{"execute":"quit"}' |
		timeout 60 "$qemu" "${sleepless[@]}" "$@" "${rest[@]}"
}

# refuses WHAT TEXT OPTIONS...
refuses() {
	local what=$1 text=$2
	shift 2
	says "$what" "$text" start_with "$@"
}

tcg=(-accel "tcg,thread=single")
check "the right machine starts" start_with -machine q35 "${tcg[@]}" -cpu $cpu "${psp[@]}"
refuses "several TCG threads" "thread=single" -machine q35 -accel tcg,thread=multi -smp 2 \
	-cpu $cpu "${psp[@]}"
refuses "-icount" "icount" -machine q35 "${tcg[@]}" -icount shift=0 -cpu $cpu "${psp[@]}"
refuses "the CPU's SEV without the PSP" "amd-psp" -machine q35 "${tcg[@]}" -cpu $cpu
refuses "the PSP without the CPU's SEV" "sev-emu=on" -machine q35 "${tcg[@]}" \
	-cpu EPYC,$features,phys-bits=48 "${psp[@]}"
for f in svm npt nrip-save decodeassists flushbyasid; do
	refuses "no $f" "KVM uses SEV only with" -machine q35 "${tcg[@]}" -cpu "${cpu/+$f/-$f}" \
		"${psp[@]}"
done
refuses "another width of addresses" "phys-bits=48" -machine q35 "${tcg[@]}" \
	-cpu EPYC,$features,sev-emu=on,phys-bits=40 "${psp[@]}"
refuses "two PSPs" "one PSP" -machine q35 "${tcg[@]}" -cpu $cpu "${psp[@]}" "${psp[@]}"
refuses "a PSP without identity" "chip-seed" -machine q35 "${tcg[@]}" -cpu $cpu -device amd-psp
refuses "memory hotplug" "maxmem" -machine q35 "${tcg[@]}" -cpu $cpu "${psp[@]}" \
	-m 128M,slots=2,maxmem=1G
refuses "S3" "disable_s3" -machine q35 "${tcg[@]}" -cpu $cpu "${psp[@]}" \
	-global ICH9-LPC.disable_s3=0
refuses "S4" "disable_s4" -machine q35 "${tcg[@]}" -cpu $cpu "${psp[@]}" \
	-global ICH9-LPC.disable_s4=0
refuses "a fault by name" "CMD of CMD:N:STATUS" -machine q35 "${tcg[@]}" -cpu $cpu \
	-device amd-psp,chip-seed=refuse,fail=LAUNCH_START:1:1
refuses "a delay of an hour" "at most" -machine q35 "${tcg[@]}" -cpu $cpu \
	-device amd-psp,chip-seed=refuse,delay-us=3600000000

# Saving and migrating the machine would lose the PSP's state: a blocker says so.
said=$(printf %s '{"execute":"qmp_capabilities"}' \
	'{"execute":"migrate","arguments":{"uri":"exec:cat>/dev/null"}}{"execute":"quit"}' |
	timeout 60 "$qemu" -machine q35 "${tcg[@]}" -cpu $cpu "${psp[@]}" "${sleepless[@]}" \
	"${rest[@]}" 2>&1)
check "migrating the emulated host is blocked" grep -q 'encrypted pages and a PSP' <<<"$said"
finished
