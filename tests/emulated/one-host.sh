#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# One host of four CPUs: all that a single SEV host does, the guest owner and the platform owner
# outside of it.
# shellcheck source=tests/emulated/driver.sh
. "$(dirname "$0")/driver.sh"

host=emu-$$-one
start "$host" --cpus 4 --memory 1G --chip-seed emulated-one \
	--disk "$(truncate -s 16M "$tmp/disk" && echo "$tmp/disk")"
put "$host" platform launch memory mirror guests debug dma owner-launch certs
owner vendor "$tmp/vendor.cert"

for program in platform launch mirror guests debug; do run "$host" "$program"; done
run "$host" dma /dev/vda

# Ciphertext as the memory bus has it: the whole of the host's RAM from outside, while the guest
# with its canaries is there.
dump_outside() {
	local job
	"$sev_host" exec "$host" --timeout 200 -- /t/memory \
		--hold /tmp/hold >"$tmp/out.memory" 2>&1 &
	job=$!
	if wait_for "$host" /tmp/hold; then
		check "dump-memory writes all of the host's RAM" "$sev_host" dump-memory "$host" \
			"$tmp/ram"
		check "in it: shared canaries, no private one" "$programs/scan" "$tmp/ram" \
			$((1 << 30))
		rm -f "$tmp/ram"
		on "$host" rm /tmp/hold
	fi
	wait $job
	passed $? "$tmp/out.memory" "memory on $host"
}
dump_outside

# The owner: certificates checked, a session, the measurement verified, a secret. Policy is
# NODBG|NOKS as in t_owner.c.
owned_launch() {
	local dir=$tmp/owner job text="what only the owner knew"
	fetch "$host" "$dir"
	check "owner: the platform's certificates lead to the vendor's root" owner verify \
		"$dir/pdh.cert" "$dir/chain.cert" "$tmp/vendor.cert"
	check "owner: a session for it" owner session "$dir/pdh.cert" 3 "$dir"
	on "$host" mkdir -p /o
	tar c -C "$dir" godh.cert session.bin | on "$host" tar x -C /o
	"$sev_host" exec "$host" --timeout 200 -- /t/owner-launch /o >"$tmp/out.owner" 2>&1 &
	job=$!
	if wait_for "$host" /o/ready; then
		on "$host" tar c -C /o image.bin measure.bin report.bin | tar x -C "$dir"
		check "owner: the measurement is that of the image" \
			owner measure "$dir" "$(cat "$dir/version")" 3 "$dir/image.bin" \
			"$dir/measure.bin"
		cp "$dir/image.bin" "$dir/other.bin"
		printf 'x' | dd of="$dir/other.bin" bs=1 seek=5000 conv=notrunc status=none
		fails "owner: and not that of another image" \
			owner measure "$dir" "$(cat "$dir/version")" 3 "$dir/other.bin" \
			"$dir/measure.bin"
		fails "owner: nor under another policy" \
			owner measure "$dir" "$(cat "$dir/version")" 1 "$dir/image.bin" \
			"$dir/measure.bin"
		check "owner: the attestation report is the platform's" \
			owner report "$dir/report.bin" "$dir/chain.cert" "$dir/image.bin" 3
		check "owner: a secret" owner secret "$dir" "$dir/measure.bin" "$text" \
			"$dir/header.bin" "$dir/secret.bin"
		tar c -C "$dir" header.bin secret.bin | on "$host" tar x -C /o
	fi
	on "$host" touch /o/go
	wait $job
	passed $? "$tmp/out.owner" "owner-launch on $host"
	check "owner: the guest has read it" test "$(on "$host" cat /o/heard.bin)" = "$text"
}
owned_launch

# The platform's owner signs its PEK.
owned_platform() {
	local dir=$tmp/ca
	mkdir -p "$dir"
	owner ca "$dir/oca.key" "$dir/oca.cert" && owner ca "$dir/evil.key" "$dir/evil.cert"
	on "$host" sh -c '/t/certs csr /x/csr && cat /x/csr' >"$dir/csr"
	check "platform owner: signs the CSR" owner sign "$dir/csr" "$dir/oca.key" "$dir/pek.cert"
	owner sign "$dir/csr" "$dir/evil.key" "$dir/evil-pek.cert"
	tar c -C "$dir" pek.cert oca.cert evil-pek.cert evil.cert | on "$host" tar x -C /x
	says "PEK_CERT_IMPORT of a PEK that another OCA signed" "BAD_SIGNATURE" on "$host" \
		/t/certs import /x/evil-pek.cert /x/oca.cert
	on "$host" sh -c 'cp /x/pek.cert /x/bad.cert; printf x |
		dd of=/x/bad.cert bs=1 seek=24 conv=notrunc' 2>/dev/null
	says "PEK_CERT_IMPORT of another key" "INVALID_CERTIFICATE" on "$host" /t/certs import \
		/x/bad.cert /x/oca.cert
	check "PEK_CERT_IMPORT" on "$host" /t/certs import /x/pek.cert /x/oca.cert
	check "the platform is owned" test "$(on "$host" /t/certs state)" = \
		"state 1 owned 1 guests 0"
	says "PEK_CERT_IMPORT, once more" "ALREADY_OWNED" on "$host" /t/certs import /x/pek.cert \
		/x/oca.cert
	fetch "$host" "$tmp/owned"
	check "its chain has the owner's OCA" cmp -n 1044 <(tail -c +2085 "$tmp/owned/chain.cert") \
		"$dir/oca.cert"
	check "and leads to the vendor's root" owner verify "$tmp/owned/pdh.cert" \
		"$tmp/owned/chain.cert" "$tmp/vendor.cert"
}
owned_platform

