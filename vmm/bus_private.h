/* SPDX-License-Identifier: Apache-2.0 */
/* What bus.c (accesses) and bus_state.c (saved state) share. */
#ifndef VMM_BUS_PRIVATE_H
#define VMM_BUS_PRIVATE_H

#include <pthread.h>

#include "vmm/bus.h"

struct bus_range {
	enum bus_space space;
	uint64_t base;
	uint64_t last; /* inclusive: a range may end at the top of the space */
	struct device *dev;
};

struct bus {
	pthread_rwlock_t lock;
	struct bus_range *ranges; /* sorted by space, then base; never overlapping */
	size_t count;
};

#endif
