#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The kernel's own KVM selftests on the emulated host, unmodified (selftests/build). What each does
# is written in docs/emulator.md ("The kernel's own selftests"): a row that is not true any more is
# a failure, whichever way it changed, and so is a test that has no row.
# shellcheck source=tests/emulated/driver.sh
. "$(dirname "$0")/driver.sh"

limit=200 # seconds for a test; the slow ones are in the row 'left out'
# These take minutes with their defaults.
arguments='demand_paging_test -b 64M
dirty_log_perf_test -b 32M -i 2
dirty_log_test -M clear-log -i 3
kvm_page_table_test -b 32M
memslot_modification_stress_test -b 32M -i 2
set_memory_region_test 1'
folder=$("$here/selftests/build" | tail -n 1)
check "the selftests are built" test -x "$folder/sev_smoke_test" || exit 1

# row WORD: the names in the table's rows that begin so
row() { sed -n "s/^| $1 |\(.*\)/\1/p" "$top/docs/emulator.md" | cut -d'|' -f1 |
	grep -o '`[a-z0-9_]*`' | tr -d '`'; }

declare -A expected got
for word in pass skip fail 'left out'; do
	for name in $(row "$word"); do expected[$name]=$word; done
done
check "the table has rows" test ${#expected[@]} -gt 50 || exit 1
tests=()
for file in "$folder"/*; do
	name=${file##*/}
	[ "$name" = source ] && continue
	[ -n "${expected[$name]-}" ] || not_ok "$name is not in the table of docs/emulator.md"
	[ "${expected[$name]-}" = 'left out' ] || tests+=("$name")
done
for name in "${!expected[@]}"; do [ -x "$folder/$name" ] ||
	not_ok "the table has $name, which $(cat "$folder/source") does not"; done

# run_part HOST NAME...: the selftests one after the other, a line 'NAME STATUS SECONDS' for each,
# and what a failing one said last
run_part() {
	local host=$1
	shift
	on "$host" mkdir -p /s
	tar c -C "$folder" "$@" | on "$host" tar x -C /s
	# shellcheck disable=SC2016 # for the host's shell
	"$sev_host" exec "$host" --timeout 800 -- sh -c 'limit=$0
		arguments=$1
		shift
		cd /s || exit 1
		for t in "$@"; do
			start=$(cut -d. -f1 /proc/uptime)
			timeout -s KILL "$limit" ./$t $(echo "$arguments" |
				sed -n "s/^$t //p") >/tmp/said </dev/null 2>&1
			status=$?
			echo "$t $status $(($(cut -d. -f1 /proc/uptime) - start))"
			case $status in 0 | 4) ;; *) tail -n 6 /tmp/said | sed "s/^/# $t: /" ;; esac
		done' "$limit" "$arguments" "$@"
}

# Two hosts, as two CPUs are the least: every other test on each.
hosts_of=(self-$$-one self-$$-two)
for i in 0 1; do start "${hosts_of[i]}" --cpus 2 --memory 2G; done
for i in 0 1; do
	part=()
	for ((k = i; k < ${#tests[@]}; k += 2)); do part+=("${tests[k]}"); done
	run_part "${hosts_of[i]}" "${part[@]}" >"$tmp/part.$i" 2>&1 &
done
wait

# results FILE...: what run_part printed
results() {
	local name status seconds
	while read -r name status seconds; do
		got[$name]=fail
		[ "$status" != 0 ] || got[$name]=pass
		[ "$status" != 4 ] || got[$name]=skip
		echo "# $name: ${got[$name]}, status $status, $seconds s"
	done < <(grep -hE '^[a-z0-9_]+ [0-9]+ [0-9]+$' "$@")
}

# unlike: the tests whose result is not the table's
unlike() {
	local name
	for name in "${tests[@]}"; do
		[ "${got[$name]-missing}" = "${expected[$name]-}" ] || echo "$name"
	done
}

results "$tmp"/part.*
# Some compare two clocks, and fail when this machine's other work takes the CPU in between.
for again in 2 3; do
	mapfile -t part < <(unlike)
	[ ${#part[@]} -gt 0 ] && [ ${#part[@]} -le 3 ] || break
	echo "# for the $again. time: ${part[*]}"
	run_part "${hosts_of[0]}" "${part[@]}" >"$tmp/part.$again"
	results "$tmp/part.$again"
done
for name in "${tests[@]}"; do
	if [ "${got[$name]-missing}" = "${expected[$name]-}" ]; then
		ok "$name: ${got[$name]}"
	else
		not_ok "$name: ${got[$name]-no result}, the table says ${expected[$name]-nothing}"
		grep -h "^# $name: " "$tmp"/part.*
	fi
done
finished
