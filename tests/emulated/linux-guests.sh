# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Two emulated hosts between which an encrypted Linux guest moves (demo/guest) with a disk that both
# reach and a network of its own, for the drivers that move one. Sourced in place of driver.sh.
# shellcheck source=tests/emulated/driver.sh
. "$(dirname "${BASH_SOURCE[0]}")/driver.sh"
build=$(cd "$programs/../.." && pwd)
# shellcheck source=demo/hosts.sh
. "$top/demo/hosts.sh"
cd "$top" || exit 1

one='' two='' # the hosts
peer=''      # whom guests talk to: its words are in $tmp/outside

# two_hosts WORD: $one and $two with different chips, a link of that name between them, and all that
# guests need on them
two_hosts() {
	local h program
	one=$1-$$-one two=$1-$$-two
	for h in "$one" "$two"; do start "$h" --cpus 2 --memory 768M --chip-seed "$1-${h##*-}" \
		--link "$1-$$" --link "$1-$$-lan"; done
	check "storage is shared by $one" export_storage "$one" &&
		check "and reached from $two" mount_storage "$two" "$one" || exit 1
	check "sevmirror is on both" equip "$one" "$two" || exit 1
	check "the guests' network" lan "$one" && check "on both" lan "$two" || exit 1
	check "an initial RAM disk" scripts/guest-initrd "$one" "$build/demo/demo-guest" \
		"$tmp/initrd" virtio_mmio virtio_blk virtio_net virtio_console || exit 1
	"$sev_host" copy "$tmp/initrd" "$one:/initrd"
	for program in disk outside; do
		for h in "$one" "$two"; do "$sev_host" copy "$build/demo/demo-$program" \
			"$h:/bin/demo-$program"; done
	done
	on "$one" demo-outside >"$tmp/outside" 2>&1 &
	peer=$(address_on br0 "$one")
}

# guest_works N WORDS OPTIONS...: a guest on $one, its first process the Nth, which talks and does
# what the WORDS say
guest_works() {
	launch_guest "$1" "$one" /initrd "$2 talk=${peer%.*}.200,$peer" --memory 96M \
		--net tap=tap0 "${@:3}"
	check "the guest works" until_true --of "${process[$1]}" ticked "$1" 4
}

# goes_on WHAT N TICK: the guest's Nth process counts on from there and verifies all its memory
goes_on() {
	check "$1: it keeps running" until_true --of "${process[$2]}" ticked "$2" $(($3 + 1))
	check "$1: every page is what it was" until_true --of "${process[$2]}" swept "$2" \
		$(($(number_after "$2" "all verified") + 2))
}

# no_errors LOG: the guest has come to its end and found none; if not, it prints what it found
no_errors() {
	grep -aq '^demo: end, .* 0 errors' "$1" && return
	grep -a 'demo: \(ERROR\|end\)' "$1" | head
	return 1
}

# After a failure: what both sides have said, the guest and its kernel on both hosts
explain() {
	local h
	ends_of "$tmp/moved" "$tmp"/said-* "$tmp/outside"
	lines=6 ends_of "$tmp"/console-*
	for h in $one $two; do
		# shellcheck disable=SC2016 # for the host's shell
		on "$h" sh -c 'for f in /serial-*; do [ ! -s $f ] ||
			{ echo "$f:"; tail -n 15 $f; }; done; echo "kernel:"; dmesg |
			tail -n 8' </dev/null \
			>"$tmp/$h.kernels" 2>&1
		lines=60 ends_of "$tmp/$h.kernels"
	done
}

# guest_ends WHAT N M CALL: the guest, which lived as its Nth to Mth process, is asked to end and
# verifies all once more: nothing was lost, also of what it said to the outside, whose connection
# CALL it was
guest_ends() {
	type_to "$3" q
	wait "${process[$3]}"
	check "$1: it has ended by itself" [ $? -eq 0 ]
	guest_log "$2" "$3" >"$tmp/log"
	check "$1: no page, block or message was lost" no_errors "$tmp/log"
	check "$1: its log has no gap" no_gap "$tmp/log"
	check "$1: its connection was one" until_true grep \
		-q "connection $4 has ended after messages 1 to [1-9][0-9]*, without a gap" \
		"$tmp/outside"
}
