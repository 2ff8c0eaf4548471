#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A sealing session through a file, between two SEV guests of one host.
# shellcheck source=tests/emulated/driver.sh
. "$(dirname "$0")/driver.sh"

host=emu-$$-seal
start "$host" --cpus 2 --memory 1G
on "$host" mkdir -p /t
check "copy lib_seal" "$sev_host" copy "$programs/lib_seal" "$host:/t/lib_seal"
"$sev_host" exec "$host" --timeout 200 -- /t/lib_seal >"$tmp/out" 2>&1
passed $? "$tmp/out" "lib_seal"
finished
