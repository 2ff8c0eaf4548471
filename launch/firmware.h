/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is launched and measured of a guest that QEMU starts from UEFI firmware with a
 * sevmirror-helper object: the firmware's code, which is in flash that ends at 4 GiB, then the
 * Migration Helper's core. Its variables are shared with the host, and not measured.
 */
#ifndef LAUNCH_FIRMWARE_H
#define LAUNCH_FIRMWARE_H

#include "launch/image.h"

/* The memory of a guest of QEMU's machine type q35 ends here below 4 GiB ... */
#define FIRMWARE_LOW_RAM (2ULL << 30)
/* ... unless it has less than this: then all of it is below 4 GiB. */
#define FIRMWARE_LOW_RAM_FROM 0xb0000000ULL
/* From here on QEMU moves memory out of the way of AMD's HyperTransport. */
#define FIRMWARE_RAM_MAX (512ULL << 30)

/*
 * The image: firmware is borrowed and copied, memory_bytes is a multiple of 4 KiB, c_mask as for
 * launch_config. 0, or a negative errno with the reason in why: -EINVAL (sizes), -E2BIG, -ENOMEM.
 * launch_image_destroy() frees it.
 */
int launch_firmware_create(struct launch_image **image, struct launch_blob firmware,
			   uint64_t memory_bytes, uint64_t c_mask, struct why *why);

#endif
