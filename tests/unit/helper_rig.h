/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helper compiled for the host, over memory of the test's own: RAM with a hole as the helper
 * maps it, a window, vCPUs.
 */
#ifndef TESTS_UNIT_HELPER_RIG_H
#define TESTS_UNIT_HELPER_RIG_H

#include "helper/helper_private.h"
#include "lib/mirror/region.h"

#define RIG_LOW	     (4ULL << 20)
#define RIG_HIGH     (2ULL << 20)
#define RIG_HIGH_GPA (1ULL << 32)
#define RIG_WINDOW   128 /* pages */

struct helper_rig {
	struct helper helper;
	struct helper_vcpu *vcpus;
	struct region_plan plan;
	uint8_t *region;
	uint8_t *reserved; /* RAM's address space; what is no RAM is not accessible */
	uint8_t *window; /* with inaccessible memory around it */
	uint32_t sleeps, doorbells;
};

/* RAM filled from seed, the core in place, booted with nvcpus. */
void helper_rig_init(struct helper_rig *rig, unsigned int nvcpus, unsigned int seed);
void helper_rig_fini(struct helper_rig *rig);
/* As if the mirror were created over the memory as it is: 0 or why the helper refuses its core. */
enum helper_status helper_rig_boot(struct helper_rig *rig, unsigned int nvcpus);
/* Carry the core of a source with a session to the target and boot it. */
void helper_rig_connect(struct helper_rig *source, struct helper_rig *target);

uint8_t *helper_rig_at(const struct helper_rig *rig, uint64_t gpa);
/* The window page with this number. */
void *helper_rig_page(const struct helper_rig *rig, uint32_t page);
/* Put a request into a vCPU's ring and let the helper serve it. */
struct helper_completion helper_rig_call(struct helper_rig *rig, unsigned int vcpu,
					 const struct helper_request *request);

#endif
