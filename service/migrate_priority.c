/* SPDX-License-Identifier: Apache-2.0 */
#include "service/migrate_priority.h"

#include <sys/resource.h>
#include <unistd.h>

/*
 * A ninth of a vCPU's share (kernel/sched/core.c, sched_prio_to_weight) where both want the same
 * CPU, and all of a CPU that nobody else wants.
 */
#define YIELD_NICE 10

void migrate_priority_init(struct migrate_priority *p, bool yield)
{
	atomic_store(&p->n, 0);
	atomic_store(&p->yield, yield);
}

/* Linux: of one thread alone. */
static void apply(pid_t thread, int nice)
{
	(void)setpriority(PRIO_PROCESS, (id_t)thread, nice);
}

void migrate_priority_thread(struct migrate_priority *p)
{
	unsigned int i;

	if (!atomic_load(&p->yield))
		return;
	i = atomic_fetch_add(&p->n, 1);
	if (i < MIGRATE_THREADS_MAX)
		atomic_store(&p->thread[i], gettid());
	apply(gettid(), YIELD_NICE);
}

void migrate_priority_take_back(struct migrate_priority *p)
{
	unsigned int n = atomic_load(&p->n);

	atomic_store(&p->yield, false);
	for (unsigned int i = 0; i < n && i < MIGRATE_THREADS_MAX; i++)
		if (atomic_load(&p->thread[i]))
			apply(atomic_load(&p->thread[i]), 0);
}
