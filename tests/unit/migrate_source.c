/* SPDX-License-Identifier: Apache-2.0 */
/* The source: whatever fails before the hand-over, the guest is its own again, as it was. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include <sevmirror/pagemap.h>

#include "tests/unit/cmocka_all.h"

#include "tests/unit/migrate_pair.h"

/* The guest runs here, with its disks, as if nothing had happened. */
static void assert_guest_is_back(const struct pair_end *source)
{
	assert_int_equal(source->rig.paused, source->rig.resumed);
	assert_int_equal(source->rig.released, source->rig.acquired);
	assert_int_equal(source->rig.handed_over, 0);
}

static void a_guest_moves(void **state)
{
	struct pair *p = *state;
	const struct sevmirror_summary *summary = &p->source.summary[0];

	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_MIGRATED, SEVMIRROR_REASON_NONE, "");
	pair_assert_ended(&p->target, SEVMIRROR_MIGRATED, SEVMIRROR_REASON_NONE, "");
	assert_true(p->target.memory_good);
	assert_int_equal(p->source.rig.paused, 1);
	assert_int_equal(p->source.rig.resumed, 0);
	assert_int_equal(p->source.rig.released, 1);
	assert_int_equal(p->source.rig.handed_over, 1);
	assert_int_equal(summary->rounds, 2); /* nobody wrote: one round, and the last one */
	assert_int_equal(summary->pages, RIG_PAGES);
	assert_int_equal(summary->pages_resent, 0);
	assert_true(summary->downtime > 0 && summary->downtime <= summary->total_time);
	assert_int_equal(p->source.phases,
			 1u << SEVMIRROR_PHASE_CONNECT | 1u << SEVMIRROR_PHASE_SETUP |
				 1u << SEVMIRROR_PHASE_PRECOPY | 1u << SEVMIRROR_PHASE_STOP |
				 1u << SEVMIRROR_PHASE_COMMIT | 1u << SEVMIRROR_PHASE_DONE);
}

/* ---- what the VMM cannot do ---- */

static int fail_one(void *opaque)
{
	return -EIO;
}

static ssize_t fail_save(void *opaque, void *buf, size_t max)
{
	return -ENOSPC;
}

static int fail_fetch(void *opaque, uint64_t *bitmap, size_t npages)
{
	return -EIO;
}

static void no_config(struct pair_end *end)
{
	end->ops.config_save = fail_save;
}

static void no_log(struct pair_end *end)
{
	end->ops.dirty_start = fail_one;
}

static void no_fetch(struct pair_end *end)
{
	end->ops.dirty_fetch = fail_fetch;
}

static int pause_badly(void *opaque)
{
	((struct rig *)opaque)->paused++;
	return -EIO;
}

static void no_pause(struct pair_end *end)
{
	end->ops.pause = pause_badly;
}

static void no_state(struct pair_end *end)
{
	end->ops.state_save = fail_save;
}

static int release_badly(void *opaque)
{
	((struct rig *)opaque)->released++;
	return -EIO;
}

static void no_release(struct pair_end *end)
{
	end->ops.disks_release = release_badly;
}

