# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# TAP for tests that are shell scripts, and how they wait. Sourced. $tmp is the test's own folder.
#
# A step that fails ends the test: what was compared, what explain() adds and the end of what the
# command said are printed, then cleanup() runs. Both are the test's to define.
# shellcheck source=tests/wait.sh
. "$(dirname "${BASH_SOURCE[0]}")/wait.sh"
tmp=$(mktemp -d)
count=0
planned= # the plan is printed

cleanup() { :; }
# Unless the test knows better: the texts that were written last
explain() {
	local f
	find "$tmp" -maxdepth 1 -type f -size -4096k ! -name check.said ! -name said \
		-printf '%T@ %p\n' | sort -rn | head -n 5 | cut -d ' ' -f 2- |
		while IFS= read -r f; do ! grep -qI . "$f" || lines=12 ends_of "$f"; done
}

# The shell of the test itself, not one in the background that a signal finds before it is its
# command.
tap_end() {
	local status=$?
	[ "$BASHPID" = $$ ] || return
	trap '' INT TERM
	if [ $status -ne 0 ] && [ -z "$planned" ]; then
		echo "not ok $((count + 1)) - the script has ended before its last step," \
			"status $status"
		ends_of "$tmp/check.said" "$tmp/said"
		explain
		echo "1..$((count + 1))"
	fi
	cleanup
	rm -rf "$tmp"
}
trap tap_end EXIT
trap 'exit 143' INT TERM

# FAIL_AT=N: the Nth step is made to fail, to see what a test says then and how soon it ends.
ok() {
	[ $((count + 1)) != "${FAIL_AT:-}" ] || not_ok "$* [made to fail: FAIL_AT=$FAIL_AT]"
	count=$((count + 1))
	echo "ok $count - $*"
}

# ends_of FILE...: their last lines, as comments; a file that is not there or empty is left out
ends_of() {
	local f
	for f in "$@"; do
		[ -s "$f" ] || continue
		echo "# the end of ${f#"$tmp"/}:"
		tail -n "${lines:-20}" "$f" | tr -cd '\t\n -~' | awk '{ print "#   " $0 }'
	done
}

not_ok() {
	count=$((count + 1))
	echo "not ok $count - $*"
	ends_of "$tmp/check.said" "$tmp/said"
	explain
	echo "1..$count"
	planned=1
	exit 1
}

skip() { # WHAT WHY
	count=$((count + 1))
	echo "ok $count - $1 # SKIP $2"
}

# check WHAT COMMAND...: ok if the command succeeds; what it says is shown if not
check() {
	local what=$1 status
	shift
	"$@" >"$tmp/check.said" 2>&1
	status=$?
	[ $status -eq 0 ] || not_ok "$what [status $status of: $*]"
	rm -f "$tmp/check.said"
	ok "$what"
}

# fails WHAT COMMAND...: ok if the command fails
fails() {
	local what=$1
	shift
	! "$@" >"$tmp/check.said" 2>&1 || not_ok "$what [status 0 of: $*]"
	rm -f "$tmp/check.said"
	ok "$what"
}

# says WHAT TEXT COMMAND...: ok if the command fails and says TEXT
says() {
	local what=$1 text=$2
	shift 2
	if "$@" >"$tmp/check.said" 2>&1 ||
		! grep -qF -- "$text" "$tmp/check.said"; then not_ok "$what: $text"; fi
	rm -f "$tmp/check.said"
	ok "$what: $text"
}

# is WHAT EXPECTED GOT
is() { if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1 (expected '$2', got '$3')"; fi; }

# done_testing: the last line of a test
done_testing() {
	echo "1..$count"
	planned=1
	exit 0
}
