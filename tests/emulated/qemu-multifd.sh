#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Multifd between two of the patched QEMUs: sealed pages go by 2, 4 and 20 channels, with and
# without TLS. What is changed, left out or added on a channel is refused, and whatever fails, the
# guest, which keeps writing memory, runs on at the source.
# shellcheck source=tests/emulated/driver.sh disable=SC2317 # called by check
. "$(dirname "$0")/driver.sh"
# shellcheck source=tests/emulated/qemu-native.sh
. "$here/qemu-native.sh"
machine=(-machine q35 -m 32M)

mkdir tls
echo "qemu:0123456789abcdef0123456789abcdef" >tls/keys.psk
# Each QEMU is target and source in turn
tls=(-object "tls-creds-psk,id=tls0,dir=$tmp/tls,endpoint=server"
	-object "tls-creds-psk,id=tls1,dir=$tmp/tls,endpoint=client")

# multifd NAME CHANNELS [PARAMETERS]: set it up; 0 channels: without
multifd() {
	local capability=multifd channels=$2
	[ "$channels" != 0 ] || capability=-multifd channels=2
	set_up "$1" "{\"downtime-limit\":300,\"max-bandwidth\":10000000000,\"tls-creds\":\"\",
		\"multifd-compression\":\"none\",\"multifd-channels\":$channels}" $capability &&
		execute "$1" migrate-set-parameters "{${3:-}}"
}
n=0
# new_target CHANNELS [PARAMETERS]
new_target() {
	n=$((n + 1))
	start_qemu "target$n" "${tls[@]}" -incoming defer && multifd "target$n" "$@" &&
		execute "target$n" migrate-incoming "{\"uri\":\"unix:$tmp/target$n.in\"}"
}
# fails_with WHAT SENTENCE: the migration does, the last target says SENTENCE, the guest runs on
fails_with() {
	check "it fails" comes_to source failed
	[ -z "$2" ] || check "$1 is refused: $2" grep -qE -- "$2" "target$n.log"
	check "the guest runs at the source" runs_on source
	end "target$n"
}
# arrives FROM: at the last target
arrives() {
	check "to the end" comes_to "$1" completed
	check "it runs at the target, with its memory" runs_on "target$n"
	execute "$1" query-migrate | grep -o '"ram": {[^}]*}' | sed 's/^/# /'
	end "$1"
}
# refused WHAT TEXT CHANNELS PARAMETERS: at once
refused() {
	local what=$1 text=$2
	multifd source "$3" "$4" >/dev/null
	execute source migrate '{"uri":"unix:/nobody"}' >said 2>&1 && not_ok "$what is not refused"
	check "$what is refused" grep -F "$text" said
}
transfers() { [ "$(status source)" = active ] && [ "$(sent source transferred)" -gt 1000000 ]; }

check "the guest is started" start_qemu source "${tls[@]}"
check "and runs" runs_on source

# A channel's first packet of pages comes after its greeting and a packet that is a SYNC: QEMU's
# header with 128 offsets, then two batches of 64 pages.
header=1344 batch=$((32 + 64 * 32 + 64 * 4096))
first=$((64 + header)) records=$((64 + 2 * header + 32))
# channel WHAT SENTENCE AT [LENGTH [PAGE]]: the change that qemu_channels.py makes
channel() {
	local what=$1 text=$2
	shift 2
	check "a target is started" new_target 2
	python3 "$here/qemu_channels.py" "road$n" "target$n.in" "$1" "${2:-0}" ${3:+"$3"} &
	echo $! >"road$n.pid"
	disown
	check "somebody in front of it" until_true --of "$(cat "road$n.pid")" test -S "road$n"
	check "a migration begins, $what" migrate source "road$n"
	fails_with "$what" "$text"
	end "road$n"
}
multifd source 2 >/dev/null
record='multifd [01]: what came is not what the source sealed for this target'
channel "a page's ciphertext is changed" "$record" $((records + 64 * 32 + 5000))
channel "a tag is changed" "$record" $((records + 20))
channel "a page's address is changed" "$record" $((records + 2))
channel "the salt of the second batch is changed" "$record" $((first + header + batch + 3))
channel "a batch has another length" "is not a batch of 64" $((first + header + 24))
channel "a packet has another number of pages" "is not one of an SEV guest" $((first + 39))
packet=$((header + 2 * batch))
channel "a packet is left out" "not what the source sealed last" "$first" $packet
# the last one of the second packet, which the guest does not write any more
channel "a page comes again in clear" "the private page at 0x[0-9a-f]* came unsealed" \
	$((first + 2 * packet)) 0 $((first + 2 * packet - batch + 32 + 63 * 32))

check "a target without multifd is started" new_target 0
multifd source 4 >/dev/null
check "a migration by 4 channels begins" migrate source "target$n.in"
fails_with "" "" # QEMU closes the channels, or the adapter refuses the number

slow='"max-bandwidth":200000'
check "a target is started" new_target 2
multifd source 2 "$slow" >/dev/null
check "a slow migration begins" migrate source "target$n.in"
check "pages go" until_true transfers
check "it is cancelled" execute source migrate_cancel
check "and ends" comes_to source cancelled
check "the guest runs at the source" runs_on source
check "a target is started" new_target 2
check "a slow migration begins" migrate source "target$n.in"
check "pages go" until_true transfers
check "the target is killed" end "target$n"
fails_with "" ""

refused "compression" "multifd-compression 'zlib'" 2 '"multifd-compression":"zlib"'
refused "more channels than the helper serves" "33 multifd-channels" 33 ""

from=source
for channels in 2 4 20; do
	check "a target is started" new_target $channels
	multifd "$from" $channels >/dev/null
	check "a migration by $channels channels begins" migrate "$from" "target$n.in"
	arrives "$from"
	from=target$n
done
check "a target with TLS is started" new_target 2 '"tls-creds":"tls0"'
multifd "$from" 2 '"tls-creds":"tls1"' >/dev/null
check "a migration by 2 channels with TLS begins" migrate "$from" "target$n.in"
arrives "$from"
finished
