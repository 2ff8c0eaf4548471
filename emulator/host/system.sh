# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# System hosts: a whole Debian on a disk image, made by mmdebstrap. Sourced by sev-host.
#
# $cache/system-HASH/ holds root.img (ext4, label sev-host), vmlinuz and initrd; HASH is of what it
# is made of. $cache/ssh/ holds the key that `sev-host ssh` and the hosts use, and the key that each
# host has. $cache/debs-RELEASE/ holds the packages that were downloaded, for the next image.
: "${top:?}" "${cache:?}"

# What each system has; --package adds to it.
system_packages=(
	systemd-sysv udev dbus libpam-systemd openssh-server sudo iproute2 iputils-ping kmod
	procps netbase
	initramfs-tools zstd less
)
# The disk's size without --disk-size. The image is sparse, and so is what a host writes.
system_disk_default=8G
# root.img ends here, so that a host may be given less of it, but not more.
system_disk_max=256G

# system_name debian12|debian13: the release's code name
system_name() {
	case $1 in
	debian12) echo bookworm ;;
	debian13) echo trixie ;;
	*) usage_error "--system: there is debian12 and debian13, not '$1'" ;;
	esac
}

# system_kernel RELEASE 6.12|6.1: the package
system_kernel() {
	case $1/$2 in
	trixie/6.12 | bookworm/6.1) echo linux-image-amd64 ;;
	bookworm/6.12) echo linux-image-6.12-amd64 ;;
	*) usage_error "--kernel: Debian's $1 has no kernel $2" ;;
	esac
}

# package_list PACKAGE...: with those that every system has, for mmdebstrap
package_list() { printf '%s\n' "${system_packages[@]}" "$@" | sort -u | paste -sd,; }

# debian_files KIND...: what our own files of these kinds of image are made of, for the hash
debian_files() {
	local kind
	(cd "$top/emulator/host/debian" &&
		for kind in "$@"; do find "$kind" "$kind.setup" -type f -print0; done |
		LC_ALL=C sort -z | xargs -0 sha256sum)
}

