/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/seal/ring_lock.h"

void ring_lock_init(struct ring_lock *lock)
{
	pthread_mutex_init(&lock->lock, NULL);
	pthread_cond_init(&lock->changed, NULL);
	lock->taken = false;
	lock->urgent = 0;
}

void ring_lock_destroy(struct ring_lock *lock)
{
	pthread_cond_destroy(&lock->changed);
	pthread_mutex_destroy(&lock->lock);
}

void ring_lock_acquire(struct ring_lock *lock, bool urgent)
{
	pthread_mutex_lock(&lock->lock);
	lock->urgent += urgent;
	while (lock->taken || (lock->urgent && !urgent))
		pthread_cond_wait(&lock->changed, &lock->lock);
	lock->urgent -= urgent;
	lock->taken = true;
	pthread_mutex_unlock(&lock->lock);
}

void ring_lock_release(struct ring_lock *lock)
{
	pthread_mutex_lock(&lock->lock);
	lock->taken = false;
	pthread_cond_broadcast(&lock->changed);
	pthread_mutex_unlock(&lock->lock);
}
