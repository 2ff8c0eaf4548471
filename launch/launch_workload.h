/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launch's part of a workload (lib/mirror/workload_plan.h): where its region is at the end of
 * RAM below 4 GiB, and the bytes of it that are launched. Pure, as the rest of the launch.
 */
#ifndef LAUNCH_LAUNCH_WORKLOAD_H
#define LAUNCH_LAUNCH_WORKLOAD_H

#include "launch/image.h"
#include "lib/mirror/workload_plan.h"

struct launch_workload {
	struct workload_plan plan;
	void *bytes; /* what is launched at plan.gpa; the rest of the region is not */
	size_t len; /* whole pages */
};

/*
 * Make the workload that config->mirror_payload is the ELF file of, and enter it into config, which
 * borrows it until launch_workload_free(). 0, -ENOEXEC (not such a file), -ENOSPC, -ENOMEM.
 */
int launch_workload_make(struct launch_workload *workload, struct launch_config *config,
			 struct why *why);
void launch_workload_free(struct launch_workload *workload);

#endif
