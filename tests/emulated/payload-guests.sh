# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Two emulated hosts between which an encrypted payload moves: small and quick, for the drivers that
# move many. Sourced in place of driver.sh.
# shellcheck source=tests/emulated/driver.sh
. "$(dirname "${BASH_SOURCE[0]}")/driver.sh"

build=$programs/../..
one='' two='' # the hosts

# two_hosts WORD: $one and $two with different chips, a link of that name between them, and all that
# guests need on them
two_hosts() {
	local h
	one=$1-$$-one two=$1-$$-two
	start "$one" --cpus 2 --memory 640M --chip-seed "$1-one" --link "$1-$$"
	start "$two" --cpus 2 --memory 640M --chip-seed "$1-two" --link "$1-$$"
	(umask 077 && od -An -tx1 -N32 /dev/urandom | tr -d ' \n' >"$tmp/psk")
	for h in "$one" "$two"; do
		"$sev_host" copy "$build/cli/sevmirror" "$h:/usr/bin/sevmirror" || exit 1
		"$sev_host" copy "$build/payloads/payload-dirtier" "$h:/dirtier" || exit 1
		"$sev_host" copy "$build/payloads/payload-memscan" "$h:/memscan" || exit 1
		"$sev_host" copy "$top/emulator/psp/vendor/ask_ark_emulation.cert" \
			"$h:/vendor.cert" || exit 1
		"$sev_host" copy "$tmp/psk" "$h:/psk" || exit 1
	done
}

# launch HOST MEMORY POLICY: 300 pages a second of 1 MiB, all of memory filled first, the shared
# area as well
launch() {
	# shellcheck disable=SC2016 # expanded in the host
	on "$1" sh -c 'args=; for a in 7 300 1048576 0 0 0 1 0 1; do args="$args --arg $a"; done
		setsid sevmirror run --sev on --name guest --payload /dirtier \
			--mirror-payload /memscan --memory "$0" --policy "$1" $args </dev/null \
			>/out 2>&1 &
		' "$2" "$3"
	true_on "$1" sh -c 'sevmirror status guest | grep -q running'
}

# await HOST: waits for a guest
await() {
	on "$1" sh -c 'setsid sevmirror receive --name guest --listen 0.0.0.0:4000 --psk-file /psk \
		--vendor-chain /vendor.cert \
		--timeout 60 </dev/null >/out 2>&1; echo $? >/status' >/dev/null 2>&1 &
	wait_for "$1" /out
	true_on "$1" grep -q waiting /out
}

# move FROM TO: prints what migrate says
move() {
	"$sev_host" exec "$1" --timeout 240 -- sevmirror migrate guest --to "$2:4000" \
		--psk-file /psk --timeout 60 --max-downtime 4000 --json 2>&1
}

# gone HOST: no guest is left there
gone() { true_on "$1" sh -c '! sevmirror status guest'; }

# After a failure: what both sides have said
explain() {
	local h
	ends_of "$tmp/there" "$tmp/back"
	for h in $one $two; do
		on "$h" sh -c 'tail -n 20 /out; dmesg | tail -n 5' </dev/null >"$tmp/$h.out" 2>&1
		ends_of "$tmp/$h.out"
	done
}
