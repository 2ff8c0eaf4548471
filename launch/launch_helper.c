/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/launch_helper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "launch/image_private.h"
#include "launch/guest_layout.h"

int launch_helper_plan(struct region_plan *plan, const struct launch_config *config,
		       struct why *why)
{
	struct sevmirror_ram_range ram[2];
	struct launch_ram parts;
	int err;

	launch_ram(&parts, config);
	ram[0] = (struct sevmirror_ram_range){ .gpa = 0, .bytes = parts.low_end, .fd = -1 };
	ram[1] = (struct sevmirror_ram_range){ .gpa = GUEST_HIGH_RAM_GPA,
					       .bytes = parts.high_bytes,
					       .fd = -1,
					       .offset = parts.low_end };
	err = region_plan(plan, ram, parts.high_bytes ? 2 : 1, config->c_mask);
	if (err == -E2BIG)
		return why_set(
			why, err,
			"the guest needs %llu GiB of memory: that is more than the Migration "
			"Helper can serve, which is a little less than 1 TiB",
			(unsigned long long)config->memory_bytes >> 30);
	return err ? why_set(why, err,
			     "the Migration Helper cannot serve a guest with %llu MiB of memory: "
			     "%s",
			     (unsigned long long)config->memory_bytes >> 20, strerror(-err)) :
		     0;
}

int launch_helper_make(struct launch_helper *helper, struct launch_config *config, struct why *why)
{
	int err;

	memset(helper, 0, sizeof(*helper));
	err = launch_helper_plan(&helper->plan, config, why);
	if (err)
		return err;
	helper->core = malloc(helper->plan.core_bytes);
	if (!helper->core)
		return why_set(why, -ENOMEM, "out of memory for the Migration Helper");
	err = region_build(&helper->plan, helper->core, helper->plan.core_bytes);
	if (err) {
		launch_helper_free(helper);
		return why_set(why, err, "the Migration Helper cannot be built: %s",
			       strerror(-err));
	}
	config->helper = &helper->plan;
	config->helper_core = helper->core;
	return 0;
}

void launch_helper_free(struct launch_helper *helper)
{
	free(helper->core);
	helper->core = NULL;
}
