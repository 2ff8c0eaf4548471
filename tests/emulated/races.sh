#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Races and odd ends of SEV VMs, each once a bug of KVM (t_races.c, t_orphans.c): on a host of four
# CPUs, and again with a secure processor that takes its time, so that the commands of several VMs
# overlap.
# shellcheck source=tests/emulated/driver.sh
. "$(dirname "$0")/driver.sh"

host=emu-$$-races
start "$host" --cpus 4 --memory 1G --append sysctl.kernel.hung_task_timeout_secs=60
put "$host" races orphans
for program in races orphans; do run "$host" "$program"; done
check "the secure processor gets slow" "$sev_host" psp "$host" --psp-delay 2000
run "$host" orphans
# complaints: of the host's kernel
complaints() { "$sev_host" log "$host" | grep -v 'ommand line:' |
	grep -E 'BUG|WARNING|Oops|Call Trace|blocked for more|refcount'; }
fails "the kernel has nothing to complain of" complaints || complaints
finished
