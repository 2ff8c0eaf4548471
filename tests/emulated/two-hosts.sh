#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two hosts with different chips: a guest goes from one to the other by SEND_* and RECEIVE_*, and
# every tampering is refused.
# shellcheck source=tests/emulated/driver.sh
. "$(dirname "$0")/driver.sh"

source=emu-$$-source target=emu-$$-target
start "$source" --cpus 2 --memory 768M --chip-seed emulated-source
start "$target" --memory 512M --chip-seed emulated-target
put "$source" send certs
put "$target" receive certs
owner vendor "$tmp/vendor.cert"

# send_all WORDS...: the target's certificates to the source, and what it sends to the target's /d
send_all() {
	fetch "$target" "$tmp/target"
	cp "$tmp/vendor.cert" "$tmp/target/"
	on "$source" sh -c 'rm -rf /d; mkdir /d'
	tar c -C "$tmp/target" pdh.cert chain.cert vendor.cert | on "$source" tar x -C /d
	run "$source" send /d "$@"
	on "$target" sh -c 'rm -rf /d; mkdir /d'
	on "$source" sh -c 'cd /d && tar c *.bin' | on "$target" tar x -C /d
}

fetch "$source" "$tmp/source"
fetch "$target" "$tmp/target"
fails "the chips' ids differ" cmp -s "$tmp/source/id.bin" "$tmp/target/id.bin"
send_all
run "$target" receive /d/open.bin /d/sev.bin

# What was sealed for the target is good for as long as its PDH is: after the power was off, too,
# and until PDH_GEN.
keep() { on "$target" cat "/d/$1" >"$tmp/$1"; }
give_back() { on "$target" sh -c "mkdir -p /d && cat >/d/$1" <"$tmp/$1"; }
keep sev.bin
"$sev_host" stop "$target"
start "$target" --memory 512M --chip-seed emulated-target
put "$target" receive certs
give_back sev.bin
run "$target" receive /d/sev.bin
check "PDH_GEN on the target" on "$target" /t/certs new-pdh
run "$target" receive --stale /d/sev.bin

# The same owner's PEKs on both: now a guest with policy DOMAIN may go.
owner ca "$tmp/oca.key" "$tmp/oca.cert"
for h in "$source" "$target"; do
	on "$h" sh -c 'mkdir -p /x && /t/certs csr /x/csr && cat /x/csr' >"$tmp/csr"
	owner sign "$tmp/csr" "$tmp/oca.key" "$tmp/pek.cert"
	tar c -C "$tmp" pek.cert oca.cert | on "$h" tar x -C /x
	check "PEK_CERT_IMPORT on $h" on "$h" /t/certs import /x/pek.cert /x/oca.cert
done
send_all same-owner
run "$target" receive /d/domain.bin /d/domain-only.bin
finished
