/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Migration Helper's place in a guest: a range of guest RAM that the guest must leave alone
 * (E820 reserved) and whose beginning, the core, is part of the launch image. A guest without it
 * cannot be migrated by this library.
 *
 * Both functions are pure: the same arguments give the same bytes on every host with this version
 * of the library, so that the guest's owner can measure the launch in advance.
 */
#ifndef SEVMIRROR_HELPER_H
#define SEVMIRROR_HELPER_H

#include <sevmirror/host.h>

struct sevmirror_helper_region {
	uint64_t gpa; /* also sevmirror_vm's helper_gpa */
	uint64_t bytes; /* at most 2 MiB + 0.2 % of RAM; a multiple of 2 MiB, like gpa */
	uint64_t core_bytes; /* from gpa on: to be launched (LAUNCH_UPDATE_DATA) and measured */
};

/*
 * Find the region's place: as high as it fits in RAM below 4 GiB. Of the ranges only gpa and bytes
 * count (multiples of 2 MiB). cbit_mask is 1 << CPUID 0x8000001F EBX[5:0], or 0 without SEV.
 * Errors: -EINVAL (ranges that make no sense), -ENOSPC (it does not fit), -E2BIG (RAM ends above
 * 512 GiB).
 */
int sevmirror_helper_place(struct sevmirror_helper_region *region,
			   const struct sevmirror_ram_range *ranges, unsigned int nranges,
			   uint64_t cbit_mask);

/*
 * Write the core: max bytes at core, at least region.core_bytes, in which the image is put together
 * or which are guest RAM itself. The arguments are those of sevmirror_helper_place(). Errors: as
 * there, and -ENOBUFS (max is too small).
 */
int sevmirror_helper_build(const struct sevmirror_ram_range *ranges, unsigned int nranges,
			   uint64_t cbit_mask, void *core, size_t max);

#endif
