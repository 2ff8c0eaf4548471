/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/stream_in_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/util/clock.h"
#include "lib/migrate/message.h"
#include "lib/net/accept_queue.h"
#include "lib/migrate/postcopy_in.h"
#include "lib/util/stack.h"

static void set_at_rest(struct stream_in *s)
{
	pthread_mutex_lock(&s->all->lock);
	s->at_rest = true;
	pthread_cond_broadcast(&s->all->changed);
	pthread_mutex_unlock(&s->all->lock);
}

/*
 * With a frame in hand: wait while frames are held. Whoever holds them waits for what the stream
 * has in the helper.
 */
static int pass_frame_gate(struct stream_in *s)
{
	struct streams_in *all = s->all;
	int err = 0;

	pthread_mutex_lock(&all->lock);
	if (all->frame_gate != FRAME_GATE_OPEN) {
		pthread_mutex_unlock(&all->lock);
		err = stream_in_drain(s);
		if (!err)
			set_at_rest(s); /* else when the thread ends, together with the error */
		pthread_mutex_lock(&all->lock);
	}
	while (!err && all->frame_gate == FRAME_GATE_HELD && !atomic_load(&all->cancelled))
		pthread_cond_wait(&all->changed, &all->lock);
	if (!err && atomic_load(&all->cancelled))
		err = stream_in_fail(s, -ECANCELED, "the target stopped it");
	else if (!err && all->frame_gate == FRAME_GATE_SHUT)
		err = stream_in_fail(s, -EPROTO, "the source sent pages after the last round");
	if (!err)
		s->at_rest = false;
	pthread_mutex_unlock(&all->lock);
	return err;
}

/* *between: the connection failed between two frames, so all that came is whole. */
static int recv_frame(struct stream_in *s, bool *between)
{
	struct wire_frame header;
	size_t len;
	int err = channel_recv(s->channel, &header, sizeof(header), -1);

	*between = err != 0;
	if (err)
		return stream_in_fail(s, err, "the target cannot receive pages");
	atomic_fetch_add(&s->all->moved, 1);
	err = wire_check_frame(&header, frame_count(s->cipher), &s->why);
	if (!err && header.directory_bytes > RECORD_SHARED_BYTES)
		err = stream_in_fail(s, -EPROTO, "the source sent a directory of a wrong size");
	if (err)
		return err;
	err = channel_recv(s->channel, s->directory, header.directory_bytes, s->all->m->timeout_ms);
	if (err)
		return stream_in_fail(s, err, "the target cannot receive pages");
	err = frame_open(s->cipher, &header, s->directory, &len, &s->why);
	if (!err)
		err = pass_frame_gate(s);
	if (!err)
		err = stream_in_take_frame(s, &header, len);
	if (!err) {
		atomic_fetch_add(&s->all->pages, header.records);
		atomic_fetch_add(&s->all->bytes,
				 sizeof(header) + header.directory_bytes + header.payload_bytes);
	}
	return err;
}

/* whole: every frame that was opened is in place; not so if the helper refused a page of one. */
static void announce(struct stream_in *s, int err, bool whole)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&s->all->lock);
	s->err = err;
	if (err && !s->all->failed)
		s->all->failed = s;
	if (err)
		(void)!write(s->all->failed_fd, &one, sizeof(one));
	if (whole)
		s->in_place = frame_count(s->cipher);
	s->at_rest = true;
	pthread_cond_broadcast(&s->all->changed);
	pthread_mutex_unlock(&s->all->lock);
}

static void *serve(void *arg)
{
	struct stream_in *s = arg;
	bool whole = true;
	int err = 0;

	session_thread_begins(s->all->m, s->number == WIRE_PRIORITY_STREAM ?
						 SEVMIRROR_THREAD_URGENT :
						 SEVMIRROR_THREAD_STREAM);
	while (!err) {
		if (!channel_readable(s->channel)) {
			err = stream_in_drain(s);
			whole = !err;
			announce(s, err, whole);
		}
		if (!err)
			err = recv_frame(s, &whole);
	}
	if (stream_in_drain(s))
		whole = false;
	announce(s, err, whole);
	if (!atomic_load(&s->all->cancelled))
		session_interrupt(s->all->m);
	util_stack_wipe();
	return NULL;
}

