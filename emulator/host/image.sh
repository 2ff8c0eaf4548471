# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The emulated host's image: Debian's kernel as it is, and an initramfs that is the host's whole
# system. Sourced by sev-host.
#
# Everything is in $cache (outside the tree), named by a hash of what it is made of:
#   tools-HASH/    the C programs      image-HASH/    vmlinuz and initrd
#   debs/          Debian packages     kernel-6.12    name of the kernel package in use
: "${top:?}" "${cache:?}"

# What the host can load. Dependencies come by themselves.
image_modules=(
	ccp kvm kvm_amd msr
	virtio_pci virtio_blk virtio_net virtio_console virtio_rng
	tun tap bridge veth af_packet vhost_net vhost_vsock vsock vmw_vsock_virtio_transport
	sch_netem sch_tbf sch_ingress nbd nfsd nfsv4 loop ext4 overlay squashfs isofs nls_ascii
	qemu_fw_cfg configfs virtiofs 9p 9pnet_virtio
	virtio_mmio button evdev # for the initrds of guests
)

# Libraries that programs in the host are likely to want; others come with the programs that need
# them.
image_libraries=(
	libc.so.6 libm.so.6 libdl.so.2 libpthread.so.0 librt.so.1 libresolv.so.2 libutil.so.1
	libgcc_s.so.1
	libcrypto.so.3 libssl.so.3 libz.so.1 libzstd.so.1 libjansson.so.4
)

hash_of() { cat "$@" | sha256sum | cut -c1-16; }

# locked NAME COMMAND...: one builder at a time
locked() {
	local fd lock=$cache/$1.lock
	shift
	mkdir -p "$cache"
	exec {fd}>"$lock"
	flock "$fd"
	local status=0
	"$@" || status=$?
	exec {fd}>&-
	return $status
}

