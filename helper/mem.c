/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "helper/crypto.h"

#include <emmintrin.h>

#ifdef HELPER_HOSTED
#include <string.h>

/* The sanitizers see through these and not through assembler. */
void copy_once(void *to, const void *from, size_t bytes)
{
	memcpy(to, from, bytes);
	__asm__ volatile("" : : : "memory");
}

void wipe(void *at, size_t bytes)
{
	explicit_bzero(at, bytes);
}
#else
/* A compiler may call these even in freestanding code. */
void *memcpy(void *to, const void *from, size_t bytes);
void *memset(void *at, int value, size_t bytes);

void *memcpy(void *to, const void *from, size_t bytes)
{
	copy_once(to, from, bytes);
	return to;
}

void *memset(void *at, int value, size_t bytes)
{
	void *to = at;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
	return at;
}

void copy_once(void *to, const void *from, size_t bytes)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

void wipe(void *at, size_t bytes)
{
	__asm__ volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(0) : "memory");
}
#endif

bool equal_ct(const void *a, const void *b, size_t bytes)
{
	const volatile uint8_t *x = a;
	const volatile uint8_t *y = b;
	uint8_t differ = 0;
	size_t i;

	for (i = 0; i < bytes; i++)
		differ |= x[i] ^ y[i];
	return differ == 0;
}

bool all_zero(const void *page, size_t bytes)
{
	const __m128i *at = page;
	size_t i;

	for (i = 0; i < bytes / 16; i += 4) {
		__m128i any = _mm_or_si128(
			_mm_or_si128(_mm_load_si128(at + i), _mm_load_si128(at + i + 1)),
			_mm_or_si128(_mm_load_si128(at + i + 2), _mm_load_si128(at + i + 3)));

		if (_mm_movemask_epi8(_mm_cmpeq_epi8(any, _mm_setzero_si128())) != 0xffff)
			return false;
	}
	return true;
}
