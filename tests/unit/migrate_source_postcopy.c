/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source in post-copy: until RUNNING everything fails back to this host, from then on nothing
 * here is thrown away before the target has it.
 */

#include "tests/unit/cmocka_all.h"

#include "tests/unit/migrate_half.h"
#include "tests/unit/migrate_pair.h"

static void a_guest_goes_ahead_of_its_pages(void **state)
{
	struct pair *p = *state;
	const struct sevmirror_summary *summary = &p->source.summary[0];

	half_need_userfaultfd();
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_MIGRATED, SEVMIRROR_REASON_NONE, "");
	assert_true(p->target.memory_good);
	assert_true(pair_saw(&p->source, SEVMIRROR_PHASE_POSTCOPY));
	assert_int_equal(p->source.rig.handed_over, 1);
	assert_int_equal(p->source.rig.resumed, 0);
	assert_int_equal(summary->rounds, 0);
	assert_int_equal(summary->postcopy.pages, RIG_PAGES);
	assert_int_equal(summary->pages, RIG_PAGES);
	assert_memory_equal(&summary->postcopy, &p->target.summary[0].postcopy,
			    sizeof(summary->postcopy));
}

/* After a round of pre-copy only what was written since is missing. */
static void a_round_goes_before(void **state)
{
	static const uint8_t pages = 0xf0; /* 4 to 7 */
	struct pair *p = *state;

	half_need_userfaultfd();
	p->source_options.postcopy_after = 1;
	p->source.rig.answers = &pages;
	p->source.rig.nanswers = 1;
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_MIGRATED, SEVMIRROR_REASON_NONE, "");
	assert_int_equal(p->source.summary[0].rounds, 1);
	assert_int_equal(p->source.summary[0].postcopy.pages, 4);
	assert_true(p->target.memory_good);
}

static void a_target_that_cannot_start_the_guest_gives_it_back(void **state)
{
	struct pair *p = *state;

	half_need_userfaultfd();
	p->target.rig.refuses = true;
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_FAILED, SEVMIRROR_REASON_PEER,
			  "the target cannot start the guest");
	assert_int_equal(p->source.rig.paused, 1);
	assert_int_equal(p->source.rig.resumed, 1);
	assert_int_equal(p->source.rig.released, p->source.rig.acquired);
}

/* Cancelling drops the connection; the pages that the target is missing are still here. */
static void a_connection_that_is_dropped_is_made_again(void **state)
{
	struct pair *p = *state;

	half_need_userfaultfd();
	p->source.cancels_in = SEVMIRROR_PHASE_POSTCOPY;
	p->source.recovers = true;
	pair_run(p);
	assert_int_equal(p->source.outcome[0], SEVMIRROR_BROKEN);
	assert_int_equal(p->source.summary[0].reason, SEVMIRROR_REASON_CANCELLED);
	pair_assert_ended(&p->source, SEVMIRROR_MIGRATED, SEVMIRROR_REASON_NONE, "");
	assert_true(pair_saw(&p->source, SEVMIRROR_PHASE_BROKEN));
	assert_int_equal(p->source.summary[1].postcopy.recoveries, 1);
	assert_int_equal(p->source.rig.handed_over, 1);
	assert_true(p->target.memory_good);
}

/* It may be asked again and again: the guest's pages are kept. */
static void a_target_that_has_died_is_not_found_again(void **state)
{
	struct pair *p = *state;

	half_need_userfaultfd();
	pair_slow_down(p);
	p->target.dies_in = SEVMIRROR_PHASE_POSTCOPY;
	p->source.recovers = true;
	pair_run(p);
	assert_int_equal(p->source.outcome[0], SEVMIRROR_BROKEN);
	assert_int_equal(p->source.summary[0].reason, SEVMIRROR_REASON_CONNECTION);
	pair_assert_ended(&p->source, SEVMIRROR_BROKEN, SEVMIRROR_REASON_CONNECTION, "127.0.0.1:");
	assert_int_equal(p->source.rig.resumed, 0);
	assert_int_equal(p->source.rig.handed_over, 0);
}

static void a_target_that_gives_up_ends_it(void **state)
{
	struct pair *p = *state;

	half_need_userfaultfd();
	pair_slow_down(p);
	p->target.cancels_in = SEVMIRROR_PHASE_POSTCOPY;
	p->source.recovers = true;
	pair_run(p);
	pair_assert_ended(&p->source, SEVMIRROR_LOST, SEVMIRROR_REASON_PEER, "the target gave up");
	assert_int_equal(p->source.runs, 1);
	assert_int_equal(p->source.rig.resumed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		pair_postcopy_test(a_guest_goes_ahead_of_its_pages),
		pair_postcopy_test(a_round_goes_before),
		pair_postcopy_test(a_target_that_cannot_start_the_guest_gives_it_back),
		pair_postcopy_test(a_connection_that_is_dropped_is_made_again),
		pair_postcopy_test(a_target_that_has_died_is_not_found_again),
		pair_postcopy_test(a_target_that_gives_up_ends_it),
	};

	return cmocka_run_group_tests_name("migrate_source_postcopy", tests, NULL, NULL);
}
