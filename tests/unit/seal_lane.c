/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lanes of a sealing session when the helper does not answer in time: a slot is the helper's
 * until the answer has come, and a failure is the reason of what follows from it, and of nothing
 * else. The rig's helper aborts the test if it gets two batches in one slot.
 */
#include <errno.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/sealing.h"
#include "lib/seal/engine.h"
#include "tests/unit/migrate_half.h"

#define PAGE SEVMIRROR_PAGE_BYTES

static const uint64_t gpas[] = { 16 * PAGE, 17 * PAGE };

/* Ring 0's helper answers so, in this order, and again. */
static void open_with(struct half *h, bool is_source, const uint8_t *answers, size_t n)
{
	half_open(h, is_source, 0);
	h->rig.answers = answers;
	h->rig.nanswers = n;
}

static int submit(struct half *h)
{
	unsigned int taken;

	return sevmirror_lane_seal_submit(h->m.seal, 0, 0, gpas, 2, false, &taken);
}

static void a_late_batch_keeps_its_slot(void **state)
{
	static const uint8_t answers[] = { RIG_LATE, RIG_LATE, 0, 0 };
	struct sevmirror_batch batch;
	struct half h;

	open_with(&h, true, answers, sizeof(answers));
	assert_int_equal(submit(&h), 0);
	assert_int_equal(sevmirror_lane_seal_finish(h.m.seal, 0, 0, &batch), -ETIMEDOUT);
	assert_int_equal(submit(&h), -ETIMEDOUT);
	assert_int_equal(submit(&h), 0); /* the answer to the first one has come */
	assert_int_equal(sevmirror_lane_seal_finish(h.m.seal, 0, 0, &batch), 0);
	assert_int_equal(batch.count, 2);
	half_close(&h);
}

static void the_same_holds_for_pages_that_are_opened(void **state)
{
	static const uint8_t answers[] = { RIG_LATE, RIG_LATE, 0, 0 };
	struct sevmirror_batch batch = { .count = 1, .record = { { .kind = SEVMIRROR_PAGE } } };
	uint8_t opened[SEVMIRROR_BATCH_MAX];
	struct half h;

	open_with(&h, false, answers, sizeof(answers));
	assert_int_equal(sevmirror_lane_open_submit(h.m.seal, 0, 0, &batch, false), 0);
	assert_int_equal(sevmirror_lane_open_finish(h.m.seal, 0, 0, opened), -ETIMEDOUT);
	assert_int_equal(sevmirror_lane_open_submit(h.m.seal, 0, 0, &batch, false), -ETIMEDOUT);
	assert_int_equal(sevmirror_lane_open_submit(h.m.seal, 0, 0, &batch, false), 0);
	assert_int_equal(sevmirror_lane_open_finish(h.m.seal, 0, 0, opened), 0);
	assert_int_equal(opened[0], SEVMIRROR_OPENED);
	half_close(&h);
}

/* A batch of another slot waits for the answer to the late one, as they come in order. */
static void another_slot_gets_its_own_answer(void **state)
{
	static const uint8_t answers[] = { RIG_LATE, 0, 0, 0, 0 };
	struct sevmirror_batch batch;
	unsigned int taken;
	struct half h;

	open_with(&h, true, answers, sizeof(answers));
	assert_int_equal(submit(&h), 0);
	assert_int_equal(sevmirror_lane_seal_finish(h.m.seal, 0, 0, &batch), -ETIMEDOUT);
	assert_int_equal(sevmirror_lane_seal_submit(h.m.seal, 0, 1, gpas + 1, 1, false, &taken), 0);
	assert_int_equal(sevmirror_lane_seal_finish(h.m.seal, 0, 1, &batch), 0);
	assert_int_equal(batch.record[0].gpa, gpas[1]);
	assert_int_equal(submit(&h), 0);
	assert_int_equal(sevmirror_lane_seal_finish(h.m.seal, 0, 0, &batch), 0);
	half_close(&h);
}

static void a_failure_is_told_once(void **state)
{
	static const uint8_t answers[] = { RIG_LATE, 0 };
	struct sevmirror_batch batch;
	struct why why;
	struct half h;

	open_with(&h, true, answers, sizeof(answers));
	assert_string_equal(sevmirror_seal_why(h.m.seal), "");
	assert_int_equal(submit(&h), 0);
	assert_int_equal(sevmirror_lane_seal_finish(h.m.seal, 0, 0, &batch), -ETIMEDOUT);
	assert_non_null(strstr(sevmirror_seal_why(h.m.seal), "did not finish a request"));
	assert_true(seal_take_why(h.m.seal, &why));
	assert_non_null(strstr(why.text, "did not finish a request"));
	assert_int_equal(why.err, -ETIMEDOUT);
	assert_false(seal_take_why(h.m.seal, &why));
	assert_string_equal(sevmirror_seal_why(h.m.seal), "");
	half_close(&h);
}

/* The session survives a connection. What failed on that one does not explain the next failure. */
static void a_new_connection_has_reasons_of_its_own(void **state)
{
	static const uint8_t answers[] = { RIG_LATE, 0 };
	struct sevmirror_batch batch = { .count = 1, .record = { { .kind = SEVMIRROR_PAGE } } };
	struct half h;

	open_with(&h, false, answers, sizeof(answers));
	assert_int_equal(sevmirror_lane_open_submit(h.m.seal, 0, 0, &batch, false), 0);
	assert_int_equal(sevmirror_lane_open_finish(h.m.seal, 0, 0, NULL), -ETIMEDOUT);
	sealing_forget(&h.m);
	assert_int_equal(manifest_check(&h.m, "short", 5), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PROTOCOL, "the manifest is cut off");
	half_close(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_late_batch_keeps_its_slot),
		cmocka_unit_test(the_same_holds_for_pages_that_are_opened),
		cmocka_unit_test(another_slot_gets_its_own_answer),
		cmocka_unit_test(a_failure_is_told_once),
		cmocka_unit_test(a_new_connection_has_reasons_of_its_own),
	};

	return cmocka_run_group_tests_name("seal_lane", tests, NULL, NULL);
}
