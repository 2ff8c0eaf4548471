/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "helper/crypto.h"

#include <immintrin.h>

/*
 * Intel's guide (Digital Random Number Generator, 5.2.1) asks for ten tries before one calls it
 * broken.
 */
#define TRIES 10

static bool word(unsigned long long *out)
{
	int i;

	for (i = 0; i < TRIES; i++)
		if (_rdrand64_step(out))
			return true;
	return false;
}

bool random_bytes(void *out, size_t bytes)
{
	unsigned long long value, before;
	size_t done, n;

	if (!word(&before))
		goto broken;
	for (done = 0; done < bytes; done += n) {
		/*
		 * Some parts return the same value, all ones, after a resume, and say that all is
		 * well (AMD erratum 1021 and kin).
		 */
		if (!word(&value) || value == before)
			goto broken;
		before = value;
		n = bytes - done < sizeof(value) ? bytes - done : sizeof(value);
		__builtin_memcpy((uint8_t *)out + done, &value, n);
	}
	wipe(&value, sizeof(value));
	wipe(&before, sizeof(before));
	return true;
broken:
	wipe(out, bytes);
	return false;
}
