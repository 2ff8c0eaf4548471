/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib/sev/pagemap: against a plain array of booleans, the hypercall's checks, threads, and the
 * saved state.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <asm/kvm_para.h>

#include <sevmirror/pagemap.h>
#include "tests/unit/cmocka_all.h"

#define NPAGES	1000 /* not a multiple of 64 */
#define SHARED	0
#define PRIVATE KVM_MAP_GPA_RANGE_ENCRYPTED

static int64_t call(struct sev_pagemap *map, uint64_t gfn, uint64_t npages, uint64_t attributes)
{
	uint64_t args[3] = { gfn << 12, npages, attributes };

	return sev_pagemap_hypercall(map, args);
}

static struct sev_pagemap *new_map(uint64_t npages)
{
	struct sev_pagemap *map;

	assert_int_equal(sev_pagemap_create(&map, npages), 0);
	return map;
}

static void compare(const struct sev_pagemap *map, const bool *shared)
{
	uint64_t count = 0, gfn = 0, n;
	bool private;

	for (uint64_t i = 0; i < NPAGES; i++) {
		assert_int_equal(sev_pagemap_is_private(map, i), !shared[i]);
		count += shared[i];
	}
	assert_int_equal(sev_pagemap_count_shared(map), count);
	for (; (n = sev_pagemap_run(map, gfn, &private)) > 0; gfn += n) {
		for (uint64_t i = gfn; i < gfn + n; i++)
			assert_int_equal(private, !shared[i]);
		if (gfn + n < NPAGES)
			assert_int_equal(shared[gfn + n],
					 private); /* runs are as long as they can be */
	}
	assert_int_equal(gfn, NPAGES);
}

static void follows_the_guest(void **state)
{
	struct sev_pagemap *map = new_map(NPAGES);
	bool shared[NPAGES] = { false };

	compare(map, shared);
	srand(1);
	for (int i = 0; i < 500; i++) {
		uint64_t gfn = (uint64_t)rand() % NPAGES;
		uint64_t n = 1 + (uint64_t)rand() % (NPAGES - gfn);
		bool private = rand() & 1;

		if (i & 1 && n > 3)
			n = 3;
		assert_int_equal(call(map, gfn, n, private ? PRIVATE : SHARED), 0);
		for (uint64_t p = gfn; p < gfn + n; p++)
			shared[p] = !private;
		if (i % 10 == 0)
			compare(map, shared);
	}
	compare(map, shared);
	sev_pagemap_destroy(map);
}

static void refuses_what_no_guest_should_say(void **state)
{
	struct sev_pagemap *map = new_map(NPAGES);
	static const uint64_t bad[][3] = {
		{ 0x1001, 1, SHARED },
		{ 0x1000, 0, SHARED },
		{ NPAGES << 12, 1, SHARED },
		{ 0, NPAGES + 1, SHARED },
		{ 0x1000, NPAGES, SHARED },
		{ 0x1000, UINT64_MAX, SHARED },
		{ 0xfffffffffffff000, 2, SHARED },
		{ 0x1000, 1, 0x20 },
		{ 0x1000, 1, 1ULL << 63 },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(sev_pagemap_hypercall(map, bad[i]), -EINVAL);
	assert_int_equal(sev_pagemap_count_shared(map), 0);
	/* the page size is a hint */
	assert_int_equal(call(map, 1, 1, SHARED | KVM_MAP_GPA_RANGE_PAGE_SZ_2M), 0);
	assert_false(sev_pagemap_is_private(map, 1));
	assert_false(sev_pagemap_is_private(map, NPAGES));
	assert_int_equal(sev_pagemap_run(map, NPAGES, &(bool){ false }), 0);
	sev_pagemap_destroy(map);
	assert_int_equal(sev_pagemap_create(&map, 0), -EINVAL);
	assert_int_equal(sev_pagemap_create(&map, UINT64_MAX), -EINVAL);
	sev_pagemap_destroy(NULL);
}

static void the_helper_region_stays_private(void **state)
{
	bool shared[NPAGES];

	for (uint64_t first = 0; first + 50 <= NPAGES; first += 50) {
		struct sev_pagemap *map = new_map(NPAGES);

		assert_int_equal(sev_pagemap_set_always_private(map, first, 50), 0);
		assert_int_equal(call(map, 0, NPAGES, SHARED), 0);
		for (uint64_t i = 0; i < NPAGES; i++)
			shared[i] = i < first || i >= first + 50;
		compare(map, shared);
		assert_int_equal(call(map, first + 10, 5, SHARED), 0);
		compare(map, shared);
		assert_int_equal(sev_pagemap_set_always_private(map, NPAGES - 49, 50), -EINVAL);
		sev_pagemap_destroy(map);
	}
}

struct seen {
	const struct sev_pagemap *map;
	uint64_t gfn, npages, calls;
	bool private;
};

static void on_change(void *opaque, uint64_t gfn, uint64_t npages, bool private)
{
	struct seen *seen = opaque;

	assert_int_equal(sev_pagemap_is_private(seen->map, gfn),
			 private); /* the map first, then the call */
	*seen = (struct seen){ seen->map, gfn, npages, seen->calls + 1, private };
}

static void tells_of_changes(void **state)
{
	struct sev_pagemap *map = new_map(NPAGES);
	struct seen seen = { .map = map };

	sev_pagemap_on_change(map, on_change, &seen);
	call(map, 7, 3, SHARED);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.gfn, 7);
	assert_int_equal(seen.npages, 3);
	assert_false(seen.private);
	call(map, 7, 3, PRIVATE);
	assert_int_equal(seen.calls, 2);
	assert_true(seen.private);
	call(map, NPAGES, 1, SHARED);
	assert_int_equal(seen.calls, 2);
	sev_pagemap_destroy(map);
}

