/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#ifndef LIB_UTIL_CLOCK_H
#define LIB_UTIL_CLOCK_H

#include <limits.h>
#include <pthread.h>
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

/* The same in milliseconds, in which poll() counts. */
static inline uint64_t clock_ms(void)
{
	return clock_ns() / NS_PER_MS;
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

/*
 * Wait for a condition until deadline (clock_ns()). 0, or -ETIMEDOUT. The one way to do so in this
 * tree: pthread_cond_timedwait() goes by the wall clock unless the condition was made for
 * another, and a step of that clock would end the wait, or prolong it.
 */
static inline int clock_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t deadline)
{
	struct timespec until = { (time_t)(deadline / NS_PER_S), (long)(deadline % NS_PER_S) };

	return -pthread_cond_clockwait(cond, lock, CLOCK_MONOTONIC, &until);
}

#endif
