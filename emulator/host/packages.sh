# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Debian packages for the emulated host: fetched with all that they depend on, unpacked (no
# maintainer script runs) into a file system image below the host's root. Sourced by
# sev-host.
: "${top:?}" "${cache:?}"

# packages_image PACKAGE...: prints the image's path, building it if needed
packages_image() {
	local image
	image=$cache/packages-$(printf '%s\n' "$@" | sort -u |
		cat - "$top/emulator/host/packages.sh" | sha256sum | cut -c1-16).ext4
	[ -e "$image" ] || locked packages build_packages "$image" "$*" >&2 || return 1
	echo "$image"
}

build_packages() {
	local image=$1 tmp
	[ -e "$image" ] && return 0
	[ -e "$cache/apt/sources.list" ] || locked image apt_update
	note "fetching $2 and what they depend on"
	tmp=$(mktemp -d "$cache/tmp.XXXXXX")
	# shellcheck disable=SC2086 # names, checked
	if (set -e && fill_packages "$tmp" $2) && mv -T "$tmp/image" "$image"; then
		rm -rf "$tmp"
		return 0
	fi
	rm -rf "$tmp"
	die "cannot provide the packages $2"
}

fill_packages() {
	local tmp=$1 deb kib
	shift
	mkdir -p "$tmp/archives/partial" "$tmp/root"
	: >"$tmp/status"
	# apt resolves what a machine that has nothing would need; it downloads and checks, dpkg
	# unpacks
	apt_private apt-get install -y --download-only --no-install-recommends \
		-o Dir::State::status="$tmp/status" \
		-o Dir::Cache::archives="$tmp/archives" -o Debug::NoLocking=1 \
		"$@" >"$tmp/log" 2>&1 || {
		grep -E '^(E:|W:)' "$tmp/log" >&2
		return 1
	}
	mkdir -p "$tmp/root"/usr/{bin,sbin,lib,lib64}
	ln -s usr/bin usr/sbin usr/lib usr/lib64 "$tmp/root"
	for deb in "$tmp"/archives/*.deb; do
		# a package that still ships /bin or /lib must not replace the links
		dpkg-deb --fsys-tarfile "$deb" | tar -C "$tmp/root" --keep-directory-symlink -xpf -
	done
	rm -rf "$tmp/archives" "$tmp/root/usr/share"/{doc,man,locale,info}
	kib=$(du -sk "$tmp/root" | cut -f1)
	mke2fs -q -t ext4 -O ^has_journal -m 0 -N $(($(find "$tmp/root" | wc -l) + 1000)) \
		-d "$tmp/root" "$tmp/image" $((kib + kib / 8 + 16384))k >/dev/null
}
