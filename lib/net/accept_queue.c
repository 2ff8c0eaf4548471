/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/net/accept_queue.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "lib/net/address.h"
#include "lib/util/clock.h"

#define NO_ROOM_MS 100

void accept_queue_init(struct accept_queue *queue, int listen_fd, int cancel_fd)
{
	*queue = (struct accept_queue){ .listen_fd = listen_fd,
					.cancel_fd = cancel_fd,
					.wake = { .fd = -1 } };
}

static int take_out(struct accept_queue *queue, unsigned int i)
{
	int fd = queue->silent[i];

	memmove(&queue->silent[i], &queue->silent[i + 1],
		(--queue->nsilent - i) * sizeof(queue->silent[0]));
	return fd;
}

/*
 * The host has no descriptor or memory for one more: whoever is silent makes room, or it is tried
 * again later.
 */
static int make_room(struct accept_queue *queue)
{
	struct pollfd p = { .fd = queue->cancel_fd, .events = POLLIN };

	if (queue->nsilent)
		close(take_out(queue, 0));
	else
		(void)poll(&p, 1, NO_ROOM_MS);
	return 0;
}

static int let_in(struct accept_queue *queue)
{
	int fd = address_accept(queue->listen_fd, 0);

	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM)
		return make_room(queue);
	/* Gone again already. */
	if (fd == -ECONNABORTED || fd == -ETIMEDOUT || fd == -EAGAIN)
		return 0;
	if (fd < 0)
		return fd;
	if (queue->nsilent == ACCEPT_QUEUE_SILENT_MAX)
		close(take_out(queue, 0));
	queue->silent[queue->nsilent++] = fd;
	return 0;
}

int accept_queue_next(struct accept_queue *queue, uint64_t deadline)
{
	int err = 0;

	while (!err) {
		struct pollfd p[3 + ACCEPT_QUEUE_SILENT_MAX] = {
			{ .fd = queue->listen_fd, .events = POLLIN },
			{ .fd = queue->cancel_fd, .events = POLLIN },
			queue->wake,
		};
		int n;

		for (unsigned int i = 0; i < queue->nsilent; i++)
			p[3 + i] = (struct pollfd){ .fd = queue->silent[i], .events = POLLIN };
		n = poll(p, 3 + queue->nsilent, clock_ms_until(deadline));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n < 0)
			continue;
		if (p[1].revents)
			return -ECANCELED;
		if (p[2].revents)
			return -EINTR;
		for (unsigned int i = 0; i < queue->nsilent; i++)
			if (p[3 + i].revents)
				return take_out(queue, i);
		if (n == 0)
			return -ETIMEDOUT;
		err = let_in(queue);
	}
	return err;
}

void accept_queue_close(struct accept_queue *queue)
{
	while (queue->nsilent)
		close(take_out(queue, 0));
}
