/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine's configuration as bytes, for the host that is to build the same one. What comes in is
 * untrusted: every length and number is checked here.
 */
#ifndef SERVICE_MIGRATE_CONFIG_H
#define SERVICE_MIGRATE_CONFIG_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/machine/machine.h"

#define MIGRATE_TAP_BYTES 16 /* IFNAMSIZ */

/* A machine with its strings. */
struct migrate_config {
	struct machine_config machine;
	uint32_t policy; /* of the encrypted guest */
	char disk_paths[MACHINE_MAX_DISKS][PATH_MAX];
	char taps[MACHINE_MAX_NETS][MIGRATE_TAP_BYTES];
};

/*
 * Bytes written, or -ENOSPC. Of config only what a target needs is looked at (no consoles, no
 * CPUID).
 */
ssize_t migrate_config_save(const struct migrate_config *config, void *buf, size_t max);

/*
 * The reverse; machine's strings point into *config, so it must not be moved. 0, or -EINVAL for
 * bytes that no save() wrote.
 */
int migrate_config_load(struct migrate_config *config, const void *buf, size_t len,
			struct why *why);

#endif
