/* SPDX-License-Identifier: Apache-2.0 */
/* The source's data streams: every page of the set once, on its stream, as it is in the guest. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <linux/kvm_para.h>

#include <sevmirror/pagemap.h>

#include "tests/unit/cmocka_all.h"
#include "lib/migrate/record.h"
#include "tests/unit/migrate_half.h"

#define PAGE SEVMIRROR_PAGE_BYTES

/* The rig's helper seals each 16th page as it is, the others as zeros. */
static void fill_ram(void)
{
	for (uint64_t gfn = 0; gfn < RIG_PAGES; gfn++)
		memset(rig_ram() + gfn * PAGE, (int)(gfn / 16 + 1), PAGE);
}

static bool seen[RIG_PAGES];

/* A private frame's pages: each once, of the stream's chunks, with its content. */
static unsigned int take_private(const struct half_frame *f, unsigned int stream)
{
	const struct sevmirror_batch *batch = (const void *)f->directory;
	uint32_t body = 0;

	assert_int_equal(batch->count, f->header.records);
	for (unsigned int i = 0; i < f->header.records; i++) {
		struct sevmirror_page_record r = batch->record[i];
		uint64_t gfn = r.gpa / PAGE;

		assert_in_range(gfn, 0, RIG_PAGES - 1);
		assert_int_equal(helper_ring_of(gfn, RIG_STREAMS), stream);
		assert_false(seen[gfn]);
		seen[gfn] = true;
		assert_int_equal(r.kind, gfn % 16 ? HELPER_ZERO : HELPER_PAGE);
		if (r.kind != HELPER_PAGE)
			continue;
		assert_int_equal(f->payload[body + 99], (uint8_t)(gfn / 16 + 1));
		body += PAGE;
	}
	assert_int_equal(body, f->header.payload_bytes);
	return f->header.records;
}

static void every_page_goes_once_on_its_stream(void **state)
{
	static struct half_frame frame;
	uint64_t frames[WIRE_MAX_STREAMS], heard[RIG_STREAMS] = { 0 };
	const unsigned int pages[RIG_STREAMS] = { 2 * HALF_CHUNK_PAGES, HALF_CHUNK_PAGES };
	struct half h;

	half_open(&h, true, 0);
	fill_ram();
	memset(seen, 0, sizeof(seen));
	half_open_streams_out(&h);
	page_set_fill(h.set);
	streams_out_begin(h.out, false);
	for (unsigned int s = 0; s < RIG_STREAMS; s++)
		for (unsigned int n = 0; n < pages[s]; heard[s]++) {
			half_hear_frame(&h, s, &frame);
			assert_int_equal(frame.header.type, WIRE_FRAME_PRIVATE);
			n += take_private(&frame, s);
		}
	assert_int_equal(streams_out_wait(h.out, HALF_PATIENCE_MS, frames), 0);
	assert_int_equal(frames[0], heard[0]);
	assert_int_equal(frames[1], heard[1]);
	assert_int_equal(page_set_count(h.set), 0);
	assert_int_equal(streams_out_count(h.out).pages, RIG_PAGES);
	assert_in_range(streams_out_count(h.out).bytes, RIG_PAGES / 16 * PAGE, RIG_RAM_BYTES);
	half_close(&h);
}

/* The VMM reads those itself, whatever the helper has. */
static void shared_pages_go_in_the_directory(void **state)
{
	static struct half_frame frame;
	const uint64_t args[3] = { 5 * PAGE, 3, KVM_MAP_GPA_RANGE_DECRYPTED };
	uint64_t frames[WIRE_MAX_STREAMS], gpa;
	struct half h;

	half_open(&h, true, 0);
	assert_int_equal(sev_pagemap_create(&h.m.vm.pagemap, RIG_PAGES), 0);
	assert_int_equal(sev_pagemap_hypercall(h.m.vm.pagemap, args), 0);
	memset(rig_ram() + 5 * PAGE, 0x55, 3 * PAGE);
	half_open_streams_out(&h);
	for (uint64_t i = 5; i < 8; i++)
		page_set_add(h.set, i);
	streams_out_begin(h.out, false);
	half_hear_frame(&h, 0, &frame);
	assert_int_equal(frame.header.type, WIRE_FRAME_SHARED);
	assert_int_equal(frame.header.records, 3);
	assert_int_equal(frame.header.payload_bytes, 0);
	memcpy(&gpa, frame.directory + 2 * sizeof(gpa), sizeof(gpa));
	assert_int_equal(gpa, 7 * PAGE);
	for (size_t i = 0; i < 3 * PAGE; i++)
		assert_int_equal(frame.directory[3 * sizeof(gpa) + i], 0x55);
	assert_int_equal(streams_out_wait(h.out, HALF_PATIENCE_MS, frames), 0);
	half_close(&h);
	sev_pagemap_destroy(h.m.vm.pagemap);
}

/* Frames in the background are smaller while a page is waited for: here is none. */
static void a_request_for_no_page_presses_nobody(void **state)
{
	static struct half_frame frame;
	struct half h;

	half_open(&h, true, WIRE_F_POSTCOPY);
	half_open_streams_out(&h);
	page_set_fill(h.set);
	streams_out_request(h.out, NULL, 0);
	streams_out_begin(h.out, true);
	half_hear_frame(&h, 0, &frame);
	assert_int_equal(frame.header.records, SEVMIRROR_BATCH_MAX);
	streams_out_cancel(h.out);
	half_close(&h);
}

