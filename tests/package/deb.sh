#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Debian packages: lintian has nothing to say, dpkg installs them in an empty root, and what a
# guest's owner measures with the packaged command is what this build measures, so that hosts of
# either kind can exchange guests.
#
# usage: deb.sh SOURCE-DIR BUILT-SEVMIRROR PAYLOAD
set -u
source=$(realpath "${1:?usage: $0 SOURCE-DIR BUILT-SEVMIRROR PAYLOAD}")
built=$(realpath "${2:?usage: $0 SOURCE-DIR BUILT-SEVMIRROR PAYLOAD}")
payload=$(realpath "${3:?usage: $0 SOURCE-DIR BUILT-SEVMIRROR PAYLOAD}")
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"

if ! [ -e /etc/debian_version ]; then
	echo "1..0 # SKIP this is no Debian"
	exit 0
fi
if ! "$source/scripts/deps" build-essential debhelper dpkg-dev fakeroot \
	lintian >"$tmp/deps" 2>&1; then
	echo "1..0 # SKIP $(tail -n 1 "$tmp/deps")"
	exit 0
fi
if ! git -C "$source" rev-parse --git-dir >/dev/null 2>&1; then
	echo "1..0 # SKIP make deb packs what git tracks, and this is no git checkout"
	exit 0
fi

check "make deb builds them and lintian has no error or warning" "$source/scripts/deb"
debs=("$source"/build-deb/{libsevmirror0,libsevmirror-dev,sevmirror,libsevmirror-seal0}_*_amd64.deb)
for deb in "${debs[@]}"; do
	is "$(basename "$deb") is of this architecture" amd64 "$(dpkg-deb -f "$deb" Architecture)"
done
# Owners and distributors check what they get against a build of their own.
other=$tmp/a-folder-of-another-name/and-depth
check "a second build, in another folder" "$source/scripts/deb" "$other"
for deb in "${debs[@]}"; do
	is "$(basename "$deb") is the same bytes again" "$(sha256sum <"$deb")" \
		"$(sha256sum <"$other/$(basename "$deb")")"
done
sev_host_deb=$(ls "$source"/build-deb/sev-host_*_all.deb)
depends() { dpkg-deb -f "$1" Depends; }
check "the command depends on the C library and OpenSSL" \
	sh -c 'echo "$1" | grep libc6 | grep -q libssl3' sh "$(depends "${debs[2]}")"
check "the development files depend on their library" \
	sh -c 'echo "$1" | grep -q "libsevmirror0 (= "' sh "$(depends "${debs[1]}")"

root=$tmp/root
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates"
: >"$root/var/lib/dpkg/status"
check "dpkg installs them" dpkg --root="$root" --force-depends --force-not-root --log=/dev/null \
	-i "${debs[@]}" "$sev_host_deb"
for file in usr/bin/sevmirror usr/lib/x86_64-linux-gnu/libsevmirror.so.0 \
	usr/include/sevmirror/migrate.h \
	usr/share/man/man1/sevmirror-run.1.gz usr/lib/systemd/system/sevmirror-receive@.service \
	etc/sevmirror/receive; do
	check "/$file" test -e "$root/$file"
done

# The emulator's package, without the source tree.
sev_host=$root/usr/bin/sev-host
check "/usr/share/man/man1/sev-host.1.gz" test -e "$root/usr/share/man/man1/sev-host.1.gz"
check "the packaged sev-host shows its help" "$sev_host" --help
for part in psp qemu host; do
	check "it has all of emulator/$part" diff -r "$source/emulator/$part" \
		"$root/usr/share/sev-host/emulator/$part"
done
# Building QEMU takes minutes: one that is there will do, as the sources are the same.
qemu=$(find "${SEVMIRROR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sevmirror}/qemu" \
	-maxdepth 2 -name qemu-system-x86_64 -not -path '*/build.*' -printf '%T@ %p\n' 2>/dev/null |
	sort -n | tail -n 1 | cut -d' ' -f2)
if [ -n "$qemu" ]; then
	is "a host of it runs a command" "6.12" \
		"$(SEV_HOST_QEMU=$qemu SEV_HOST_RUNTIME=$tmp/run XDG_STATE_HOME=$tmp/state \
		"$sev_host" exec --fresh --memory 512M -- uname -r </dev/null 2>"$tmp/said" |
		cut -d. -f1,2)"
else
	skip "a host of it runs a command" \
		"the emulator's QEMU is not built yet (emulator/sev-host build)"
fi

measure() { "$1" owner measure --c-bit 51 --payload "$2" --tsc-khz 2000000 --memory 64M; }
digest=$(measure "$built" "$payload")
check "this build measures a guest" test "${#digest}" -eq 64
packaged=$root/usr/lib/x86_64-linux-gnu/sevmirror/payloads/$(basename "$payload")
is "the packaged command measures the same" "$digest" \
	"$(measure "$root/usr/bin/sevmirror" "$packaged")"
done_testing
