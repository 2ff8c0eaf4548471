#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `virsh migrate --live` between two emulated hosts that are whole Debian systems with libvirt as it
# is: the domain of docs/qemu.md, an encrypted Debian guest with its disk on shared storage, goes
# there and back while it works and an ssh session into it stays: with TLS, peer to peer, with its
# disk. It is aborted, either QEMU is killed, the network is cut. What libvirt says is true on both.
# shellcheck source=tests/emulated/driver.sh disable=SC2016,SC2317 # for the hosts; called by check
. "$(dirname "$0")/driver.sh"
if [ "$UID" -ne 0 ]; then
	echo "1..0 # SKIP only root can build a Debian system's image"
	exit 0
fi
cd "$top" || exit 1
build=$(cd "$programs/../.." && pwd)
qemu=${QEMU_SEVMIRROR:-$(qemu/build | tail -n 1)}
check "the patched QEMU is built" test -x "$qemu"
# shellcheck source=demo/hosts.sh
. demo/hosts.sh
# shellcheck source=demo/libvirt.sh
. demo/libvirt.sh

a=qv-$$-a b=qv-$$-b
hosts=("$a" "$b")
explain() {
	local h
	states "$a" "$b" | sed 's/^/# /'
	for h in "$a" "$b"; do
		# shellcheck disable=SC2016 # for the host's shell
		on "$h" sh -c 'for f in /root/migrate /root/session* \
			/var/log/libvirt/qemu/guest.log; do
				[ -s $f ] && echo "$f on $0:" && tr "\r" "\n" <$f | tail -n 12; done
			journalctl -q -n 12 -u libvirtd --no-pager; dmesg | grep DENIED |
				tail -n 5' "$h" \
			</dev/null 2>&1 | tr -cd '\t\n -~' | sed 's/^/#   /'
	done
}

virsh_at() { on "$1" virsh "${@:2}" </dev/null; }
known_shared() {
	virsh_at "$1" qemu-monitor-command guest '{"execute":"query-sev-migration"}' |
		grep -q '"shared-map":true'
}
# refused_migration WHAT TEXT OPTIONS...: from a, and the guest stays there
refused_migration() {
	local what=$1 text=$2
	shift 2
	says "$what is refused" "$text" on "$a" virsh migrate --live "$@" guest \
		"qemu+ssh://$b/system"
	stays
}
stays() {
	is "the guest runs at the source, and the target has none" "$a: running, $b: " \
		"$(states "$a" "$b")"
}
sound() { [[ $1 == *", 0 errors" ]]; }
# moves FROM TO LEFT OPTIONS...: to the end, with the session alive; LEFT is what FROM has of it
# then
moves() {
	local before with="${*:4}"
	before=$(session_tick "$a")
	migrate_in_background "$1" "$2" "${@:4}"
	check "virsh migrate --live ${with:+$with }from $1 to $2 ends" within 1800 \
		migrate_ended "$1"
	check "and succeeds" sh -c '[ "$1" = "status 0" ]' - "$(migrate_said "$1" | tail -n 1)"
	is "virsh says where it is" "$2: running, $1: $3" "$(states "$2" "$1")"
	check "the ssh session into it keeps running past tick $before" within 600 \
		session_reached "$a" $((before + 10))
	check "and the guest has found no error in its memory" sound "$(session_says "$a")"
	session_says "$a" | sed 's/^/# /'
}
# job_at_least FIELD N: of the migration from a: what domjobinfo says
job_at_least() {
	[ "$(virsh_at "$a" domjobinfo guest 2>/dev/null | sed -n "s/^$1: *\([0-9]*\).*/\1/p")" \
		-ge "$2" ]
}
# under_way: a migration from a has sent something
under_way() {
	migrate_in_background "$a" "$b"
	check "a migration is under way" within 600 processed "$a"
}
# fails_and_stays WHY: it ends, and the guest is at the source as before
fails_and_stays() {
	local before
	check "so it ends" within 600 migrate_ended "$a"
	check "with a failure" sh -c '[ "$1" != "status 0" ]' - "$(migrate_said "$a" | tail -n 1)"
	migrate_said "$a" | grep '^error' | sed 's/^/# /'
	check "the target has none" within 300 gone_at "$b"
	stays
	before=$(session_tick "$a")
	check "and works" within 600 session_reached "$a" $((before + 4))
}
gone_at() { [ -z "$(state_at "$1")" ]; }
kill_qemu() { on "$1" pkill -9 -f '[q]emu-system-x86_64-sevmirror' </dev/null; }

