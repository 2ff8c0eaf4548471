/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Connections to a target's listening socket until they have authenticated. All of them make
 * progress at the same time, none is waited for, and each has a deadline: a peer that sends nothing
 * or a byte now and then delays nobody.
 */
#ifndef LIB_NET_ACCEPT_QUEUE_H
#define LIB_NET_ACCEPT_QUEUE_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/net/channel.h"

/*
 * With one more unauthenticated connection than this, one is closed: the oldest that has sent
 * nothing, else the oldest. Each may stay for a second; meanwhile new connections wait in the
 * backlog.
 */
#define ACCEPT_QUEUE_MAX 64
/* How long a connection may take to authenticate. */
#define ACCEPT_QUEUE_MS 10000
/* The most that a connection can be asked to send first. */
#define ACCEPT_QUEUE_FIRST_BYTES 96

/* A connection that has authenticated: the channel is the caller's to close. */
struct newcomer {
	struct channel *channel;
	uint8_t first[ACCEPT_QUEUE_FIRST_BYTES]; /* what it sent first, want bytes */
};

struct accept_pending {
	uint64_t id;
	int fd;
	bool authenticated;
	uint64_t deadline;
	/* it owns fd; NULL until the peer has sent something, with the room for its keys */
	struct channel *channel;
	size_t have;
	uint8_t first[ACCEPT_QUEUE_FIRST_BYTES];
};

struct accept_queue {
	int listen_fd, cancel_fd, epoll_fd;
	const struct channel_security *security;
	size_t want;
	struct pollfd wake;
	/* called for each peer that sent something and did not authenticate; may be NULL */
	void (*rejected)(void *opaque, const char *address, const char *why);
	void *opaque;
	/* the host had no descriptor for one more: no accept() before that time (clock_ns()) */
	uint64_t no_room_until;
	int no_room; /* the error of the last accept, if it was that this process has no room */
	uint64_t last_id;
	struct accept_pending pending[ACCEPT_QUEUE_MAX]; /* the oldest first */
	unsigned int npending;
};

/*
 * A peer has authenticated once it has passed security's handshake and has sent want bytes (at most
 * ACCEPT_QUEUE_FIRST_BYTES); the caller judges these. Where nothing is asked for (insecure, want 0)
 * it is enough to send something or to close the connection. The descriptors and *security are
 * borrowed. The caller may set wake, rejected and opaque afterwards. 0 or a negative errno;
 * accept_queue_close() is allowed in either case.
 */
int accept_queue_init(struct accept_queue *queue, int listen_fd, int cancel_fd,
		      const struct channel_security *security, size_t want);

/* Readable whenever accept_queue_turn() has something to do, except that a deadline has passed. */
int accept_queue_fd(const struct accept_queue *queue);

/*
 * Do what can be done without waiting: 1 and a newcomer, 0, or a negative errno of the listening
 * socket.
 */
int accept_queue_turn(struct accept_queue *queue, struct newcomer *newcomer);

/*
 * Wait for a newcomer: 0. -ETIMEDOUT at the deadline (clock_ns(), UINT64_MAX: never), -ECANCELED
 * when cancel_fd is readable, -EINTR on an event of queue->wake, or another negative errno.
 */
int accept_queue_next(struct accept_queue *queue, uint64_t deadline, struct newcomer *newcomer);

/* Closes the connections that have not authenticated. */
void accept_queue_close(struct accept_queue *queue);

#endif
