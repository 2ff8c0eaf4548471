/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/migrate/door.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "lib/migrate/address.h"
#include "lib/migrate/clock.h"

#define NO_ROOM_MS 100

void door_init(struct door *door, int listen_fd, int cancel_fd)
{
	*door = (struct door){ .listen_fd = listen_fd,
			       .cancel_fd = cancel_fd,
			       .wake = { .fd = -1 } };
}

static int take_out(struct door *door, unsigned int i)
{
	int fd = door->silent[i];

	memmove(&door->silent[i], &door->silent[i + 1],
		(--door->nsilent - i) * sizeof(door->silent[0]));
	return fd;
}

/*
 * The host has no descriptor or memory for one more: whoever is silent makes room, or it is tried
 * again later.
 */
static int make_room(struct door *door)
{
	struct pollfd p = { .fd = door->cancel_fd, .events = POLLIN };

	if (door->nsilent)
		close(take_out(door, 0));
	else
		(void)poll(&p, 1, NO_ROOM_MS);
	return 0;
}

static int let_in(struct door *door)
{
	int fd = address_accept(door->listen_fd, 0);

	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM)
		return make_room(door);
	/* Gone again already. */
	if (fd == -ECONNABORTED || fd == -ETIMEDOUT || fd == -EAGAIN)
		return 0;
	if (fd < 0)
		return fd;
	if (door->nsilent == DOOR_SILENT_MAX)
		close(take_out(door, 0));
	door->silent[door->nsilent++] = fd;
	return 0;
}

int door_next(struct door *door, uint64_t deadline)
{
	int err = 0;

	while (!err) {
		struct pollfd p[3 + DOOR_SILENT_MAX] = {
			{ .fd = door->listen_fd, .events = POLLIN },
			{ .fd = door->cancel_fd, .events = POLLIN },
			door->wake,
		};
		int n;

		for (unsigned int i = 0; i < door->nsilent; i++)
			p[3 + i] = (struct pollfd){ .fd = door->silent[i], .events = POLLIN };
		n = poll(p, 3 + door->nsilent, clock_ms_until(deadline));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n < 0)
			continue;
		if (p[1].revents)
			return -ECANCELED;
		if (p[2].revents)
			return -EINTR;
		for (unsigned int i = 0; i < door->nsilent; i++)
			if (p[3 + i].revents)
				return take_out(door, i);
		if (n == 0)
			return -ETIMEDOUT;
		err = let_in(door);
	}
	return err;
}

void door_close(struct door *door)
{
	while (door->nsilent)
		close(take_out(door, 0));
}
