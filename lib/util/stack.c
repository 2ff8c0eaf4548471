/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/util/stack.h"

#include <stdint.h>
#include <string.h>

#define WIPED_BYTES (64u << 10)

/* AddressSanitizer may put the array elsewhere. */
__attribute__((noinline, no_sanitize("address"))) void util_stack_wipe(void)
{
	uint8_t below[WIPED_BYTES];

	explicit_bzero(below, sizeof(below));
}
