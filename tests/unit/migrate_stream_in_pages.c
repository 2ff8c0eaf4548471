/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes by a data stream: a frame whose seal is right may still say anything. What is refused
 * leaves the guest's memory as it was.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"

#include "tests/fuzz/rig_frames.h"
#include "tests/unit/migrate_half.h"

#define PAGE  SEVMIRROR_PAGE_BYTES
#define GFN   20
#define OTHER HALF_CHUNK_PAGES /* a page of stream 1 */

static _Alignas(8) uint8_t directory[RECORD_SHARED_BYTES];
static uint8_t payload[WIRE_MAX_PAYLOAD_BYTES];

/* The frame is sent on the stream, and the target gives up because of it, with these words. */
static void refused_on(unsigned int stream, struct wire_frame header, size_t len, const char *words)
{
	const uint64_t frames[WIRE_MAX_STREAMS] = { 1, 1 };
	struct half h;

	half_open(&h, false, 0);
	half_open_streams_in(&h);
	if (stream == 0)
		half_say_shared(&h, 1, OTHER + 1, 1, 1); /* the other one is all right */
	half_say_frame(&h, stream, &header, directory, len, payload);
	assert_int_equal(streams_in_wait(h.in, frames), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PROTOCOL, words);
	for (size_t i = 0; i < OTHER * PAGE; i++)
		assert_int_equal(rig_ram()[i], 0);
	half_close(&h);
}

static void refused(struct wire_frame header, size_t len, const char *words)
{
	refused_on(0, header, len, words);
}

static void set_gpa(unsigned int record, uint64_t gpa)
{
	((struct sevmirror_batch *)directory)->record[record].gpa = gpa;
}

static void private_frames_that_do_not_fit_are_refused(void **state)
{
	struct wire_frame header;
	size_t len;

	memset(payload, 'x', sizeof(payload));
	len = rig_private_directory(&header, directory, GFN, 2, HELPER_PAGE);
	refused(header, len - 1, "a directory of a wrong size");
	len = rig_private_directory(&header, directory, GFN, 2, HELPER_PAGE);
	header.records = 3;
	refused(header, len, "a directory of a wrong size");
	len = rig_private_directory(&header, directory, GFN, 2, HELPER_PAGE);
	header.payload_bytes -= PAGE;
	refused(header, len, "a payload that does not match its directory");
	len = rig_private_directory(&header, directory, GFN, 2, HELPER_ZERO);
	header.payload_bytes = PAGE;
	refused(header, len, "a payload that does not match its directory");
	len = rig_private_directory(&header, directory, GFN, 2, HELPER_PAGE);
	set_gpa(1, RIG_RAM_BYTES);
	refused(header, len, "a page that is not the guest's memory");
	len = rig_private_directory(&header, directory, GFN, 2, HELPER_PAGE);
	set_gpa(1, UINT64_MAX);
	refused(header, len, "a page that is not the guest's memory");
	len = rig_private_directory(&header, directory, GFN, 2, HELPER_PAGE);
	set_gpa(0, OTHER * PAGE);
	refused(header, len, "or another stream's");
	len = rig_private_directory(&header, directory, GFN, 2, HELPER_PAGE);
	((struct sevmirror_batch *)directory)->count = 1;
	refused(header, len, "a directory of a wrong size");
}

/* The source is the one to blame, and not the helper, which is not asked. */
static void records_of_another_kind_are_refused(void **state)
{
	struct wire_frame header;
	size_t len;

	for (uint16_t kind = 0; kind < 8; kind++) {
		if (kind == HELPER_PAGE || kind == HELPER_ZERO)
			continue;
		len = rig_private_directory(&header, directory, GFN, 2, HELPER_ZERO);
		((struct sevmirror_batch *)directory)->record[1].kind = kind;
		refused(header, len, "a record of an unknown kind");
	}
	len = rig_private_directory(&header, directory, GFN, 2, HELPER_PAGE);
	((struct sevmirror_batch *)directory)->reserved = 1;
	refused(header, len, "a directory with reserved bits set");
}

static void shared_frames_that_do_not_fit_are_refused(void **state)
{
	struct wire_frame header;
	size_t len;

	len = rig_shared_directory(&header, directory, GFN, 2, 'x');
	refused(header, len - 1, "a frame of shared pages of a wrong size");
	len = rig_shared_directory(&header, directory, GFN, 2, 'x');
	header.payload_bytes = PAGE;
	refused(header, len, "a frame of shared pages of a wrong size");
	len = rig_shared_directory(&header, directory, OTHER, 1, 'x');
	refused(header, len, "a shared page of another stream");
	len = rig_shared_directory(&header, directory, RIG_PAGES, 1, 'x');
	refused(header, len, "a shared page of another stream");
	len = rig_shared_directory(&header, directory, GFN, 1, 'x');
	directory[0] |= 1; /* the page of an odd address */
	refused(header, len, "a shared page of another stream");
}