# The firmware's storage: the same after the power was off, another chip with another seed, new
# after a factory reset.
restarted() {
	"$sev_host" stop "$host"
	start "$host" --chip-seed emulated-one --memory 768M --reboot
	put "$host" certs memory
	fetch "$host" "$tmp/again"
	check "after a restart: the same owner" test "$(on "$host" /t/certs state)" = \
		"state 1 owned 1 guests 0"
	check "the same certificates" cmp "$tmp/owned/chain.cert" "$tmp/again/chain.cert"
	check "the same PDH" cmp "$tmp/owned/pdh.cert" "$tmp/again/pdh.cert"
	check "FACTORY_RESET" on "$host" /t/certs reset
	fetch "$host" "$tmp/reset"
	check "is self-owned again" test "$(on "$host" /t/certs state | cut -d' ' -f3-)" = \
		"owned 0 guests 0"
	fails "with another PDH" cmp "$tmp/again/pdh.cert" "$tmp/reset/pdh.cert"
	check "of the same chip" cmp "$tmp/again/id.bin" "$tmp/reset/id.bin"
	check "whose certificates lead to the root" owner verify "$tmp/reset/pdh.cert" \
		"$tmp/reset/chain.cert" "$tmp/vendor.cert"
}
restarted

# INIT_EX: the firmware's storage in a file of the host's (ccp's parameter init_ex_path), blank at
# first.
stored_by_linux() {
	local reload='rmmod kvm_amd && rmmod ccp && modprobe ccp init_ex_path=/root/nv &&
		modprobe kvm_amd'
	on "$host" sh -c "head -c 32768 /dev/zero | tr '\\0' '\\377' >/root/nv"
	check "ccp starts with INIT_EX" on "$host" sh -c "$reload"
	fetch "$host" "$tmp/ex"
	fails "which has an identity of its own" cmp "$tmp/reset/pdh.cert" "$tmp/ex/pdh.cert"
	check "that leads to the root" owner verify "$tmp/ex/pdh.cert" "$tmp/ex/chain.cert" \
		"$tmp/vendor.cert"
	check "and starts with it again" on "$host" sh -c "$reload"
	fetch "$host" "$tmp/ex-again"
	check "which finds its identity in the file" cmp "$tmp/ex/pdh.cert" "$tmp/ex-again/pdh.cert"
}
stored_by_linux

# A reset in the middle of a guest's life: keys and forms are gone, the machine boots and works.
reset_with_guest() {
	local job
	"$sev_host" exec "$host" --timeout 200 -- /t/memory --hold /tmp/hold >/dev/null 2>&1 &
	job=$!
	check "a guest before the reset" wait_for "$host" /tmp/hold
	check "system_reset" "$sev_host" monitor "$host" system_reset
	wait $job
	# everything in the host is new when /t is gone
	true_on "$host" test ! -e /t
	put "$host" certs memory
	fetch "$host" "$tmp/after"
	check "after it: the platform's own storage again" cmp "$tmp/reset/pdh.cert" \
		"$tmp/after/pdh.cert"
	run "$host" memory
}
reset_with_guest

# Storage that somebody has spoilt: SECURE_DATA_INVALID once, Linux tries again, and the platform
# starts afresh.
spoilt() {
	"$sev_host" stop "$host"
	for f in "$XDG_STATE_HOME"/sevmirror/hosts/*.nv; do head -c 4096 /dev/urandom >"$f"; done
	start "$host" --chip-seed emulated-one --memory 512M
	put "$host" certs
	fetch "$host" "$tmp/spoilt"
	fails "spoilt storage: another PDH" cmp "$tmp/after/pdh.cert" "$tmp/spoilt/pdh.cert"
	check "spoilt storage: a good chain" owner verify "$tmp/spoilt/pdh.cert" \
		"$tmp/spoilt/chain.cert" "$tmp/vendor.cert"
	check "spoilt storage: the kernel says so" grep \
		-q SECURE_DATA_INVALID <("$sev_host" log "$host")
}
spoilt
finished
