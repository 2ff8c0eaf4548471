#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The older of the two host kernels: the programs that ask most of it.
# shellcheck source=tests/emulated/driver.sh
. "$(dirname "$0")/driver.sh"

host=emu-$$-old
start "$host" --kernel 6.1 --cpus 2 --memory 768M
put "$host" launch memory mirror debug
check "the kernel is 6.1" test "$(on "$host" uname -r | cut -d. -f1,2)" = 6.1
for program in launch memory mirror debug; do run "$host" "$program"; done
finished
