/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/emulated/canary.h"

#include <string.h>

size_t canary_count(const struct canary *canary, const void *mem, size_t bytes)
{
	const volatile uint64_t *words = mem;
	size_t found = 0;

	for (size_t i = 0; i < bytes / sizeof(*words); i++)
		found += canary_is(canary, words[i]);
	return found;
}

bool canary_is_in(const struct canary *canary, const void *mem, size_t bytes)
{
	for (size_t i = 0; i + sizeof(uint64_t) <= bytes; i++) {
		uint64_t word;

		memcpy(&word, (const char *)mem + i, sizeof(word));
		if (canary_is(canary, word))
			return true;
	}
	return false;
}
