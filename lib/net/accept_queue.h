/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Connections to a target's listening socket, in the order in which they first send data. A peer
 * that connects and sends nothing (a port scanner, a monitor) does not delay the others.
 */
#ifndef LIB_NET_ACCEPT_QUEUE_H
#define LIB_NET_ACCEPT_QUEUE_H

#include <poll.h>
#include <stdint.h>

/* With more silent connections than this, the oldest is closed. */
#define ACCEPT_QUEUE_SILENT_MAX 64

struct accept_queue {
	int listen_fd, cancel_fd;
	struct pollfd wake;
	int silent[ACCEPT_QUEUE_SILENT_MAX]; /* the oldest first */
	unsigned int nsilent;
};

/*
 * The descriptors are borrowed. accept_queue_next() returns -ECANCELED when cancel_fd is readable,
 * and -EINTR on an event of queue->wake, which the caller may set (at first there is none).
 */
void accept_queue_init(struct accept_queue *queue, int listen_fd, int cancel_fd);

/*
 * The next connection that has sent data or hung up: a socket that the caller closes. -ETIMEDOUT at
 * the deadline (clock_ns(), UINT64_MAX: never), -ECANCELED, -EINTR, or another negative errno.
 */
int accept_queue_next(struct accept_queue *queue, uint64_t deadline);

/* Closes the connections that are still silent. */
void accept_queue_close(struct accept_queue *queue);

#endif
