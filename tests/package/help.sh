#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Each option of each command is taken by the command, and is in its --help, in its manual page
# and in bash's completion; the manual pages are clean roff.
#
# usage: help.sh SEVMIRROR DATA-DIR
# shellcheck disable=SC2154 # completion's tables are made when the tree is built
set -u
sevmirror=$(realpath "${1:?usage: $0 SEVMIRROR DATA-DIR}")
data=$(realpath "${2:?usage: $0 SEVMIRROR DATA-DIR}")
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/../tap.sh"
# shellcheck source=data/completion.bash
. "$data/sevmirror"

# words KEY: the command's words in $words; ':' is the command itself
words_of() { read -ra words <<<"${1#:}"; }

page_of() {
	local name="sevmirror $1"
	[ "$1" = : ] && name=sevmirror
	echo "$data/${name// /-}.1"
}

# takes OPTION WORDS...: whatever comes of it, the option is known, and one that does not exist is
# not
takes() {
	local option=$1 value=()
	shift
	[ -n "${_sevmirror_values["$key $option"]+x}" ] && value=(x)
	"$sevmirror" "$@" "$option" "${value[@]}" --no-such-option </dev/null >"$tmp/out" 2>&1 &&
		return 1
	cat "$tmp/out"
	! grep -q "unknown option '$option'" "$tmp/out"
}

one_option() {
	grep -qE "^  $1( |\$)" "$tmp/help" || { echo "$key $1: not in --help"; return 1; }
	grep -qF "\\fB${1//-/\\-}\\fR" "$(page_of "$key")" ||
		{ echo "$key $1: not in the manual page"; return 1; }
	case "$key $1" in
	": --help" | ": --version" | *" --help") return 0 ;; # these end the command
	esac
	takes "$1" "${words[@]}" || { echo "$key $1: the command does not know it"; return 1; }
}

one_command() {
	local option
	"$sevmirror" "${words[@]}" --help >"$tmp/help" || return 1
	[ -s "$(page_of "$key")" ] || { echo "$key: no manual page"; return 1; }
	for option in ${_sevmirror_options["$key"]}; do
		one_option "$option" || return 1
	done
	# and the other way round: nothing is explained that completion does not have
	for option in $(grep -oE '^  --[a-z0-9-]+' "$tmp/help"); do
		[[ " ${_sevmirror_options["$key"]} " == *" $option "* ]] ||
			{ echo "$key $option: not completed"; return 1; }
	done
}

# A runtime directory of its own: no VM is there to be stopped.
export SEVMIRROR_RUNTIME_DIR=$tmp/run
mkdir -m 700 "$tmp/run"
cd "$tmp" || exit 1
is "the commands are those of the tables" "$(printf '%s\n' "${!_sevmirror_options[@]}" | wc -l)" \
	"$(ls "$data"/*.1 | wc -l)"
mapfile -t keys < <(printf '%s\n' "${!_sevmirror_options[@]}" | sort)
for key in "${keys[@]}"; do
	words_of "$key"
	check "sevmirror ${key#:}: --help, manual page and completion agree" one_command
done

lint() {
	local page bad=0
	for page in "$data"/*.1; do "$@" "$page" || bad=1; done
	return $bad
}
warnings() { [ -z "$(LC_ALL=C.UTF-8 groff -man -ww -Tutf8 -z "$1" 2>&1 | tee /dev/stderr)" ]; }
if command -v mandoc >/dev/null; then
	check "mandoc finds nothing" lint mandoc -Tlint -Wwarning
else
	skip "mandoc finds nothing" "mandoc is not installed"
fi
if command -v groff >/dev/null; then
	check "groff finds nothing" lint warnings
else
	skip "groff finds nothing" "groff is not installed"
fi
done_testing
