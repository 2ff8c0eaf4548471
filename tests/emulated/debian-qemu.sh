#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian's own QEMU and OVMF in the emulated host start a Linux guest with -object sev-guest, two
# vCPUs, to user space. The guest's firmware and kernel were written for SEV hardware and know
# nothing of this emulator.
# shellcheck source=tests/emulated/driver.sh
. "$(dirname "$0")/driver.sh"

mkdir "$tmp/root"
cp "$programs/guest-init" "$tmp/root/init"
(cd "$tmp/root" && echo init | cpio -o -H newc --quiet) >"$tmp/initrd"

# guest NAME OPTIONS...: its console in $tmp/NAME
guest() {
	local name=$1 said=$tmp/$1 firmware=/usr/share/OVMF/OVMF_CODE_4M.fd
	shift
	timeout 400 "$sev_host" exec --fresh --cpus 2 --memory 3G --packages qemu-system-x86,ovmf \
		--add "$tmp/initrd:/initrd" --timeout 300 -- \
		qemu-system-x86_64 -enable-kvm -cpu EPYC -smp 2 -m 512M \
		-nodefaults -no-user-config -no-reboot -display none -serial stdio \
		-drive "if=pflash,format=raw,unit=0,readonly=on,file=$firmware" \
		-kernel /boot/vmlinuz -initrd /initrd -append "console=ttyS0" \
		"$@" </dev/null >"$said" 2>&1
	check "$name: QEMU ends when the guest powers off" test $? -eq 0
	check "$name: the guest reaches user space" grep -aq 'guest: user space reached' "$said"
}

guest sev -machine q35,confidential-guest-support=sev0 \
	-object sev-guest,id=sev0,cbitpos=47,reduced-phys-bits=5,policy=1
check "sev: the guest's kernel says 'Memory Encryption Features active: AMD SEV'" \
	grep -aqE 'Memory Encryption Features active: AMD SEV\s*$' "$tmp/sev"
check "sev: and has both CPUs" grep -aq 'Brought up 1 node, 2 CPUs' "$tmp/sev"
finished
