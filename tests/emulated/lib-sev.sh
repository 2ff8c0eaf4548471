#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# lib/sev and the subcommands of sevmirror that ask the host, on a real kernel with a secure
# processor.
# shellcheck source=tests/emulated/driver.sh
. "$(dirname "$0")/driver.sh"

host=emu-$$-lib
sevmirror=$programs/../../cli/sevmirror
start "$host" --memory 1G
put "$host" lib_sev
check "copy sevmirror" "$sev_host" copy "$sevmirror" "$host:/usr/bin/sevmirror"
run "$host" lib_sev
check "doctor finds all that is needed" on "$host" sevmirror doctor
check "platform status" on "$host" sevmirror platform status
check "platform certs" on "$host" sevmirror platform certs --out /certs
check "copy the certificates out" "$sev_host" copy "$host:/certs" "$tmp/certs"
check "owner verify-platform, outside" "$sevmirror" owner verify-platform --root emulation \
	"$tmp/certs"
check "the exported ask_ark.cert is the root" "$sevmirror" owner verify-platform \
	--root "$tmp/certs/ask_ark.cert" "$tmp/certs"
finished
