/* SPDX-License-Identifier: Apache-2.0 */
/* The source's rounds: how long they may take, and what the guest's stop is made of. */
#include <string.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "tests/unit/migrate_pair.h"

/* ---- a migration has so much time ---- */

/* Not even an idle guest can stop within a nanosecond, and all of the time is over at once. */
static void no_time(struct pair *p, enum sevmirror_overtime overtime)
{
	p->source_options.max_downtime = 1;
	p->source_options.max_rounds = 1000000;
	p->source_options.max_time = 1;
	p->source_options.overtime = overtime;
}

static void a_migration_that_takes_too_long_is_given_up(void **state)
{
	struct pair *p = *state;

	no_time(p, SEVMIRROR_OVERTIME_CANCEL);
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_FAILED, SEVMIRROR_REASON_CONVERGENCE,
			  "does not converge: after the 0 s that it may take");
	assert_int_equal(p->source.rig.paused, 0);
	assert_int_equal(p->target.rig.resumed, 0);
}

/* What is left of the halted round goes while the guest is stopped. */
static void or_the_guest_is_stopped_anyway(void **state)
{
	struct pair *p = *state;

	no_time(p, SEVMIRROR_OVERTIME_FORCE);
	/* A round is halted in its middle: the first look at the time comes after 100 ms. */
	pair_slow_down(p);
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_MIGRATED, SEVMIRROR_REASON_NONE, "");
	assert_true(p->target.memory_good);
	assert_int_equal(p->source.rig.paused, 1);
	assert_int_equal(p->source.summary[0].rounds, 2);
	assert_int_equal(p->source.summary[0].pages, RIG_PAGES);
	assert_int_equal(p->source.summary[0].pages_resent, 0);
}

static void or_post_copy_begins(void **state)
{
	struct pair *p = *state;

	no_time(p, SEVMIRROR_OVERTIME_POSTCOPY);
	p->source_options.postcopy = SEVMIRROR_POSTCOPY_AUTO;
	pair_slow_down(p);
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_MIGRATED, SEVMIRROR_REASON_NONE, "");
	assert_true(p->target.memory_good);
	assert_true(pair_saw(&p->source, SEVMIRROR_PHASE_POSTCOPY));
	assert_int_equal(p->source.summary[0].rounds, 1);
}

static void post_copy_must_be_allowed_for_that(void **state)
{
	struct sevmirror_source_options options = { .address = "127.0.0.1:1",
						    .security.insecure = true,
						    .overtime = SEVMIRROR_OVERTIME_POSTCOPY };
	struct sevmirror_migration *m;
	char why[256];

	assert_int_equal(sevmirror_source_create(&m, &rig_ops, NULL, &options, why, sizeof(why)),
			 -22);
	assert_non_null(strstr(why, "needs post-copy to be allowed"));
	options.postcopy = SEVMIRROR_POSTCOPY_AUTO;
	assert_int_equal(sevmirror_source_create(&m, &rig_ops, NULL, &options, why, sizeof(why)),
			 0);
	sevmirror_migration_destroy(m);
}

/* ---- the guest's stop ---- */

static uint64_t sum_of(const struct sevmirror_downtime *d)
{
	return d->stop + d->state + d->pages + d->manifest + d->load + d->disks + d->start;
}

#define SLOW_US 3000

static int pause_slowly(void *opaque)
{
	usleep(SLOW_US);
	return rig_ops.pause(opaque);
}

static ssize_t save_slowly(void *opaque, void *buf, size_t max)
{
	usleep(SLOW_US);
	return rig_ops.state_save(opaque, buf, max);
}

static int release_slowly(void *opaque)
{
	usleep(SLOW_US);
	return rig_ops.disks_release(opaque);
}

static int load_slowly(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	usleep(SLOW_US);
	return rig_ops.state_load(opaque, buf, len, why, max);
}

static int resume_slowly(void *opaque)
{
	usleep(SLOW_US);
	return rig_ops.resume(opaque);
}

static void slow_down(struct pair *p)
{
	p->source.ops.pause = pause_slowly;
	p->source.ops.state_save = save_slowly;
	p->source.ops.disks_release = release_slowly;
	p->target.ops.state_load = load_slowly;
	p->target.ops.resume = resume_slowly;
}

/* Each in the part where it belongs, and nothing twice or not at all. */
static void assert_parts(const struct pair *p)
{
	const struct sevmirror_summary *summary = &p->source.summary[0];
	const uint64_t least = SLOW_US * 1000ULL;

	pair_assert_ended(&p->source, SEVMIRROR_MIGRATED, SEVMIRROR_REASON_NONE, "");
	assert_true(summary->parts.stop >= least);
	assert_true(summary->parts.state >= least);
	assert_true(summary->parts.load >= least);
	assert_true(summary->parts.disks >= least);
	assert_true(summary->parts.start >= least);
	assert_true(sum_of(&summary->parts) == summary->downtime);
	assert_true(sum_of(&p->target.summary[0].parts) == 0);
}

static void the_parts_of_the_downtime_add_up(void **state)
{
	struct pair *p = *state;

	slow_down(p);
	pair_run(p);
	assert_parts(p);
	assert_true(p->source.summary[0].parts.pages > 0);
	assert_true(p->source.summary[0].parts.manifest > 0);
}

static void in_post_copy_as_well(void **state)
{
	struct pair *p = *state;

	slow_down(p);
	pair_run(p);
	assert_parts(p);
}

#define FLUSH_US 20000

static void flush(void *opaque)
{
	usleep(FLUSH_US);
}

/* An idle guest with full disks: 20 ms to flush them, and 30 that a stop always costs. */
static void a_slow_flush_counts(void **state)
{
	struct pair *p = *state;

	p->source.ops.disks_flush = flush;
	p->source_options.max_downtime = 45000000;
	p->source_options.max_rounds = 3;
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_FAILED, SEVMIRROR_REASON_CONVERGENCE,
			  "does not converge: after 3 rounds");
	assert_true(p->source.summary[0].expected_downtime >= 50000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		pair_test(a_migration_that_takes_too_long_is_given_up),
		pair_test(or_the_guest_is_stopped_anyway),
		pair_test(or_post_copy_begins),
		cmocka_unit_test(post_copy_must_be_allowed_for_that),
		pair_test(the_parts_of_the_downtime_add_up),
		pair_postcopy_test(in_post_copy_as_well),
		pair_test(a_slow_flush_counts),
	};

	return cmocka_run_group_tests_name("migrate_source_precopy", tests, NULL, NULL);
}
