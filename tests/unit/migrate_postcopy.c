/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of post-copy that need no guest: who may go on with a migration, what is sent ahead,
 * how times are counted.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/latency.h"
#include "lib/migrate/prefetch.h"
#include "lib/migrate/recover.h"

#define PATIENCE 60000

/* Two ends of a TLS connection under a pre-shared key. */
struct link {
	struct channel *source, *target;
	struct channel_security security;
	int fd;
};

static void *open_target(void *arg)
{
	struct link *l = arg;
	struct why why;

	(void)channel_open(&l->target, l->fd, true, &l->security, PATIENCE, &why);
	return NULL;
}

static void link_open(struct link *l, const char *psk_file)
{
	pthread_t thread;
	struct why why;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	*l = (struct link){ .security.psk_file = psk_file, .fd = fds[1] };
	assert_int_equal(pthread_create(&thread, NULL, open_target, l), 0);
	assert_int_equal(channel_open(&l->source, fds[0], false, &l->security, PATIENCE, &why), 0);
	pthread_join(thread, NULL);
	assert_non_null(l->target);
}

static void link_close(struct link *l)
{
	channel_close(l->source);
	channel_close(l->target);
}

/*
 * A session that both sides agreed on over a first connection, and a second one over which they
 * meet again.
 */
struct meeting {
	char psk[64];
	struct link first, second, third;
	struct sevmirror_migration source, target;
};

