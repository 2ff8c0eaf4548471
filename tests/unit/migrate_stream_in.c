/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target's data streams: their connections, how long it waits for one, how they are brought to
 * rest. The wall clock is this test's: the linker puts the function here in the place of
 * clock_gettime().
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/stream_in_private.h"
#include "lib/net/address.h"
#include "lib/util/clock.h"
#include "tests/unit/migrate_half.h"

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

/* Chunk 1 is bound to stream 1. */
static void frames_are_in_place_once_they_are_waited_for(void **state)
{
	const uint64_t frames[WIRE_MAX_STREAMS] = { 1, 2 };
	struct streams_in_count count;
	struct half h;

	half_open(&h, false, 0);
	half_open_streams_in(&h);
	half_say_private(&h, 0, 16, 2, HELPER_PAGE, 5);
	half_say_private(&h, 1, HALF_CHUNK_PAGES, 64, HELPER_PAGE, 6);
	half_say_shared(&h, 1, HALF_CHUNK_PAGES + 100, 1, 7);
	assert_int_equal(streams_in_wait(h.in, frames), 0);
	assert_int_equal(rig_ram()[16 * SEVMIRROR_PAGE_BYTES], 5);
	assert_int_equal(rig_ram()[(HALF_CHUNK_PAGES + 63) * SEVMIRROR_PAGE_BYTES], 6);
	assert_int_equal(rig_ram()[(HALF_CHUNK_PAGES + 100) * SEVMIRROR_PAGE_BYTES + 4095], 7);
	count = streams_in_count(h.in);
	assert_int_equal(count.pages, 67);
	assert_in_range(count.bytes, 67 * 4096, 67 * 4096 + 8192);
	assert_int_equal(count.stale, 0);
	half_close(&h);
}

/* One that cannot prove that it belongs to the session; it is closed and does not count. */
static void a_foreign_connection_is_passed_over(void **state)
{
	struct wire_stream_hello hello = { .magic = WIRE_MAGIC };
	const uint64_t frames[WIRE_MAX_STREAMS] = { 1 };
	struct half h;
	int fd;

	half_open(&h, false, 0);
	fd = address_connect(h.address, HALF_PATIENCE_MS, NULL);
	assert_int_equal(write(fd, &hello, sizeof(hello)), sizeof(hello));
	half_open_streams_in(&h);
	assert_int_equal(read(fd, &hello, sizeof(hello)), 0);
	half_say_shared(&h, 0, 3, 1, 9);
	assert_int_equal(streams_in_wait(h.in, frames), 0);
	close(fd);
	half_close(&h);
}

static void a_source_that_has_gone_is_not_waited_for(void **state)
{
	struct half h;

	half_open(&h, false, 0);
	channel_close(h.control.source);
	h.control.source = NULL;
	assert_int_equal(streams_in_create(&h.in, &h.m, h.listen_fd), -ECONNRESET);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_CONNECTION,
			"the source closed the connection before its data streams");
	half_close(&h);
}

static void what_comes_while_streams_are_held_waits(void **state)
{
	const uint64_t frames[WIRE_MAX_STREAMS] = { 1 };
	struct half h;

	half_open(&h, false, 0);
	half_open_streams_in(&h);
	assert_int_equal(streams_in_hold(h.in), 0);
	half_say_shared(&h, 0, 3, 1, 9);
	h.m.timeout_ms = 100;
	assert_int_equal(streams_in_wait(h.in, frames), -ETIMEDOUT);
	assert_int_equal(rig_ram()[3 * SEVMIRROR_PAGE_BYTES], 0);
	h.m.timeout_ms = HALF_PATIENCE_MS;
	streams_in_go_on(h.in);
	assert_int_equal(streams_in_wait(h.in, frames), 0);
	assert_int_equal(rig_ram()[3 * SEVMIRROR_PAGE_BYTES], 9);
	half_close(&h);
}

/* The manifest is compared then: nothing may change any more. */
static void what_comes_after_the_last_round_is_an_error(void **state)
{
	const uint64_t frames[WIRE_MAX_STREAMS] = { 1 };
	struct half h;
	struct why why;

	half_open(&h, false, 0);
	half_open_streams_in(&h);
	assert_int_equal(streams_in_shut(h.in), 0);
	half_say_shared(&h, 0, 3, 1, 9);
	assert_int_equal(streams_in_wait(h.in, frames), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PROTOCOL, "pages after the last round");
	assert_int_equal(streams_in_error(h.in, &why), -EPROTO);
	assert_int_equal(rig_ram()[3 * SEVMIRROR_PAGE_BYTES], 0);
	half_close(&h);
}

/* A frame that was changed on the way ends its stream and each wait at the control connection. */
static void a_stream_that_fails_is_noticed(void **state)
{
	uint8_t directory[SEVMIRROR_BATCH_BYTES(0) + FRAME_TAG_BYTES] = { 0 };
	struct wire_frame header = { .type = WIRE_FRAME_PRIVATE, .records = 1 };
	struct pollfd p = { .events = POLLIN };
	struct half h;
	struct why why;
	char byte;

	half_open(&h, false, 0);
	atomic_store(&h.m.state, TARGET_RECEIVING);
	half_open_streams_in(&h);
	p.fd = streams_in_failed_fd(h.in);
	assert_int_equal(streams_in_error(h.in, &why), 0);
	assert_int_equal(frame_seal(h.cipher[1], &header, directory, SEVMIRROR_BATCH_BYTES(0)), 0);
	header.records++;
	assert_int_equal(channel_send(h.stream[1], &header, sizeof(header), HALF_PATIENCE_MS), 0);
	assert_int_equal(channel_send(h.stream[1], directory, sizeof(directory), HALF_PATIENCE_MS),
			 0);
	assert_int_equal(channel_recv(h.m.control, &byte, 1, HALF_PATIENCE_MS), -ECANCELED);
	assert_int_equal(poll(&p, 1, HALF_PATIENCE_MS), 1);
	assert_int_equal(streams_in_error(h.in, &why), -EBADMSG);
	assert_non_null(strstr(why.text, "frame 0 of stream 1 was changed on the way"));
	half_close(&h);
}

static void cancelling_ends_every_wait(void **state)
{
	const uint64_t frames[WIRE_MAX_STREAMS] = { 1 };
	struct half h;

	half_open(&h, false, 0);
	half_open_streams_in(&h);
	streams_in_cancel(h.in);
	assert_int_equal(streams_in_wait(h.in, frames), -ECANCELED);
	half_close(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_step_of_the_wall_clock_changes_nothing),
		cmocka_unit_test(frames_are_in_place_once_they_are_waited_for),
		cmocka_unit_test(a_foreign_connection_is_passed_over),
		cmocka_unit_test(a_source_that_has_gone_is_not_waited_for),
		cmocka_unit_test(what_comes_while_streams_are_held_waits),
		cmocka_unit_test(what_comes_after_the_last_round_is_an_error),
		cmocka_unit_test(a_stream_that_fails_is_noticed),
		cmocka_unit_test(cancelling_ends_every_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