/* The guest may wait for it: in post-copy it does not stay here until 63 others have been found. */
static void a_shared_page_does_not_wait_for_a_full_frame_in_postcopy(void **state)
{
	static struct half_frame frame;
	const uint64_t args[3] = { 5 * PAGE, 1, KVM_MAP_GPA_RANGE_DECRYPTED };
	struct half h;

	half_open(&h, true, WIRE_F_POSTCOPY);
	assert_int_equal(sev_pagemap_create(&h.m.vm.pagemap, RIG_PAGES), 0);
	assert_int_equal(sev_pagemap_hypercall(h.m.vm.pagemap, args), 0);
	half_open_streams_out(&h);
	page_set_fill(h.set);
	streams_out_begin(h.out, true);
	half_hear_frame(&h, 0, &frame);
	assert_int_equal(frame.header.type, WIRE_FRAME_PRIVATE);
	assert_int_equal(frame.header.records, SEVMIRROR_BATCH_MAX - 1);
	half_hear_frame(&h, 0, &frame);
	assert_int_equal(frame.header.type, WIRE_FRAME_SHARED);
	assert_int_equal(frame.header.records, 1);
	streams_out_cancel(h.out);
	half_close(&h);
	sev_pagemap_destroy(h.m.vm.pagemap);
}

static void an_empty_round_ends_at_once(void **state)
{
	uint64_t frames[WIRE_MAX_STREAMS];
	struct pollfd p = { .events = POLLIN };
	struct half h;

	half_open(&h, true, 0);
	half_open_streams_out(&h);
	p.fd = streams_out_fd(h.out);
	assert_int_equal(poll(&p, 1, 0), 0);
	for (unsigned int round = 0; round < 3; round++) {
		streams_out_begin(h.out, false);
		assert_int_equal(streams_out_wait(h.out, HALF_PATIENCE_MS, frames), 0);
		assert_int_equal(poll(&p, 1, HALF_PATIENCE_MS), 1);
		assert_int_equal(frames[0] + frames[1], 0);
	}
	half_close(&h);
}

/* A helper that fails in each of its ways is named, with the stream. */
static void the_helper_s_failures_end_the_round(void **state)
{
	static const struct {
		uint8_t answer; /* the rig's */
		int err;
		const char *words;
	} cases[] = { { 1, -EPROTO, "the helper did not finish a request" },
		      { 2, -EIO, "the helper did not seal the pages of a request" },
		      { 3, -EIO, "the helper did not seal the pages of a request" },
		      { 4, -EIO, "the helper did not seal the pages of a request" },
		      { 9, -EIO, "the helper refused to seal a page" } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t frames[WIRE_MAX_STREAMS];
		struct half h;

		half_open(&h, true, 0);
		h.rig.answers = &cases[i].answer;
		h.rig.nanswers = 1;
		half_open_streams_out(&h);
		page_set_add(h.set, HALF_CHUNK_PAGES);
		streams_out_begin(h.out, false);
		assert_int_equal(streams_out_wait(h.out, HALF_PATIENCE_MS, frames), cases[i].err);
		half_assert_why(&h.m.why, SEVMIRROR_REASON_HELPER, cases[i].words);
		assert_non_null(strstr(h.m.why.text, "stream 1: "));
		half_close(&h);
	}
}

static void a_connection_that_ends_is_the_reason(void **state)
{
	uint64_t frames[WIRE_MAX_STREAMS];
	struct half h;

	half_open(&h, true, 0);
	half_open_streams_out(&h);
	page_set_fill(h.set);
	channel_close(h.stream[1]);
	h.stream[1] = NULL;
	streams_out_begin(h.out, false);
	assert_true(streams_out_wait(h.out, HALF_PATIENCE_MS, frames) < 0);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_CONNECTION,
			"stream 1: the source cannot send pages");
	half_close(&h);
}

/* At so low a limit the first batch has to be slept off for minutes; cancelling ends that. */
static void a_round_under_a_limit_is_cancelled(void **state)
{
	uint64_t frames[WIRE_MAX_STREAMS];
	struct half h;

	half_open(&h, true, 0);
	half_open_streams_out(&h);
	streams_out_limit(h.out, 64);
	page_set_fill(h.set);
	streams_out_begin(h.out, false);
	assert_int_equal(streams_out_wait(h.out, 50, frames), -EINPROGRESS);
	streams_out_cancel(h.out);
	assert_int_equal(streams_out_wait(h.out, HALF_PATIENCE_MS, frames), -ECANCELED);
	assert_true(page_set_count(h.set) > 0);
	half_close(&h);
}

static void nobody_listens(void **state)
{
	struct half h;

	half_open(&h, true, 0);
	h.m.source.address = "127.0.0.1:1";
	assert_true(streams_out_create(&h.out, &h.m, h.set) < 0);
	assert_null(h.out);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_CONNECTION, "127.0.0.1:1");
	half_close(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_page_goes_once_on_its_stream),
		cmocka_unit_test(shared_pages_go_in_the_directory),
		cmocka_unit_test(a_request_for_no_page_presses_nobody),
		cmocka_unit_test(a_shared_page_does_not_wait_for_a_full_frame_in_postcopy),
		cmocka_unit_test(an_empty_round_ends_at_once),
		cmocka_unit_test(the_helper_s_failures_end_the_round),
		cmocka_unit_test(a_connection_that_ends_is_the_reason),
		cmocka_unit_test(a_round_under_a_limit_is_cancelled),
		cmocka_unit_test(nobody_listens),
	};

	return cmocka_run_group_tests_name("migrate_stream_out", tests, NULL, NULL);
}
