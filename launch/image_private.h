/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between launch_image.c and what it is made of, boot_linux.c and payload.c.
 */
#ifndef LAUNCH_IMAGE_PRIVATE_H
#define LAUNCH_IMAGE_PRIVATE_H

#include "launch/image.h"

#define LAUNCH_PAGE_BYTES 4096ULL

/* RAM as the loaders see it. */
struct launch_ram {
	uint64_t low_end; /* RAM is [0, low_end) ... */
	uint64_t high_bytes; /* ... and that much from 4 GiB on */
	uint64_t usable_end; /* low_end, or where the helper region begins */
};

void launch_ram(struct launch_ram *ram, const struct launch_config *config);

/*
 * Add a zeroed segment of len bytes, rounded up to whole pages, and return its bytes to be filled; NULL with err and why set. The
 * image's order is made at the end.
 */
uint8_t *launch_segment_add(struct launch_image *image, const char *what, uint64_t gpa,
			    uint64_t len, int *err, struct why *why);

/* The same, filled with blob. 0 or a negative errno. */
int launch_segment_copy(struct launch_image *image, const char *what, uint64_t gpa,
			struct launch_blob blob, struct why *why);

/* Add everything of a Linux or payload guest but the helper's core, and set image->entry. */
int launch_linux(struct launch_image *image, const struct launch_config *config, struct why *why);
int launch_payload(struct launch_image *image, const struct launch_config *config, struct why *why);

#endif
