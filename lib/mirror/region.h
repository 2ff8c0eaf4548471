/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helper region: a guest-physical range inside guest RAM, reserved in the guest's memory map
 * (E820 reserved), that holds the in-guest Migration Helper. It starts with the core, which has a
 * fixed size for a given build of the helper and is part of the measured launch image; what follows
 * is zeroed and filled by the helper itself when it starts.
 *
 * Both functions are pure: the same arguments give the same bytes on every host. The launch and the
 * owner's offline measurement call them alike.
 */
#ifndef LIB_MIRROR_REGION_H
#define LIB_MIRROR_REGION_H

#include <stddef.h>
#include <stdint.h>

/*
 * A contiguous part of guest RAM and where it lies in a memory file. The planner reads gpa and
 * bytes only (fd -1 is fine there), both multiples of 2 MiB. Low RAM (below 4 GiB) first,
 * ascending.
 */
struct mirror_ram {
	uint64_t gpa;
	uint64_t bytes;
	int fd;
	uint64_t offset;
};

#define REGION_RAM_MAX 4

struct region_plan {
	/*
	 * Reserve [gpa, gpa + bytes) in the guest's memory map. Multiples of 2 MiB; bytes is at
	 * most 2 MiB + 0.2 % of RAM.
	 */
	uint64_t gpa;
	uint64_t bytes;
	/* [gpa, gpa + core_bytes) is launched (LAUNCH_UPDATE_DATA) and measured. */
	uint64_t core_bytes;

	/* How the rest is laid out: offsets from gpa. For lib/mirror only. */
	uint64_t cbit_mask;
	uint64_t volatile_offset, run_tables_offset, epoch_offset;
	uint64_t run_tables_bytes, epoch_bytes;
	unsigned int nram;
	struct mirror_ram ram[REGION_RAM_MAX];
};

/*
 * Plan the region for a RAM layout. gpa 0: as high as it fits in RAM below 4 GiB. cbit_mask is the
 * C-bit's mask in a page-table entry (1ULL << CPUID 0x8000001F EBX[5:0]) or 0 without SEV. Errors:
 * -EINVAL (bad layout, gpa unaligned or outside RAM), -ENOSPC (it does not fit), -E2BIG (more RAM
 * than the helper's page tables reach: it ends above 512 GiB).
 */
int region_plan(struct region_plan *plan, const struct mirror_ram *ram, unsigned int nram,
		uint64_t gpa, uint64_t cbit_mask);

/*
 * Write the core's plan->core_bytes bytes, as they are to lie at plan->gpa before the launch. core
 * has room for bytes. Errors:
 * -ENOBUFS (bytes below core_bytes).
 */
int region_build(const struct region_plan *plan, void *core, size_t bytes);

struct helper_image;

/*
 * The helper's image as it lies in the core, and its size if bytes is not NULL: the same on every
 * host that runs this build. The hosts of a migration compare its digest.
 */
const struct helper_image *region_image(size_t *bytes);

#endif
