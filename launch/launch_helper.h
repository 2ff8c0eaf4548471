/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Migration Helper's part of a launch: where its region is in the mirror of a guest of this
 * size, and the bytes of its core. Pure, as the rest of the launch.
 */
#ifndef LAUNCH_LAUNCH_HELPER_H
#define LAUNCH_LAUNCH_HELPER_H

#include "lib/mirror/region.h"
#include "launch/image.h"

struct launch_helper {
	struct region_plan plan;
	void *core; /* plan.core_bytes */
};

/*
 * Plan for config's memory and C-bit; nothing else of config is looked at. 0, -E2BIG (more memory
 * than the helper can serve) or another negative errno.
 */
int launch_helper_plan(struct region_plan *plan, const struct launch_config *config,
		       struct why *why);

/*
 * Plan and build for config's memory and C-bit, and enter both into config, which borrows them
 * until launch_helper_free(). Errors as above, and -ENOMEM.
 */
int launch_helper_make(struct launch_helper *helper, struct launch_config *config, struct why *why);
void launch_helper_free(struct launch_helper *helper);

#endif
