/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include <sevmirror/helper.h>

#include <errno.h>
#include <string.h>

#include "helper/protocol.h"
#include "lib/mirror/region.h"

int sevmirror_helper_place(struct sevmirror_helper_region *region,
			   const struct sevmirror_ram_range *ranges, unsigned int nranges,
			   uint64_t cbit_mask)
{
	struct region_plan plan;
	int err = region_plan(&plan, ranges, nranges, cbit_mask);

	if (!err)
		*region = (struct sevmirror_helper_region){ .gpa = plan.gpa,
							    .bytes = plan.bytes,
							    .core_bytes = plan.core_bytes };
	return err;
}

int sevmirror_helper_build(const struct sevmirror_ram_range *ranges, unsigned int nranges,
			   uint64_t cbit_mask, void *core, size_t max)
{
	struct region_plan plan;
	int err = region_plan(&plan, ranges, nranges, cbit_mask);

	return err ? err : region_build(&plan, core, max);
}

int sevmirror_helper_memory_create(struct sevmirror_helper_memory *memory,
				   const struct sevmirror_helper_region *region)
{
	const struct region_plan plan = { .bytes = region->bytes };
	struct region_memory made;
	int err = region_memory_create(&made, &plan);

	*memory = (struct sevmirror_helper_memory){ .fd = made.fd, .hva = made.hva };
	return err;
}

void sevmirror_helper_memory_destroy(struct sevmirror_helper_memory *memory,
				     const struct sevmirror_helper_region *region)
{
	struct region_memory made = { memory->fd, memory->hva, memory->hva ? region->bytes : 0 };

	region_memory_destroy(&made);
	*memory = (struct sevmirror_helper_memory){ .fd = -1 };
}

unsigned int sevmirror_helper_version(void)
{
	return HELPER_ABI_VERSION;
}

void sevmirror_helper_digest(uint8_t digest[32])
{
	memcpy(digest, region_image_digest(), 32);
}
