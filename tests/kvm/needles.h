/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A search of this process's whole memory, stacks of threads that have ended included, for values
 * that must not be there. The list of them is kept masked, so that it is not what is found.
 */
#ifndef TESTS_KVM_NEEDLES_H
#define TESTS_KVM_NEEDLES_H

#include <stddef.h>
#include <stdint.h>

#define NEEDLE_BYTES 16

struct needle {
	const char *name;
	uint64_t half[2]; /* masked */
};

struct needles {
	unsigned int n;
	struct needle needle[512];
};

/* Mask, or unmask, bytes in place. */
void needles_mask(void *bytes, size_t len);

/*
 * Look for each NEEDLE_BYTES of a value that is masked already. What is in the list stays there
 * once.
 */
void needles_add(struct needles *needles, const char *name, const uint8_t *masked, size_t len);

/* How many copies there are of the needles whose name begins so; where is printed if loud. */
unsigned int needles_find(const struct needles *needles, const char *name, int loud);

#endif
