#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# How the tests that are scripts fail (tests/tap.sh, tests/wait.sh): at once, with what they saw,
# and with their cleanup done.
here=$(dirname "$0")
top=$(cd "$here/../.." && pwd)
# shellcheck disable=SC2016 # the scripts are for another shell
# shellcheck source=tests/tap.sh
. "$top/tests/tap.sh"

# run SCRIPT: a test of its own; what it said is in $tmp/out, its cleanup leaves $tmp/cleaned
run() {
	rm -f "$tmp/cleaned"
	mine=$tmp top=$top FAIL_AT=${fail_at-} bash -c '. "$top/tests/tap.sh"
		cleanup() { echo >"$mine/cleaned"; }
		'"$1" >"$tmp/out" 2>&1
}
# fails_well WHAT: it has ended with 1, its plan and its cleanup
fails_well() {
	is "$1: exit status" 1 "$2"
	check "$1: the plan" grep -q '^1\.\.' "$tmp/out"
	check "$1: cleanup" test -e "$tmp/cleaned"
}
says() { check "$1: '$2'" grep -qF -- "$2" "$tmp/out"; }

run 'check "one" true; check "two" sh -c "echo seen; false"; ok "three"'
fails_well "a step that fails" $?
says "a step that fails" "not ok 2 - two [status 1 of: sh -c"
says "a step that fails" "   seen"
fails "no step follows" grep -q three "$tmp/out"

fail_at=2 run 'ok "one"; echo "what a guest said" >"$tmp/console"; ok "two"; ok "three"'
fails_well "FAIL_AT" $?
says "FAIL_AT" "not ok 2 - two [made to fail: FAIL_AT=2]"
says "FAIL_AT" "   what a guest said"

run 'set -u; ok "one"; until_true [ "$nobody_set_it" ]; done_testing'
fails "a script that dies: exit status" [ $? -eq 0 ]
says "a script that dies" "not ok 2 - the script has ended before its last step, status 1"
check "a script that dies: the plan" grep -q '^1\.\.2' "$tmp/out"
check "a script that dies: cleanup" test -e "$tmp/cleaned"

run 'WAIT_STILL=2 check "it comes" until_true test -e "$tmp/never"'
fails_well "a wait in which nothing moves" $?
says "a wait in which nothing moves" "nothing has moved for 2 s while waiting for: test -e"

# The wait would last for WAIT_STILL seconds; this test has no such patience.
begin=$SECONDS
run 'sleep 1 & WAIT_STILL=1000 check "it comes" until_true --of $! test -e "$tmp/never"'
fails_well "a wait for a process that has ended" $?
says "a wait for a process that has ended" "its process has ended while waiting for: test -e"
check "which is noticed at once" [ $((SECONDS - begin)) -lt 500 ]

run 'sh -c "sleep 1; echo >$tmp/late" & check "it comes" until_true --of $! test -e "$tmp/late"
	done_testing'
is "what a process does last counts" 0 $?
run 'before=1 now=2 end=3
	mine() { [ "$before$now$end" = 123 ]; }
	check "until_true" until_true mine
	check "within" within 9 mine
	done_testing'
is "a wait leaves the variables of its test alone" 0 $?
done_testing
