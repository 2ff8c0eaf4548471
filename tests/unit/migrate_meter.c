/* SPDX-License-Identifier: Apache-2.0 */
/* The speed that people are told, at made-up times. */
#include "tests/unit/cmocka_all.h"

#include "lib/migrate/meter.h"
#include "lib/util/clock.h"

#define MIB (1ULL << 20)

static void nothing_is_said_until_two_readings_are_apart(void **state)
{
	struct meter m = { 0 };

	assert_int_equal(meter_read(&m, NS_PER_S, 5 * MIB), 0);
	assert_int_equal(meter_read(&m, NS_PER_S + NS_PER_MS, 50 * MIB), 0);
	/* What came in between counts from the first reading on. */
	assert_int_equal(meter_read(&m, 2 * NS_PER_S, 15 * MIB), 10 * MIB);
}

static void a_change_comes_in_over_about_a_second(void **state)
{
	struct meter m = { 0 };
	uint64_t rate = 0;

	(void)meter_read(&m, NS_PER_S, 0);
	assert_int_equal(meter_read(&m, 2 * NS_PER_S, 10 * MIB), 10 * MIB);
	/* No more bytes: half of the rate is left a second later, nothing after some more. */
	assert_int_equal(meter_read(&m, 3 * NS_PER_S, 10 * MIB), 5 * MIB);
	for (unsigned int s = 4; s < 40; s++)
		rate = meter_read(&m, s * NS_PER_S, 10 * MIB);
	assert_in_range(rate, 0, 10);
}

static void a_steady_speed_is_the_speed(void **state)
{
	struct meter m = { 0 };

	for (uint64_t i = 1; i < 100; i++) {
		uint64_t rate = meter_read(&m, i * 100 * NS_PER_MS, i * MIB);

		if (i > 1)
			assert_in_range(rate, 10 * MIB - 1, 10 * MIB + 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_said_until_two_readings_are_apart),
		cmocka_unit_test(a_change_comes_in_over_about_a_second),
		cmocka_unit_test(a_steady_speed_is_the_speed),
	};

	return cmocka_run_group_tests_name("migrate_meter", tests, NULL, NULL);
}
