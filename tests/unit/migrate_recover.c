/* SPDX-License-Identifier: Apache-2.0 */
/* Only the two hosts that began a migration may continue it after its connection broke. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_recovery_by_the_two_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_recovery_by_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_recovery_of_another_session, setup, teardown),
	};

	return cmocka_run_group_tests_name("migrate_recover", tests, NULL, NULL);
}
