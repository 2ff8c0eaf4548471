#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# QEMU's own migration of an SEV guest (qemu/): OVMF and Debian's kernel, with memory that verifies
# itself, go from one emulated host to another by the monitor's `migrate` over TCP, from QEMUs with
# the same command line: there by the main channel, back by multifd. The guest has four CPUs, and
# RAM below and above 4 GiB.
# shellcheck source=tests/emulated/driver.sh disable=SC2317 # called by check
. "$(dirname "$0")/driver.sh"

one=qm-$$-one two=qm-$$-two
library=${QEMU_LIBRARY:-$(cd "$programs/../../lib" && pwd)}
qemu=${QEMU_SEVMIRROR:-$("$top/qemu/build" | tail -n 1)}
check "the patched QEMU is built" test -x "$qemu"
for h in "$one" "$two"; do
	start "$h" --cpus 2 --memory 1536M --chip-seed "qemu-${h##*-}" --boot-timeout 300 \
		--link "qm-$$" --packages qemu-system-x86,ovmf
	LD_LIBRARY_PATH=$library check "QEMU and its libraries are copied" "$sev_host" copy \
		"$qemu" "$h:/usr/bin/qemu-sevmirror" || exit 1
	put "$h" qmp
	"$sev_host" copy "$top/emulator/psp/vendor/ask_ark_emulation.cert" "$h:/vendor.cert" \
		|| exit 1
done
check "an initial RAM disk" "$top/scripts/guest-initrd" "$one" "$programs/../../demo/demo-guest" \
	"$tmp/initrd" || exit 1
for h in "$one" "$two"; do "$sev_host" copy "$tmp/initrd" "$h:/initrd" || exit 1; done

# What a test that failed shows: what QEMU and the guest have said
explain() {
	local h
	for h in "$one" "$two"; do
		echo "# on $h:"
		on "$h" sh -c 'tail -n 5 /console; tail -n 20 /said' </dev/null 2>&1 |
			tr -cd '\t\n -~' | sed 's/^/#   /'
	done
}

# guest HOST OPTIONS...: a QEMU in the background, with its monitor at /qmp, its guest's console in
# /console and its own words in /said
guest() {
	local h=$1
	shift
	# shellcheck disable=SC2016 # for the host's shell
	on "$h" sh -c 'rm -f /qmp /console
		firmware=/usr/share/OVMF/OVMF_CODE_4M.fd
		setsid qemu-sevmirror -enable-kvm -cpu EPYC -nodefaults -no-user-config \
			-display none -smp 4 -m 512M \
			-machine q35,confidential-guest-support=sev0,max-ram-below-4g=256M \
			-object sev-guest,id=sev0,cbitpos=47,reduced-phys-bits=5,policy=35 \
			-object sevmirror-helper,id=mh0,vendor-chain=/vendor.cert \
			-drive if=pflash,format=raw,unit=0,readonly=on,file=$firmware \
			-kernel /boot/vmlinuz -initrd /initrd \
			-append "console=ttyS0 quiet -- memory=64 rest=20 canary" \
			-serial file:/console -qmp unix:/qmp,server=on,wait=off "$@" </dev/null \
				>/said 2>&1 &
		n=100; until [ -S /qmp ] || [ $n = 0 ]; do n=$((n - 1)); sleep 0.2; done
		[ -S /qmp ] || { cat /said; false; }' - "$@" &&
		execute "$h" query-status >/dev/null # answered when it has set up all, and listens
}

qmp() { on "$1" /t/qmp /qmp "${@:2}"; }
execute() { qmp "$1" "{\"execute\":\"$2\"${3:+,\"arguments\":$3}}"; }
status() { execute "$1" query-migrate | sed -n 's/^{"return": {.*"status": "\([a-z-]*\)".*/\1/p'; }
runs() { execute "$1" query-status | grep -q '"status": "running"'; }
live() { execute "$1" query-sev-migration | grep -q '"shared-map": true'; }
# prepare HOST true|false: as libvirt does, with multifd or without; patience for an emulated host
prepare() {
	qmp "$1" '{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"return-path","state":true},{"capability":"multifd","state":'"$2"'}]}}' \
		'{"execute":"migrate-set-parameters","arguments":{"downtime-limit":5000,"multifd-channels":2}}' \
		>/dev/null
}
# target HOST true|false: a QEMU that listens
target() {
	guest "$1" -incoming defer && prepare "$@" &&
		execute "$1" migrate-incoming '{"uri":"tcp:0.0.0.0:4444"}'
}

# until_counts HOST TICK: until the guest has counted to that
until_counts() {
	# shellcheck disable=SC2016 # for the host's shell
	on "$1" sh -c 'n=1500
		until [ "$(sed -n "s/^demo: tick \([0-9]*\) .*/\1/p" /console | tail -n 1)" \
			-ge $0 ] 2>/dev/null || [ $n = 0 ]; do n=$((n - 1)); sleep 1; done
		[ $n -gt 0 ]' "$2"
}
tick() { on "$1" sed -n 's/^demo: tick \([0-9]*\) .*/\1/p' /console | tail -n 1; }

# comes_to HOST STATUS
comes_to() {
	local n=1500 now
	until now=$(status "$1") && [ "$now" = "$2" ]; do
		case $now in completed | failed | cancelled) n=1 ;; esac
		[ $((n -= 1)) -gt 0 ] ||
			{ echo "it is $now: $(execute "$1" query-migrate) $(on "$two" cat /said)" \
				"$(on "$one" cat /said)" && return 1; }
		sleep 1
	done
}

# clean HOST: the guest has found no error in its memory
clean() { on "$1" grep '^demo: tick' /console | tail -n 1 | grep ', 0 errors'; }

check "the guest is started on one" guest "$one"
check "it counts" until_counts "$one" 4 || { on "$one" tail -n 5 /console; exit 1; }
check "and has told what it shares" live "$one"
prepare "$one" false
check "the target is started on two" target "$two" false
before=$(tick "$one")
check "migration begins" execute "$one" migrate "{\"uri\":\"tcp:$two:4444\"}"
check "and comes to its end" comes_to "$one" completed
execute "$one" query-migrate | sed 's/^/# /'
check "the guest runs on two" runs "$two"
check "and counts on from $before" until_counts "$two" $((before + 8))
check "with all of its memory as it was" clean "$two"
check "its map has come along" live "$two"
on "$two" tail -n 1 /console | sed 's/^/# /'

execute "$one" quit >/dev/null
check "a target is started on one" target "$one" true
prepare "$two" true
before=$(tick "$two")
check "it goes back by multifd" execute "$two" migrate "{\"uri\":\"tcp:$one:4444\"}"
check "to the end" comes_to "$two" completed
execute "$two" query-migrate | sed 's/^/# /'
check "and counts on from $before" until_counts "$one" $((before + 8))
check "with all of its memory as it was" clean "$one"
execute "$one" system_reset >/dev/null
check "it is reset, and boots from its flash" until_counts "$one" 2
finished
