/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/migrate/turn.h"

void turn_init(struct turn *turn)
{
	pthread_mutex_init(&turn->lock, NULL);
	pthread_cond_init(&turn->changed, NULL);
	turn->taken = false;
	turn->urgent = 0;
}

void turn_destroy(struct turn *turn)
{
	pthread_cond_destroy(&turn->changed);
	pthread_mutex_destroy(&turn->lock);
}

void turn_take(struct turn *turn, bool urgent)
{
	pthread_mutex_lock(&turn->lock);
	turn->urgent += urgent;
	while (turn->taken || (turn->urgent && !urgent))
		pthread_cond_wait(&turn->changed, &turn->lock);
	turn->urgent -= urgent;
	turn->taken = true;
	pthread_mutex_unlock(&turn->lock);
}

void turn_end(struct turn *turn)
{
	pthread_mutex_lock(&turn->lock);
	turn->taken = false;
	pthread_cond_broadcast(&turn->changed);
	pthread_mutex_unlock(&turn->lock);
}
