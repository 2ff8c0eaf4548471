# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Linux guests for sevmirror in an emulated host: their files, and how they are started and watched.
# Sourced after driver.sh.
: "${programs:?}" "${tmp:?}" "${sev_host:?}" "${top:?}"

sevmirror=$programs/../../cli/sevmirror
# The host that the guests run on
guest_host=

# guest_files: the host's kernel in $tmp/vmlinuz, an initrd with its modules in $tmp/guest.cpio.gz,
# both in the host's /g, too
guest_files() {
	"$sev_host" copy "$guest_host:/boot/vmlinuz" "$tmp/vmlinuz" &&
		"$top/scripts/guest-initrd" "$guest_host" "$programs/vmm-guest" \
		"$tmp/guest.cpio.gz" virtio_mmio virtio_blk virtio_net button evdev &&
		on "$guest_host" mkdir -p /g &&
		"$sev_host" copy "$tmp/guest.cpio.gz" "$guest_host:/g/guest.cpio.gz" &&
		"$sev_host" copy "$sevmirror" "$guest_host:/usr/bin/sevmirror"
}

# guest NAME OPTIONS...: start a guest in the background, console in $tmp/NAME.console, sevmirror's
# own words in $tmp/NAME.said. The environment of sevmirror in the array guest_env, what is typed
# from the file guest_stdin.
guest_env=()
guest_stdin=/dev/null
guest() {
	local name=$1
	shift
	"$sev_host" exec "$guest_host" --timeout 300 -- /bin/busybox env "${guest_env[@]}" \
		sevmirror run --name "$name" \
		--kernel /boot/vmlinuz --initrd /g/guest.cpio.gz --memory 256M \
		"$@" <"$guest_stdin" >"$tmp/$name.console" 2>"$tmp/$name.said" &
	guest_job=$!
}

# guest_holds NAME: until the guest's control socket is there
guest_holds() { check "$1: waits for its owner" wait_for "$guest_host" "/run/sevmirror/$1.sock"; }
explain() { ends_of "$tmp"/*.console "$tmp"/*.said; }

# guest_ends NAME STATUS: the guest that was started last ends with this status
guest_ends() {
	local status
	wait "$guest_job"
	status=$?
	is "$1: sevmirror ends with exit status" "$2" $status
}

# guest_says NAME TEXT: until the text is on the console (a regular expression), or the guest has
# ended
says_or_ends() { grep -aqE "$2" "$tmp/$1.console" || ! kill -0 "$guest_job"; }
guest_says() {
	until_true says_or_ends "$@"
	check "$1 says: $2" grep -aqE "$2" "$tmp/$1.console"
}

# said NAME WHAT TEXT: it is on the guest's console
said() { check "$1: $2" grep -aqE "$3" "$tmp/$1.console"; }

# nothing_left WHAT: no socket, no process, no guest of the firmware
nothing_left() {
	# shellcheck disable=SC2016 # for the host's shell
	check "$1: nothing is left behind" on "$guest_host" sh -c \
		'! pidof sevmirror && ! ls /run/sevmirror/*.sock 2>/dev/null &&
			sevmirror platform status --json | grep -q "\"guests\": 0\>"'
}
