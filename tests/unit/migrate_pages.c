/* SPDX-License-Identifier: Apache-2.0 */
/* What is still to go: the page sets against a plain array. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"

#include "helper/protocol.h"
#include "lib/migrate/pages.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

static const struct sevmirror_vm two_ranges = {
	.nranges = 2,
	.ranges = { { .gpa = 0, .bytes = 10 * MIB }, { .gpa = 4 * GIB, .bytes = 6 * MIB } },
};

static void test_numbering(void **state)
{
	struct page_numbering n;
	struct sevmirror_vm bad;

	assert_int_equal(page_numbering_init(&n, &two_ranges), 0);
	assert_int_equal(n.npages, 4096);
	assert_int_equal(page_gfn(&n, 0), 0);
	assert_int_equal(page_gfn(&n, 2559), 2559);
	assert_int_equal(page_gfn(&n, 2560), 1 << 20);
	for (uint64_t i = 0; i < n.npages; i++)
		assert_int_equal(page_number(&n, page_gfn(&n, i)), i);
	assert_true(page_number(&n, 2560) == UINT64_MAX);
	assert_true(page_number(&n, (1 << 20) + 1536) == UINT64_MAX);
	assert_true(page_number(&n, UINT64_MAX) == UINT64_MAX);

	bad = two_ranges;
	bad.nranges = 0;
	assert_int_equal(page_numbering_init(&n, &bad), -EINVAL);
	bad.nranges = SEVMIRROR_MAX_RAM_RANGES + 1;
	assert_int_equal(page_numbering_init(&n, &bad), -EINVAL);
	bad = two_ranges;
	bad.ranges[0].bytes = 5 * MIB;
	assert_int_equal(page_numbering_init(&n, &bad), -EINVAL);
	bad = two_ranges;
	bad.ranges[1].gpa = 8 * MIB;
	assert_int_equal(page_numbering_init(&n, &bad), -EINVAL);
	bad = two_ranges;
	bad.ranges[1].gpa = UINT64_MAX - 2 * MIB + 1;
	assert_int_equal(page_numbering_init(&n, &bad), -EINVAL);
}

/* Take everything of each stream; each page must come once, at its own stream. */
static void drain(struct page_set *set, const struct page_numbering *n, unsigned int nstreams,
		  uint8_t *seen)
{
	uint64_t numbers[17];

	for (unsigned int s = 0; s < nstreams; s++) {
		uint64_t cursor = 0;
		unsigned int got;

		while ((got = page_set_take(set, s, nstreams, &cursor, numbers, 17))) {
			for (unsigned int i = 0; i < got; i++) {
				assert_int_equal(helper_ring_of(page_gfn(n, numbers[i]), nstreams),
						 s);
				seen[numbers[i]]++;
			}
		}
	}
}

static void test_sets(void **state)
{
	struct page_numbering n;
	struct page_set *set;
	uint64_t bitmap[64] = { 0 };
	uint8_t seen[4096];

	assert_int_equal(page_numbering_init(&n, &two_ranges), 0);
	assert_int_equal(page_set_create(&set, &n), 0);
	for (unsigned int nstreams = 1; nstreams <= 5; nstreams++) {
		page_set_fill(set);
		assert_int_equal(page_set_count(set), 4096);
		memset(seen, 0, sizeof(seen));
		drain(set, &n, nstreams, seen);
		assert_int_equal(page_set_count(set), 0);
		for (int i = 0; i < 4096; i++)
			assert_int_equal(seen[i], 1);
	}
	page_set_add(set, 5);
	page_set_add(set, 5);
	page_set_add(set, 4095);
	bitmap[0] = 1 << 5 | 1 << 6;
	assert_int_equal(page_set_add_bitmap(set, bitmap), 1);
	assert_int_equal(page_set_count(set), 3);
	assert_true(page_set_has(set, 6));
	assert_false(page_set_has(set, 7));
	page_set_destroy(set);
}

/* A page added behind the cursor is found when the search wraps around. */
static void test_wrap(void **state)
{
	struct page_numbering n;
	struct page_set *set;
	uint64_t cursor = 0, number;

	assert_int_equal(page_numbering_init(&n, &two_ranges), 0);
	assert_int_equal(page_set_create(&set, &n), 0);
	page_set_add(set, 2000);
	assert_int_equal(page_set_take(set, 0, 1, &cursor, &number, 1), 1);
	assert_int_equal(number, 2000);
	page_set_add(set, 3);
	page_set_add(set, 1999);
	assert_int_equal(page_set_take(set, 0, 1, &cursor, &number, 1), 1);
	assert_int_equal(page_set_take(set, 0, 1, &cursor, &number, 1), 1);
	assert_int_equal(page_set_take(set, 0, 1, &cursor, &number, 1), 0);
	page_set_destroy(set);
}

struct adder {
	struct page_set *set;
	unsigned int seed;
	uint64_t added;
};

static void *add_many(void *arg)
{
	struct adder *a = arg;

	for (int i = 0; i < 20000; i++) {
		uint64_t bitmap[64] = { 0 };
		unsigned int number = (unsigned int)rand_r(&a->seed) % 4096;

		bitmap[number / 64] = 1ULL << number % 64;
		a->added += page_set_add_bitmap(a->set, bitmap);
	}
	return NULL;
}

/* Pages added while others are taken: what was added is what is taken plus what is left. */
static void test_threads(void **state)
{
	struct page_numbering n;
	struct page_set *set;
	struct adder adders[2] = { { .seed = 1 }, { .seed = 2 } };
	pthread_t threads[2];
	uint64_t cursor[2] = { 0 }, numbers[64], taken = 0;

	assert_int_equal(page_numbering_init(&n, &two_ranges), 0);
	assert_int_equal(page_set_create(&set, &n), 0);
	for (int i = 0; i < 2; i++) {
		adders[i].set = set;
		assert_int_equal(pthread_create(&threads[i], NULL, add_many, &adders[i]), 0);
	}
	for (int i = 0; i < 4000; i++)
		taken += page_set_take(set, i & 1, 2, &cursor[i & 1], numbers, 64);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(adders[0].added + adders[1].added, taken + page_set_count(set));
	page_set_destroy(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbering),
		cmocka_unit_test(test_sets),
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests_name("migrate_pages", tests, NULL, NULL);
}
