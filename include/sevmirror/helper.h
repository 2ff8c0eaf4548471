/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The Migration Helper of a guest: memory of its own, outside of the guest's, whose beginning, the
 * core, is part of the launch image. Only the mirror maps it, at a guest-physical address above all
 * of the guest's, so the guest's memory map has neither a hole nor an entry for it. A guest that
 * was launched without it cannot be migrated by this library.
 *
 * What a VMM does: make a memory file of region.bytes (memfd_create()) and map it; before the
 * launch let sevmirror_helper_build() write the core into it; with SEV, register the mapping with
 * the VM (KVM_MEMORY_ENCRYPT_REG_REGION goes by address and needs no memslot) and give [hva, hva +
 * core_bytes) to LAUNCH_UPDATE_DATA after everything else. At the target: the same file, mapping
 * and registration, nothing written.
 *
 * Both functions are pure: the same arguments give the same bytes on every host with this version
 * of the library, so that the guest's owner can measure the launch in advance.
 */
#ifndef SEVMIRROR_HELPER_H
#define SEVMIRROR_HELPER_H

#include <sevmirror/host.h>

struct sevmirror_helper_region {
	uint64_t gpa; /* in the mirror; to show, no call needs it */
	uint64_t bytes; /* at most 2 MiB + 0.2 % of RAM; a multiple of 2 MiB */
	/* of its beginning, to be launched (LAUNCH_UPDATE_DATA) and measured */
	uint64_t core_bytes;
};

/*
 * Size and place of the region for a guest whose private memory is in these ranges: RAM, and flash
 * that is encrypted. Of the ranges only gpa and bytes count (multiples of 4 KiB, ascending).
 * cbit_mask is 1 << CPUID 0x8000001F EBX[5:0], or 0 without SEV. Errors: -EINVAL (ranges that make
 * no sense), -E2BIG (they end above 64 TiB, or have 1 TiB or more in all).
 */
int sevmirror_helper_place(struct sevmirror_helper_region *region,
			   const struct sevmirror_ram_range *ranges, unsigned int nranges,
			   uint64_t cbit_mask);

/*
 * Write the core: max bytes at core, at least region.core_bytes. The arguments are those of
 * sevmirror_helper_place(). Errors: as there, and -ENOBUFS (max is too small).
 */
int sevmirror_helper_build(const struct sevmirror_ram_range *ranges, unsigned int nranges,
			   uint64_t cbit_mask, void *core, size_t max);

/*
 * The helper's memory, made by the library: a memfd of region.bytes, mapped, zeroed, left out of
 * core dumps. 0 or a negative errno. destroy after the VM (and with SEV its registration) is gone.
 */
int sevmirror_helper_memory_create(struct sevmirror_helper_memory *memory,
				   const struct sevmirror_helper_region *region);
void sevmirror_helper_memory_destroy(struct sevmirror_helper_memory *memory,
				     const struct sevmirror_helper_region *region);

/* This build of the helper: the version of its protocol, and SHA-256 of its image. */
unsigned int sevmirror_helper_version(void);
void sevmirror_helper_digest(uint8_t digest[32]);

#endif