static void the_vmm_s_failures_leave_the_guest_here(void **state)
{
	static const struct {
		void (*prepare)(struct pair_end *end);
		enum sevmirror_reason reason;
		const char *words;
	} cases[] = {
		{ no_config, SEVMIRROR_REASON_INTERNAL, "the source cannot describe" },
		{ no_log, SEVMIRROR_REASON_INTERNAL, "the source cannot start to log which pages" },
		{ no_fetch, SEVMIRROR_REASON_INTERNAL, "the source cannot read the log of pages" },
		{ no_pause, SEVMIRROR_REASON_GUEST, "the source cannot stop the guest" },
		{ no_state, SEVMIRROR_REASON_GUEST, "the source cannot save the guest's state" },
		{ no_release, SEVMIRROR_REASON_DISK,
		  "the source cannot flush and release the guest's disks" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pair *p = pair_new();

		p->source.prepare = cases[i].prepare;
		pair_run(p);
		pair_assert_ended(&p->source, SEVMIRROR_FAILED, cases[i].reason, cases[i].words);
		assert_guest_is_back(&p->source);
		pair_assert_ended(&p->target, SEVMIRROR_FAILED, SEVMIRROR_REASON_PEER,
				  cases[i].words);
		assert_int_equal(p->target.rig.resumed, 0);
		pair_free(p);
	}
}

/* ---- a guest whose map of shared pages is too large for its state ---- */

/* Behind the guest's own pages, which all stay private. */
#define MAP_RUNS (14u << 16) /* of 16 bytes each: 14 MiB, and the header makes it too large */

static struct sev_pagemap *map; /* the source's, in its process */

static void alternate(unsigned int runs)
{
	for (uint64_t i = 0; i < runs; i++) {
		const uint64_t args[3] = { (RIG_PAGES + 2 * i) * SEVMIRROR_PAGE_BYTES, 1, 0 };

		if (sev_pagemap_hypercall(map, args))
			_exit(8);
	}
}

static int describe_with_map(void *opaque, struct sevmirror_vm *vm)
{
	int err = rig_ops.describe(opaque, vm);

	vm->pagemap = map;
	return err;
}

static void map_of(struct pair_end *end, unsigned int runs)
{
	if (sev_pagemap_create(&map, RIG_PAGES + 2 * MAP_RUNS))
		_exit(8);
	alternate(runs);
	end->ops.describe = describe_with_map;
}

static void large_map(struct pair_end *end)
{
	map_of(end, MAP_RUNS);
}

static void map_that_just_fits(struct pair_end *end)
{
	map_of(end, MAP_RUNS - 2); /* two runs for the header of 32 bytes */
}

static int fetch_and_alternate(void *opaque, uint64_t *bitmap, size_t npages)
{
	alternate(MAP_RUNS);
	return rig_ops.dirty_fetch(opaque, bitmap, npages);
}

static void map_that_grows(struct pair_end *end)
{
	map_of(end, 0);
	end->ops.dirty_fetch = fetch_and_alternate;
}

static int pause_and_alternate(void *opaque)
{
	alternate(MAP_RUNS);
	return rig_ops.pause(opaque);
}

static void map_that_grows_last(struct pair_end *end)
{
	map_of(end, 0);
	end->ops.pause = pause_and_alternate;
}

static void go_away(struct pair_end *end)
{
	_exit(0);
}

#define TOO_LARGE \
	"map of shared pages has 14680096 bytes, and a migration can send at most 14680064"

/* Before the source connects. */
static void a_map_that_is_too_large_is_refused_at_once(void **state)
{
	struct pair *p = *state;

	p->source.prepare = large_map;
	p->target.prepare = go_away;
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_FAILED, SEVMIRROR_REASON_GUEST, TOO_LARGE);
	assert_int_equal(p->source.rig.paused, 0);
}

static void a_map_that_just_fits_is_no_obstacle(void **state)
{
	struct pair *p = *state;

	p->source.prepare = map_that_just_fits;
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_MIGRATED, SEVMIRROR_REASON_NONE, "");
}

static void a_map_that_becomes_too_large_is_refused_while_the_guest_runs(void **state)
{
	struct pair *p = *state;

	p->source.prepare = map_that_grows;
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_FAILED, SEVMIRROR_REASON_GUEST, TOO_LARGE);
	assert_int_equal(p->source.summary[0].rounds, 1);
	assert_int_equal(p->source.rig.paused, 0);
	pair_assert_ended(&p->target, SEVMIRROR_FAILED, SEVMIRROR_REASON_PEER, TOO_LARGE);
}

static void a_map_that_becomes_too_large_at_the_stop_gives_the_guest_back(void **state)
{
	struct pair *p = *state;

	p->source.prepare = map_that_grows_last;
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_FAILED, SEVMIRROR_REASON_GUEST, TOO_LARGE);
	assert_int_equal(p->source.rig.paused, 1);
	assert_guest_is_back(&p->source);
}

/* ---- what the target does ---- */

static int refuse(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	snprintf(why, max, "there is no room");
	return -ENOMEM;
}

static void a_target_that_refuses_the_vm_is_the_reason(void **state)
{
	struct pair *p = *state;

	p->target.ops.config_load = refuse;
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_FAILED, SEVMIRROR_REASON_PEER,
			  "the target gave up: the target cannot run this VM: there is no room");
	assert_int_equal(p->source.rig.paused, 0);
}

