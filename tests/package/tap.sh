# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# TAP for the scripts beside this one. $tmp is theirs and goes with them; what explains a failure is in $tmp/said.
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
count=0
failed=0

ok() {
	count=$((count + 1))
	echo "ok $count - $*"
}

not_ok() {
	count=$((count + 1))
	failed=1
	[ ! -s "$tmp/said" ] || tail -n 20 "$tmp/said" | sed 's/^/# /'
	echo "not ok $count - $*"
}

skip() { # WHAT WHY
	count=$((count + 1))
	echo "ok $count - $1 # SKIP $2"
}

# check WHAT COMMAND...: what the command says is shown only if it fails
check() {
	local what=$1
	shift
	if "$@" >"$tmp/said" 2>&1; then ok "$what"; else not_ok "$what"; fi
}

# is WHAT EXPECTED GOT
is() {
	: >"$tmp/said"
	if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1 (expected '$2', got '$3')"; fi
}

done_testing() {
	echo "1..$count"
	exit $failed
}
