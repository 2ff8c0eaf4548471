/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages are sent ahead of the one that is waited for. */
#include "tests/unit/cmocka_all.h"

#include "lib/migrate/prefetch.h"

static void test_prefetch_of_walks(void **state)
{
	struct prefetch p;
	uint64_t number[4] = { 1000, 50000, 200000, 7000000 };
	unsigned int n;

	prefetch_init(&p);
	/* Four walks at the same time, each touching what comes behind the last window. */
	for (int step = 0; step < 10; step++)
		for (int walk = 0; walk < 4; walk++) {
			uint64_t first = prefetch_fault(&p, number[walk], &n);

			assert_int_equal(first, number[walk] + 1);
			assert_true(n >= PREFETCH_MIN && n <= PREFETCH_MAX);
			if (step > 5)
				assert_int_equal(n, PREFETCH_MAX);
			number[walk] = first + n;
		}
}

static void test_prefetch_of_lone_pages(void **state)
{
	struct prefetch p;
	uint64_t number = 1;
	unsigned int n;

	prefetch_init(&p);
	for (int i = 0; i < 1000; i++) {
		number = number * 6364136223846793005ULL + 1442695040888963407ULL;
		prefetch_fault(&p, number >> 20, &n);
		if (i > 10)
			assert_int_equal(n, PREFETCH_MIN);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefetch_of_walks),
		cmocka_unit_test(test_prefetch_of_lone_pages),
	};

	return cmocka_run_group_tests_name("migrate_prefetch", tests, NULL, NULL);
}
