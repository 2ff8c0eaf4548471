/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The accept queue: a connection that sends data comes first, a silent one delays nobody, and a
 * host without free descriptors accepts again later.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "lib/util/clock.h"
#include "lib/net/accept_queue.h"

#define PATIENCE (60 * NS_PER_S)

struct scene {
	struct accept_queue queue;
	struct sockaddr_un address;
	socklen_t len;
	int listen_fd, cancel_fd, wake_fd;
};

static int open_scene(void **state)
{
	static struct scene s;

	memset(&s, 0, sizeof(s));
	s.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	s.cancel_fd = eventfd(0, 0);
	s.wake_fd = eventfd(0, 0);
	/* An address that the kernel makes up, and that nobody has to remove. */
	s.address.sun_family = AF_UNIX;
	assert_int_equal(bind(s.listen_fd, (struct sockaddr *)&s.address, sizeof(sa_family_t)), 0);
	s.len = sizeof(s.address);
	assert_int_equal(getsockname(s.listen_fd, (struct sockaddr *)&s.address, &s.len), 0);
	assert_int_equal(listen(s.listen_fd, 128), 0);
	accept_queue_init(&s.queue, s.listen_fd, s.cancel_fd);
	s.queue.wake = (struct pollfd){ .fd = s.wake_fd, .events = POLLIN };
	*state = &s;
	return 0;
}

static int close_scene(void **state)
{
	struct scene *s = *state;

	accept_queue_close(&s->queue);
	close(s->listen_fd);
	close(s->cancel_fd);
	close(s->wake_fd);
	return 0;
}

static int come(struct scene *s)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&s->address, s->len), 0);
	return fd;
}

static void say(int fd, char word)
{
	assert_int_equal(write(fd, &word, 1), 1);
}

/* Who is let in said this. */
static void assert_hears(struct scene *s, char word)
{
	int fd = accept_queue_next(&s->queue, clock_ns() + PATIENCE);
	char said = 0;

	assert_true(fd >= 0);
	assert_int_equal(read(fd, &said, 1), 1);
	assert_int_equal(said, word);
	close(fd);
}

static bool hung_up(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}

static void who_speaks_is_heard_first(void **state)
{
	struct scene *s = *state;
	int silent = come(s), speaker = come(s);

	say(speaker, 'a');
	assert_hears(s, 'a');
	assert_false(hung_up(silent));
	say(silent, 'b');
	assert_hears(s, 'b');
	close(silent);
	close(speaker);
}

static void who_hangs_up_is_let_in_to_be_seen_off(void **state)
{
	struct scene *s = *state;
	char word;
	int fd;

	close(come(s));
	fd = accept_queue_next(&s->queue, clock_ns() + PATIENCE);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, &word, 1), 0);
	close(fd);
}

static void the_longest_silent_makes_room(void **state)
{
	struct scene *s = *state;
	int crowd[ACCEPT_QUEUE_SILENT_MAX + 1], speaker;

	for (unsigned int i = 0; i < ACCEPT_QUEUE_SILENT_MAX + 1; i++)
		crowd[i] = come(s);
	speaker = come(s);
	say(speaker, 'c');
	assert_hears(s, 'c');
	assert_true(hung_up(crowd[0]));
	assert_true(hung_up(crowd[1])); /* for the speaker, who had not been seen to speak yet */
	assert_false(hung_up(crowd[2]));
	say(crowd[ACCEPT_QUEUE_SILENT_MAX], 'd');
	assert_hears(s, 'd');
	for (unsigned int i = 0; i < ACCEPT_QUEUE_SILENT_MAX + 1; i++)
		close(crowd[i]);
	close(speaker);
}

static void waiting_ends(void **state)
{
	struct scene *s = *state;
	uint64_t one = 1;

	assert_int_equal(accept_queue_next(&s->queue, clock_ns() + NS_PER_MS), -ETIMEDOUT);
	assert_int_equal(write(s->wake_fd, &one, sizeof(one)), sizeof(one));
	assert_int_equal(accept_queue_next(&s->queue, UINT64_MAX), -EINTR);
	assert_int_equal(write(s->cancel_fd, &one, sizeof(one)), sizeof(one));
	assert_int_equal(accept_queue_next(&s->queue, UINT64_MAX), -ECANCELED);
}

/* Of two connections and no descriptor for more the silent one goes. */
static void a_host_without_descriptors_goes_on(void **state)
{
	struct scene *s = *state;
	struct rlimit before, none;
	int silent = come(s), speaker = come(s), next;

	assert_int_equal(accept_queue_next(&s->queue, clock_ns() + NS_PER_MS), -ETIMEDOUT);
	assert_int_equal(s->queue.nsilent, 2);
	close(speaker);
	close(accept_queue_next(&s->queue,
				clock_ns() + PATIENCE)); /* only the silent one is left */
	speaker = come(s);
	say(speaker, 'e');
	next = dup(0);
	close(next);
	getrlimit(RLIMIT_NOFILE, &before);
	none = before;
	none.rlim_cur = (rlim_t)next;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_hears(s, 'e');
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_true(hung_up(silent));
	close(silent);
	close(speaker);
}

#define scene_test(f) cmocka_unit_test_setup_teardown(f, open_scene, close_scene)

int main(void)
{
	const struct CMUnitTest tests[] = {
		scene_test(who_speaks_is_heard_first),
		scene_test(who_hangs_up_is_let_in_to_be_seen_off),
		scene_test(the_longest_silent_makes_room),
		scene_test(waiting_ends),
		scene_test(a_host_without_descriptors_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