/* It says so after COMMIT: nothing is in doubt. */
static void a_target_that_cannot_start_the_guest_gives_it_back(void **state)
{
	struct pair *p = *state;

	p->target.rig.refuses = true;
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_FAILED, SEVMIRROR_REASON_PEER,
			  "the target cannot start the guest");
	assert_true(pair_saw(&p->source, SEVMIRROR_PHASE_COMMIT));
	assert_int_equal(p->source.rig.paused, 1);
	assert_int_equal(p->source.rig.acquired, 1);
	assert_guest_is_back(&p->source);
}

static int die(void *opaque, char *why, size_t max)
{
	_exit(9);
}

/* The last round left a guest that was slowed down. */
static int pause_throttled(void *opaque)
{
	struct rig *rig = opaque;

	rig->throttle = 50;
	return rig_ops.pause(rig);
}

/* It may have started the guest, for all that the source knows. */
static void a_target_that_is_silent_after_commit_leaves_it_open(void **state)
{
	struct pair *p = *state;

	p->source.ops.pause = pause_throttled;
	p->target.ops.disks_acquire = die;
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_UNKNOWN, SEVMIRROR_REASON_CONNECTION,
			  "the target closed the connection");
	/* If an operator resumes it here it runs at full speed. */
	assert_int_equal(p->source.rig.throttle, 0);
	assert_int_equal(p->source.rig.paused, 1);
	assert_int_equal(p->source.rig.resumed, 0);
	assert_int_equal(p->source.rig.acquired, 0);
	assert_int_equal(p->source.rig.handed_over, 0);
}

/* ---- cancelling ---- */

static void cancelling_leaves_the_guest_here(void **state)
{
	struct pair *p = *state;

	p->source.cancels_in = SEVMIRROR_PHASE_PRECOPY;
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_CANCELLED, SEVMIRROR_REASON_CANCELLED, "cancelled");
	pair_assert_ended(&p->target, SEVMIRROR_FAILED, SEVMIRROR_REASON_PEER,
			  "the source gave up: cancelled");
	assert_int_equal(p->source.rig.paused, 0);
}

static void after_commit_nobody_cancels(void **state)
{
	struct pair *p = *state;

	p->source.cancels_in = SEVMIRROR_PHASE_COMMIT;
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_MIGRATED, SEVMIRROR_REASON_NONE, "");
	assert_true(p->target.memory_good);
}

/* ---- when to stop ---- */

/* Not even an idle guest can stop within a nanosecond. */
static void a_guest_that_does_not_converge_stays(void **state)
{
	struct pair *p = *state;

	p->source_options.max_downtime = 1;
	p->source_options.max_rounds = 5;
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_FAILED, SEVMIRROR_REASON_CONVERGENCE,
			  "does not converge: after 5 rounds");
	assert_int_equal(p->source.summary[0].rounds, 5);
	assert_int_equal(p->source.rig.paused, 0);
}

/* Each round has what was written in the one before; the last one, too. */
static void what_the_guest_writes_goes_again(void **state)
{
	static const uint8_t pages = 0xf0; /* pages 4 to 7; the rig's helper means nothing by it */
	struct pair *p = *state;

	p->source.rig.answers = &pages;
	p->source.rig.nanswers = 1;
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_MIGRATED, SEVMIRROR_REASON_NONE, "");
	assert_int_equal(p->source.summary[0].rounds, 2);
	assert_int_equal(p->source.summary[0].pages, RIG_PAGES + 4);
	assert_int_equal(p->source.summary[0].pages_resent, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		pair_test(a_guest_moves),
		pair_test(the_vmm_s_failures_leave_the_guest_here),
		pair_test(a_map_that_is_too_large_is_refused_at_once),
		pair_test(a_map_that_just_fits_is_no_obstacle),
		pair_test(a_map_that_becomes_too_large_is_refused_while_the_guest_runs),
		pair_test(a_map_that_becomes_too_large_at_the_stop_gives_the_guest_back),
		pair_test(a_target_that_refuses_the_vm_is_the_reason),
		pair_test(a_target_that_cannot_start_the_guest_gives_it_back),
		pair_test(a_target_that_is_silent_after_commit_leaves_it_open),
		pair_test(cancelling_leaves_the_guest_here),
		pair_test(after_commit_nobody_cancels),
		pair_test(a_guest_that_does_not_converge_stays),
		pair_test(what_the_guest_writes_goes_again),
	};

	return cmocka_run_group_tests_name("migrate_source", tests, NULL, NULL);
}
