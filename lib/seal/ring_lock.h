/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The lock of a ring of the helper: its own stream or the priority stream holds it, and the
 * priority stream goes first. A mutex would not do: a background stream holds it most of the time,
 * while it waits for the helper, and would take it again before the other thread has woken up.
 */
#ifndef LIB_SEAL_RING_LOCK_H
#define LIB_SEAL_RING_LOCK_H

#include <pthread.h>
#include <stdbool.h>

struct ring_lock {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool taken;
	unsigned int urgent; /* waiters that go first */
};

void ring_lock_init(struct ring_lock *lock);
void ring_lock_destroy(struct ring_lock *lock);

/* urgent: before all waiters that are not. */
void ring_lock_acquire(struct ring_lock *lock, bool urgent);
void ring_lock_release(struct ring_lock *lock);

#endif
