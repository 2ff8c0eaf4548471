/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door of a target: connections to its listening socket, in the order in which they begin to
 * speak. Whoever connects and says nothing (a port scanner, a monitor) waits beside it and holds
 * nobody up.
 */
#ifndef LIB_MIGRATE_DOOR_H
#define LIB_MIGRATE_DOOR_H

#include <poll.h>
#include <stdint.h>

#define DOOR_SILENT_MAX 64 /* beyond these whoever has been silent longest is sent away */

struct door {
	int listen_fd, cancel_fd;
	struct pollfd wake;
	int silent[DOOR_SILENT_MAX]; /* those longest here first */
	unsigned int nsilent;
};

/*
 * The descriptors are borrowed. Nobody is waited for any more when cancel_fd is readable:
 * door_next() returns -ECANCELED. Nor when an event of door->wake has come, which the caller may
 * set (at first there is none): -EINTR.
 */
void door_init(struct door *door, int listen_fd, int cancel_fd);

/* The next that has said something, or hung up: a socket that the caller closes. -ETIMEDOUT at the
 * deadline (clock_ns(), UINT64_MAX: never), -ECANCELED, -EINTR, or another negative errno. */
int door_next(struct door *door, uint64_t deadline);

/* Sends away those who are still silent. */
void door_close(struct door *door);

#endif
