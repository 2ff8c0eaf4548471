/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/keep_alive.h"

#include <errno.h>
#include <string.h>

#include "lib/migrate/message.h"
#include "lib/util/clock.h"

/* False once the work has ended. */
static bool wait_a_while(struct keep_alive *k)
{
	uint64_t ms = k->m->timeout_ms / 4 < KEEP_ALIVE_MS ? (uint64_t)k->m->timeout_ms / 4 :
							     KEEP_ALIVE_MS;
	uint64_t until = clock_ns() + ms * NS_PER_MS;
	int err = 0;
	bool ends;

	pthread_mutex_lock(&k->lock);
	while (!k->ends && err != -ETIMEDOUT)
		err = clock_cond_wait(&k->changed, &k->lock, until);
	ends = k->ends;
	pthread_mutex_unlock(&k->lock);
	return !ends;
}

/* A connection that has failed fails for the next message, too, which is not this thread's. */
static void *keep_alive_main(void *arg)
{
	struct keep_alive *k = arg;
	int err = 0;

	session_thread_begins(k->m, SEVMIRROR_THREAD_STREAM);
	while (!err && wait_a_while(k))
		err = message_send_one(k->m->control, WIRE_WORKING, NULL, 0, k->m->timeout_ms);
	return NULL;
}

int keep_alive_begin(struct keep_alive *k, struct sevmirror_migration *m)
{
	int err;

	*k = (struct keep_alive){ .m = m };
	if (m->hello.minor < WIRE_MINOR_WORKING)
		return 0;
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->changed, NULL);
	err = pthread_create(&k->thread, NULL, keep_alive_main, k);
	k->made = !err;
	if (!err)
		return 0;
	pthread_cond_destroy(&k->changed);
	pthread_mutex_destroy(&k->lock);
	return session_fail(m, -err,
			    "the target cannot start the thread that tells the source that it "
			    "works: %s",
			    strerror(err));
}

void keep_alive_end(struct keep_alive *k)
{
	if (!k->made)
		return;
	pthread_mutex_lock(&k->lock);
	k->ends = true;
	pthread_cond_signal(&k->changed);
	pthread_mutex_unlock(&k->lock);
	pthread_join(k->thread, NULL);
	pthread_cond_destroy(&k->changed);
	pthread_mutex_destroy(&k->lock);
	k->made = false;
}
