/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The accept queue: the peer that authenticates first comes first, one that is silent or sends a
 * byte now and then delays nobody, and a host without free descriptors accepts again later.
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

/* What a peer of these tests must send first: a word of the same letters. */
#define WORD 4

static const struct channel_security bare = { .insecure = true };
static unsigned int rejected;

static void reject(void *opaque, const char *address, const char *why)
{
	assert_true(strlen(address) > 0 && strlen(why) > 0);
	rejected++;
}

static int open_scene(void **state)
{
	static struct scene s;

	memset(&s, 0, sizeof(s));
	rejected = 0;
	s.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	s.cancel_fd = eventfd(0, 0);
	s.wake_fd = eventfd(0, 0);
	/* An address that the kernel makes up, and that nobody has to remove. */
	s.address.sun_family = AF_UNIX;
	assert_int_equal(bind(s.listen_fd, (struct sockaddr *)&s.address, sizeof(sa_family_t)), 0);
	s.len = sizeof(s.address);
	assert_int_equal(getsockname(s.listen_fd, (struct sockaddr *)&s.address, &s.len), 0);
	assert_int_equal(listen(s.listen_fd, 128), 0);
	assert_int_equal(accept_queue_init(&s.queue, s.listen_fd, s.cancel_fd, &bare, WORD), 0);
	s.queue.rejected = reject;
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

static void say_some(int fd, char letter, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(write(fd, &letter, 1), 1);
}

static void say(int fd, char letter)
{
	say_some(fd, letter, WORD);
}

/* The next newcomer said this. */
static void assert_hears(struct scene *s, char word)
{
	struct newcomer newcomer;

	assert_int_equal(accept_queue_next(&s->queue, clock_ns() + PATIENCE, &newcomer), 0);
	for (size_t i = 0; i < WORD; i++)
		assert_int_equal(newcomer.first[i], word);
	channel_close(newcomer.channel);
}

static bool hung_up(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}

static void a_peer_that_speaks_is_heard_first(void **state)
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

static void a_peer_that_closes_is_rejected(void **state)
{
	struct scene *s = *state;
	struct newcomer newcomer;
	int half = come(s);

	close(come(s));
	say_some(half, 'x', WORD - 1);
	close(half);
	assert_int_equal(accept_queue_next(&s->queue, clock_ns() + 100 * NS_PER_MS, &newcomer),
			 -ETIMEDOUT);
	assert_int_equal(s->queue.npending, 0);
	assert_int_equal(rejected, 2);
}

/* As many as there is room for have each sent a part; all of them are served in parallel. */
static void a_trickling_peer_delays_nobody(void **state)
{
	struct scene *s = *state;
	int crowd[ACCEPT_QUEUE_MAX - 1], speaker;
	uint64_t before = clock_ns();

	for (unsigned int i = 0; i < ACCEPT_QUEUE_MAX - 1; i++) {
		crowd[i] = come(s);
		say_some(crowd[i], 'y', 1);
	}
	for (size_t round = 2; round < WORD; round++) {
		struct newcomer newcomer;

		assert_int_equal(accept_queue_next(&s->queue, clock_ns() + NS_PER_MS, &newcomer),
				 -ETIMEDOUT);
		for (unsigned int i = 0; i < ACCEPT_QUEUE_MAX - 1; i++)
			say_some(crowd[i], 'y', 1);
	}
	speaker = come(s);
	say(speaker, 'f');
	assert_hears(s, 'f');
	assert_true(clock_ns() - before < ACCEPT_QUEUE_MS * NS_PER_MS);
	for (unsigned int i = 0; i < ACCEPT_QUEUE_MAX - 1; i++) {
		assert_false(hung_up(crowd[i]));
		close(crowd[i]);
	}
	close(speaker);
}

/* Silent or not, a connection is closed after its time; a peer that spoke is named. */
static void time_is_limited(void **state)
{
	struct scene *s = *state;
	int silent = come(s), trickler = come(s);
	struct newcomer newcomer;

	say_some(trickler, 'z', 1);
	assert_int_equal(accept_queue_next(&s->queue, clock_ns() + NS_PER_MS, &newcomer),
			 -ETIMEDOUT);
	assert_int_equal(s->queue.npending, 2);
	for (unsigned int i = 0; i < 2; i++)
		s->queue.pending[i].deadline -= (ACCEPT_QUEUE_MS - 50) * NS_PER_MS;
	assert_int_equal(accept_queue_next(&s->queue, clock_ns() + 200 * NS_PER_MS, &newcomer),
			 -ETIMEDOUT);
	assert_true(hung_up(silent) && hung_up(trickler));
	assert_int_equal(rejected, 1);
	close(silent);
	close(trickler);
}

static void the_oldest_silent_one_makes_room(void **state)
{
	struct scene *s = *state;
	int crowd[ACCEPT_QUEUE_MAX + 1], speaker;
	struct newcomer newcomer;

	for (unsigned int i = 0; i < ACCEPT_QUEUE_MAX + 1; i++)
		crowd[i] = come(s);
	say_some(crowd[0], 'z', 1);
	/* Not at once: a flood must not cut a handshake. */
	assert_int_equal(accept_queue_next(&s->queue, clock_ns() + 10 * NS_PER_MS, &newcomer),
			 -ETIMEDOUT);
	assert_int_equal(s->queue.npending, ACCEPT_QUEUE_MAX);
	for (unsigned int i = 0; i < ACCEPT_QUEUE_MAX; i++)
		assert_false(hung_up(crowd[i]));
	speaker = come(s);
	say(speaker, 'c');
	assert_hears(s, 'c');
	assert_false(hung_up(crowd[0])); /* it has sent something */
	assert_true(hung_up(crowd[1]));
	assert_true(hung_up(crowd[2])); /* for the speaker: it had not been heard yet */
	assert_false(hung_up(crowd[3]));
	say(crowd[ACCEPT_QUEUE_MAX], 'd');
	assert_hears(s, 'd');
	for (unsigned int i = 0; i < ACCEPT_QUEUE_MAX + 1; i++)
		close(crowd[i]);
	close(speaker);
}

/* At a bare port a byte proves nothing: peers that send one do not keep their place. */
static void a_byte_keeps_no_place(void **state)
{
	struct scene *s = *state;
	int crowd[ACCEPT_QUEUE_MAX], speaker;

	for (unsigned int i = 0; i < ACCEPT_QUEUE_MAX; i++) {
		crowd[i] = come(s);
		say_some(crowd[i], 'z', 1);
	}
	speaker = come(s);
	say(speaker, 'c');
	assert_hears(s, 'c');
	assert_true(hung_up(crowd[0]));
	assert_false(hung_up(crowd[1]));
	for (unsigned int i = 0; i < ACCEPT_QUEUE_MAX; i++)
		close(crowd[i]);
	close(speaker);
}

static void waiting_ends(void **state)
{
	struct scene *s = *state;
	struct newcomer newcomer;
	uint64_t one = 1;

	assert_int_equal(accept_queue_next(&s->queue, clock_ns() + NS_PER_MS, &newcomer),
			 -ETIMEDOUT);
	assert_int_equal(write(s->wake_fd, &one, sizeof(one)), sizeof(one));
	assert_int_equal(accept_queue_next(&s->queue, UINT64_MAX, &newcomer), -EINTR);
	assert_int_equal(write(s->cancel_fd, &one, sizeof(one)), sizeof(one));
	assert_int_equal(accept_queue_next(&s->queue, UINT64_MAX, &newcomer), -ECANCELED);
}

/* The host has no descriptor left: two silent peers make room for a socket and its channel. */
static void a_host_without_descriptors_goes_on(void **state)
{
	struct scene *s = *state;
	struct rlimit before, none;
	int silent = come(s), other = come(s), speaker, next;
	struct newcomer newcomer;

	assert_int_equal(accept_queue_next(&s->queue, clock_ns() + NS_PER_MS, &newcomer),
			 -ETIMEDOUT);
	assert_int_equal(s->queue.npending, 2);
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
	assert_true(hung_up(silent) && hung_up(other));
	close(silent);
	close(other);
	close(speaker);
}

/* Nobody has come in, for that reason. */
static void a_host_without_descriptors_says_so(void **state)
{
	struct scene *s = *state;
	struct rlimit before, none;
	struct newcomer newcomer;
	int peer = come(s), next;

	next = dup(0);
	close(next);
	getrlimit(RLIMIT_NOFILE, &before);
	none = before;
	none.rlim_cur = (rlim_t)next;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(accept_queue_next(&s->queue, clock_ns() + NS_PER_MS, &newcomer), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	close(peer);
}

#define scene_test(f) cmocka_unit_test_setup_teardown(f, open_scene, close_scene)

int main(void)
{
	const struct CMUnitTest tests[] = {
		scene_test(a_peer_that_speaks_is_heard_first),
		scene_test(a_peer_that_closes_is_rejected),
		scene_test(a_trickling_peer_delays_nobody),
		scene_test(time_is_limited),
		scene_test(the_oldest_silent_one_makes_room),
		scene_test(a_byte_keeps_no_place),
		scene_test(waiting_ends),
		scene_test(a_host_without_descriptors_goes_on),
		scene_test(a_host_without_descriptors_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
