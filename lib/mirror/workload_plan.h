/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A workload: a payload (payloads/sdk/payload.h) that is part of a guest's launch image, to be run
 * in a mirror. It is in a region of its own at the end of guest RAM below 4 GiB, which the guest's
 * memory map reserves: page tables, parameters, TSS, the program, and what it works with. The
 * launch writes it (launch/launch_workload.c), the process that makes the mirror enters it
 * (workload.c).
 */
#ifndef LIB_MIRROR_WORKLOAD_PLAN_H
#define LIB_MIRROR_WORKLOAD_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "payloads/sdk/payload.h"

/* The mirror's addresses, agreed between the two. */
#define WORKLOAD_PARAMS_VA    0x11000ULL
#define WORKLOAD_TSS_VA	      0x14000ULL
#define WORKLOAD_TSS_BYTES    0x3000ULL
#define WORKLOAD_SHARED_VA    0x200000ULL /* the window */
#define WORKLOAD_WINDOW_BYTES 0x200000ULL
#define WORKLOAD_WORK_VA      (PAYLOAD_BASE + PAYLOAD_IMAGE_MAX)
#define WORKLOAD_RAM_VA	      0x100000000000ULL /* of the guest's memory */

/* What must be known to run it. bytes 0: the guest has none. */
struct workload_plan {
	uint64_t gpa, bytes; /* of the region: multiples of 2 MiB */
	uint64_t cr3; /* gpa of its page tables, without the C-bit */
	uint64_t rip;
	bool writes_memory; /* it may write to the guest's memory, not only to its region */
	char name[PAYLOAD_NAME_BYTES];
};

/*
 * Whether a plan that somebody else says can be one: a region at the end of RAM below 4 GiB, which
 * is low_end, with the tables in it, an entry in the program, a name of printable characters.
 */
bool workload_plan_ok(const struct workload_plan *plan, uint64_t low_end);

#endif
