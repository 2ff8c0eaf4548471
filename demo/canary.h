/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A word that stands in the demo guest's private memory and, in clear, nowhere else: the guest makes it of two halves, and the search
 * compares a product, so that neither program holds it.
 */
#ifndef DEMO_CANARY_H
#define DEMO_CANARY_H

#include <stdbool.h>
#include <stdint.h>

#define CANARY_HALF_A 0x6b8b4567327b23c6ULL
#define CANARY_HALF_B 0x19495cff2ae8944aULL
#define CANARY_FACTOR 0x9e3779b97f4a7c15ULL

static inline uint64_t canary_make(void)
{
	volatile uint64_t a =
		CANARY_HALF_A; /* so that the compiler does not make it at compile time */

	return a ^ CANARY_HALF_B;
}

static inline bool canary_is(uint64_t word)
{
	return word * CANARY_FACTOR == (CANARY_HALF_A ^ CANARY_HALF_B) * CANARY_FACTOR;
}

#endif
