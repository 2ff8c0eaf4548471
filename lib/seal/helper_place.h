/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The helper region of a VM that is described in the public terms, <sevmirror/host.h>. */
#ifndef LIB_SEAL_HELPER_PLACE_H
#define LIB_SEAL_HELPER_PLACE_H

#include <sevmirror/host.h>

#include "lib/mirror/region.h"

/* region_plan() for these ranges; -EINVAL for too many of them, too. */
int helper_place_plan(struct region_plan *plan, const struct sevmirror_ram_range *ranges,
		      unsigned int nranges, uint64_t cbit_mask);

/* The range in lib/mirror's terms. */
static inline struct mirror_ram helper_place_ram(const struct sevmirror_ram_range *range)
{
	return (struct mirror_ram){
		.gpa = range->gpa,
		.bytes = range->bytes,
		.fd = range->fd,
		.offset = range->offset,
		.hva = range->hva,
	};
}

#endif
