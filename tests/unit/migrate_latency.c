/* SPDX-License-Identifier: Apache-2.0 */
/* How times are counted. */
#include "tests/unit/cmocka_all.h"

#include "lib/migrate/latency.h"

/* The classes are those that host.h speaks of, and each time is in one of them. */
static void test_latency_classes(void **state)
{
	static struct latency l;
	uint64_t classes[SEVMIRROR_FAULT_CLASSES];

	assert_int_equal(sevmirror_fault_class_from(0), 0);
	assert_int_equal(sevmirror_fault_class_from(1), 1536);
	assert_int_equal(sevmirror_fault_class_from(2), 2048);
	for (unsigned int i = 1; i < SEVMIRROR_FAULT_CLASSES; i++) {
		assert_true(sevmirror_fault_class_from(i) > sevmirror_fault_class_from(i - 1));
		latency_add(&l, sevmirror_fault_class_from(i) - 1);
		latency_add(&l, sevmirror_fault_class_from(i));
	}
	latency_add(&l, 0);
	latency_add(&l, UINT64_MAX);
	latency_classes(&l, classes);
	for (unsigned int i = 0; i < SEVMIRROR_FAULT_CLASSES; i++)
		assert_int_equal(classes[i], 2);
}

static void test_latency(void **state)
{
	static struct latency l;

	assert_int_equal(latency_percentile(&l, 50), 0);
	for (uint64_t i = 1; i <= 1000; i++)
		latency_add(&l, i * 1000);
	assert_int_equal(l.count, 1000);
	assert_int_equal(l.max, 1000000);
	for (unsigned int p = 1; p <= 100; p++) {
		uint64_t exact = p * 10000;

		assert_true(latency_percentile(&l, p) >= exact);
		assert_true(latency_percentile(&l, p) <= exact + exact / 8 + 1);
	}
	assert_int_equal(latency_percentile(&l, 100), 1000000);
	latency_add(&l, UINT64_MAX);
	assert_true(latency_percentile(&l, 100) == UINT64_MAX);
	latency_add(&l, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_latency),
		cmocka_unit_test(test_latency_classes),
	};

	return cmocka_run_group_tests_name("migrate_latency", tests, NULL, NULL);
}
