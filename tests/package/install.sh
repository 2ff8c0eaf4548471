#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What `make install` puts where; what the shared library shows of itself; and a program outside of
# the tree that is built against it by pkg-config and moves a guest between two of its processes.
#
# usage: install.sh SOURCE-DIR BUILD-DIR
set -u
source=$(realpath "${1:?usage: $0 SOURCE-DIR BUILD-DIR}")
build=$(realpath "${2:?usage: $0 SOURCE-DIR BUILD-DIR}")
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"

dest=$tmp/dest
prefix=$(meson introspect --buildoptions "$build" | python3 -c 'import json, sys
print({o["name"]: o["value"] for o in json.load(sys.stdin)}["prefix"])')
check "it installs below DESTDIR" env DESTDIR="$dest" meson install -C "$build" --no-rebuild
root=$dest$prefix
[ -x "$root/bin/sevmirror" ] || done_testing
library=$(find "$root" -name 'libsevmirror.so.0.*')

outside() { [ -z "$(find "$dest" ! -type d ! -path "$root/*" | tee /dev/stderr)" ]; }
check "everything is below the prefix" outside
for file in bin/sevmirror include/sevmirror/{helper,host,migrate,pagemap,seal,sev}.h \
	share/man/man1/sevmirror{,-run,-owner-session}.1 \
	share/bash-completion/completions/sevmirror lib/systemd/system/sevmirror-receive@.service \
	share/doc/sevmirror/examples/receive.conf.example; do
	check "$file" test -s "$root/$file"
done
for file in "$source"/include/sevmirror/*.h; do
	check "$(basename "$file") is installed" cmp "$file" \
		"$root/include/sevmirror/$(basename "$file")"
done
check "the unit names the installed command" grep -q "^ExecStart=$prefix/bin/sevmirror receive" \
	"$root/lib/systemd/system/sevmirror-receive@.service"
is "the command runs" "sevmirror $(meson introspect --projectinfo "$build" |
	python3 -c 'import json, sys; print(json.load(sys.stdin)["version"])')" \
	"$("$root/bin/sevmirror" --version)"

# The unit, as it would be on a host.
if command -v systemd-analyze >/dev/null; then
	sed "s|$prefix/bin/|$root/bin/|" "$root/lib/systemd/system/sevmirror-receive@.service" \
		>"$tmp/sevmirror-receive@web.service"
	verify() {
		systemd-analyze verify --man=no "$tmp/sevmirror-receive@web.service" 2>&1 |
			grep -F sevmirror >"$tmp/said"
		cat "$tmp/said"
		[ ! -s "$tmp/said" ]
	}
	check "systemd-analyze verify finds nothing" verify
else
	skip "systemd-analyze verify finds nothing" "systemd-analyze is not installed"
fi

# The library.
is "SONAME" "libsevmirror.so.0" "$(readelf -d "$library" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')"
check "the SONAME leads to it" test "$(dirname "$library")/libsevmirror.so.0" -ef "$library"
nm -D --defined-only "$library" | awk '$2 == "T" { print $3 }' | sort >"$tmp/exported"
is "it exports functions only, all of one version" "" \
	"$(nm -D --defined-only "$library" |
	awk '$3 !~ /^SEVMIRROR_0$/ && ($2 != "T" || $3 !~ /@@SEVMIRROR_0$/)')"
# What the public headers declare, as the compiler sees it.
for header in "$root"/include/sevmirror/*.h; do echo \
	"#include <sevmirror/$(basename "$header")>"; done >"$tmp/all.c"
cc -std=gnu17 -aux-info "$tmp/declared.all" -fsyntax-only -I"$root/include" \
	"$tmp/all.c" 2>"$tmp/said" ||
	cc -std=gnu17 -aux-info "$tmp/declared.all" -c -o "$tmp/all.o" -I"$root/include" \
	"$tmp/all.c"
grep -F "$root/include/sevmirror/" "$tmp/declared.all" |
	sed -E 's/ \(.*//; s/.*[ *]//; s/$/@@SEVMIRROR_0/' | sort -u >"$tmp/declared"
check "it exports what the headers declare, and nothing else" diff "$tmp/declared" "$tmp/exported"
# The smaller one, for a VMM that has a migration of its own and no OpenSSL.
seal=$(find "$root" -name 'libsevmirror-seal.so.0.*')
is "libsevmirror-seal's SONAME" "libsevmirror-seal.so.0" \
	"$(readelf -d "$seal" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')"
is "it needs libc only" "libc.so.6" \
	"$(readelf -d "$seal" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' |
	grep -v '^lib[at]san\|^libubsan' | tr '\n' ' ' | sed 's/ $//')"
nm -D --defined-only "$seal" | awk '{ print $3 }' | grep -v '^SEVMIRROR_SEAL_0$' |
	sort >"$tmp/exported"
grep -E "$root/include/sevmirror/(seal|helper|pagemap).h" "$tmp/declared.all" |
	sed -E 's/ \(.*//; s/.*[ *]//; s/$/@@SEVMIRROR_SEAL_0/' | sort -u >"$tmp/declared"
check "it exports what seal.h, helper.h and pagemap.h declare, and nothing else" diff \
	"$tmp/declared" "$tmp/exported"
alone() {
	local header
	for header in "$root"/include/sevmirror/*.h; do
		echo "#include <sevmirror/$(basename "$header")>" >"$tmp/one.c"
		cc -std=c11 -Wall -Wextra -Werror -fsyntax-only -I"$root/include" "$tmp/one.c" ||
			return 1
	done
}
check "each header can be included alone" alone

# The embedder.
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR=$dest LD_LIBRARY_PATH
PKG_CONFIG_PATH=$(dirname "$library")/pkgconfig
LD_LIBRARY_PATH=$(dirname "$library")
mkdir "$tmp/embed"
cp "$source"/examples/embed/*.[ch] "$tmp/embed"
cd "$tmp/embed" || exit 1
compile() {
	local flags
	read -ra flags <<<"$(pkg-config --cflags --libs sevmirror)"
	cc -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -o embed ./*.c "${flags[@]}"
}
check "examples/embed is built outside of the tree" compile
check "it uses the shared library" sh -c 'readelf -d embed | grep -q "NEEDED.*libsevmirror.so.0"'
if [ ! -w /dev/kvm ]; then
	skip "its guest moves from one process to another" "no usable /dev/kvm"
	done_testing
fi

./embed target >target.out 2>&1 &
target=$!
until_true --of $target grep -q '^listening' "$tmp/embed/target.out"
timeout 240 ./embed source "$(sed -n 's/^listening at //p' target.out)" >source.out 2>&1
source_status=$?
[ $source_status -eq 0 ] || kill $target
wait $target
target_status=$?
cat source.out target.out >"$tmp/said"
moved() {
	cat source.out target.out
	[ $source_status -eq 0 ] && [ $target_status -eq 0 ] &&
		grep -q '^the guest left at .* pages in' source.out &&
		grep -q 'its memory is whole' target.out
}
check "its guest moves from one process to another" moved
done_testing
