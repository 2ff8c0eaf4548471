/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may use a ring of the helper: its stream, or the priority stream, which goes first. A mutex
 * would not do: who holds it most of the time, as a background stream does while it waits for the
 * helper, takes it again before the other has woken up.
 */
#ifndef LIB_MIGRATE_TURN_H
#define LIB_MIGRATE_TURN_H

#include <pthread.h>
#include <stdbool.h>

struct turn {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool taken;
	unsigned int urgent; /* so many wait that go first */
};

void turn_init(struct turn *turn);
void turn_destroy(struct turn *turn);

/* Wait for one's turn, and end it. */
void turn_take(struct turn *turn, bool urgent);
void turn_end(struct turn *turn);

#endif