/* A target whose helper gives this answer to each batch (tests/fuzz/migrate_rig.h). */
static void open_with(struct half *h, const uint8_t *answer)
{
	half_open(h, false, 0);
	h->rig.answers = answer;
	h->rig.nanswers = 1;
	half_open_streams_in(h);
}

/* The helper's word is the reason, by the page that it refused. */
static void the_page_that_the_helper_refuses_is_named(void **state)
{
	const uint64_t frames[WIRE_MAX_STREAMS] = { 1 };
	const uint8_t second = 5; /* the rig: record 5 % 4 gets status 5 */
	struct half h;

	open_with(&h, &second);
	half_say_private(&h, 0, GFN, 4, HELPER_PAGE, 3);
	assert_int_equal(streams_in_wait(h.in, frames), -EBADMSG);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_HELPER,
			"stream 0: the helper refused the page at 0x15000");
	assert_int_equal(rig_ram()[GFN * PAGE], 3);
	assert_int_equal(rig_ram()[(GFN + 1) * PAGE], 0);
	half_close(&h);
}

/* A record that is older than what is there is no failure before post-copy. */
static void stale_pages_are_counted(void **state)
{
	const uint64_t frames[WIRE_MAX_STREAMS] = { 1 };
	const uint8_t stale = HELPER_STALE;
	struct half h;

	open_with(&h, &stale);
	half_say_private(&h, 0, GFN, 16, HELPER_PAGE, 3);
	assert_int_equal(streams_in_wait(h.in, frames), 0);
	assert_int_equal(streams_in_count(h.in).stale, 1);
	half_close(&h);
}

static void a_dead_helper_is_the_reason(void **state)
{
	const uint64_t frames[WIRE_MAX_STREAMS] = { 1 };
	const uint8_t dies = 1;
	struct half h;

	open_with(&h, &dies);
	half_say_private(&h, 0, GFN, 1, HELPER_PAGE, 3);
	assert_int_equal(streams_in_wait(h.in, frames), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_HELPER,
			"stream 0: the helper did not finish a request");
	half_close(&h);
}

static void the_priority_stream_is_silent_before_post_copy(void **state)
{
	struct half h;
	struct why why;
	struct pollfd p = { .events = POLLIN };

	half_open(&h, false, WIRE_F_POSTCOPY);
	half_open_streams_in(&h);
	p.fd = streams_in_failed_fd(h.in);
	half_say_private(&h, WIRE_PRIORITY_STREAM, GFN, 1, HELPER_PAGE, 3);
	assert_int_equal(poll(&p, 1, HALF_PATIENCE_MS), 1);
	assert_int_equal(streams_in_error(h.in, &why), -EPROTO);
	half_assert_why(&why, SEVMIRROR_REASON_PROTOCOL,
			"priority stream: the source sent pages before post-copy began");
	assert_int_equal(rig_ram()[GFN * PAGE], 0);
	half_close(&h);
}

/* More batches than the helper has room for: each waits for the oldest. */
static void many_batches_follow_one_another(void **state)
{
	const uint64_t frames[WIRE_MAX_STREAMS] = { 3 * RECORD_DEPTH };
	struct half h;

	half_open(&h, false, 0);
	half_open_streams_in(&h);
	for (unsigned int i = 0; i < 3 * RECORD_DEPTH; i++)
		half_say_private(&h, 0, i, 1, HELPER_PAGE, (uint8_t)(i + 1));
	assert_int_equal(streams_in_wait(h.in, frames), 0);
	for (unsigned int i = 0; i < 3 * RECORD_DEPTH; i++)
		assert_int_equal(rig_ram()[i * PAGE + 7], i + 1);
	half_close(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(private_frames_that_do_not_fit_are_refused),
		cmocka_unit_test(records_of_another_kind_are_refused),
		cmocka_unit_test(shared_frames_that_do_not_fit_are_refused),
		cmocka_unit_test(the_page_that_the_helper_refuses_is_named),
		cmocka_unit_test(stale_pages_are_counted),
		cmocka_unit_test(a_dead_helper_is_the_reason),
		cmocka_unit_test(the_priority_stream_is_silent_before_post_copy),
		cmocka_unit_test(many_batches_follow_one_another),
	};

	return cmocka_run_group_tests_name("migrate_stream_in_pages", tests, NULL, NULL);
}
