#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The patched QEMU (qemu/) on the emulated host: it starts OVMF and Debian's kernel as an SEV guest,
# knows which pages the guest shares, and refuses, by a sentence that names the reason, what does
# not go with encrypted memory. A guest without SEV migrates as ever.
# shellcheck source=tests/emulated/driver.sh disable=SC2317 # called by check and refused
. "$(dirname "$0")/driver.sh"

host=qemu-guest-$$
library=$(cd "$programs/../../lib" && pwd)
qemu=${QEMU_SEVMIRROR:-$("$top/qemu/build" | tail -n 1)}
check "the patched QEMU is built" test -x "$qemu"
start "$host" --cpus 2 --memory 3G --packages qemu-system-x86,ovmf
LD_LIBRARY_PATH=$library check "QEMU and its libraries are copied to the host" "$sev_host" copy \
	"$qemu" "$host:/usr/bin/qemu-sevmirror" || exit 1
put "$host" qmp
check "an initial RAM disk" "$top/scripts/guest-initrd" "$host" "$programs/../../demo/demo-guest" \
	"$tmp/initrd" virtio_pci || exit 1
"$sev_host" copy "$tmp/initrd" "$host:/initrd" || exit 1

# What a test that failed shows
# shellcheck disable=SC2016 # for the host's shell
explain() {
	on "$host" sh -c 'for f in /*.log; do echo "$f:"; tail -n 8 "$f"; done' </dev/null 2>&1 |
		tr -cd '\t\n -~' | sed 's/^/#   /'
}

# run_qemu NAME OPTIONS...: a QEMU in the background, with its monitor at /NAME.qmp and its guest's
# console in /NAME.log
run_qemu() {
	local name=$1
	shift
	# shellcheck disable=SC2016 # for the host's shell
	on "$host" sh -c 'name=$1; shift; rm -f /$name.qmp
		exec qemu-sevmirror -daemonize -pidfile /$name.pid -enable-kvm -cpu EPYC \
			-nodefaults -no-user-config -display none \
			-serial file:/$name.log -qmp unix:/$name.qmp,server=on,wait=off "$@"' - \
			"$name" "$@"
}

# guest NAME OPTIONS...: a guest with firmware and kernel
guest() {
	local name=$1
	shift
	run_qemu "$name" -smp 2 -m 512M -drive \
		if=pflash,format=raw,unit=0,file=/usr/share/OVMF/OVMF_CODE_4M.fd,readonly=on \
		-device virtio-rng-pci \
		-kernel /boot/vmlinuz -initrd /initrd \
		-append "console=ttyS0 quiet -- memory=64 rest=20" "$@"
}

# The guest's owner, who is outside of the host: a session, what must be measured, and whether it
# was
owner=$tmp/owner
sevmirror=$programs/../../cli/sevmirror
weak=(--policy 'NODBG|NOKS' --allow-weak-policy)
mkdir "$owner"
check "the host has sevmirror" "$sev_host" copy "$sevmirror" "$host:/bin/sevmirror"
check "and gives its certificates" on "$host" sevmirror platform certs --out /certs
check "to the owner" "$sev_host" copy "$host:/certs" "$owner/certs"
check "the owner has the firmware, too" \
	"$sev_host" copy "$host:/usr/share/OVMF/OVMF_CODE_4M.fd" "$owner/"
check "owner: a session" "$sevmirror" owner session --root emulation --name "$owner/vm" \
	"${weak[@]}" "$owner/certs"
for file in vm_godh.b64 vm_session.b64; do "$sev_host" copy "$owner/$file" "$host:/$file"; done
# owner_verifies MEMORY
owner_verifies() {
	local digest build
	digest=$("$sevmirror" owner measure --c-bit 47 --firmware "$owner/OVMF_CODE_4M.fd" \
		--memory "$1") &&
		build=$(on "$host" sevmirror platform status |
		sed -n 's/.*build \([0-9]*\).*/\1/p') &&
		execute sev query-sev-launch-measure |
		sed -n 's/.*"data": *"\([^"]*\)".*/\1/p' >"$owner/measurement" &&
		"$sevmirror" owner verify --digest "$digest" --tik "$owner/vm_tik.bin" \
			--measurement "$owner/measurement" --api 0.24 --build "$build" "${weak[@]}"
}

sev=(-machine 'q35,confidential-guest-support=sev0'
	-object 'sev-guest,id=sev0,cbitpos=47,reduced-phys-bits=5,policy=3,dh-cert-file=/vm_godh.b64,session-file=/vm_session.b64')
helper=(-object 'sevmirror-helper,id=mh0')

# qmp NAME COMMAND...
qmp() {
	local name=$1
	shift
	on "$host" /t/qmp "/$name.qmp" "$@"
}

# execute NAME COMMAND [ARGUMENTS]
execute() { qmp "$1" "{\"execute\":\"$2\"${3:+,\"arguments\":$3}}"; }

# hmp NAME LINE: what the human monitor says to it; fails if that is nothing
hmp() {
	local said
	said=$(execute "$1" human-monitor-command "{\"command-line\":\"$2\"}")
	[ "$said" = '{"return": ""}' ] || { echo "$said" && false; }
}

# field NAME KEY: of the answer to query-sev-migration, a number or true and false
field() { execute "$1" query-sev-migration | sed -n "s/.*\"$2\": \([a-z0-9]*\).*/\1/p"; }

# until_console NAME TIMES: until the guest has counted to more than one so often since QEMU's start
until_console() {
	# shellcheck disable=SC2016 # for the host's shell
	on "$host" sh -c 'n=1500; until [ "$(grep -c "demo: tick 2 " /$0.log)" -ge $1 ] ||
		[ $n = 0 ]; do n=$((n - 1)); sleep 1; done; [ $n -gt 0 ]' "$1" "$2"
}

