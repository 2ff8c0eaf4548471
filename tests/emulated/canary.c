/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/emulated/canary.h"

size_t canary_count(const struct canary *canary, const void *mem, size_t bytes)
{
	const volatile uint64_t *words = mem;
	size_t found = 0;

	for (size_t i = 0; i < bytes / sizeof(*words); i++)
		found += canary_is(canary, words[i]);
	return found;
}
