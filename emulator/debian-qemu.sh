# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154,SC2164 # set by those who source it; they run with set -e
# Debian 13's QEMU, built with patches and files of this tree, once for each content of them.
# Sourced by emulator/qemu/build and qemu/build, which set
#   name       what is built, for messages and for the folder in the cache
#   about      the first lines of --help
#   packages   what Debian packages the build needs, as an array
# and define
#   content    print everything that the result depends on; it is hashed
#   patch_source   change $tmp/src, the unpacked source
#   compile    in $tmp/build, leave the result there as qemu-system-x86_64 (configure_qemu helps)
# and then call build_main "$@".
#
# Progress goes to stderr; the last line of stdout is the path of qemu-system-x86_64. Exit status 0,
# or 1 with the reason on stderr.

# made and tested against this one; another of trixie is tried when it is gone
qemu_version=1:10.0.13+ds-0+deb13u1
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
build_packages=(build-essential dpkg-dev debian-archive-keyring ninja-build pkg-config python3
	python3-venv libglib2.0-dev zlib1g-dev)

# shellcheck source=emulator/debian.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/debian.sh"
cache=${SEVMIRROR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sevmirror}/${name:?}

say() {
	echo "$name: $*" >&2
}

die() {
	echo "$name: error: $*" >&2
	exit 1
}

usage() {
	cat <<-EOF
	Usage: ${0##*/} [--help]
	$about
	Cache: $cache (SEVMIRROR_CACHE, XDG_CACHE_HOME)
	Debian's archives: DEBIAN_MIRROR, DEBIAN_SECURITY_MIRROR (default: those that this
	machine's apt uses)
	With CCACHE_DIR set, gcc is called by ccache.
	EOF
}

content_key() {
	{
		content
		sha256sum <"${BASH_SOURCE[0]}"
		dpkg --print-architecture
		# shellcheck source=/dev/null
		. /etc/os-release && echo "$ID $VERSION_ID"
	} | sha256sum | cut -c1-24
}

install_packages() {
	local package missing=() sudo=()

	for package in "${build_packages[@]}" "${packages[@]}"; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null |
			grep '^install ok installed' >/dev/null || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	say "installing ${missing[*]}"
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null || die "as root, run: apt-get install ${missing[*]}"
		sudo=(sudo)
	fi
	run "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q update
	run "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get \
		-qy --no-install-recommends install "${missing[@]}"
}

# Long commands run in the background, so that a signal is obeyed at once; their output is kept for
# the case of failure.
run() {
	local status=0

	echo "+ $*" >>"$tmp/log"
	"$@" >>"$tmp/log" 2>&1 &
	child=$!
	wait $child || status=$?
	child=
	[ $status = 0 ] && return
	tail -n 40 "$tmp/log" >&2
	die "'${*:0:4}...' failed with status $status; its last lines are above"
}

clean_up() {
	if [ -n "${child:-}" ]; then
		kill "$child" 2>/dev/null || true
		wait "$child" 2>/dev/null || true
	fi
	[ -z "${tmp:-}" ] || rm -rf "$tmp"
}

# An apt of our own: Debian 13's sources; those that the machine has, and all else of the machine's,
# are not touched.
private_apt() {
	local dir=$tmp/apt mirror security

	mirror=${DEBIAN_MIRROR:-$(debian_archive)}
	security=${DEBIAN_SECURITY_MIRROR:-$(debian_security_archive)}
	[ -n "$mirror" ] ||
		die "apt on this machine has no source for Debian's $(debian_release), see" \
			"sources.list(5); or set DEBIAN_MIRROR"
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	cat >"$dir/sources.list" <<-EOF
	deb-src [signed-by=$keyring] $mirror trixie main
	deb-src [signed-by=$keyring] $security trixie-security main
	EOF
	if ! meson_suffices; then
		echo "deb [signed-by=$keyring] $mirror bookworm-backports main" \
			>>"$dir/sources.list"
	fi
	apt=(-q -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=/dev/null
		-o Dir::State::lists="$dir/lists"
		-o Dir::Cache="$dir/cache" -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1)
	run apt-get "${apt[@]}" update
}

meson_suffices() {
	local version

	version=$(meson --version 2>/dev/null) && dpkg --compare-versions "$version" ge 1.5.0
}

# apt verifies what it downloads down from the archive's signature; dpkg-source then the tarballs
# against the .dsc.
fetch_source() {
	say "fetching Debian's qemu $qemu_version source"
	cd "$tmp"
	private_apt
	if apt-cache "${apt[@]}" showsrc qemu 2>/dev/null |
		grep -xF "Version: $qemu_version" >/dev/null; then
		run apt-get "${apt[@]}" source --download-only "qemu=$qemu_version"
	else
		say "warning: trixie has no qemu $qemu_version any more, trying the one it has"
		run apt-get "${apt[@]}" source --download-only qemu
	fi
	run dpkg-source -x qemu_*.dsc src
	if ! meson_suffices; then
		run apt-get "${apt[@]}" download meson
		run dpkg-deb -x meson_*.deb meson
	fi
}

# configure_qemu OPTION...: make $tmp/build and go there. Only what is asked for is built in.
configure_qemu() {
	# A compiler's or Python's search path of the user's would leak other libraries into the
	# build.
	unset LIBRARY_PATH LD_LIBRARY_PATH CPATH C_INCLUDE_PATH PKG_CONFIG_PATH PYTHONPATH \
		PYTHONHOME CFLAGS LDFLAGS
	export PATH=/usr/bin:/bin:/usr/sbin:/sbin
	if [ -d "$tmp/meson" ]; then
		export PATH=$tmp/meson/usr/bin:$PATH \
			PYTHONPATH=$tmp/meson/usr/lib/python3/dist-packages
	fi
	[ -z "${CCACHE_DIR:-}" ] || set -- "$@" --cc="ccache gcc"
	mkdir "$tmp/build"
	cd "$tmp/build"
	say "configuring"
	run ../src/configure --python=/usr/bin/python3 --target-list=x86_64-softmmu \
		--without-default-features --enable-system \
		--disable-docs --disable-download --disable-install-blobs --disable-werror \
		--disable-debug-info "$@"
}

build_main() {
	local key result

	case ${1:-} in
	'') ;;
	-h | --help)
		usage
		exit 0
		;;
	*) die "unknown argument '$1', see --help" ;;
	esac
	command -v dpkg-query >/dev/null || die "this needs Debian 12 or 13"
	[ "$(dpkg --print-architecture)" = amd64 ] || die "$name is built on amd64 only"

	key=$(content_key)
	result=$cache/$key/qemu-system-x86_64
	if [ ! -x "$result" ]; then
		mkdir -p "$cache"
		exec 9>"$cache/lock"
		flock -n 9 || {
			say "waiting for another build in $cache"
			flock 9
		}
	fi
	if [ ! -x "$result" ]; then
		# Under the lock: what is there is of a build that was killed.
		rm -rf "$cache"/build.*
		trap clean_up EXIT
		trap 'exit 130' INT
		trap 'exit 143' TERM HUP
		tmp=$(mktemp -d "$cache/build.XXXXXX")
		install_packages
		fetch_source
		patch_source
		compile
		mkdir "$tmp/result"
		mv "$tmp/build/qemu-system-x86_64" "$tmp/result/"
		rm -rf "${cache:?}/$key"
		mv "$tmp/result" "$cache/$key"
		say "built in $SECONDS s"
	fi
	echo "$result"
}
