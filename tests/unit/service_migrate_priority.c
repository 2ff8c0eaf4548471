/* SPDX-License-Identifier: Apache-2.0 */
/* A migration's threads yield to the guest while it runs, and to nobody while it is stopped. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/unit/cmocka_all.h"

#include "service/migrate_priority.h"

struct worker {
	struct migrate_priority *priority;
	pthread_t thread;
	sem_t begun, end;
};

static void *work(void *arg)
{
	struct worker *w = arg;

	migrate_priority_thread(w->priority);
	sem_post(&w->begun);
	sem_wait(&w->end);
	return NULL;
}

static void start(struct worker *w, struct migrate_priority *priority)
{
	w->priority = priority;
	sem_init(&w->begun, 0, 0);
	sem_init(&w->end, 0, 0);
	assert_int_equal(pthread_create(&w->thread, NULL, work, w), 0);
	sem_wait(&w->begun);
}

static void stop(struct worker *w)
{
	sem_post(&w->end);
	pthread_join(w->thread, NULL);
	sem_destroy(&w->begun);
	sem_destroy(&w->end);
}

static int nice_of(const struct migrate_priority *p, unsigned int i)
{
	return getpriority(PRIO_PROCESS, (id_t)atomic_load(&p->thread[i]));
}

static void threads_yield_until_the_guest_is_stopped(void **state)
{
	struct migrate_priority p = { 0 };
	struct worker w[2];

	if (getpriority(PRIO_PROCESS, 0) > 0)
		skip(); /* the tests themselves yield */
	migrate_priority_init(&p, true);
	start(&w[0], &p);
	assert_int_equal(nice_of(&p, 0), 10);
	migrate_priority_take_back(&p);
	/* Who may not take it back yields until the end. */
	if (nice_of(&p, 0) == 10) {
		stop(&w[0]);
		skip();
	}
	assert_int_equal(nice_of(&p, 0), 0);
	/* One that begins now is not even noted. */
	start(&w[1], &p);
	assert_int_equal(atomic_load(&p.n), 1);
	stop(&w[0]);
	stop(&w[1]);
}

static void or_not_at_all(void **state)
{
	struct migrate_priority p = { 0 };
	struct worker w;

	migrate_priority_init(&p, false);
	start(&w, &p);
	assert_int_equal(atomic_load(&p.n), 0);
	migrate_priority_take_back(&p);
	stop(&w);
}

/* More than there is room for: they yield, and are left as they are. */
static void any_number_of_them(void **state)
{
	struct migrate_priority p = { 0 };
	struct worker w[2];

	if (getpriority(PRIO_PROCESS, 0) > 0)
		skip();
	migrate_priority_init(&p, true);
	atomic_store(&p.n, MIGRATE_THREADS_MAX - 1);
	start(&w[0], &p);
	start(&w[1], &p);
	assert_int_equal(nice_of(&p, MIGRATE_THREADS_MAX - 1), 10);
	migrate_priority_take_back(&p);
	stop(&w[0]);
	stop(&w[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_yield_until_the_guest_is_stopped),
		cmocka_unit_test(or_not_at_all),
		cmocka_unit_test(any_number_of_them),
	};

	return cmocka_run_group_tests_name("service_migrate_priority", tests, NULL, NULL);
}
