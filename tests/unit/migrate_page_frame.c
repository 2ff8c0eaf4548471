/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of pages: only what the other host sealed, in its order and on its stream, is opened. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/channel_pair.h"
#include "tests/unit/cmocka_all.h"

#include "lib/migrate/page_frame.h"

#define PATIENCE 60000

#define DIRECTORY 100

struct stream {
	struct frame_cipher *out, *in;
	struct wire_frame header;
	uint8_t directory[DIRECTORY + FRAME_TAG_BYTES];
};

static void stream_init(struct stream *s, struct channel_pair *p, uint32_t number)
{
	static const uint8_t session[16] = "0123456789abcdef";

	memset(s, 0, sizeof(*s));
	assert_int_equal(frame_cipher_create(&s->out, p->source, session, number), 0);
	assert_int_equal(frame_cipher_create(&s->in, p->target, session, number), 0);
}

static void stream_seal(struct stream *s)
{
	memset(s->directory, 'd', DIRECTORY);
	s->header = (struct wire_frame){ .type = WIRE_FRAME_PRIVATE,
					 .records = 2,
					 .payload_bytes = 8192 };
	assert_int_equal(frame_seal(s->out, &s->header, s->directory, DIRECTORY), 0);
	assert_memory_not_equal(s->directory, "dddddddddddddddd", 16);
}

static int stream_open(struct stream *s)
{
	uint8_t copy[sizeof(s->directory)];
	struct why why = { "" };
	size_t len = 0;
	int err;

	memcpy(copy, s->directory, sizeof(copy));
	err = frame_open(s->in, &s->header, copy, &len, &why);
	assert_int_equal(err == 0, why.text[0] == '\0');
	if (!err) {
		assert_int_equal(len, DIRECTORY);
		for (int i = 0; i < DIRECTORY; i++)
			assert_int_equal(copy[i], 'd');
	}
	return err;
}

static void stream_done(struct stream *s)
{
	frame_cipher_destroy(s->in);
	frame_cipher_destroy(s->out);
}

static void test_frames(void **state)
{
	struct stream s, other;

	stream_init(&s, *state, 0);
	stream_init(&other, *state, 1);
	stream_seal(&s);
	assert_int_equal(stream_open(&s), 0);
	assert_int_equal(stream_open(&s), -EPROTO); /* replayed */
	stream_seal(&s);
	for (size_t i = 0; i < sizeof(s.directory); i++) {
		s.directory[i] ^= 0x10;
		assert_int_equal(stream_open(&s), -EBADMSG);
		s.directory[i] ^= 0x10;
	}
	s.header.records++;
	assert_int_equal(stream_open(&s), -EBADMSG);
	s.header.records--;
	s.header.payload_bytes -= 4096;
	assert_int_equal(stream_open(&s), -EBADMSG);
	s.header.payload_bytes += 4096;
	s.header.type = WIRE_FRAME_SHARED;
	assert_int_equal(stream_open(&s), -EBADMSG);
	s.header.type = WIRE_FRAME_PRIVATE;
	other.header = s.header; /* swapped between streams: same session, another key */
	memcpy(other.directory, s.directory, sizeof(s.directory));
	other.header.sequence = 0;
	assert_int_equal(stream_open(&other), -EBADMSG);
	assert_int_equal(stream_open(&s), 0);
	stream_seal(&s);
	stream_seal(&s); /* the one before is dropped */
	assert_int_equal(stream_open(&s), -EPROTO);
	assert_int_equal(frame_count(s.in), 2);
	stream_done(&s);
	stream_done(&other);
}

static void test_hello(void **state)
{
	struct wire_stream_hello hello, bad;
	struct stream s, other;
	struct why why;

	stream_init(&s, *state, 0);
	stream_init(&other, *state, 1);
	assert_int_equal(frame_make_hello(s.out, &hello), 0);
	assert_int_equal(frame_check_hello(s.in, &hello, &why), 0);
	assert_int_equal(frame_check_hello(other.in, &hello, &why), -EPERM);
	for (size_t i = 0; i < sizeof(hello); i++) {
		bad = hello;
		((uint8_t *)&bad)[i] ^= 1;
		assert_int_equal(frame_check_hello(s.in, &bad, &why), -EPERM);
	}
	stream_done(&s);
	stream_done(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_frames, channel_pair_setup,
						channel_pair_teardown),
		cmocka_unit_test_setup_teardown(test_hello, channel_pair_setup,
						channel_pair_teardown),
	};

	return cmocka_run_group_tests_name("migrate_page_frame", tests, NULL, NULL);
}
