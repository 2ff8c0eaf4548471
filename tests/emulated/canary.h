/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Canaries: 64-bit words a test guest writes into its memory and the host's memory is searched for.
 *
 * So that a search finds only the guest's own copies, no program holds a canary: a guest makes it
 * in its memory from two halves (guest_fill, canary_make), and a search multiplies each word it
 * sees by an odd constant and compares the product, which the compiler computed.
 */
#ifndef TESTS_EMULATED_CANARY_H
#define TESTS_EMULATED_CANARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CANARY_FACTOR 0x9e3779b97f4a7c15ull

struct canary {
	uint64_t half_a, half_b; /* the canary is their XOR */
	uint64_t product; /* the canary times CANARY_FACTOR, modulo 2^64 */
};

#define CANARY(a, b)                                  \
	{                                             \
		(a), (b), ((a) ^ (b)) * CANARY_FACTOR \
	}

/* Written to a private page and never read by the host: nobody may find it. */
static const struct canary canary_private = CANARY(0x1e3c5a7896b4d2f0ull, 0x71a3c92e50b8f64dull);
/* Written to a shared page: everybody finds it, which shows that the search works. */
static const struct canary canary_shared = CANARY(0xc4d5e6f708192a3bull, 0x2b7e151628aed2a6ull);
/* For the tests in which a host reads it out of a guest. */
static const struct canary canary_told = CANARY(0x5851f42d4c957f2dull, 0x14057b7ef767814full);

static inline bool canary_is(const struct canary *canary, uint64_t word)
{
	return word * CANARY_FACTOR == canary->product;
}

/* Made in memory, never in a register, which an exit would show to the host. */
static inline void canary_make(const struct canary *canary, uint64_t *word)
{
	*(volatile uint64_t *)word = canary->half_a;
	__asm__ volatile("xorq %1, %0" : "+m"(*word) : "r"(canary->half_b) : "cc");
}

/* How many aligned words of the memory are the canary. */
size_t canary_count(const struct canary *canary, const void *mem, size_t bytes);

/* Is it there, at any alignment? */
bool canary_is_in(const struct canary *canary, const void *mem, size_t bytes);

#endif
