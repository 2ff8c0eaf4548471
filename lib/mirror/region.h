/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The helper region: memory that only the mirror maps, at a guest-physical address above all of the
 * guest's own, which holds the in-guest Migration Helper. It starts with the core, which has a
 * fixed size for a given build of the helper and is part of the measured launch image (KVM launches
 * by user address, so the primary needs no memslot for it); what follows is zeroed and filled by
 * the helper itself when it starts.
 *
 * region_plan() and region_build() are pure: the same arguments give the same bytes on every host.
 * The launch and the owner's offline measurement call them alike.
 */
#ifndef LIB_MIRROR_REGION_H
#define LIB_MIRROR_REGION_H

#include <stddef.h>
#include <stdint.h>

#include <sevmirror/host.h>

#define REGION_RAM_MAX SEVMIRROR_MAX_RAM_RANGES

struct region_plan {
	/*
	 * Where the mirror has it. Multiples of 2 MiB; bytes is at most 2 MiB + 0.2 % of RAM.
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
	struct sevmirror_ram_range ram[REGION_RAM_MAX];
};

/*
 * Plan the region for a RAM layout, of which only gpa and bytes count: multiples of 4 KiB,
 * ascending. cbit_mask is the C-bit's mask in a page-table entry (1ULL <<
 * CPUID 0x8000001F EBX[5:0]) or 0 without SEV. Errors: -EINVAL (bad layout), -E2BIG (more RAM than
 * the helper reaches: it ends above 64 TiB, or is 1 TiB or more).
 */
int region_plan(struct region_plan *plan, const struct sevmirror_ram_range *ram, unsigned int nram,
		uint64_t cbit_mask);

/*
 * Where the window is in a mirror of a guest whose RAM ends at ram_end: page tables that a launch
 * contains map it.
 */
uint64_t mirror_window_place(uint64_t ram_end);

/*
 * Write the core's plan->core_bytes bytes, as they are to be in the region before the launch. core
 * has room for bytes. Errors: -ENOBUFS (bytes below core_bytes).
 */
int region_build(const struct region_plan *plan, void *core, size_t bytes);

/* The region's memory: a memfd of plan->bytes, and its mapping in this process. */
struct region_memory {
	int fd; /* -1: none */
	void *hva;
	uint64_t bytes;
};

/*
 * Make it, zeroed, and left out of core dumps. With SEV it is then to be registered with the
 * primary (sev_guest_register_memory()). 0 or a negative errno. destroy also takes a struct that
 * was filled with REGION_MEMORY_NONE.
 */
#define REGION_MEMORY_NONE \
	{                  \
		.fd = -1   \
	}
int region_memory_create(struct region_memory *memory, const struct region_plan *plan);
void region_memory_destroy(struct region_memory *memory);

struct helper_image;

/*
 * The helper's image as it is in the core, and its size if bytes is not NULL: the same on every
 * host that runs this build. The hosts of a migration compare its digest.
 */
const struct helper_image *region_image(size_t *bytes);

/* SHA-256 of the image, 32 bytes. */
const uint8_t *region_image_digest(void);

#endif
