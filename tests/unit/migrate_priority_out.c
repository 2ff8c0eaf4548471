/* SPDX-License-Identifier: Apache-2.0 */
/* The source's priority stream: what is waited for goes at once, and some pages behind it. */
#include <errno.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/prefetch.h"
#include "lib/migrate/record.h"
#include "tests/unit/migrate_half.h"

#define PAGE SEVMIRROR_PAGE_BYTES

/* The next frame has these pages, n of them from gfn on. */
static void hear_pages(struct half *h, uint64_t gfn, unsigned int n)
{
	static struct half_frame frame;
	const struct sevmirror_batch *batch = (const void *)frame.directory;

	half_hear_frame(h, WIRE_PRIORITY_STREAM, &frame);
	assert_int_equal(frame.header.records, n);
	for (unsigned int i = 0; i < n; i++) {
		assert_int_equal(batch->record[i].gpa / PAGE, gfn + i);
	}
}

static void open_priority(struct half *h)
{
	half_open(h, true, WIRE_F_POSTCOPY);
	half_open_streams_out(h);
	page_set_fill(h->set);
}

/* The background streams have not even begun. */
static void a_page_goes_with_those_behind_it(void **state)
{
	const uint64_t number = HALF_CHUNK_PAGES + 7;
	struct half h;

	open_priority(&h);
	streams_out_request(h.out, &number, 1);
	hear_pages(&h, number, 1);
	hear_pages(&h, number + 1, PREFETCH_MIN);
	assert_int_equal(page_set_count(h.set), RIG_PAGES - 1 - PREFETCH_MIN);
	half_close(&h);
}

/* Each page goes once: one that has gone is on its way already. */
static void a_page_that_has_gone_does_not_go_again(void **state)
{
	const uint64_t gone = 3, number = 100;
	struct half h;

	open_priority(&h);
	for (uint64_t i = gone; i <= gone + PREFETCH_MIN; i++)
		page_set_remove(h.set, i);
	streams_out_request(h.out, &gone, 1);
	streams_out_request(h.out, &number, 1);
	hear_pages(&h, number, 1);
	half_close(&h);
}

/* Behind the end of a chunk is another ring's. */
static void pages_ahead_end_with_their_chunk(void **state)
{
	const uint64_t number = HALF_CHUNK_PAGES - 2;
	struct half h;

	open_priority(&h);
	streams_out_request(h.out, &number, 1);
	hear_pages(&h, number, 1);
	hear_pages(&h, number + 1, 1);
	half_close(&h);
}

/* The helper insists that a batch is of one ring: that of the oldest request goes first. */
static void requests_go_ring_by_ring_in_order_of_arrival(void **state)
{
	const uint64_t late[] = { HALF_CHUNK_PAGES + 16, 16, HALF_CHUNK_PAGES + 17, 17 };
	const uint64_t early[] = { 32, HALF_CHUNK_PAGES + 32, 33, HALF_CHUNK_PAGES + 33 };
	struct half h;

	open_priority(&h);
	streams_out_request(h.out, late, 4);
	hear_pages(&h, HALF_CHUNK_PAGES + 16, 2);
	hear_pages(&h, 16, 2);
	half_close(&h);
	open_priority(&h);
	streams_out_request(h.out, early, 4);
	hear_pages(&h, 32, 2);
	hear_pages(&h, HALF_CHUNK_PAGES + 32, 2);
	half_close(&h);
}

/* One frame of them may overtake an older request, no more. */
static void many_requests_of_one_ring_do_not_starve_another(void **state)
{
	enum { MANY = 2 * SEVMIRROR_BATCH_MAX + 6 };
	uint64_t numbers[MANY + 1] = { 0, HALF_CHUNK_PAGES };
	struct half h;

	for (unsigned int i = 1; i < MANY; i++)
		numbers[i + 1] = i;
	open_priority(&h);
	streams_out_request(h.out, numbers, MANY + 1);
	hear_pages(&h, 0, SEVMIRROR_BATCH_MAX);
	hear_pages(&h, HALF_CHUNK_PAGES, 1);
	hear_pages(&h, SEVMIRROR_BATCH_MAX, SEVMIRROR_BATCH_MAX);
	hear_pages(&h, 2 * SEVMIRROR_BATCH_MAX, 6);
	half_close(&h);
}

static void a_dead_helper_ends_all_streams(void **state)
{
	const uint64_t number = 16;
	const uint8_t dies = 1;
	uint64_t frames[WIRE_MAX_STREAMS];
	struct half h;

	half_open(&h, true, WIRE_F_POSTCOPY);
	h.rig.answers = &dies;
	h.rig.nanswers = 1;
	half_open_streams_out(&h);
	page_set_add(h.set, number);
	streams_out_request(h.out, &number, 1);
	while (page_set_has(h.set, number))
		sched_yield();
	assert_int_equal(streams_out_wait(h.out, HALF_PATIENCE_MS, frames), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_HELPER,
			"priority stream: the helper did not finish a request");
	half_close(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_goes_with_those_behind_it),
		cmocka_unit_test(a_page_that_has_gone_does_not_go_again),
		cmocka_unit_test(pages_ahead_end_with_their_chunk),
		cmocka_unit_test(requests_go_ring_by_ring_in_order_of_arrival),
		cmocka_unit_test(many_requests_of_one_ring_do_not_starve_another),
		cmocka_unit_test(a_dead_helper_ends_all_streams),
	};

	return cmocka_run_group_tests_name("migrate_priority_out", tests, NULL, NULL);
}
