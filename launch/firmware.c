/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/firmware.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sevmirror/helper.h>

#include "launch/image_private.h"

#define GIB_4		   (4ULL << 30)
#define FIRMWARE_BYTES_MAX (8ULL << 20) /* QEMU's limit for all flash of a q35 */

/* RAM and flash as the adapter in QEMU finds them (qemu/launch.c). */
static unsigned int find_ranges(struct sevmirror_ram_range ranges[3], uint64_t memory_bytes,
				uint64_t firmware_bytes)
{
	uint64_t low = memory_bytes < FIRMWARE_LOW_RAM_FROM ? memory_bytes : FIRMWARE_LOW_RAM;
	unsigned int n = 0;

	ranges[n++] = (struct sevmirror_ram_range){ .bytes = low, .fd = -1 };
	ranges[n++] = (struct sevmirror_ram_range){ .gpa = GIB_4 - firmware_bytes,
						    .bytes = firmware_bytes,
						    .fd = -1 };
	if (memory_bytes > low)
		ranges[n++] = (struct sevmirror_ram_range){ .gpa = GIB_4,
							    .bytes = memory_bytes - low,
							    .fd = -1 };
	return n;
}

static int add_helper(struct launch_image *image, uint64_t memory_bytes, uint64_t firmware_bytes,
		      uint64_t c_mask, struct why *why)
{
	struct launch_segment *helper = &image->helper;
	struct sevmirror_ram_range ranges[3];
	unsigned int n = find_ranges(ranges, memory_bytes, firmware_bytes);
	struct sevmirror_helper_region region;
	int err = sevmirror_helper_place(&region, ranges, n, c_mask);

	if (err)
		return why_set(why, err,
			       "the Migration Helper cannot serve a guest with %llu MiB of memory: "
			       "%s",
			       (unsigned long long)memory_bytes >> 20, strerror(-err));
	helper->what = "helper core";
	helper->gpa = region.gpa;
	helper->bytes = calloc(1, region.core_bytes);
	if (!helper->bytes)
		return why_set(why, -ENOMEM, "out of memory for the Migration Helper");
	helper->len = region.core_bytes;
	err = sevmirror_helper_build(ranges, n, c_mask, helper->bytes, helper->len);
	return err ? why_set(why, err, "the Migration Helper cannot be built: %s", strerror(-err)) :
		     0;
}

int launch_firmware_create(struct launch_image **image, struct launch_blob firmware,
			   uint64_t memory_bytes, uint64_t c_mask, struct why *why)
{
	struct launch_image *made;
	int err;

	*image = NULL;
	if (!firmware.len || firmware.len % PAGE_BYTES || firmware.len > FIRMWARE_BYTES_MAX)
		return why_set(
			why, -EINVAL,
			"the firmware has %zu bytes: QEMU's flash has whole pages of 4 KiB, at "
			"most 8 MiB",
			firmware.len);
	if (!memory_bytes || memory_bytes % PAGE_BYTES || memory_bytes > FIRMWARE_RAM_MAX)
		return why_set(
			why, -EINVAL,
			"the guest's memory must consist of whole pages of 4 KiB, at most 512 GiB");
	made = calloc(1, sizeof(*made));
	if (!made)
		return why_set(why, -ENOMEM, "out of memory for the firmware");
	err = launch_segment_copy(made, "firmware", GIB_4 - firmware.len, firmware, why);
	if (!err)
		err = add_helper(made, memory_bytes, firmware.len, c_mask, why);
	if (err)
		launch_image_destroy(made);
	else
		*image = made;
	return err;
}