# live NAME: the guest's kernel has said which pages it shares
live() { [ "$(field "$1" shared-map)" = true ] && [ "$(field "$1" shared-pages)" -gt 0 ]; }

# counted NAME: the ranges are as many pages as it says
counted() {
	[ "$(execute "$1" query-sev-migration | grep -o '"pages": [0-9]*' |
		awk '{ n += $2 } END { print n }')" = "$(field "$1" shared-pages)" ]
}

# refused WHAT TEXT COMMAND...: the command fails, TEXT is in what it says
refused() {
	local what=$1 text=$2 said
	shift 2
	if said=$("$@" 2>&1); then
		not_ok "$what: is not refused [said: ${said//$'\n'/ }]"
	elif [[ $said == *"$text"* ]]; then
		ok "$what: $text"
	else
		not_ok "$what: $text [said: ${said//$'\n'/ }]"
	fi
}

migrate() { execute "$1" migrate "{\"uri\":\"${2:-unix:/nobody}\"}"; }

helper_known() { execute "$1" query-sev-migration | grep -qE '"helper-digest": "[0-9a-f]{64}"'; }
encrypted() { execute "$1" query-sev | grep '"enabled": true' | grep -q '"state": "running"'; }
runs() { execute "$1" query-status | grep -q '"status": "running"'; }

check "an SEV guest with the Migration Helper is started, stopped" guest sev -S "${sev[@]}" \
	"${helper[@]}" || exit 1
check "owner: the firmware measured what 'owner measure --firmware' says" owner_verifies 512M
fails "owner: not with other memory" owner_verifies 1G
check "nothing is known of its pages" test "$(field sev shared-map) $(field sev shared-pages)" = \
	"false 0"
execute sev migrate-set-capabilities \
	'{"capabilities":[{"capability":"return-path","state":true}]}' >/dev/null
refused "migration in the firmware" "its kernel has not told which pages it shares" migrate sev
execute sev cont >/dev/null
check "its kernel reaches user space" until_console sev 1 || on "$host" tail -n 20 /sev.log
check "the firmware knows it as a running SEV guest" encrypted sev
check "the map of shared pages is live" live sev
check "and counts what it lists" counted sev
execute sev migrate-set-capabilities \
	'{"capabilities":[{"capability":"return-path","state":true}]}' >/dev/null
check "the guest can be migrated now" test "$(field sev ready)" = true
check "the helper that was launched with it has a digest" helper_known sev
execute sev query-sev-migration | sed 's/^/# /; s/\("shared-ranges": \[[^]]\{300\}\)[^]]*/\1 .../'

refused "a capability that compares pages" "'xbzrle'" qmp sev \
	'{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"xbzrle","state":true}]}}' \
	'{"execute":"migrate","arguments":{"uri":"unix:/nobody"}}'
# set CAPABILITY true|false
set_capability() { execute sev migrate-set-capabilities \
	"{\"capabilities\":[{\"capability\":\"$1\",\"state\":$2}]}" >/dev/null; }
set_capability xbzrle false
for c in x-ignore-shared release-ram postcopy-ram background-snapshot; do
	[ "$c" != background-snapshot ] || set_capability return-path false
	if set_capability "$c" true; then
		refused "capability $c" "'$c'" migrate sev
	else
		not_ok "capability $c cannot be set"
	fi
	set_capability "$c" false
	set_capability return-path true
done
set_capability return-path false
refused "no return path" "'return-path'" migrate sev
set_capability return-path true
execute sev migrate-set-parameters '{"mode":"cpr-reboot"}' >/dev/null
refused "the mode CPR" "cpr-reboot" migrate sev
execute sev migrate-set-parameters '{"mode":"normal"}' >/dev/null
refused "a file" "to a file" migrate sev file:/saved
set_capability mapped-ram true
refused "a file of the capability mapped-ram" "to a file" migrate sev file:/saved
set_capability mapped-ram false
refused "a snapshot" "a snapshot cannot be saved of an encrypted" hmp sev 'savevm one'
refused "a snapshot to load" "a snapshot cannot be loaded of an encrypted" hmp sev 'loadvm one'
refused "a dump" "the memory cannot be dumped of an encrypted" execute sev dump-guest-memory \
	'{"paging":false,"protocol":"file:/dump"}'

check "after all that the guest still runs" runs sev
execute sev system_reset >/dev/null
check "after a reset nothing is known any more" test \
	"$(field sev shared-map) $(field sev shared-pages)" = "false 0"
check "and the guest boots again" until_console sev 2
check "with a map of its own" live sev
execute sev quit >/dev/null

check "an SEV guest without the object is started" guest without -S "${sev[@]}"
execute without cont >/dev/null
refused "its migration" "without the Migration Helper" migrate without
refused "query-sev-migration" "without the Migration Helper" execute without query-sev-migration
execute without quit >/dev/null

# A guest of firmware that finds nothing to boot: its RAM goes from one QEMU to another.
check "a plain guest, with the object in vain, is started" run_qemu plain -machine q35 -m 64M \
	"${helper[@]}" || exit 1
check "and what waits for it" run_qemu target -machine q35 -m 64M "${helper[@]}" \
	-incoming unix:/target.sock
refused "query-sev-migration of it" "not encrypted" execute plain query-sev-migration
check "it is migrated" migrate plain unix:/target.sock
# shellcheck disable=SC2016 # for the host's shell
check "to the end" on "$host" \
	sh -c 'n=600; until /t/qmp /plain.qmp "{\"execute\":\"query-migrate\"}" |
		grep -q completed || [ $n = 0 ]; do n=$((n - 1)); sleep 0.1; done; [ $n -gt 0 ]'
check "and runs there" runs target
finished
