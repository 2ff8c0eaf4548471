/* SPDX-License-Identifier: Apache-2.0 */
/* What the Linux guests of the tests and their host have agreed on. */
#ifndef TESTS_EMULATED_VMM_GUEST_H
#define TESTS_EMULATED_VMM_GUEST_H

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The disk: first what the host has left for the guest, then as much of the guest's. */
#define GUEST_DISK_BYTES (2u << 20)
#define GUEST_SEED_HOST	 1u
#define GUEST_SEED_GUEST 2u

/* The network: the host sends back what it gets. */
#define GUEST_NET_HOST	  "10.77.0.1"
#define GUEST_NET_GUEST	  "10.77.0.2"
#define GUEST_NET_PORT	  7777
#define GUEST_NET_BYTES	  (1u << 20)
#define GUEST_NET_WAIT_MS 60000
#define GUEST_SEED_NET	  3u

#define GUEST_SECRET_BYTES 4096u

#define GUEST_CANARY_BYTES (1u << 20)
#define GUEST_CANARY_STEP  64u

/*
 * Bytes that depend on place and seed: what is in the wrong place, or of another time, is not them.
 */
static inline uint8_t guest_pattern_at(size_t i, uint32_t seed)
{
	uint32_t x = (uint32_t)i * 2654435761u ^ seed * 0x9e3779b9u;

	x ^= x >> 15;
	x *= 0x2c1b3c6du;
	return (uint8_t)(x >> 24);
}

static inline void guest_pattern(uint8_t *buf, size_t len, uint32_t seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = guest_pattern_at(i, seed);
}

static inline bool guest_pattern_is(const uint8_t *buf, size_t len, uint32_t seed)
{
	for (size_t i = 0; i < len; i++) {
		if (buf[i] != guest_pattern_at(i, seed))
			return false;
	}
	return true;
}

/*
 * FNV-1a: tells texts apart, and does not give them away as long as they are too many to be tried.
 */
static inline uint64_t guest_checksum(const char *text, size_t len)
{
	uint64_t sum = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ (uint8_t)text[i]) * 0x100000001b3u;
	return sum;
}

static inline char guest_turned(char c)
{
	if (!isalpha((unsigned char)c))
		return c;
	return (char)((tolower((unsigned char)c) - 'a' + 13) % 26 +
		      (isupper((unsigned char)c) ? 'A' : 'a'));
}

#endif
