/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what a user names (files, sizes) to the launch image: the same function for the VMM that
 * launches it and for the guest's owner who measures it elsewhere.
 */
#ifndef VMM_MACHINE_MACHINE_IMAGE_H
#define VMM_MACHINE_MACHINE_IMAGE_H

#include "launch/image.h"
#include "vmm/machine/machine.h"

struct machine_image_config {
	uint64_t memory_bytes;
	unsigned int cpus;
	uint64_t c_mask; /* the host's C-bit as a mask, 0 without SEV */
	uint64_t tsc_khz; /* what a payload is told of the host's TSC */
};

/*
 * Read boot's files and build the image; of boot, policy and owner are not looked at. workload, if
 * not NULL, is what runs in the guest's mirrors (bytes 0: nothing). Errors: those of
 * launch_image_create(), and of reading files. The caller destroys *image.
 */
int machine_image_create(struct launch_image **image, struct workload_plan *workload,
			 const struct machine_image_config *config, const struct machine_boot *boot,
			 struct why *why);

#endif
