/* SPDX-License-Identifier: Apache-2.0 */
/* The public enumerations of a migration: each value has a name of its own, others have none. */
#include <string.h>

#include <sevmirror/migrate.h>

#include "cmocka_all.h"

static void test_phases(void **state)
{
	enum sevmirror_phase phase = SEVMIRROR_PHASE_STOP;

	for (enum sevmirror_phase i = 0; i < SEVMIRROR_PHASES; i++) {
		assert_true(sevmirror_phase_parse(sevmirror_phase_name(i), &phase));
		assert_int_equal(phase, i);
	}
	assert_string_equal(sevmirror_phase_name(SEVMIRROR_PHASE_POSTCOPY), "postcopy");
	assert_string_equal(sevmirror_phase_name(SEVMIRROR_PHASES), "unknown");
	assert_false(sevmirror_phase_parse("unknown", &phase));
	assert_false(sevmirror_phase_parse("", &phase));
	assert_int_equal(phase, SEVMIRROR_PHASE_FAILED); /* as it was */
}

static void test_reasons(void **state)
{
	for (enum sevmirror_reason i = 0; i < SEVMIRROR_REASONS; i++)
		for (enum sevmirror_reason j = 0; j < i; j++)
			assert_string_not_equal(sevmirror_reason_name(i), sevmirror_reason_name(j));
	assert_string_equal(sevmirror_reason_name(SEVMIRROR_REASON_NO_MEMORY), "no-memory");
	assert_string_equal(sevmirror_reason_name(SEVMIRROR_REASONS), "unknown");
}

static void test_outcomes(void **state)
{
	for (enum sevmirror_outcome i = 0; i < SEVMIRROR_OUTCOMES; i++)
		for (enum sevmirror_outcome j = 0; j < i; j++)
			assert_string_not_equal(sevmirror_outcome_name(i),
						sevmirror_outcome_name(j));
	assert_string_equal(sevmirror_outcome_name(SEVMIRROR_LOST), "lost");
	assert_string_equal(sevmirror_outcome_name(SEVMIRROR_OUTCOMES), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_phases),
		cmocka_unit_test(test_reasons),
		cmocka_unit_test(test_outcomes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
