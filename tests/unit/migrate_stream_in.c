/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target's data streams: how long it waits for one. The wall clock is this test's: the linker
 * puts the function here in the place of clock_gettime().
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/stream_in_private.h"
#include "lib/util/clock.h"

#define TIMEOUT_MS 200
#define HOUR_S	   3600

static time_t step; /* that the wall clock was set by, seconds */

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	int err = __real_clock_gettime(clock, now);

	if (clock == CLOCK_REALTIME)
		now->tv_sec += step;
	return err;
}

static uint64_t real_ns(void)
{
	struct timespec now;

	__real_clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* How long streams_in_wait() takes until it gives up, in ms. */
static uint64_t wait_ms(struct sevmirror_migration *m)
{
	static struct streams_in all;
	const uint64_t frames[WIRE_MAX_STREAMS] = { 1 };
	uint64_t begin = real_ns();

	all = (struct streams_in){ .m = m, .n = 1 };
	all.stream[0].all = &all;
	pthread_mutex_init(&all.lock, NULL);
	pthread_cond_init(&all.changed, NULL);
	assert_int_equal(streams_in_wait(&all, frames), -ETIMEDOUT);
	pthread_cond_destroy(&all.changed);
	pthread_mutex_destroy(&all.lock);
	return (real_ns() - begin) / NS_PER_MS;
}

/* A step back would have ended the wait at once, a step forward would have made it an hour long. */
static void a_step_of_the_wall_clock_changes_nothing(void **state)
{
	static const time_t steps[] = { 0, -HOUR_S, HOUR_S };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct sevmirror_migration m = { .timeout_ms = TIMEOUT_MS, .life = &target_life };
		uint64_t waited;

		step = steps[i];
		alarm(60);
		waited = wait_ms(&m);
		alarm(0);
		assert_in_range(waited, TIMEOUT_MS, 50 * TIMEOUT_MS);
		assert_int_equal(m.why.reason, SEVMIRROR_REASON_TIMEOUT);
		assert_non_null(strstr(m.why.text, "the source sent nothing on data stream 0"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_step_of_the_wall_clock_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