static int setup(void **state)
{
	struct meeting *t = calloc(1, sizeof(*t));
	int fd;

	strcpy(t->psk, "/tmp/sevmirror-postcopy-XXXXXX");
	fd = mkstemp(t->psk);
	assert_true(fd >= 0);
	dprintf(fd, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n");
	close(fd);
	link_open(&t->first, t->psk);
	link_open(&t->second, t->psk);
	link_open(&t->third, t->psk);
	t->source.is_source = true;
	memset(t->source.hello.session, 7, sizeof(t->source.hello.session));
	memset(t->source.hello.recovery_salt, 8, sizeof(t->source.hello.recovery_salt));
	t->target.hello = t->source.hello;
	t->source.control = t->first.source;
	t->target.control = t->first.target;
	assert_int_equal(recover_prepare(&t->source), 0);
	assert_int_equal(recover_prepare(&t->target), 0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct meeting *t = *state;

	link_close(&t->first);
	link_close(&t->second);
	link_close(&t->third);
	unlink(t->psk);
	free(t);
	return 0;
}

static void test_recovery_by_the_two_ends(void **state)
{
	struct meeting *t = *state;
	struct wire_recover ask, answer;

	assert_int_equal(recover_make(&t->source, t->second.source, &ask), 0);
	assert_int_equal(recover_check(&t->target, t->second.target, &ask), 0);
	answer = ask;
	assert_int_equal(recover_make(&t->target, t->second.target, &answer), 0);
	assert_memory_equal(answer.nonce, ask.nonce, sizeof(ask.nonce));
	assert_int_equal(recover_check(&t->source, t->second.source, &answer), 0);

	assert_int_equal(recover_name_streams(&t->source, &ask), 0);
	assert_int_equal(recover_name_streams(&t->target, &answer), 0);
	assert_memory_equal(t->source.stream_session, t->target.stream_session, 16);
	assert_memory_not_equal(t->source.stream_session, t->source.hello.session, 16);
}

/* Any bit changed, the same message on another connection, or thrown back at its sender. */
static void test_recovery_by_others(void **state)
{
	struct meeting *t = *state;
	struct wire_recover ask, bad;

	assert_int_equal(recover_make(&t->source, t->second.source, &ask), 0);
	for (size_t i = 0; i < sizeof(ask); i++) {
		bad = ask;
		((uint8_t *)&bad)[i] ^= 0x10;
		assert_int_equal(recover_check(&t->target, t->second.target, &bad), -EPERM);
	}
	assert_int_equal(recover_check(&t->target, t->third.target, &ask), -EPERM);
	assert_int_equal(recover_check(&t->source, t->second.source, &ask), -EPERM);
}

/*
 * The hosts know each other, but it is not the same migration: its key came from another
 * connection, or another salt.
 */
static void test_recovery_of_another_session(void **state)
{
	struct meeting *t = *state;
	struct sevmirror_migration other = t->source;
	struct wire_recover ask;

	other.control = t->third.source;
	assert_int_equal(recover_prepare(&other), 0);
	assert_int_equal(recover_make(&other, t->second.source, &ask), 0);
	assert_int_equal(recover_check(&t->target, t->second.target, &ask), -EPERM);

	other = t->source;
	other.hello.recovery_salt[0] ^= 1;
	assert_int_equal(recover_prepare(&other), 0);
	assert_int_equal(recover_make(&other, t->second.source, &ask), 0);
	assert_int_equal(recover_check(&t->target, t->second.target, &ask), -EPERM);
}

static void test_prefetch_of_walks(void **state)
{
	struct prefetch p;
	uint64_t number[4] = { 1000, 50000, 200000, 7000000 };
	unsigned int n;

	prefetch_init(&p);
	/* Four walks at the same time, each touching what comes behind the last window. */
	for (int step = 0; step < 10; step++)
		for (int walk = 0; walk < 4; walk++) {
			uint64_t first = prefetch_fault(&p, number[walk], &n);

			assert_int_equal(first, number[walk] + 1);
			assert_true(n >= PREFETCH_MIN && n <= PREFETCH_MAX);
			if (step > 5)
				assert_int_equal(n, PREFETCH_MAX);
			number[walk] = first + n;
		}
}

static void test_prefetch_of_lone_pages(void **state)
{
	struct prefetch p;
	uint64_t number = 1;
	unsigned int n;

	prefetch_init(&p);
	for (int i = 0; i < 1000; i++) {
		number = number * 6364136223846793005ULL + 1442695040888963407ULL;
		prefetch_fault(&p, number >> 20, &n);
		if (i > 10)
			assert_int_equal(n, PREFETCH_MIN);
	}
}

/* The classes are those that host.h speaks of, and each time is in one of them. */
static void test_latency_classes(void **state)
{
	static struct latency l;
	uint64_t classes[SEVMIRROR_FAULT_CLASSES];

	assert_int_equal(sevmirror_fault_class_from(0), 0);
	assert_int_equal(sevmirror_fault_class_from(1), 1536);
	assert_int_equal(sevmirror_fault_class_from(2), 2048);
	for (unsigned int i = 1; i < SEVMIRROR_FAULT_CLASSES; i++) {
		assert_true(sevmirror_fault_class_from(i) > sevmirror_fault_class_from(i - 1));
		latency_add(&l, sevmirror_fault_class_from(i) - 1);
		latency_add(&l, sevmirror_fault_class_from(i));
	}
	latency_add(&l, 0);
	latency_add(&l, UINT64_MAX);
	latency_classes(&l, classes);
	for (unsigned int i = 0; i < SEVMIRROR_FAULT_CLASSES; i++)
		assert_int_equal(classes[i], 2);
}

static void test_latency(void **state)
{
	static struct latency l;

	assert_int_equal(latency_percentile(&l, 50), 0);
	for (uint64_t i = 1; i <= 1000; i++)
		latency_add(&l, i * 1000);
	assert_int_equal(l.count, 1000);
	assert_int_equal(l.max, 1000000);
	for (unsigned int p = 1; p <= 100; p++) {
		uint64_t exact = p * 10000;

		assert_true(latency_percentile(&l, p) >= exact);
		assert_true(latency_percentile(&l, p) <= exact + exact / 8 + 1);
	}
	assert_int_equal(latency_percentile(&l, 100), 1000000);
	latency_add(&l, UINT64_MAX);
	assert_true(latency_percentile(&l, 100) == UINT64_MAX);
	latency_add(&l, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_recovery_by_the_two_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_recovery_by_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_recovery_of_another_session, setup, teardown),
		cmocka_unit_test(test_prefetch_of_walks),
		cmocka_unit_test(test_prefetch_of_lone_pages),
		cmocka_unit_test(test_latency),
		cmocka_unit_test(test_latency_classes),
	};

	return cmocka_run_group_tests_name("migrate_postcopy", tests, NULL, NULL);
}