# certificates HOST AUTHORITY: for QEMU's TLS, from an authority of that name
certificates() {
	local ca=$tmp/$2 own=$tmp/pki-$1
	[ -e "$ca.pem" ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-days 3650 -subj "/CN=$2" -keyout "$ca.key" -out "$ca.pem" 2>/dev/null || return
	rm -rf "$own" && mkdir "$own" && cp "$ca.pem" "$own/ca-cert.pem" &&
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
			-subj "/CN=$1" -addext "subjectAltName=DNS:$1" \
			-addext "basicConstraints=critical,CA:FALSE" \
			-CA "$ca.pem" -CAkey "$ca.key" \
			-keyout "$own/server-key.pem" -out "$own/server-cert.pem" 2>/dev/null &&
		cp "$own/server-key.pem" "$own/client-key.pem" &&
		cp "$own/server-cert.pem" "$own/client-cert.pem" && chmod 644 "$own"/* &&
		on "$1" sh -c 'rm -rf /etc/pki/qemu && mkdir -p /etc/pki' &&
		"$sev_host" copy "$own" "$1:/etc/pki/qemu"
}

check "two Debian hosts with libvirt, shared storage and the patched QEMU" start_pair "$a" "$b"
check "the domain of docs/qemu.md is defined" define_guest "$a"
check "and started, paused" virsh_at "$a" start --paused guest
says "migration before it runs is refused" "its kernel has not told which pages it shares" \
	on "$a" virsh migrate --live guest "qemu+ssh://$b/system"
check "it runs" virsh_at "$a" resume guest
check "its kernel tells which pages it shares" within 1200 known_shared "$a"
check "an ssh session into the guest starts work there" session "$a"
check "which begins" within 1200 session_reached "$a" 4

refused_migration "--postcopy" "'postcopy-ram'" --postcopy
says "virsh save is refused" "'return-path'" on "$a" virsh save guest /root/saved
is "and the guest runs on" running "$(state_at "$a")"

under_way
check "domjobinfo knows it" job_at_least "Iteration" 1
check "it is aborted in its first round" virsh_at "$a" domjobabort guest
fails_and_stays

under_way
check "the target's QEMU is killed" kill_qemu "$b"
fails_and_stays

under_way
check "the network between the hosts is cut" "$sev_host" link "$a" --cut
before=$(session_tick "$a")
check "the guest works at the source" within 600 session_reached "$a" $((before + 4))
check "the migration is aborted" virsh_at "$a" domjobabort guest
check "so it ends" within 600 migrate_ended "$a"
check "the network is restored" "$sev_host" link "$a" --restore
fails_and_stays

check "the source has certificates for TLS" certificates "$a" right
check "the target has some of another authority" certificates "$b" wrong
migrate_in_background "$a" "$b" --tls
fails_and_stays
check "the target has some of the source's authority" certificates "$b" right
moves "$a" "$b" "shut off" --tls --abort-on-error
virsh_at "$a" domjobinfo guest --completed | grep . | sed 's/^/# /'
fails "domjobabort after the migration" virsh_at "$a" domjobabort guest

boot_id() { in_guest "$b" 'cat /proc/sys/kernel/random/boot_id'; }
# boots_again: it answers, and is not what it was
boots_again() {
	local now
	now=$(boot_id) && [ "$now" ] && [ "$now" != "$was" ]
}
was=$(boot_id)
check "the guest says which boot it is" test -n "$was"
check "it is reset at the target" virsh_at "$b" reset guest
check "and boots from its disk again" within 1800 boots_again
check "a new session starts work in it" session "$a"
check "which begins" within 1200 session_reached "$a" 4
moves "$b" "$a" "" --p2p --timeout 20 # it was not made persistent there

# The same path on a disk of the target's own
check "the target has a disk of its own" on "$b" sh -c 'umount /guests &&
	truncate -s 2G /guests/guest.img'
moves "$a" "$b" "shut off" --copy-storage-all

migrate_in_background "$b" "$a" --copy-storage-all
check "a migration back is under way" within 600 processed "$b"
check "the source's QEMU is killed" kill_qemu "$b"
check "so it ends" within 600 migrate_ended "$b"
check "with a failure" sh -c '[ "$1" != "status 0" ]' - "$(migrate_said "$b" | tail -n 1)"
check "the guest has ended at the source" within 300 gone_at "$b"
is "and does not run at the target" "shut off" "$(state_at "$a")"
finished
