#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The bill of materials names each library that the binaries are linked with.
#
# usage: sbom.sh SOURCE-DIR BUILD-DIR
set -u
source=$(realpath "${1:?usage: $0 SOURCE-DIR BUILD-DIR}")
build=$(realpath "${2:?usage: $0 SOURCE-DIR BUILD-DIR}")
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"

check "it is written" "$source/scripts/sbom" "$build" "$tmp/sbom.json"
linked() {
	python3 -c '
import json, sys
d = json.load(open(sys.argv[1]))
names = {p["SPDXID"]: p["name"] for p in d["packages"]}
assert all(r["spdxElementId"] in names and r["relatedSpdxElement"] in names
           or r["relationshipType"] == "DESCRIBES" for r in d["relationships"])
print("\n".join(sorted({names[r["relatedSpdxElement"]] for r in d["relationships"]
                        if r["relationshipType"] == sys.argv[2]})))
' "$tmp/sbom.json" "$1"
}
package_of() { dpkg-query -S "$(ldd "$build/cli/sevmirror" |
	sed -n "s/.*$1[^ ]* => \([^ ]*\).*/\1/p" | xargs realpath | sed 's,^/usr,*,')" |
	sed 's/:.*//'; }
for soname in libcrypto.so libssl.so libjansson.so libseccomp.so; do
	check "$soname's package is in it" grep -qx "$(package_of $soname)" <(linked DYNAMIC_LINK)
done
is "what is linked statically" libipsec-mb-dev "$(linked STATIC_LINK)"
needed=$(readelf -dW "$build/cli/sevmirror" "$build"/lib/libsevmirror*.so.0.*[0-9] |
	sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' | grep -v '^libsevmirror' | sort -u | wc -l)
check "as many packages as there are libraries, or fewer" test "$(linked DYNAMIC_LINK | wc -l)" \
	-le "$needed"
check "and at least four" test "$(linked DYNAMIC_LINK | wc -l)" -ge 4
done_testing
