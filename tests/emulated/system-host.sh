#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A host that is a whole Debian: what a Debian user expects of it, libvirt's view of SEV, and a
# Debian guest that Debian's QEMU and OVMF boot from its own disk, encrypted.
# shellcheck disable=SC2016,SC2317 # expanded in the host; called by name
# shellcheck source=tests/emulated/driver.sh
. "$(dirname "$0")/driver.sh"

packages=(--package libvirt-daemon-system --package qemu-system-x86 --package ovmf)
if [ "$UID" -ne 0 ]; then
	echo "1..0 # SKIP only root can build a Debian system's image"
	exit 0
fi

# is WHAT EXPECTED COMMAND...: ok if the command in the host says that
is() {
	local what=$1 expected=$2 said
	shift 2
	said=$(on a "$@" 2>&1 </dev/null)
	if [ "$said" = "$expected" ]; then ok "$what"
	else not_ok "$what [said: ${said//$'\n'/ }]"; fi
}

in_guest() { on a ssh -p 2222 -o ConnectTimeout=20 127.0.0.1 "$@" </dev/null; }

# guest_up: until its sshd answers, or its QEMU has ended
guest_up() {
	local i
	for ((i = 0; i < 60; i++)); do
		in_guest true 2>/dev/null && return 0
		# shellcheck disable=SC2016 # for the host's shell
		on a sh -c 'kill -0 "$(cat /run/guest.pid)"' || return 1
		sleep 5
	done
	return 1
}

check "guest-disk writes a disk" "$sev_host" guest-disk "$tmp/guest.img"
began=$SECONDS
start a --system debian13 "${packages[@]}" --memory 4G --disk-size 10G --disk "$tmp/guest.img" \
	--link wire
echo "# up after $((SECONDS - began)) s"

is "it runs Debian 13" 'Debian GNU/Linux 13 (trixie)' \
	sh -c '. /etc/os-release && echo "$PRETTY_NAME"'
is "with systemd, and no unit failed" '' systemctl --failed --no-legend
is "control groups are cgroup2" cgroup2fs stat -fc %T /sys/fs/cgroup
is "/var/run is /run" /run readlink /var/run
is "its name" a hostname
is "its address on the link" "$(on a getent hosts a | cut -d' ' -f1)/24" \
	sh -c 'ip -o -4 address show dev eth0 | tr -s " " | cut -d" " -f4'
is "its root has the size asked for" 10 \
	sh -c 'echo $((($(stat -fc "%b * %S" /) + (1 << 29)) >> 30))'
is "udev gives /dev/kvm to the group kvm" 'kvm 660' stat -c '%G %a' /dev/kvm
is "the user sev is in that group and in libvirt's" 'kvm libvirt' \
	sh -c 'id -nG sev | tr " " "\n" | grep -E "^(kvm|libvirt)$" | sort | xargs'
is "packages are installed, not only unpacked" 'install ok installed' dpkg-query -Wf '${Status}' \
	libvirt-daemon-system
check "ssh as root" test "$("$sev_host" ssh a id -un </dev/null)" = root
check "ssh as the user" test "$("$sev_host" ssh a -l sev id -un </dev/null)" = sev
"$sev_host" ssh-config a >"$tmp/ssh"
check "scp by ssh-config" scp -q -F "$tmp/ssh" "$here/system-host.sh" a:/tmp/
is "brings the file" "$(sha256sum <"$here/system-host.sh" | cut -d' ' -f1)" \
	sh -c 'sha256sum </tmp/system-host.sh | cut -d" " -f1'
hosts+=(small)
says "ssh of a small host" "start it with --system" \
	sh -c "'$sev_host' start small --memory 512M >/dev/null && '$sev_host' ssh small true"

check "libvirt says that SEV is supported" \
	sh -c "'$sev_host' exec a -- virsh domcapabilities </dev/null |
		grep -q \"<sev supported='yes'>\""

check "Debian's QEMU starts an SEV guest with OVMF and the disk" on a sh -c '
	cp /usr/share/OVMF/OVMF_VARS_4M.fd /root/vars.fd
	modern=disable-legacy=on,iommu_platform=true
	firmware=/usr/share/OVMF/OVMF_CODE_4M.fd
	qemu-system-x86_64 -enable-kvm -cpu EPYC -m 1G -nodefaults -no-user-config -no-reboot \
		-display none -serial file:/root/console \
		-machine q35,confidential-guest-support=sev0 \
		-object sev-guest,id=sev0,cbitpos=47,reduced-phys-bits=5,policy=1 \
		-drive if=pflash,format=raw,unit=0,readonly=on,file=$firmware \
		-drive if=pflash,format=raw,unit=1,file=/root/vars.fd \
		-drive file=/dev/vda,format=raw,if=none,id=disk,cache=none \
		-device virtio-blk-pci,drive=disk,$modern,bootindex=1 \
		-netdev user,id=net,hostfwd=tcp:127.0.0.1:2222-:22 \
		-device virtio-net-pci,netdev=net,$modern,romfile= \
		-device virtio-rng-pci,$modern -pidfile /run/guest.pid -daemonize' </dev/null
if check "the guest boots from its disk, and its sshd answers" guest_up; then
	check "its memory is encrypted" sh -c '[ "$1" = 1 ]' - \
		"$(in_guest 'dmesg | grep -cE "Memory Encryption Features active: AMD SEV$"')"
	check "its root is on the disk" sh -c '[ "$1" = /dev/vda2 ]' - \
		"$(in_guest findmnt -no SOURCE /)"
	check "all of Debian is up in it" sh -c '[ "$1" = running ]' - \
		"$(in_guest systemctl is-system-running --wait)"
	in_guest systemctl poweroff
	check "and it powers off" on a \
		sh -c 'n=120; while [ -e /run/guest.pid ] &&
			[ $n -gt 0 ]; do n=$((n - 1)); sleep 1; done; [ ! -e /run/guest.pid ]'
else
	on a tail -n 30 /root/console </dev/null
fi
finished
