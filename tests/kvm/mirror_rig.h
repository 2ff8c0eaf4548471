/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's memory with the helper's core in it and the helper running over it: what the mirror's
 * tests share. No SEV.
 */
#ifndef TESTS_KVM_MIRROR_RIG_H
#define TESTS_KVM_MIRROR_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/mirror/calls.h"
#include "lib/mirror/rings.h"

#define RIG_DATA_PAGES 256

struct rig {
	struct sevmirror_ram_range ram[REGION_RAM_MAX];
	unsigned int nram;
	uint64_t bytes;
	int memfd;
	uint8_t *memory; /* the primary's view: what the test looks at. By offset in the memfd */
	struct region_plan plan;
	struct region_memory region;
	struct rings *rings;
};

/*
 * Say 'ok N - what # SKIP why' for the whole program and exit when this machine has no usable
 * /dev/kvm.
 */
void rig_need_kvm(void);

/*
 * low bytes at 0 and high ones at 4 GiB (0: none), the core in place, filled with a pattern from
 * seed.
 */
void rig_init(struct rig *rig, uint64_t low, uint64_t high, unsigned int seed);
/* The same for any ranges: each one's gpa and bytes. */
void rig_init_ranges(struct rig *rig, const struct sevmirror_ram_range *ranges, unsigned int n,
		     unsigned int seed);
void rig_start(struct rig *rig, unsigned int nrings);
void rig_fini(struct rig *rig);

/* Address of a gpa in the primary's view. */
uint8_t *rig_at(const struct rig *rig, uint64_t gpa);

/* Source: make a session, carry the core to the target and start it there with as many rings. */
void rig_connect(struct rig *source, struct rig *target);

/*
 * Seal n pages (one batch, all of one ring) of source into its window; returns the completion's
 * status. The batch is copied to the same pages of the target's window, bodies too.
 */
unsigned int rig_seal(struct rig *rig, const uint64_t *gpa, unsigned int n,
		      struct helper_batch *batch);
void rig_carry(struct rig *source, struct rig *target, const struct helper_batch *batch,
	       unsigned int n);
/* Open the batch that is in the target's window. */
unsigned int rig_open(struct rig *rig, unsigned int ring, unsigned int n,
		      struct helper_batch *batch);

/* Where these put the batch and the bodies of a ring: window pages. */
uint32_t rig_batch_page(const struct rig *rig, unsigned int ring);
uint32_t rig_slot(const struct rig *rig, unsigned int ring, unsigned int i);

#endif
