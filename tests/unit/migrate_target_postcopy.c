/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target in post-copy: the guest runs while pages are missing, and never sees a page that has
 * not arrived. A broken connection stops only the vCPUs that wait for a page.
 */
#include <errno.h>

#include "tests/unit/cmocka_all.h"

#include "tests/unit/migrate_half.h"
#include "tests/unit/migrate_pair.h"

#define LAST_CHUNK (2 * HALF_CHUNK_PAGES)

/* The VMM while it loads and starts the guest, then a vCPU; all of it far from where sending
 * begins. */
static void touch_pages(struct pair_end *end)
{
	static const uint16_t pages[RIG_TOUCHES] = { LAST_CHUNK + 400,	     LAST_CHUNK + 432,
						     LAST_CHUNK + 464,	     LAST_CHUNK + 16,
						     HALF_CHUNK_PAGES + 480, LAST_CHUNK + 496 };

	for (unsigned int i = 0; i < RIG_TOUCHES; i++)
		end->rig.touches[i] = pages[i];
}

static void assert_nobody_was_blind(const struct pair_end *target)
{
	assert_false(target->rig.load_blind);
	assert_false(target->rig.guest_blind);
}

static void a_missing_page_that_is_touched_is_waited_for(void **state)
{
	struct pair *p = *state;
	const struct sevmirror_postcopy *numbers = &p->target.summary[0].postcopy;

	half_need_userfaultfd();
	pair_slow_down(p);
	p->target.prepare = touch_pages;
	pair_run(p);
	pair_assert_ended(&p->target, SEVMIRROR_MIGRATED, SEVMIRROR_REASON_NONE, "");
	assert_nobody_was_blind(&p->target);
	assert_true(p->target.memory_good);
	assert_int_equal(p->target.rig.resumed, 1);
	assert_in_range(numbers->faults, 1, RIG_TOUCHES);
	assert_true(numbers->fault_max >= numbers->fault_p50 && numbers->fault_p50 > 0);
	assert_true(numbers->last_page > 0);
	assert_int_equal(numbers->recoveries, 0);
}

static void the_source_may_come_back(void **state)
{
	struct pair *p = *state;

	half_need_userfaultfd();
	p->source.cancels_in = SEVMIRROR_PHASE_POSTCOPY;
	p->source.recovers = true;
	p->target.prepare = touch_pages;
	pair_run(p);
	pair_assert_ended(&p->target, SEVMIRROR_MIGRATED, SEVMIRROR_REASON_NONE, "");
	assert_true(pair_saw(&p->target, SEVMIRROR_PHASE_BROKEN));
	assert_nobody_was_blind(&p->target);
	assert_true(p->target.memory_good);
	assert_int_equal(p->target.summary[0].postcopy.recoveries, 1);
	assert_int_equal(p->target.rig.resumed, 1);
}

/* The target waits no longer: the guest is lost, and its vCPUs continue while it is destroyed. */
static void a_source_that_does_not_come_back_is_given_up(void **state)
{
	struct pair *p = *state;

	half_need_userfaultfd();
	pair_slow_down(p);
	p->source.dies_in = SEVMIRROR_PHASE_POSTCOPY;
	p->target.cancels_in = SEVMIRROR_PHASE_BROKEN;
	pair_run(p);
	pair_assert_ended(&p->target, SEVMIRROR_LOST, SEVMIRROR_REASON_CONNECTION,
			  "pages of the guest never arrived");
	assert_int_equal(p->target.rig.resumed, 1);
	assert_false(p->target.memory_good);
}

static void a_guest_that_cannot_start_gives_the_disks_back(void **state)
{
	struct pair *p = *state;

	half_need_userfaultfd();
	p->target.rig.refuses = true;
	pair_run(p);
	pair_assert_ended(&p->target, SEVMIRROR_FAILED, SEVMIRROR_REASON_GUEST,
			  "the target cannot start the guest");
	assert_int_equal(p->target.rig.acquired, 1);
	assert_int_equal(p->target.rig.released, 1);
	assert_int_equal(p->target.rig.resumed, 0);
}

static int refuse(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	return -EINVAL;
}

static void a_state_that_cannot_be_loaded_leaves_the_guest_there(void **state)
{
	struct pair *p = *state;

	half_need_userfaultfd();
	p->target.ops.state_load = refuse;
	pair_run(p);
	pair_assert_ended(&p->target, SEVMIRROR_FAILED, SEVMIRROR_REASON_GUEST,
			  "the target cannot load the guest's state");
	assert_int_equal(p->target.rig.resumed, 0);
	assert_int_equal(p->source.rig.resumed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		pair_postcopy_test(a_missing_page_that_is_touched_is_waited_for),
		pair_postcopy_test(the_source_may_come_back),
		pair_postcopy_test(a_source_that_does_not_come_back_is_given_up),
		pair_postcopy_test(a_guest_that_cannot_start_gives_the_disks_back),
		pair_postcopy_test(a_state_that_cannot_be_loaded_leaves_the_guest_there),
	};

	return cmocka_run_group_tests_name("migrate_target_postcopy", tests, NULL, NULL);
}
