#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Migration Helper in SEV guests, and what the whole of the host's RAM says meanwhile.
# shellcheck source=tests/emulated/driver.sh
. "$(dirname "$0")/driver.sh"

host=emu-$$-mirror
start "$host" --cpus 2 --memory 1G
on "$host" mkdir -p /t
check "copy lib_mirror" "$sev_host" copy "$programs/lib_mirror" "$host:/t/lib_mirror"

"$sev_host" exec "$host" --timeout 200 -- /t/lib_mirror --hold /tmp/hold >"$tmp/out" 2>&1 &
job=$!
# It makes the file, or ends.
until on "$host" test -e /tmp/hold || ! kill -0 $job 2>/dev/null; do sleep 0.2; done
if on "$host" test -e /tmp/hold; then
	check "dump-memory writes all of the host's RAM" "$sev_host" dump-memory "$host" "$tmp/ram"
	check "in it: shared canaries, no private one" "$programs/scan" "$tmp/ram" $((1 << 30))
	rm -f "$tmp/ram"
	on "$host" rm -f /tmp/hold
fi
wait $job
passed $? "$tmp/out" "lib_mirror"
finished