# tools: prints the folder of the C programs, building them if needed
tools() {
	local dir
	dir=$cache/tools-$(hash_of "$top"/emulator/host/*.[ch])
	[ -e "$dir/agent" ] || locked tools build_tools "$dir" >&2 || return 1
	echo "$dir"
}

build_tools() {
	local dir=$1 src=$top/emulator/host tmp flags=(-std=gnu17 -D_GNU_SOURCE -O2 -g -Wall)
	[ -e "$dir/agent" ] && return 0
	note "building the host's tools"
	tmp=$(mktemp -d "$cache/tmp.XXXXXX")
	(
		cd "$src" &&
			cc "${flags[@]}" -o "$tmp/client" client.c frame.c buf.c &&
			cc "${flags[@]}" -o "$tmp/daemon" hostd.c mux.c frame.c buf.c &&
			cc "${flags[@]}" -o "$tmp/switch" switch.c buf.c &&
			cc "${flags[@]}" -o "$tmp/tsc" tsc.c &&
			cc "${flags[@]}" -o "$tmp/monitor" monitor.c -ljansson &&
			cc "${flags[@]}" -static -s -o "$tmp/agent" agent.c command.c frame.c buf.c
	) && mv -T "$tmp" "$dir" && return 0
	rm -rf "$tmp"
	die "the C compiler failed on emulator/host"
}

apt_private() {
	local tool=$1 d=$cache/apt
	shift
	"$tool" -q -o Dir::Etc::sourcelist="$d/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State::lists="$d/lists" \
		-o Dir::Cache="$d/cache" -o APT::Sandbox::User= -o Acquire::Languages=none "$@"
}

# apt_update: a private list of what Debian has, so that neither root nor the machine's own sources
# are needed.
# Packages come from this machine's release; the 6.1 kernel is Debian 12's, the 6.12 kernel of
# Debian 12 is among the security updates.
apt_update() {
	local d=$cache/apt key=/usr/share/keyrings/debian-archive-keyring.gpg main security r suites
	mkdir -p "$d/lists/partial" "$d/cache/archives/partial"
	r=$(debian_release)
	main=$(debian_archive)
	security=$(debian_security_archive)
	[ -n "$main" ] ||
		die "apt on this machine has no source for Debian's $r: see sources.list(5)"
	suites=$r
	[ "$r" = bookworm ] || suites="$r bookworm"
	for r in $suites; do
		echo "deb [arch=amd64 signed-by=$key] $main $r main"
		echo "deb [arch=amd64 signed-by=$key] $security $r-security main"
	done >"$d/sources.list"
	note "asking Debian for its packages"
	apt_private apt-get update >"$d/log" 2>&1 ||
		{ tail -n 5 "$d/log" >&2; die "apt-get update failed"; }
}

# fetch PACKAGE...: into $cache/debs; apt checks what it gets against Debian's signature
fetch() {
	mkdir -p "$cache/debs"
	(cd "$cache/debs" && apt_private apt-get download "$@") >"$cache/apt/log" 2>&1 ||
		{ tail -n 5 "$cache/apt/log" >&2; die "apt-get could not download $*"; }
}

# deb PATTERN...: the newest downloaded package file that matches
deb() { find "$cache/debs" -name "$1" 2>/dev/null | sort -V | tail -n 1; }

# newest REGEX: the newest package of that name
newest() { apt_private apt-cache pkgnames | grep -xE "$1" | sort -V | tail -n 1; }

# resolve_kernel 6.12|6.1: decides on a kernel package and has it downloaded; the decision stays
# until `build --refresh`
resolve_kernel() {
	local version=$1 pattern name r=12
	[ -e "$cache/kernel-$version" ] && return 0
	[ -e "$cache/apt/sources.list" ] || apt_update
	[ "$(debian_release)" = trixie ] && r=13
	case $version in
	6.12) pattern="linux-image-6\\.12\\.[0-9]+\\+deb$r-amd64" ;;
	6.1) pattern="linux-image-6\\.1\\.0-[0-9]+-amd64" ;;
	esac
	name=$(newest "$pattern")
	[ -n "$name" ] || die "Debian has no package like $pattern"
	note "fetching $name, busybox-static and the boot firmware"
	fetch "$name" busybox-static seabios qemu-system-data
	basename "$(deb "${name}_*.deb")" >"$cache/kernel-$version.new"
	mv "$cache/kernel-$version.new" "$cache/kernel-$version"
}

# image 6.12|6.1: prints the folder that holds vmlinuz and initrd, building it if needed
image() {
	local version=$1 dir agent
	agent=$(tools)/agent || return 1
	[ -e "$cache/kernel-$version" ] || locked image resolve_kernel "$version" >&2 || return 1
	dir=$cache/image-$({
		cat "$cache/kernel-$version" "$top"/emulator/host/{init,image.sh,copy-in}
		basename "$(deb 'busybox-static_*.deb')"
		cat "$agent"
		dpkg-query -W libc6 libssl3 libgcc-s1 zlib1g libjansson4 libzstd1 2>/dev/null || :
	} | sha256sum | cut -c1-16)
	[ -e "$dir/initrd" ] || locked image build_image "$dir" "$version" "$agent" >&2 || return 1
	echo "$dir"
}

build_image() {
	local dir=$1 version=$2 agent=$3 tmp
	[ -e "$dir/initrd" ] && return 0
	note "building the host's image with $(cat "$cache/kernel-$version")"
	tmp=$(mktemp -d "$cache/tmp.XXXXXX")
	if fill_image "$tmp" "$version" "$agent" && [ -s "$tmp/initrd" ] &&
		mv -T "$tmp" "$dir"; then
		return 0
	fi
	rm -rf "$tmp"
	die "building the image failed"
}

# bash ignores errexit in a condition, as this is called: what packages of another layout lack is
# said explicitly.
fill_image() {
	local tmp=$1 version=$2 agent=$3 root=$1/root kernel=$1/kernel release
	mkdir -p "$root"/{boot,dev,proc,sys,run,tmp,root,etc,mnt,var/tmp} \
		"$root"/usr/{bin,sbin,lib64,lib/sev-host,lib/x86_64-linux-gnu}
	chmod 1777 "$root/tmp" "$root/var/tmp"
	chmod 700 "$root/root"
	ln -s usr/bin usr/sbin usr/lib usr/lib64 "$root"

	# where /lib and /bin are links to /usr (Debian 13), packages have their files in /usr
	dpkg-deb -x "$cache/debs/$(cat "$cache/kernel-$version")" "$kernel"
	[ -e "$kernel/lib" ] || ln -s usr/lib "$kernel/lib"
	release=$(basename "$kernel"/lib/modules/*)
	cp "$kernel/boot/vmlinuz-$release" "$root/boot/"
	ln -s "vmlinuz-$release" "$root/boot/vmlinuz"
	cp "$kernel/boot/config-$release" "$root/boot/"
	cp "$kernel/boot/vmlinuz-$release" "$tmp/vmlinuz" || return 1
	echo "$release" >"$tmp/release"
	copy_modules "$kernel" "$root" "$release"

	mkdir "$tmp/debs"
	dpkg-deb -x "$(deb 'busybox-static_*.deb')" "$tmp/debs"
	cp "$tmp"/debs/{,usr/}bin/busybox "$root/usr/bin/" 2>/dev/null
	[ -e "$root/usr/bin/busybox" ] || return 1
	ln -s busybox "$root/usr/bin/sh"
	dpkg-deb -x "$(deb 'seabios_*.deb')" "$tmp/debs"
	dpkg-deb -x "$(deb 'qemu-system-data_*.deb')" "$tmp/debs"
	mkdir "$tmp/firmware"
	cp "$tmp/debs"/usr/share/seabios/bios-256k.bin \
		"$tmp/debs"/usr/share/qemu/{linuxboot_dma,kvmvapic}.bin "$tmp/firmware/"

	copy_libraries "$root"
	cp "$agent" "$root/usr/lib/sev-host/agent"
	cp "$top/emulator/host/copy-in" "$root/usr/lib/sev-host/"
	cp "$top/emulator/host/init" "$root/init"
	write_etc "$root/etc"
	(cd "$root" && find . -print0 | LC_ALL=C sort -z |
		cpio --null -o -H newc --owner=0:0 --quiet) >"$tmp/initrd"
	rm -rf "$root" "$kernel" "$tmp/debs"
}

# copy_modules FROM TO RELEASE: the modules of image_modules and what they depend on, unpacked
copy_modules() {
	local from=$1 to=$2/usr/lib/modules/$3 release=$3 name path
	mkdir -p "$to"
	cp "$from/lib/modules/$release"/modules.{builtin,builtin.modinfo,order} "$to/"
	depmod -b "$from" "$release"
	for name in "${image_modules[@]}"; do
		# a module that this kernel has built in, or not at all, is no error
		modprobe -d "$from" -S "$release" --show-depends "$name" 2>/dev/null || :
	done | awk '$1 == "insmod" { print $2 }' | sort -u | while read -r path; do
		name=$to/${path#*"/lib/modules/$release/"}
		mkdir -p "${name%/*}"
		case $path in
		*.xz) xz -dc "$path" >"${name%.xz}" ;;
		*) cp "$path" "$name" ;;
		esac
	done
	depmod -b "$2/usr/.." "$release"
	[ -e "$to/kernel/arch/x86/kvm/kvm-amd.ko" ]
}

copy_libraries() {
	local lib path
	for lib in "${image_libraries[@]}"; do
		path=$(library "$lib")
		[ -z "$path" ] || cp -L "$path" "$1/usr/lib/x86_64-linux-gnu/"
	done
	cp -L /lib64/ld-linux-x86-64.so.2 "$1/usr/lib64/"
	[ -e "$1/usr/lib/x86_64-linux-gnu/libc.so.6" ]
}

library() {
	local d
	for d in /lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu; do
		[ -e "$d/$1" ] && { echo "$d/$1"; return 0; }
	done
	return 0
}

write_etc() {
	echo 'root:x:0:0:root:/root:/bin/sh' >"$1/passwd"
	echo 'nobody:x:65534:65534:nobody:/tmp:/bin/sh' >>"$1/passwd"
	printf 'root:x:0:\nkvm:x:107:\nnogroup:x:65534:\n' >"$1/group"
	echo '127.0.0.1 localhost' >"$1/hosts"
	printf 'passwd: files\ngroup: files\nhosts: files\n' >"$1/nsswitch.conf"
	echo "PS1='\\h:\\w# '; cd /root" >"$1/profile"
	cat >"$1/sysctl.conf" <<-'END'
		# a VMM that is not root handles page faults of the kernel, too (KVM reads guest
		# memory)
		vm.unprivileged_userfaultfd = 1
		# a core dump of a VMM would hold keys, and there is no disk for it
		kernel.core_pattern = |/bin/false
	END
}
