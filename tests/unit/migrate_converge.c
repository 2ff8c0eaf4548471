/* SPDX-License-Identifier: Apache-2.0 */
/* When to stop the guest: the judgement on made-up rounds. */
#include "tests/unit/cmocka_all.h"

#include "lib/migrate/converge.h"

#define MS 1000000ULL

static const struct converge_limits limits = { .max_downtime = 300 * MS,
					       .fixed_downtime = 50 * MS,
					       .patience = 3,
					       .max_rounds = 30 };

/*
 * A guest that dirties `dirty` bytes a second over a line of 1 GB/s: rounds until a verdict other
 * than another round.
 */
static enum converge_verdict simulate(struct converge *c, const struct converge_limits *l,
				      double dirty, double working_set)
{
	double left = 4e9;
	enum converge_verdict v;

	converge_init(c, l);
	do {
		double seconds = left / 1e9;
		struct converge_round r = { .bytes = (uint64_t)left,
					    .time = (uint64_t)(seconds * 1e9) };
		double dirtied = dirty * seconds * (100 - c->throttle) / 100;

		left = dirtied < working_set ? dirtied : working_set;
		r.pages_left = (uint64_t)(left / 4096);
		v = converge_judge(c, &r);
	} while (v == CONVERGE_ANOTHER_ROUND && c->rounds < 1000);
	return v;
}

static void test_converge(void **state)
{
	struct converge_limits l = limits;
	struct converge c;

	assert_int_equal(simulate(&c, &l, 0, 0), CONVERGE_STOP);
	assert_int_equal(c.rounds, 1);
	assert_int_equal(c.expected_downtime, 50 * MS);
	assert_int_equal(simulate(&c, &l, 0.5e9, 4e9), CONVERGE_STOP);
	assert_in_range(c.rounds, 3, 8);
	assert_in_range(c.expected_downtime, 50 * MS, 300 * MS);
	assert_int_equal(simulate(&c, &l, 2e9, 4e9), CONVERGE_GIVE_UP);
	assert_int_equal(c.rounds, 30);
	l.postcopy = true;
	assert_int_equal(simulate(&c, &l, 2e9, 4e9), CONVERGE_POSTCOPY);
	assert_in_range(c.rounds, 4, 6);
	l.postcopy = false;
	l.throttle = true;
	l.max_rounds = 100;
	assert_int_equal(simulate(&c, &l, 2e9, 4e9), CONVERGE_STOP);
	assert_in_range(c.throttle, 50, 99);
	l.max_downtime = 10 * MS; /* below what a stop costs without any page */
	assert_int_equal(simulate(&c, &l, 0.1e9, 4e9), CONVERGE_GIVE_UP);
}

/* When the time is over the limits decide, unless the guest may stop anyway. */
static void test_overtime(void **state)
{
	static const enum converge_verdict verdicts[] = { CONVERGE_GIVE_UP, CONVERGE_POSTCOPY,
							  CONVERGE_STOP };
	struct converge_limits l = limits;
	struct converge_round r = {
		.bytes = 1 << 20, .time = 100 * MS, .pages_left = 1 << 20, .overtime = true
	};
	struct converge c;

	for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
		l.overtime = verdicts[i];
		converge_init(&c, &l);
		r.overtime = false;
		assert_int_equal(converge_judge(&c, &r), CONVERGE_ANOTHER_ROUND);
		r.overtime = true;
		assert_int_equal(converge_judge(&c, &r), verdicts[i]);
	}
	l.overtime = CONVERGE_GIVE_UP;
	converge_init(&c, &l);
	r.pages_left = 0;
	assert_int_equal(converge_judge(&c, &r), CONVERGE_STOP);
}

/* What the disks' flush takes is part of the downtime. */
static void test_flush_is_part_of_the_downtime(void **state)
{
	struct converge_round r = { .bytes = 1 << 20, .time = 100 * MS, .flush = 240 * MS };
	struct converge c;

	converge_init(&c, &limits);
	assert_int_equal(converge_judge(&c, &r), CONVERGE_STOP);
	assert_int_equal(c.expected_downtime, 290 * MS);
	r.flush = 260 * MS;
	assert_int_equal(converge_judge(&c, &r), CONVERGE_ANOTHER_ROUND);
	assert_int_equal(c.expected_downtime, 310 * MS);
}

static void test_converge_extremes(void **state)
{
	struct converge c;
	struct converge_round nothing = { 0 },
			      huge = { .bytes = 1ULL << 46, .time = 1, .pages_left = 1ULL << 34 };

	converge_init(&c, &limits);
	assert_int_equal(converge_judge(&c, &nothing), CONVERGE_STOP);
	converge_init(&c, &limits);
	nothing.pages_left = 1;
	assert_int_equal(converge_judge(&c, &nothing), CONVERGE_ANOTHER_ROUND);
	converge_init(&c, &limits);
	huge.time = 100000 * 1000 * MS;
	assert_int_equal(converge_judge(&c, &huge), CONVERGE_ANOTHER_ROUND);
	assert_true(c.expected_downtime > 1000 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_converge),
		cmocka_unit_test(test_overtime),
		cmocka_unit_test(test_flush_is_part_of_the_downtime),
		cmocka_unit_test(test_converge_extremes),
	};

	return cmocka_run_group_tests_name("migrate_converge", tests, NULL, NULL);
}
