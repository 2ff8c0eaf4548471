/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/mirror/workload_plan.h"

#include <string.h>

#include "lib/util/page.h"

#define MIB2 0x200000ULL

static bool name_ok(const char name[PAYLOAD_NAME_BYTES])
{
	unsigned int i;

	for (i = 0; i < PAYLOAD_NAME_BYTES && name[i]; i++)
		if (name[i] <= ' ' || name[i] > '~')
			return false;
	return i > 0 && i < PAYLOAD_NAME_BYTES;
}

bool workload_plan_ok(const struct workload_plan *plan, uint64_t low_end)
{
	return plan->bytes && plan->bytes % MIB2 == 0 && plan->bytes < low_end &&
	       plan->gpa == low_end - plan->bytes && plan->gpa % MIB2 == 0 &&
	       plan->cr3 % PAGE_BYTES == 0 && plan->cr3 >= plan->gpa &&
	       plan->cr3 - plan->gpa < plan->bytes && plan->rip >= PAYLOAD_BASE &&
	       plan->rip - PAYLOAD_BASE < PAYLOAD_IMAGE_MAX && name_ok(plan->name);
}
