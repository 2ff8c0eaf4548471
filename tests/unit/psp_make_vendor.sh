#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# emulator/psp/vendor/make-vendor, which writes over files of the tree: an argument that it does not
# know, or --help, must not make it write any. On a copy.
# usage: psp_make_vendor.sh
set -u
vendor=$(realpath "$(dirname "$0")/../../emulator/psp/vendor")
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"

# shellcheck disable=SC2154 # tap.sh's
mkdir -p "$tmp/psp/vendor"
cp "$vendor/make-vendor" "$vendor"/*.pem "$tmp/psp/vendor"
written() { (cd "$tmp/psp" && find . -type f | grep -cvE 'make-vendor|\.pem$'); }
vendor_says() { "$tmp/psp/vendor/make-vendor" "$@" >"$tmp/out" 2>"$tmp/err"; }

vendor_says --help
is "--help ends with 0" 0 $?
check "--help explains it" grep -q '^usage: make-vendor' "$tmp/out"
is "--help writes nothing" 0 "$(written)"
for argument in --helpp x; do
	vendor_says "$argument"
	is "$argument ends with 2" 2 $?
	check "$argument is named" grep -qF "'$argument'" "$tmp/err"
	is "$argument writes nothing" 0 "$(written)"
done
vendor_says
is "without an argument it ends with 0" 0 $?
is "and writes its three files" 3 "$(written)"
done_testing
