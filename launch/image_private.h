/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between image.c and what it is made of: boot_linux.c, payload.c, launch_workload.c.
 */
#ifndef LAUNCH_IMAGE_PRIVATE_H
#define LAUNCH_IMAGE_PRIVATE_H

#include "launch/image.h"
#include "lib/util/page.h"

/* RAM as the loaders see it. */
struct launch_ram {
	uint64_t low_end; /* RAM is [0, low_end) ... */
	uint64_t high_bytes; /* ... and that much from 4 GiB on */
	uint64_t usable_end; /* low_end, or where the workload's region begins */
};

void launch_ram(struct launch_ram *ram, const struct launch_config *config);

/*
 * Add a zeroed segment of len bytes, rounded up to whole pages, and return its bytes to be filled;
 * NULL with err and why set. The image's order is made at the end.
 */
uint8_t *launch_segment_add(struct launch_image *image, const char *what, uint64_t gpa,
			    uint64_t len, int *err, struct why *why);

/* The same, filled with blob. 0 or a negative errno. */
int launch_segment_copy(struct launch_image *image, const char *what, uint64_t gpa,
			struct launch_blob blob, struct why *why);

/* A payload's TSS, for zeroed bytes, under which ring 3 may use every port. payload.c */
#define PAYLOAD_TSS_BYTES 0x3000
void payload_tss_build(uint8_t tss[PAYLOAD_TSS_BYTES]);

/* Add everything of a Linux or payload guest but the helper's core, and set image->entry. */
int launch_linux(struct launch_image *image, const struct launch_config *config, struct why *why);
int launch_payload(struct launch_image *image, const struct launch_config *config, struct why *why);

#endif
