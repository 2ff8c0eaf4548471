#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A hostile network between two of the patched QEMUs, without TLS: records are left out, sent twice,
# moved and changed, map and manifest are forged or missing, pages come unsealed. The target refuses
# each by a sentence, and the guest keeps running at the source.
# shellcheck source=tests/emulated/driver.sh disable=SC2317 # called by check
. "$(dirname "$0")/driver.sh"
# shellcheck source=tests/emulated/qemu-native.sh
. "$here/qemu-native.sh"
machine=(-machine q35 -m 32M)

n=0
# between TRICK [NUMBER]: a new target, and somebody in front of it
between() {
	n=$((n + 1))
	start_target "target$n" && python3 "$here/qemu_stream.py" "road$n" "target$n.in" "$@" \
		>"road$n.said" 2>&1 &
	echo $! >"road$n.pid"
	disown
	until_true --of "$(cat "road$n.pid")" test -S "road$n"
}

# refuses TRICK NUMBER SENTENCE [SAYER]: SENTENCE is in what the target says, or SAYER
refuses() {
	local sayer=${4:-target}
	check "$1: a migration with that on its way begins" between "$1" "$2" &&
		migrate source "road$n" >/dev/null
	check "it fails" comes_to source failed
	check "$(cat "road$n.said")" grep -q "^$1: " "road$n.said"
	case $sayer in
	source) execute source query-migrate >>source.log ;;
	*) check "the target ends" until_true ended "target$n" && sayer+=$n ;;
	esac
	check "refused: $3" grep -q -- "$3" "$sayer.log"
	check "the guest runs at the source" runs_on source
	end "target$n"
	: >source.log
}

check "the guest is started" start_qemu source
check "and runs" runs_on source
set_up source "$fast" >/dev/null

manifest="not what the source sealed last"
record="what came is not what the source sealed for this target"
refuses drop 0 "$manifest"
refuses drop-page 3 "$manifest"
for trick in move swap epoch salt; do refuses $trick 1 "$record"; done
refuses outside 1 "sevmirror-helper: "
refuses many 1 "4294967295 pages"
refuses map 0 "sevmirror-helper: "
refuses map-length 0 "sevmirror-helper: "
refuses map-state 0 "sevmirror-helper: "
refuses manifest 0 "sevmirror-helper: "
refuses manifest-early 0 "sevmirror-helper: "
refuses manifest-twice 0 "sevmirror-helper: "
refuses no-manifest 0 "stream has no manifest at its end"
refuses unsealed 0 "the private page at 0x200000 came unsealed"
refuses unsealed-late 0 "the private page at 0x200000 came unsealed"
refuses version 0 "the source speaks version 3, this target version 2"
refuses core 0 "sevmirror-helper: "
refuses core-length 0 "sevmirror-helper: "
refuses offer 0 "different builds of the Migration Helper" source
refuses cut 2 "load of migration failed"

# A record that comes twice changes nothing, so it is no failure.
check "replay: a migration with that on its way begins" between replay 2
migrate source "road$n" >/dev/null
check "and succeeds" comes_to source completed
check "$(cat "road$n.said")" grep -q '^replay: ' "road$n.said"
check "the guest runs at the target, with its memory" runs_on "target$n"
end source

# A source whose guest was started without the Migration Helper, and a target without it
helped=("${helper[@]}")
helper=()
check "a guest without the helper is started" start_qemu bare
set_up bare "$fast" >/dev/null
helper=("${helped[@]}")
check "and a target with one" start_target helped
migrate bare helped.in >/dev/null
check "its migration fails" comes_to bare failed
check "the target says why" grep -q "stream has no manifest at its end" helped.log
check "the guest runs where it was" runs_on bare
helper=()
check "a target without the helper is started" start_target unhelped
set_up "target$n" "$fast" >/dev/null
migrate "target$n" unhelped.in >/dev/null
check "a migration to it fails" comes_to "target$n" failed
check "the guest runs where it was" runs_on "target$n"
finished
