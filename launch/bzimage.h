/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is inside a Linux bzImage (Linux Documentation/arch/x86/boot.rst), checked so that it can be
 * entered directly in 64-bit mode.
 */
#ifndef LAUNCH_BZIMAGE_H
#define LAUNCH_BZIMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/util/why.h"

/* the 64-bit entry point, from the beginning of the protected-mode code */
#define BZIMAGE_ENTRY64 0x200

struct bzimage {
	/* the setup header, to be copied to the same offset of boot_params */
	const uint8_t *header;
	size_t header_bytes;
	const uint8_t *code; /* protected-mode code and the compressed kernel */
	size_t code_bytes;
	uint64_t load_gpa; /* where the kernel prefers to be, a multiple of its alignment */
	/* what it needs from load_gpa on until it has set up its own memory map */
	uint64_t init_bytes;
	uint64_t initrd_gpa_max; /* the highest address a byte of the initrd may have */
	size_t cmdline_max; /* without NUL */
};

#define BZIMAGE_HEADER_OFFSET 0x1f1 /* of the setup header in the file and in boot_params */

/*
 * Take image apart; what bzimage points to is in it. 0, or -ENOEXEC with the reason in why: not a
 * bzImage, truncated, too old for 64-bit entry, not relocatable, sizes that contradict each other.
 */
int bzimage_parse(struct bzimage *bzimage, const void *image, size_t bytes, struct why *why);

#endif
