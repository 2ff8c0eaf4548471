# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# How tests wait: for as long as something moves, not for a number of seconds, so that they hold on
# a busy machine. What a test may take in all is up to scripts/run-tests.

# How long everything that is watched may stay unchanged, in seconds.
: "${WAIT_STILL:=100}"

# What a wait watches unless it is told otherwise: the files in $tmp that its command names, or else
# all of them, by their sizes. So a wait for a word in a file does not last for as long as a
# guest talks in another one.
# shellcheck disable=SC2154 # the test's folder
named_in_tmp() {
	local word files=()
	for word in "$@"; do [[ $word != "$tmp"/* ]] || files+=("$word"); done
	if [ ${#files[@]} -gt 0 ]; then stat -c '%n %s' "${files[@]}" 2>&1; else files_in_tmp; fi
}
files_in_tmp() { find "$tmp" -maxdepth 1 -type f -printf '%f %s\n' 2>/dev/null; }

# until_true [--watch COMMAND] [--of PID] COMMAND...: try again and again, until it succeeds, or
# until what --watch prints has not changed for $WAIT_STILL seconds, or until the process that is to
# bring it about has ended. Then it prints what it watched, and fails. A command that is a function
# sees the variables of its callers, so those here have a prefix.
until_true() {
	local until_watch='' until_of='' until_before='' until_now
	local until_since=$SECONDS until_looked=-1
	while [[ $1 == --* ]]; do
		case $1 in
		--watch) until_watch=$2 ;;
		--of) until_of=$2 ;;
		esac
		shift 2
	done
	until "$@" 2>/dev/null; do
		if [ "$until_of" ] && ! kill -0 "$until_of" 2>/dev/null; then
			# What it did last may have been that.
			"$@" 2>/dev/null && return
			printf 'its process has ended while waiting for: %s\n%s\n' "$*" \
				"$(watched_by "$until_watch" "$@")"
			return 1
		fi
		if [ $((SECONDS - until_looked)) -ge 2 ] || [ $until_looked -lt 0 ]; then
			until_looked=$SECONDS
			until_now=$(watched_by "$until_watch" "$@")
			[ "$until_now" = "$until_before" ] || until_since=$SECONDS
			until_before=$until_now
			if [ $((SECONDS - until_since)) -ge "$WAIT_STILL" ]; then
				printf 'nothing has moved for %s s while waiting for: %s\n%s\n' \
					"$WAIT_STILL" "$*" "$until_now"
				return 1
			fi
		fi
		sleep 0.2
	done
}
# watched_by WATCH COMMAND...: what it prints, or what is watched by default
watched_by() {
	local watch=$1
	shift
	{ if [ "$watch" ]; then $watch; else named_in_tmp "$@"; fi; } 2>/dev/null
}

# within SECONDS COMMAND...: the same for what must be over by then, whatever moves
within() {
	local within_end=$((SECONDS + $1))
	shift
	until "$@" 2>/dev/null; do
		[ $SECONDS -lt $within_end ] || return 1
		sleep 0.2
	done
}
