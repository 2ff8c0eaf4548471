/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#ifndef LIB_UTIL_CLOCK_H
#define LIB_UTIL_CLOCK_H

#include <limits.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_S  1000000000ULL
#define NS_PER_MS 1000000ULL

/* Monotonic time in nanoseconds. */
static inline uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/*
 * From now to deadline (clock_ns(); UINT64_MAX: never) as poll() takes it: milliseconds, 0 when it
 * has come, -1 for never.
 */
static inline int clock_ms_until(uint64_t deadline)
{
	uint64_t now = clock_ns(), ms;

	if (deadline == UINT64_MAX)
		return -1;
	ms = now < deadline ? (deadline - now + NS_PER_MS - 1) / NS_PER_MS : 0;
	return ms < INT_MAX ? (int)ms : INT_MAX;
}

#endif
