/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads of a migration that seal and send pages: they yield to the guest while it runs here,
 * and to nobody while it is stopped, when every moment is downtime.
 */
#ifndef SERVICE_MIGRATE_PRIORITY_H
#define SERVICE_MIGRATE_PRIORITY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#define MIGRATE_THREADS_MAX 64 /* more keep the priority that they begin with */

struct migrate_priority {
	atomic_bool yield;
	atomic_uint n;
	_Atomic pid_t thread[MIGRATE_THREADS_MAX];
};

/* No threads yet; whether those to come yield. */
void migrate_priority_init(struct migrate_priority *p, bool yield);

/* On such a thread, first of all, as long as its system calls are not restricted. */
void migrate_priority_thread(struct migrate_priority *p);

/*
 * From now on none of them yields. RLIMIT_NICE must allow it (sandbox_enter() sees to that where it
 * may); else they stay as they are. Only while the threads exist: later, their ids may be those of
 * other threads, of any process.
 */
void migrate_priority_take_back(struct migrate_priority *p);

#endif
