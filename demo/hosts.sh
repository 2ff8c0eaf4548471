# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Emulated hosts between which a guest moves, for the demo and the tests: what they need, how they
# are connected, and the guest's life on them. Sourced with $sev_host, $build (a meson folder) and
# $tmp (a folder of its own).
#
# The guest lives as a chain of sevmirror processes, the first of `run`, the others of `receive`.
# The Nth has its console in $tmp/console-N (all of them, one behind the other, are the guest's
# log), its own words in $tmp/said-N, and what is typed comes from the pipe $tmp/in-N.
: "${sev_host:?}" "${build:?}" "${tmp:?}"

in_host() {
	local host=$1
	shift
	"$sev_host" exec "$host" -- "$@"
}

# shellcheck source=tests/wait.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tests/wait.sh"

# equip HOST...: what sends and receives guests; the hosts share a key
equip() {
	local h
	[ -e "$tmp/psk" ] || (umask 077 && openssl rand -hex 32 >"$tmp/psk")
	for h in "$@"; do
		"$sev_host" copy "$build/cli/sevmirror" "$h:/bin/sevmirror" &&
			"$sev_host" copy "$tmp/psk" "$h:/psk" &&
			"$sev_host" copy emulator/psp/vendor/ask_ark_emulation.cert \
			"$h:/vendor.cert" || return 1
	done
}

# address_on CARD HOST
address_on() { in_host "$2" ip -4 addr show dev "$1" | sed -n 's/.*inet \([0-9.]*\).*/\1/p'; }

# lan HOST: eth1 and the guest's tap0 become ports of a bridge, which takes over the host's address
lan() {
	# shellcheck disable=SC2016 # for the host's shell
	in_host "$1" sh -ec \
		'address=$(ip -4 addr show dev eth1 | sed -n "s/.*inet \([0-9./]*\).*/\1/p")
		ip link add br0 type bridge && ip addr flush dev eth1 &&
			ip addr add "$address" dev br0 && tunctl -t tap0 >/dev/null
		for port in eth1 tap0; do ip link set $port master br0; ip link set $port up; done
		ip link set br0 up'
}

# export_storage HOST: its /shared, in memory, to all hosts on its first link: NFS 4.2 by the kernel
# alone. What mountd would answer about clients and exports is told to the kernel before it asks:
# rw, sync, root is root, of any port, fsid 0 (include/uapi/linux/nfsd/export.h). For ten seconds,
# the least that can be set, the server waits for clients of its former life.
export_storage() {
	# shellcheck disable=SC2016 # for the host's shell
	in_host "$1" sh -ec \
		'modprobe nfsd; mount -t nfsd nfsd /proc/fs/nfsd; mkdir /shared
		mount -t tmpfs tmpfs /shared
		echo -3 >/proc/fs/nfsd/versions; echo 10 >/proc/fs/nfsd/nfsv4gracetime
		net=$(ip -4 addr show dev eth0 |
			sed -n "s/.*inet \([0-9]*\.[0-9]*\.[0-9]*\)\..*/\1/p")
		for n in 1 2 3 4 5 6 7 8; do echo "nfsd $net.$n 2147483647 hosts"; done |
			while read -r line; do
			echo "$line" >/proc/net/rpc/auth.unix.ip/channel; done
		echo "hosts /shared 2147483647 $((0x2402)) 65534 65534 0" \
			>/proc/net/rpc/nfsd.export/channel
		echo "hosts 1 \x00000000 2147483647 /shared" >/proc/net/rpc/nfsd.fh/channel
		echo 2 >/proc/fs/nfsd/threads'
}

# mount_storage HOST SERVER
mount_storage() {
	# shellcheck disable=SC2016 # for the host's shell
	in_host "$1" sh -ec 'modprobe nfsv4; mkdir /shared
		mount -t nfs4 -o "vers=4.2,addr=$0,clientaddr=$1" "$0:/" /shared' \
			"$(address_on eth0 "$2")" "$(address_on eth0 "$1")"
}

