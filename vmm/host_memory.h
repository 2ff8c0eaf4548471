/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory this host can give a guest, asked before any of it is touched. */
#ifndef VMM_HOST_MEMORY_H
#define VMM_HOST_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/util/why.h"

/* The tightest of the host's limits. */
struct host_memory {
	uint64_t bytes; /* UINT64_MAX: no limit is known */
	char limit[256]; /* the file or the limit that says so */
};

/*
 * MemAvailable and SwapFree of /proc/meminfo, and memory.max and memory.swap.max of the process's
 * cgroup and its parents (version 2) less what each uses; what the kernel can reclaim there counts
 * as available. pinned: swap does not help, and without CAP_IPC_LOCK RLIMIT_MEMLOCK counts. root:
 * "" or, for tests, a directory with proc and sys.
 */
void host_memory_available(const char *root, bool pinned, struct host_memory *memory);

/*
 * For a guest of so many bytes and its Migration Helper. 0, or -ENOMEM with the sizes and the limit
 * in why.
 */
int host_memory_check(const char *root, uint64_t bytes, uint64_t helper, bool pinned,
		      struct why *why);

#endif
