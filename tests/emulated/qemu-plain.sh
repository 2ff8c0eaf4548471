#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The patched QEMU migrates guests by sealed pages on this machine: all memory arrives, on both
# sides of 4 GiB, too; QEMU's TLS goes with it, and a wrong key is refused; a guest that keeps
# writing memory goes there and back ten times.
# shellcheck source=tests/emulated/driver.sh disable=SC2317 # called by check
. "$(dirname "$0")/driver.sh"
# shellcheck source=tests/emulated/qemu-native.sh
. "$here/qemu-native.sh"
head -c 20M /dev/urandom >noise
mib=$((1 << 20)) gib4=$((1 << 32))
noise() { echo "-device loader,file=$tmp/noise,addr=$1,force-raw=on"; }
# memory NAME START BYTES FILE
memory() { execute "$1" pmemsave "{\"val\":$2,\"size\":$3,\"filename\":\"$tmp/$4\"}" >/dev/null; }
# same_memory ONE OTHER START BYTES
same_memory() {
	memory "$1" "$3" "$4" one.memory && memory "$2" "$3" "$4" other.memory &&
		cmp one.memory other.memory
	local status=$?
	rm -f one.memory other.memory
	return "$status"
}
statistics() { execute "$1" query-migrate | grep -o '"ram": {[^}]*}' | sed 's/^/# /'; }

machine=(-machine "q35,max-ram-below-4g=64M" -m 160M)
# shellcheck disable=SC2046 # words
check "a guest with RAM below and above 4 GiB is started, stopped" start_qemu source -S \
	$(noise $((16 * mib))) $(noise $((gib4 + 8 * mib)))
check "a target is started" start_target target
set_up source "$fast" >/dev/null
check "it is migrated" migrate source target.in
check "to the end" comes_to source completed
statistics source
check "its memory below 4 GiB is the same" same_memory source target 0 $((64 * mib))
check "and above" same_memory source target $gib4 $((96 * mib))
memory target $((gib4 + 8 * mib)) $((20 * mib)) above
check "where the noise is" cmp noise above
end source
end target

# keys FOLDER KEY: for tls-creds-psk
keys() {
	mkdir "$1"
	echo "qemu:$2" >"$1/keys.psk"
}
keys right 9d4f0b6a7cf0a2d8e3b15c60718293a4
keys wrong 00112233445566778899aabbccddeeff
tls() { echo "-object tls-creds-psk,id=tls0,dir=$tmp/$1,endpoint=$2"; }
with_tls='"tls-creds":"tls0"'
n=0
# tls_target FOLDER
tls_target() {
	n=$((n + 1))
	# shellcheck disable=SC2046 # words
	start_qemu "tls$n" -incoming defer $(tls "$1" server) &&
		set_up "tls$n" "{$with_tls}" &&
		execute "tls$n" migrate-incoming "{\"uri\":\"unix:$tmp/tls$n.in\"}"
}
# not_to_target WHAT: a migration to it fails
not_to_target() {
	migrate source "tls$n.in" >/dev/null
	check "a migration $1 fails" comes_to source failed
	check "the guest runs at the source" runs_on source
	end "tls$n"
}
machine=(-machine q35 -m 32M)
# shellcheck disable=SC2046 # words
check "a guest that writes memory is started" start_qemu source $(tls right client)
check "and runs" runs_on source
check "a target with TLS and another key is started" tls_target wrong
set_up source "{$with_tls,${fast#\{}" >/dev/null
not_to_target "with the wrong key"
check "a target with TLS is started" tls_target right
set_up source "{\"tls-creds\":\"\",${fast#\{}" >/dev/null
not_to_target "without TLS"
check "a target with TLS is started" tls_target right
set_up source "{$with_tls,${fast#\{}" >/dev/null
check "a migration with TLS begins" migrate source "tls$n.in"
check "and succeeds" comes_to source completed
check "the guest runs there" runs_on "tls$n"
end source

at=tls$n
for i in 1 2 3 4 5 6 7 8 9 10; do
	for place in there back; do
		check "$i: a target is started" start_target "$place$i"
		set_up "$at" "{\"tls-creds\":\"\",${fast#\{}" >/dev/null
		was=$(word "$at" 0x604)
		migrate "$at" "$place$i.in" >/dev/null
		check "$i: $place" comes_to "$at" completed
		check "$i: the guest runs there" runs_on "$place$i"
		check "$i: past round $was" counts_past "$place$i" "$was"
		end "$at"
		at=$place$i
	done
done
finished