# sevmirror_at N HOST ARG...: the Nth of the guest's processes, in the background; its exit status
# comes from `wait`
declare -A process
sevmirror_at() {
	local n=$1 host=$2
	shift 2
	mkfifo "$tmp/in-$n"
	"$sev_host" exec "$host" -- sevmirror "$@" <>"$tmp/in-$n" >"$tmp/console-$n" \
		2>"$tmp/said-$n" &
	process[$n]=$!
}

# What the guest's kernel says is in /serial-N on the host of its Nth process: apart from the words
# of its /init, which nothing cuts.
console_of() { console=(--console virtio --serial-log "/serial-$1"); }

# launch_guest N HOST INITRD WORDS OPTIONS...: an encrypted guest with the host's kernel; WORDS are
# for its /init (demo/guest/main.c). Its bounce buffers are small, as it has little memory.
launch_guest() {
	console_of "$1"
	sevmirror_at "$1" "$2" run --name guest --sev on --kernel /boot/vmlinuz --initrd "$3" \
		"${console[@]}" \
		--cmdline "console=ttyS0 quiet panic=-1 swiotlb=4096 -- say=/dev/hvc0 $4" "${@:5}"
}

# How the two know each other
security=(--psk-file /psk)

# await_guest N HOST OPTIONS...: until the host waits for the guest. The tap is named, so that it is
# opened before privileges are given up.
await_guest() {
	console_of "$1"
	# A source that has given its guest away has the tap until it ends.
	within 120 nobody_on "$2"
	sevmirror_at "$1" "$2" receive --name guest --listen 0.0.0.0:7777 "${security[@]}" \
		--vendor-chain /vendor.cert --tap tap0 --timeout 60 \
		"${console[@]}" "${@:3}"
	until_true waits_or_ended "$1" "$tmp/said-$1"
	grep -qs waiting "$tmp/said-$1"
}
nobody_on() { ! in_host "$1" pidof sevmirror </dev/null >/dev/null; }
waits_or_ended() { grep -qs waiting "$2" || ! kill -0 "${process[$1]}"; }

# move_guest FROM TO OPTIONS...
move_guest() {
	"$sev_host" exec "$1" --timeout 900 -- sevmirror migrate guest --to "$2:7777" \
		"${security[@]}" --timeout 60 "${@:3}"
}

type_to() { echo "$2" >"$tmp/in-$1"; }

# The guest's last tick in its Nth console: the number before or after a word; 0 before the first
# one
tick_line() { tr -d '\r' <"$tmp/console-$1" 2>/dev/null | grep -a '^demo: tick .* errors$' |
	tail -n 1; }
number_after() { tick_line "$1" | sed -n "s/.*$2 \([0-9]*\).*/\1/p" | grep . || echo 0; }
last_tick() { number_after "$1" "demo: tick"; }

# ticked N TICK: it has counted that far; swept N TIMES: it has verified all of its memory so often
ticked() { [ "$(last_tick "$1")" -ge "$2" ]; }
swept() { [ "$(number_after "$1" "all verified")" -ge "$2" ]; }

# guest_moves FROM: what a wait for a migration watches: what migrate and the targets have said, and
# what has left FROM, in 64 KiB
guest_moves() {
	cat "$tmp/moved" "$tmp"/said-* 2>/dev/null
	echo "$1 has sent: $(($(in_host "$1" cat /sys/class/net/eth0/statistics/tx_bytes \
		</dev/null) >> 16))"
}

# guest_log N M: its Nth to Mth console
guest_log() {
	local n
	for ((n = $1; n <= $2; n++)); do cat "$tmp/console-$n"; done | tr -d '\r'
}

# no_gap LOG: it counts from 1 without a gap or a repetition; if not, it prints where
no_gap() {
	awk '/^demo: tick / {
			n++
			if ($3 != last + 1) {
				print "after \"" before "\" comes \"" $0 "\" in line " NR
				bad = 1
			}
			last = $3
			before = $0
		}
		END { if (!n) print "no tick at all in " NR " lines"; exit bad || !n }' "$1"
}