/* Which stream's hello this is; -EPERM if it is not a stream's, or the stream is there already. */
static int match_hello(struct streams_in *all, const struct wire_stream_hello *hello)
{
	if (hello->stream > WIRE_PRIORITY_STREAM || !all->stream[hello->stream].cipher ||
	    all->stream[hello->stream].channel ||
	    frame_check_hello(all->stream[hello->stream].cipher, hello, NULL))
		return -EPERM;
	return (int)hello->stream;
}

/*
 * One connection: whose it is, -EPERM for an unauthenticated peer's, which is closed, -EINTR if the
 * source has left.
 */
static int take_connection(struct streams_in *all, struct accept_queue *queue, uint64_t deadline)
{
	struct wire_stream_hello hello;
	struct newcomer newcomer;
	int err = accept_queue_next(queue, deadline, &newcomer), number;

	if (err == -EINTR)
		return err;
	if (err)
		return session_cancelled(all->m) ?
			       -ECANCELED :
			       session_fail(
				       all->m, err,
				       "the target cannot wait for the source's data streams: %s",
				       strerror(-err));
	memcpy(&hello, newcomer.first, sizeof(hello));
	number = match_hello(all, &hello);
	if (number < 0)
		channel_close(newcomer.channel);
	else
		all->stream[number].channel = newcomer.channel;
	return number;
}

static int prepare(struct streams_in *all, unsigned int number)
{
	struct stream_in *s = &all->stream[number];

	s->lane = number == WIRE_PRIORITY_STREAM ? all->n : number;
	s->directory = malloc(RECORD_SHARED_BYTES);
	if (!s->directory)
		return session_fail(all->m, -ENOMEM, "the target is out of memory for stream %u",
				    number);
	if (frame_cipher_create(&s->cipher, all->m->control, all->m->stream_session, number))
		return session_fail(all->m, -EIO, "the target has no key for stream %u", number);
	return 0;
}

/* The source has closed the control connection. It may have said why. */
static int source_left(struct sevmirror_migration *m)
{
	int err = session_why_peer_left(m, -ECONNRESET);

	return session_fail(m, err, "the source closed the connection before its data streams");
}

static int accept_all(struct streams_in *all, struct accept_queue *queue)
{
	uint64_t deadline = clock_ns() + (uint64_t)all->m->timeout_ms * NS_PER_MS;
	unsigned int want = all->n + !!(all->m->hello.flags & WIRE_F_POSTCOPY);
	unsigned int have = 0;

	while (have < want) {
		int number = take_connection(all, queue, deadline);
		struct stream_in *s;

		if (number == -EPERM && clock_ns() < deadline)
			continue;
		if (number == -EINTR)
			return source_left(all->m);
		if (number < 0)
			return session_fail(
				all->m, number == -EPERM ? -ETIMEDOUT : number,
				"only unauthenticated peers connected for the data streams "
				"for %d ms",
				all->m->timeout_ms);
		s = &all->stream[number];
		if (pthread_create(&s->thread, NULL, serve, s))
			return session_fail(all->m, -EAGAIN,
					    "the target cannot start a thread for stream "
					    "%d",
					    number);
		s->started = true;
		have++;
	}
	return 0;
}

int streams_in_create(struct streams_in **out, struct sevmirror_migration *m, int listen_fd)
{
	static const struct channel_security bare = { .insecure = true };
	struct streams_in *all = calloc(1, sizeof(*all));
	struct accept_queue queue = { .epoll_fd = -1 };
	int err = 0;

	*out = NULL;
	if (!all)
		return session_fail(m, -ENOMEM, "the target is out of memory for the data streams");
	all->m = m;
	all->n = m->hello.streams;
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->changed, NULL);
	for (unsigned int i = 0; i <= WIRE_PRIORITY_STREAM; i++) {
		all->stream[i].all = all;
		all->stream[i].number = i;
		all->stream[i].at_rest = true;
	}
	all->failed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (all->failed_fd < 0)
		err = session_fail(m, -errno, "the target cannot create an eventfd: %s",
				   strerror(errno));
	for (unsigned int i = 0; i < all->n && !err; i++)
		err = prepare(all, i);
	if (!err && m->hello.flags & WIRE_F_POSTCOPY)
		err = prepare(all, WIRE_PRIORITY_STREAM);
	if (!err)
		err = accept_queue_init(&queue, listen_fd, m->cancel_fd, &bare,
					sizeof(struct wire_stream_hello));
	if (err)
		session_fail(m, err, "the target cannot wait for the data streams: %s",
			     strerror(-err));
	channel_watch_hang_up(m->control, &queue.wake);
	if (!err)
		err = accept_all(all, &queue);
	accept_queue_close(&queue);
	if (err) {
		streams_in_destroy(all);
		return err;
	}
	*out = all;
	return 0;
}