# system_image debian12|debian13 KERNEL PACKAGE...: prints the image's folder, building it if needed
system_image() {
	local release kernel packages dir agent
	release=$(system_name "$1") && kernel=$(system_kernel "$release" "$2") || exit 2
	shift 2
	agent=$(tools)/agent || return 1
	locked ssh make_ssh_keys >&2 || return 1
	packages=$(package_list "$kernel" "$@")
	dir=$cache/system-$({
		echo "$release $packages"
		cat "$agent" "$top"/emulator/host/{system.sh,copy-in} "$cache/ssh"/*
		debian_files common host
	} | sha256sum | cut -c1-16)
	[ -e "$dir/initrd" ] || locked "system-$release" build_debian host "$dir" initrd \
		"$release" "$packages" "$agent" >&2 || return 1
	echo "$dir"
}

# One pair of keys for all hosts of this cache. They protect nothing: whoever runs the hosts owns
# them.
make_ssh_keys() {
	local tmp
	[ -e "$cache/ssh" ] && return 0
	install_needed openssh-client
	tmp=$(mktemp -d "$cache/tmp.XXXXXX")
	ssh-keygen -q -t ed25519 -N '' -C sev-host -f "$tmp/id_ed25519" &&
		ssh-keygen -q -t ed25519 -N '' -C sev-host -f "$tmp/ssh_host_ed25519_key" &&
		echo "sev-host $(<"$tmp/ssh_host_ed25519_key.pub")" >"$tmp/known_hosts" &&
		mv -T "$tmp" "$cache/ssh"
}

# Bash ignores errexit in a condition, as these are called: each step says what its failure means.
#
# build_debian host|guest DIR PRODUCT RELEASE PACKAGES EXTRA: fills DIR; PRODUCT is its file that is
# made last, EXTRA what finish_KIND needs.
build_debian() {
	local kind=$1 dir=$2 product=$3 release=$4 packages=$5 tmp
	[ -e "$dir/$product" ] && return 0
	[ "$UID" -eq 0 ] ||
		die "only root can build a Debian image; run the same command as root with" \
			"SEVMIRROR_CACHE=${cache%/host}"
	install_needed mmdebstrap e2fsprogs fdisk dosfstools mtools
	note "building a Debian $kind ($release) with ${packages//,/, }: some minutes"
	tmp=$(mktemp -d "$cache/tmp.XXXXXX")
	if fill_debian "$tmp" "$kind" "$release" "$packages" "$6" &&
		"finish_$kind" "$tmp" "$6" 2>>"$tmp/log"; then
		rm -rf "$tmp/root" "$tmp/log"
		mv -T "$tmp" "$dir" && return 0
	fi
	grep -E '^(E:|dpkg: error)' "$tmp/log" >&2 || tail -n 20 "$tmp/log" >&2
	rm -rf --one-file-system "$tmp"
	die "building the Debian $kind failed"
}

# debian_sources RELEASE: the lines of its sources.list
debian_sources() {
	local main security key=/usr/share/keyrings/debian-archive-keyring.gpg
	main=$(debian_archive)
	security=$(debian_security_archive)
	[ -n "$main" ] ||
		die "apt on this machine has no source for Debian's $(debian_release): see" \
			"sources.list(5)"
	echo "deb [arch=amd64 signed-by=$key] $main $1 main"
	echo "deb [arch=amd64 signed-by=$key] $security $1-security main"
}

# fill_debian TMP KIND RELEASE PACKAGES AGENT: $TMP/root
fill_debian() {
	local tmp=$1 kind=$2 release=$3 packages=$4 debs=$cache/debs-$3 sources
	mkdir -p "$debs"
	sources=$(debian_sources "$release")
	mapfile -t sources <<<"$sources"
	debian_tree "$tmp/tree" "$kind" "$5"
	# The hooks with archives keep what was downloaded; mmdebstrap(1) has them as an example.
	# shellcheck disable=SC2016 # for mmdebstrap's shell
	mmdebstrap --mode=root --variant=minbase --format=directory --architectures=amd64 \
		--include="$packages" \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-include=/usr/share/doc/*/copyright' \
		--dpkgopt=force-unsafe-io --skip=download/empty --skip=essential/unlink \
		--setup-hook='mkdir -p "$1/var/cache/apt/archives"' \
		--setup-hook="sync-in $debs /var/cache/apt/archives/" \
		--essential-hook="cp -a $tmp/tree/. \"\$1/\"" \
		--customize-hook="sync-out /var/cache/apt/archives $debs" \
		--customize-hook='chroot "$1" sh /usr/lib/sev-host/common.setup' \
		--customize-hook="chroot \"\$1\" sh /usr/lib/sev-host/$kind.setup" \
		"$release" "$tmp/root" "${sources[@]}" >"$tmp/log" 2>&1 || return 1
	rm -rf "$tmp/tree" "$debs/partial" "$debs/lock"
}

# debian_tree TREE KIND AGENT: our own files in the image
debian_tree() {
	local lib=$1/usr/lib/sev-host kind
	mkdir -p "$lib"
	for kind in common "$2"; do
		cp -a "$top/emulator/host/debian/$kind/." "$1/"
		cp "$top/emulator/host/debian/$kind.setup" "$lib/"
	done
	if [ "$2" = host ]; then
		cp "$3" "$lib/agent"
		cp "$top/emulator/host/copy-in" "$lib/"
	fi
	cp -a "$cache/ssh" "$lib/ssh"
	chown -R 0:0 "$1"
	chmod -R u=rwX,go=rX "$1"
}

# finish_host TMP AGENT: from $TMP/root to root.img, vmlinuz and initrd
finish_host() {
	local tmp=$1 root=$1/root
	cp "$root"/boot/vmlinuz-* "$tmp/vmlinuz" && cp "$root"/boot/initrd.img-* "$tmp/initrd" &&
		mke2fs -q -t ext4 -L sev-host -O ^has_journal -m 0 -E lazy_itable_init=1 \
		-d "$root" "$tmp/root.img" "$system_disk_default" &&
		truncate -s "$system_disk_max" "$tmp/root.img"
}
