# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Two emulated hosts with libvirt between which a Debian guest moves, for the demo and the tests.
# Sourced, after demo/hosts.sh, with $sev_host, $build (a meson folder), $qemu (the patched one) and
# $tmp (a folder of its own).
#
# The hosts reach each other on eth0. The guest's network is the bridge br0 on eth1. Its disk is in
# /guests, which the first host exports.
: "${sev_host:?}" "${build:?}" "${qemu:?}" "${tmp:?}"

libvirt_system=(--system debian13 --package libvirt-daemon-system --package qemu-system-x86
	--package ovmf --package apparmor)

# shared_disk: $tmp/guests.img, a file system with the guest's disk, guest.img, in it
shared_disk() {
	mkdir "$tmp/guests" && "$sev_host" guest-disk "$tmp/guests/guest.img" &&
		truncate -s 3G "$tmp/guests.img" &&
		mke2fs -q -F -t ext4 -O ^has_journal -m 0 -E lazy_itable_init=1 \
			-d "$tmp/guests" "$tmp/guests.img" && rm -r "$tmp/guests"
}

# furnish HOST: the patched QEMU as its package would bring it, and what an administrator sets up
furnish() {
	local library
	library=$(cd "$build/lib" && pwd)
	LD_LIBRARY_PATH=$library "$sev_host" copy "$qemu" \
		"$1:/usr/bin/qemu-system-x86_64-sevmirror" &&
		"$sev_host" copy emulator/psp/vendor/ask_ark_emulation.cert \
			"$1:/etc/sevmirror/vendor.cert" &&
		"$sev_host" copy qemu/apparmor \
			"$1:/etc/apparmor.d/abstractions/libvirt-qemu.d/sevmirror" &&
		in_host "$1" sh -ec 'ip link add br0 type bridge; ip link set eth1 master br0
			ip link set eth1 up; ip link set br0 up'
}

# export_guests HOST: its /dev/vda to all hosts on its first link. What mountd would answer is told
# to the kernel, as in demo/hosts.sh.
export_guests() {
	# shellcheck disable=SC2016 # for the host's shell
	in_host "$1" sh -ec 'modprobe nfsd
		mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
		mkdir -p /srv/guests; mount /dev/vda /srv/guests
		echo -3 >/proc/fs/nfsd/versions; echo 10 >/proc/fs/nfsd/nfsv4gracetime
		net=$(ip -4 addr show dev eth0 |
			sed -n "s/.*inet \([0-9]*\.[0-9]*\.[0-9]*\)\..*/\1/p")
		for n in 1 2 3 4 5 6 7 8; do
			echo "nfsd $net.$n 2147483647 hosts" >/proc/net/rpc/auth.unix.ip/channel
		done
		echo "hosts /srv/guests 2147483647 $((0x2402)) 65534 65534 0" \
			>/proc/net/rpc/nfsd.export/channel
		echo "hosts 1 \x00000000 2147483647 /srv/guests" >/proc/net/rpc/nfsd.fh/channel
		echo 2 >/proc/fs/nfsd/threads'
}

# mount_guests HOST SERVER: libvirt must see shared storage on both hosts, so the server is a client
mount_guests() {
	# shellcheck disable=SC2016 # for the host's shell
	in_host "$1" sh -ec 'modprobe nfsv4; mkdir -p /guests
		mount -i -t nfs4 -o "vers=4.2,addr=$0,clientaddr=$1" "$0:/" /guests' \
		"$(address_on eth0 "$2")" "$(address_on eth0 "$1")"
}

# start_pair A B: both hosts, ready for guests
start_pair() {
	local host=(start --cpus 2 --memory 2560M --link "$1" --link "$1-lan"
		"${libvirt_system[@]}")
	shared_disk || return
	"$sev_host" "${host[0]}" "$1" "${host[@]:1}" --chip-seed libvirt-one \
		--disk "$tmp/guests.img" || return
	"$sev_host" "${host[0]}" "$2" "${host[@]:1}" --chip-seed libvirt-two || return
	furnish "$1" && furnish "$2" && export_guests "$1" && mount_guests "$1" "$1" &&
		mount_guests "$2" "$1"
}

# The domain that docs/qemu.md shows
domain_xml() { sed -n '/^    <domain /,/^    <\/domain>/s/^    //p' docs/qemu.md; }

# define_guest HOST
define_guest() {
	domain_xml | in_host "$1" sh -c 'cat >/root/guest.xml && virsh define /root/guest.xml'
}

# state_at HOST: of the guest there, as libvirt knows it; empty if it has none
state_at() { in_host "$1" virsh domstate guest </dev/null 2>/dev/null | grep .; }
states() { echo "$1: $(state_at "$1"), $2: $(state_at "$2")"; }

# The guest's link-local address follows from its MAC address: hosts reach it wherever it runs.
guest=root@fe80::5054:ff:fe5e:1%br0

# in_guest HOST COMMAND: by ssh from that host; it takes long, as cryptography is emulated
in_guest() { in_host "$1" timeout 300 ssh -o ConnectTimeout=60 "$guest" "$2" </dev/null; }

# session HOST: an ssh session from there, which starts work in the guest and says every two seconds
# what it has come to: in /root/session. It tries until the guest's sshd answers.
session() {
	"$sev_host" copy "$build/demo/demo-guest" "$1:/root/demo-guest" &&
		in_host "$1" sh -c 'cat >/root/session.sh
			rm -f /root/session; touch /root/session
			setsid sh /root/session.sh </dev/null >/dev/null 2>&1 &' <<-END
			until [ -s /root/session ]; do
				ssh -o ConnectTimeout=60 $guest 'cat >/tmp/demo-guest
					chmod +x /tmp/demo-guest
					/tmp/demo-guest memory=32 rest=50 canary \\
						</dev/null >/tmp/ticks 2>&1 &
					while sleep 2; do tail -n 1 /tmp/ticks; done' \\
					</root/demo-guest >/root/session 2>/root/session.said
			done
		END
}
session_says() { in_host "$1" tail -n 1 /root/session </dev/null; }
session_tick() { session_says "$1" | sed -n 's/^demo: tick \([0-9]*\) .*/\1/p'; }
session_reached() { [ "$(session_tick "$1")" -ge "$2" ] 2>/dev/null; }

# What QEMU calls a short downtime is long for an emulated host's network: milliseconds.
downtime=8000

# migrate_in_background FROM TO OPTIONS...: by virsh; what it says is in /root/migrate, its status
# last
migrate_in_background() {
	in_host "$1" sh -c 'cat >/root/migrate.sh; rm -f /root/migrate
		setsid sh /root/migrate.sh </dev/null >/root/migrate 2>&1 &' <<-END
		virsh migrate --live --verbose ${*:3} guest qemu+ssh://$2/system
		echo "status \$?"
	END
	within 300 in_host "$1" virsh migrate-setmaxdowntime guest \
		$downtime </dev/null >/dev/null 2>&1 || :
}
migrate_said() { in_host "$1" cat /root/migrate </dev/null | tr '\r' '\n' | grep .; }
migrate_ended() { migrate_said "$1" | grep -q '^status'; }