static void migration_control(void **state)
{
	struct sev_pagemap *map = new_map(NPAGES);

	assert_false(sev_pagemap_migration_ready(map));
	assert_int_equal(sev_pagemap_write_migration_control(map, 2), -EINVAL);
	assert_int_equal(sev_pagemap_write_migration_control(map, UINT64_MAX), -EINVAL);
	assert_false(sev_pagemap_migration_ready(map));
	assert_int_equal(sev_pagemap_write_migration_control(map, 1), 0);
	assert_true(sev_pagemap_migration_ready(map));
	assert_int_equal(sev_pagemap_read_migration_control(map), 1);
	assert_int_equal(sev_pagemap_write_migration_control(map, 0), 0);
	assert_false(sev_pagemap_migration_ready(map));
	sev_pagemap_destroy(map);
}

static void state_survives(void **state)
{
	struct sev_pagemap *map = new_map(NPAGES), *copy = new_map(NPAGES);
	bool shared[NPAGES] = { false };
	size_t len;
	char *buf;

	for (uint64_t i = 0; i < NPAGES; i += 7) {
		call(map, i, 2, SHARED);
		shared[i] = true;
		shared[i + 1] = true;
	}
	sev_pagemap_write_migration_control(map, 1);
	len = sev_pagemap_save(map, NULL, 0);
	buf = malloc(len);
	assert_int_equal(sev_pagemap_save(map, buf, len), len);
	call(copy, 500, 400, SHARED); /* to be overwritten */
	assert_int_equal(sev_pagemap_load(copy, buf, len), 0);
	compare(copy, shared);
	assert_true(sev_pagemap_migration_ready(copy));
	free(buf);
	sev_pagemap_destroy(map);
	sev_pagemap_destroy(copy);
}

/*
 * Every truncation and every flipped bit: either refused with the map unchanged, or a state that a
 * save() could have made.
 */
static void state_from_a_network(void **state)
{
	struct sev_pagemap *map = new_map(NPAGES);
	bool shared[NPAGES] = { false };
	uint64_t buf[64], again[64];
	size_t len;

	assert_int_equal(sev_pagemap_set_always_private(map, 100, 10), 0);
	call(map, 3, 2, SHARED);
	call(map, 110, 4, SHARED);
	len = sev_pagemap_save(map, buf, sizeof(buf));
	assert_true(len <= sizeof(buf));
	call(map, 0, NPAGES, PRIVATE);
	for (size_t n = 0; n < len; n++)
		assert_int_equal(sev_pagemap_load(map, buf, n), -EINVAL);
	compare(map, shared);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		buf[bit / 64] ^= 1ULL << bit % 64;
		if (sev_pagemap_load(map, buf, len) == 0) {
			assert_int_equal(sev_pagemap_save(map, again, sizeof(again)), len);
			assert_memory_equal(buf, again, len);
			for (uint64_t i = 100; i < 110; i++)
				assert_true(sev_pagemap_is_private(map, i));
		}
		buf[bit / 64] ^= 1ULL << bit % 64;
	}
	assert_int_equal(sev_pagemap_load(map, buf, len), 0);
	sev_pagemap_destroy(map);
	map = new_map(NPAGES + 1);
	assert_int_equal(sev_pagemap_load(map, buf, len), -EINVAL); /* of another guest's size */
	sev_pagemap_destroy(map);
}

#define NTHREADS 4

struct worker {
	struct sev_pagemap *map;
	uint64_t first;
};

/* Each owns every fourth page, so all of them meet in every word. */
static void *share_own_pages(void *opaque)
{
	struct worker *w = opaque;

	for (int round = 0; round < 50; round++) {
		for (uint64_t gfn = w->first; gfn < NPAGES; gfn += NTHREADS)
			call(w->map, gfn, 1, round & 1 ? SHARED : PRIVATE);
	}
	return NULL;
}

static void threads_do_not_lose_pages(void **state)
{
	struct sev_pagemap *map = new_map(NPAGES);
	struct worker workers[NTHREADS];
	pthread_t threads[NTHREADS];
	bool private;
	unsigned int ended_early = 0;

	for (uint64_t i = 0; i < NTHREADS; i++) {
		workers[i] = (struct worker){ map, i };
		assert_int_equal(pthread_create(&threads[i], NULL, share_own_pages, &workers[i]),
				 0);
	}
	for (int i = 0; i < 100; i++) {
		uint64_t gfn = 0, n;

		for (; (n = sev_pagemap_run(map, gfn, &private)) > 0; gfn += n)
			;
		ended_early += gfn != NPAGES;
	}
	for (int i = 0; i < NTHREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(ended_early, 0);
	assert_int_equal(sev_pagemap_count_shared(map), NPAGES);
	sev_pagemap_destroy(map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(follows_the_guest),
		cmocka_unit_test(refuses_what_no_guest_should_say),
		cmocka_unit_test(the_helper_region_stays_private),
		cmocka_unit_test(tells_of_changes),
		cmocka_unit_test(migration_control),
		cmocka_unit_test(state_survives),
		cmocka_unit_test(state_from_a_network),
		cmocka_unit_test(threads_do_not_lose_pages),
	};

	return cmocka_run_group_tests_name("sev_pagemap", tests, NULL, NULL);
}
