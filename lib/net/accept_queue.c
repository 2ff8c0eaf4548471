/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/net/accept_queue.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/net/address.h"
#include "lib/util/clock.h"

#define NO_ROOM_MS 100
#define LEAST_MS   1000 /* a connection may stay for that long, whatever else comes */
#define LISTENER   0 /* its id; connections count from 1 */
#define EVENTS	   16

static int watch(struct accept_queue *queue, int op, int fd, uint64_t id, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.u64 = id };

	return epoll_ctl(queue->epoll_fd, op, fd, &event) ? -errno : 0;
}

int accept_queue_init(struct accept_queue *queue, int listen_fd, int cancel_fd,
		      const struct channel_security *security, size_t want)
{
	*queue = (struct accept_queue){ .listen_fd = listen_fd,
					.cancel_fd = cancel_fd,
					.security = security,
					.want = want,
					.wake = { .fd = -1 } };
	queue->epoll_fd = -1;
	if (want > ACCEPT_QUEUE_FIRST_BYTES)
		return -EINVAL;
	queue->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (queue->epoll_fd < 0)
		return -errno;
	return watch(queue, EPOLL_CTL_ADD, listen_fd, LISTENER, EPOLLIN);
}

int accept_queue_fd(const struct accept_queue *queue)
{
	return queue->epoll_fd;
}

static void drop(struct accept_queue *queue, unsigned int i)
{
	memmove(&queue->pending[i], &queue->pending[i + 1],
		(--queue->npending - i) * sizeof(queue->pending[0]));
}

/* why: what the peer did wrong, which is reported. NULL: it is closed without a report. */
static void send_away(struct accept_queue *queue, unsigned int i, const char *why)
{
	struct accept_pending *p = &queue->pending[i];

	if (why && queue->rejected) {
		char from[128];

		address_of_peer(p->fd, from, sizeof(from));
		queue->rejected(queue->opaque, from, why);
	}
	if (p->channel)
		channel_close(p->channel);
	else
		close(p->fd);
	drop(queue, i);
}

static bool is_no_room(int err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOBUFS || err == -ENOMEM;
}

/* A bare connection proves nothing by its first byte. */
static bool has_proved(const struct accept_queue *queue, const struct accept_pending *p)
{
	return p->authenticated && !queue->security->insecure;
}

/*
 * Whom to close for one more, or for number keep (UINT_MAX: none): the oldest that has sent
 * nothing, else the oldest that has not authenticated. -1: each has had less than its least time,
 * so that a flood of connections does not cut a handshake that makes progress. Where a peer speaks
 * (keep), silent peers have no least time.
 */
static int find_victim(const struct accept_queue *queue, unsigned int keep)
{
	uint64_t due = clock_ns() + (ACCEPT_QUEUE_MS - LEAST_MS) * NS_PER_MS;
	int speaks = -1;

	for (unsigned int i = 0; i < queue->npending; i++) {
		const struct accept_pending *p = &queue->pending[i];
		bool fresh = p->deadline > due && (p->channel || keep == UINT_MAX);

		if (i == keep || fresh || has_proved(queue, p))
			continue;
		if (!p->channel)
			return (int)i;
		if (speaks < 0)
			speaks = (int)i;
	}
	return speaks;
}

/* New connections wait in the kernel's backlog. */
static int pause_listener(struct accept_queue *queue)
{
	queue->no_room_until = clock_ns() + NO_ROOM_MS * NS_PER_MS;
	return watch(queue, EPOLL_CTL_MOD, queue->listen_fd, LISTENER, 0);
}

/*
 * One more does not fit: an older connection is closed, or the new one waits. 1: there is room.
 */
static int make_room(struct accept_queue *queue)
{
	int victim = find_victim(queue, UINT_MAX);

	if (victim < 0)
		return pause_listener(queue);
	send_away(queue, (unsigned int)victim, NULL);
	return 1;
}

/* 1: there may be more. */
static int let_in(struct accept_queue *queue)
{
	struct accept_pending *p;
	int fd, err;

	if (queue->npending == ACCEPT_QUEUE_MAX) {
		struct pollfd waits = { .fd = queue->listen_fd, .events = POLLIN };

		err = poll(&waits, 1, 0) == 1 ? make_room(queue) : 0;
		if (err <= 0)
			return err;
	}
	fd = address_accept(queue->listen_fd, 0);
	queue->no_room = is_no_room(fd) ? fd : 0;
	if (queue->no_room)
		return make_room(queue);
	if (fd == -EBADF || fd == -EINVAL || fd == -ENOTSOCK)
		return fd;
	if (fd == -ETIMEDOUT || fd == -EAGAIN)
		return 0; /* no more */
	if (fd == -ECONNABORTED || fd == -EINTR)
		return 1; /* gone again already */
	if (fd < 0)
		return pause_listener(queue); /* for example, a rule of the host refuses it */
	err = watch(queue, EPOLL_CTL_ADD, fd, ++queue->last_id, EPOLLIN);
	if (err) {
		close(fd);
		return is_no_room(err) || err == -ENOSPC ? make_room(queue) : err;
	}
	p = &queue->pending[queue->npending++];
	*p = (struct accept_pending){ .id = queue->last_id,
				      .fd = fd,
				      .deadline = clock_ns() + ACCEPT_QUEUE_MS * NS_PER_MS };
	return 1;
}