static void close_stream(struct stream_in *s)
{
	if (s->started)
		pthread_join(s->thread, NULL);
	channel_close(s->channel);
	frame_cipher_destroy(s->cipher);
	free(s->directory);
}

void streams_in_destroy(struct streams_in *all)
{
	if (!all)
		return;
	streams_in_cancel(all);
	for (unsigned int i = 0; i <= WIRE_PRIORITY_STREAM; i++)
		close_stream(&all->stream[i]);
	if (all->failed_fd >= 0)
		close(all->failed_fd);
	pthread_cond_destroy(&all->changed);
	pthread_mutex_destroy(&all->lock);
	free(all);
}

int streams_in_failed_fd(const struct streams_in *all)
{
	return all->failed_fd;
}

/*
 * Under all->lock: until something has changed. An error once the stream has made no progress for
 * as long as it may.
 */
static int wait_change(struct stream_in *s)
{
	struct streams_in *all = s->all;
	uint64_t before = streams_in_moved(all);
	uint64_t until = clock_ns() + (uint64_t)all->m->timeout_ms * NS_PER_MS;

	if (clock_cond_wait(&all->changed, &all->lock, until) != -ETIMEDOUT ||
	    streams_in_moved(all) != before)
		return 0;
	return session_fail(all->m, -ETIMEDOUT,
			    "the source sent nothing on data stream %u for %d ms", s->number,
			    all->m->timeout_ms);
}

int streams_in_wait(struct streams_in *all, const uint64_t frames[WIRE_MAX_STREAMS])
{
	int err = 0;

	pthread_mutex_lock(&all->lock);
	for (unsigned int i = 0; i < all->n && !err; i++) {
		struct stream_in *s = &all->stream[i];

		while (!err && !s->err && s->in_place < frames[i])
			err = wait_change(s);
		if (!err && s->err && s->in_place < frames[i])
			err = session_fail_why(all->m, &s->why);
	}
	pthread_mutex_unlock(&all->lock);
	return err;
}

static int set_frame_gate(struct streams_in *all, enum frame_gate state)
{
	int err = 0;

	pthread_mutex_lock(&all->lock);
	all->frame_gate = state;
	pthread_cond_broadcast(&all->changed);
	for (unsigned int i = 0; i <= WIRE_PRIORITY_STREAM && state != FRAME_GATE_OPEN && !err;
	     i++) {
		struct stream_in *s = &all->stream[i];

		while (!err && !s->at_rest)
			err = wait_change(s);
		if (!err && s->err)
			err = session_fail_why(all->m, &s->why);
	}
	pthread_mutex_unlock(&all->lock);
	return err;
}

int streams_in_hold(struct streams_in *all)
{
	return set_frame_gate(all, FRAME_GATE_HELD);
}

void streams_in_go_on(struct streams_in *all)
{
	(void)set_frame_gate(all, FRAME_GATE_OPEN);
}

int streams_in_shut(struct streams_in *all)
{
	return set_frame_gate(all, FRAME_GATE_SHUT);
}

int streams_in_error(struct streams_in *all, struct why *why)
{
	int err = 0;

	pthread_mutex_lock(&all->lock);
	if (all->failed) {
		err = all->failed->err;
		*why = all->failed->why;
	}
	pthread_mutex_unlock(&all->lock);
	return err;
}

struct streams_in_count streams_in_count(const struct streams_in *all)
{
	return (struct streams_in_count){ atomic_load(&all->pages), atomic_load(&all->bytes),
					  atomic_load(&all->stale) };
}

uint64_t streams_in_moved(const struct streams_in *all)
{
	return atomic_load(&all->moved);
}

void streams_in_cancel(struct streams_in *all)
{
	atomic_store(&all->cancelled, true);
	for (unsigned int i = 0; i <= WIRE_PRIORITY_STREAM; i++)
		if (all->stream[i].channel)
			channel_cancel(all->stream[i].channel);
	pthread_mutex_lock(&all->lock);
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
}
