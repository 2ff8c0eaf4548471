/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The target tells the source that it works, while it has nothing else to say for longer than the
 * source may wait: it populates the guest's memory, or its secure processor receives the core.
 */
#ifndef LIB_MIGRATE_KEEP_ALIVE_H
#define LIB_MIGRATE_KEEP_ALIVE_H

#include "lib/migrate/session.h"

/*
 * At most; a quarter of a shorter timeout. The source may have another one than the target: a
 * second is the shortest that an operator can choose.
 */
#define KEEP_ALIVE_MS 250

struct keep_alive {
	struct sevmirror_migration *m;
	pthread_t thread;
	bool made; /* the thread */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool ends; /* with the lock */
};

/*
 * From here until the end a thread says WORKING on the control connection, and nobody else may send
 * there. A source that does not know the message (WIRE_MINOR_WORKING) gets none. 0, or a negative
 * errno with m->why set; then there is nothing to end.
 */
int keep_alive_begin(struct keep_alive *keep_alive, struct sevmirror_migration *m);

/* No WORKING is sent any more: the connection is the caller's again. */
void keep_alive_end(struct keep_alive *keep_alive);

#endif