/* All that wait, as far as one turn should take. */
static int let_all_in(struct accept_queue *queue)
{
	int more = 1;

	for (unsigned int i = 0; i < EVENTS && more == 1; i++)
		more = let_in(queue);
	return more < 0 ? more : 0;
}

/* -1: it has been sent away meanwhile. */
static int find(const struct accept_queue *queue, uint64_t id)
{
	for (unsigned int i = 0; i < queue->npending; i++)
		if (queue->pending[i].id == id)
			return (int)i;
	return -1;
}

/* The peer has sent something, or has closed the connection: it gets a channel. */
static int begin(struct accept_queue *queue, unsigned int *i, struct why *why)
{
	struct accept_pending *p = &queue->pending[*i];
	int err = channel_begin(&p->channel, p->fd, true, queue->security, why);
	int victim = is_no_room(err) ? find_victim(queue, *i) : -1;

	if (victim < 0)
		return err;
	send_away(queue, (unsigned int)victim, NULL);
	*i -= (unsigned int)victim < *i;
	p = &queue->pending[*i];
	why_clear(why);
	return channel_begin(&p->channel, p->fd, true, queue->security, why);
}

/* 0 once the peer has authenticated, -EAGAIN with the events to wait for, or why it has not. */
static int advance(struct accept_queue *queue, struct accept_pending *p, short *events,
		   struct why *why)
{
	int err = 0;

	if (!p->authenticated)
		err = channel_advance(p->channel, events, why);
	if (err)
		return err;
	p->authenticated = true;
	while (p->have < queue->want) {
		ssize_t n = channel_recv_some(p->channel, p->first + p->have, queue->want - p->have,
					      events);

		if (n == -EAGAIN)
			return -EAGAIN;
		if (n < 0)
			return why_set(why, (int)n, "the peer closed the connection");
		p->have += (size_t)n;
	}
	return 0;
}

/* The peer of this number has an event: 1 for a newcomer, else 0. */
static int serve(struct accept_queue *queue, unsigned int i, struct newcomer *newcomer)
{
	struct accept_pending *p;
	struct why why = { 0 };
	short events = POLLIN;
	int err = 0;

	if (!queue->pending[i].channel)
		err = begin(queue, &i, &why);
	p = &queue->pending[i];
	if (!err)
		err = advance(queue, p, &events, &why);
	if (err == -EAGAIN)
		err = watch(queue, EPOLL_CTL_MOD, p->fd, p->id,
			    events & POLLOUT ? EPOLLOUT : EPOLLIN);
	else if (!err && (err = watch(queue, EPOLL_CTL_DEL, p->fd, p->id, 0)) == 0) {
		newcomer->channel = p->channel;
		memcpy(newcomer->first, p->first, sizeof(p->first));
		drop(queue, i);
		return 1;
	}
	if (err)
		send_away(queue, i, why.text[0] ? why.text : strerror(-err));
	return 0;
}

/* What is due by the clock. */
static int keep_time(struct accept_queue *queue)
{
	uint64_t now = clock_ns();

	for (unsigned int i = queue->npending; i > 0; i--)
		if (queue->pending[i - 1].deadline <= now)
			send_away(queue, i - 1,
				  queue->pending[i - 1].channel ?
					  "it did not authenticate in time" :
					  NULL);
	if (!queue->no_room_until || queue->no_room_until > now)
		return 0;
	queue->no_room_until = 0;
	return watch(queue, EPOLL_CTL_MOD, queue->listen_fd, LISTENER, EPOLLIN);
}

int accept_queue_turn(struct accept_queue *queue, struct newcomer *newcomer)
{
	struct epoll_event events[EVENTS];
	int err = keep_time(queue), n;

	if (err)
		return err;
	n = epoll_wait(queue->epoll_fd, events, EVENTS, 0);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int k = 0; k < n && !err; k++) {
		int i = find(queue, events[k].data.u64);

		if (events[k].data.u64 == LISTENER)
			err = let_all_in(queue);
		else if (i >= 0)
			err = serve(queue, (unsigned int)i, newcomer);
	}
	return err;
}

/* When keep_time() has something to do, or the deadline. */
static uint64_t next_time(const struct accept_queue *queue, uint64_t deadline)
{
	uint64_t at = deadline;

	if (queue->no_room_until && queue->no_room_until < at)
		at = queue->no_room_until;
	if (queue->npending && queue->pending[0].deadline < at)
		at = queue->pending[0].deadline;
	return at;
}

int accept_queue_next(struct accept_queue *queue, uint64_t deadline, struct newcomer *newcomer)
{
	for (;;) {
		struct pollfd p[3] = { { .fd = queue->epoll_fd, .events = POLLIN },
				       { .fd = queue->cancel_fd, .events = POLLIN },
				       queue->wake };
		int n = poll(p, 3, clock_ms_until(next_time(queue, deadline))), err;

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && p[1].revents)
			return -ECANCELED;
		if (n > 0 && p[2].revents)
			return -EINTR;
		err = accept_queue_turn(queue, newcomer);
		if (err)
			return err < 0 ? err : 0;
		if (clock_ns() >= deadline)
			return queue->no_room ? queue->no_room : -ETIMEDOUT;
	}
}

void accept_queue_close(struct accept_queue *queue)
{
	while (queue->npending)
		send_away(queue, 0, NULL);
	if (queue->epoll_fd >= 0)
		close(queue->epoll_fd);
	queue->epoll_fd = -1;
}
