/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control messages and frames of pages: what goes out comes in, and every way of breaking the rules
 * is refused by name.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/message.h"
#include "lib/migrate/page_frame.h"

#define PATIENCE 5000

struct pair {
	struct channel *a, *b;
};

static int setup(void **state)
{
	static const struct channel_security bare = { .insecure = true };
	struct pair *p = calloc(1, sizeof(*p));
	struct why why;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(channel_open(&p->a, fds[0], false, &bare, PATIENCE, &why), 0);
	assert_int_equal(channel_open(&p->b, fds[1], true, &bare, PATIENCE, &why), 0);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	channel_close(p->a);
	channel_close(p->b);
	free(p);
	return 0;
}

static void test_messages(void **state)
{
	struct pair *p = *state;
	struct wire_round out = { .round = 3, .streams = 2, .frames = { 7, 9 } }, in;
	struct message_part parts[] = { { "ab", 2 }, { "", 0 }, { "cde", 3 } };
	struct why why;
	void *body;
	size_t len;

	assert_int_equal(message_send_one(p->a, WIRE_ROUND, &out, sizeof(out), PATIENCE), 0);
	assert_int_equal(
		message_recv(p->b, WIRE_ROUND, &in, sizeof(in), sizeof(in), NULL, PATIENCE, &why),
		0);
	assert_memory_equal(&in, &out, sizeof(in));
	assert_int_equal(message_send(p->a, WIRE_CONFIG, parts, 3, PATIENCE), 0);
	assert_int_equal(message_recv_alloc(p->b, WIRE_CONFIG, &body, &len, PATIENCE, &why), 0);
	assert_int_equal(len, 5);
	assert_memory_equal(body, "abcde", 5);
	free(body);
	assert_int_equal(message_send_one(p->b, WIRE_READY, NULL, 0, PATIENCE), 0);
	assert_int_equal(message_recv_alloc(p->a, WIRE_READY, &body, &len, PATIENCE, &why), 0);
	assert_int_equal(len, 0);
	free(body);
	assert_int_equal(message_send_one(p->a, WIRE_READY, "x", 1, PATIENCE), -EMSGSIZE);
}

/* Send a header as it stands and see what the other side says of it. */
static void assert_header_refused(struct pair *p, struct wire_header header, const char *word)
{
	struct why why;
	void *body;
	size_t len;

	assert_int_equal(channel_send(p->a, &header, sizeof(header), PATIENCE), 0);
	assert_int_equal(message_recv_alloc(p->b, WIRE_CONFIG, &body, &len, PATIENCE, &why),
			 -EPROTO);
	assert_null(body);
	if (!strstr(why.text, word))
		fail_msg("'%s' does not say '%s'", why.text, word);
}

static void test_bad_headers(void **state)
{
	struct wire_header good = { .magic = WIRE_MAGIC, .type = WIRE_CONFIG, .bytes = 1 }, h;

	h = good;
	h.magic ^= 1;
	assert_header_refused(*state, h, "not a sevmirror");
	h = good;
	h.type = 0;
	assert_header_refused(*state, h, "unknown");
	h.type = WIRE_TYPES;
	assert_header_refused(*state, h, "unknown");
	h.type = 0xffff;
	assert_header_refused(*state, h, "unknown");
	h = good;
	h.reserved = 1;
	assert_header_refused(*state, h, "reserved");
	h = good;
	h.bytes = WIRE_MAX_SECTION + 1;
	assert_header_refused(*state, h, "at most");
	h = good;
	h.type = WIRE_READY;
	h.bytes = 0;
	assert_header_refused(*state, h, "(READY) instead of");
}

static void test_wrong_length_and_hang_up(void **state)
{
	struct pair *p = *state;
	struct wire_header cut = { .magic = WIRE_MAGIC, .type = WIRE_CONFIG, .bytes = 100 };
	struct wire_round round;
	struct why why;
	void *body;
	size_t len;

	assert_int_equal(message_send_one(p->a, WIRE_ROUND, "short", 5, PATIENCE), 0);
	assert_int_equal(message_recv(p->b, WIRE_ROUND, &round, sizeof(round), sizeof(round), NULL,
				      PATIENCE, &why),
			 -EPROTO);
	assert_non_null(strstr(why.text, "5 bytes"));
	assert_int_equal(channel_recv(p->b, &why.text, 5, PATIENCE), 0);
	assert_int_equal(channel_send(p->a, &cut, sizeof(cut), PATIENCE), 0);
	channel_close(p->a);
	p->a = NULL;
	assert_int_equal(message_recv_alloc(p->b, WIRE_CONFIG, &body, &len, PATIENCE, &why),
			 -ECONNRESET);
	assert_non_null(strstr(why.text, "closed the connection"));
}

static void test_abort_has_words(void **state)
{
	struct pair *p = *state;
	struct why why;
	void *body;
	size_t len;

	channel_cancel(p->a);
	message_abort(p->a, "no \x1b[31mmemory");
	assert_int_equal(message_recv_alloc(p->b, WIRE_CONFIG, &body, &len, PATIENCE, &why),
			 MESSAGE_PEER_ABORTED);
	assert_string_equal(why.text, "the source gave up: no ?[31mmemory");
	assert_int_equal(why.reason, SEVMIRROR_REASON_PEER);
}

static void *cancel_soon(void *channel)
{
	usleep(20000);
	channel_cancel(channel);
	return NULL;
}

/*
 * A message that was begun is finished, unless the peer does not take it; then an ABORT behind it
 * would be read as a part of it.
 */
static void test_no_abort_within_a_message(void **state)
{
	const size_t much = 8 << 20; /* more than a socket holds */
	struct pair *p = *state;
	pthread_t thread;
	struct why why;
	char *body = calloc(1, much);
	void *got;
	size_t len;

	assert_int_equal(pthread_create(&thread, NULL, cancel_soon, p->a), 0);
	assert_int_equal(message_send_one(p->a, WIRE_STATE, body, much, PATIENCE), -ECANCELED);
	pthread_join(thread, NULL);
	assert_int_equal(channel_send(p->a, "x", 1, PATIENCE), -ECANCELED);
	message_abort(p->a, "no more");
	assert_int_equal(message_recv_alloc(p->b, WIRE_STATE, &got, &len, PATIENCE, &why),
			 -ECONNRESET);
	free(body);

	channel_cancel(p->b);
	assert_int_equal(channel_send(p->b, "x", 1, PATIENCE), -ECANCELED);
	assert_int_equal(channel_send_rest(p->b, "x", 1, PATIENCE), 0);
}

#define DIRECTORY 100

struct stream {
	struct frame_cipher *out, *in;
	struct wire_frame header;
	uint8_t directory[DIRECTORY + FRAME_TAG_BYTES];
};

static void stream_init(struct stream *s, struct pair *p, uint32_t number)
{
	static const uint8_t session[16] = "0123456789abcdef";

	memset(s, 0, sizeof(*s));
	assert_int_equal(frame_cipher_create(&s->out, p->a, session, number), 0);
	assert_int_equal(frame_cipher_create(&s->in, p->b, session, number), 0);
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

static void test_frame_headers(void **state)
{
	const struct wire_frame good = { .magic = WIRE_MAGIC,
					 .type = 1,
					 .records = 1,
					 .directory_bytes = 32,
					 .payload_bytes = 0 };
	struct wire_frame h;
	struct why why;

	assert_int_equal(wire_check_frame(&good, 0, &why), 0);
#define REFUSED(field, value)                                             \
	do {                                                              \
		h = good;                                                 \
		h.field = value;                                          \
		assert_int_equal(wire_check_frame(&h, 0, &why), -EPROTO); \
	} while (0)
	REFUSED(magic, 0);
	REFUSED(type, 0);
	REFUSED(type, WIRE_FRAME_TYPES);
	REFUSED(records, 0);
	REFUSED(records, WIRE_MAX_RECORDS + 1);
	REFUSED(directory_bytes, 0xffffffff);
	REFUSED(payload_bytes, WIRE_MAX_PAYLOAD_BYTES + 1);
	REFUSED(sequence, 1);
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

static void *sendv_thread(void *arg)
{
	struct pair *p = arg;
	struct iovec iov[1500];
	static uint8_t bytes[1500 * 37];

	for (int i = 0; i < 1500; i++) {
		memset(bytes + i * 37, i, 37);
		iov[i] = (struct iovec){ bytes + i * 37, i % 37 };
	}
	return (void *)(intptr_t)channel_sendv(p->a, iov, 1500, PATIENCE);
}

/* More buffers than one system call takes, empty ones among them. */
static void test_scattered(void **state)
{
	struct pair *p = *state;
	pthread_t thread;
	uint8_t buf[64];
	void *err;

	assert_int_equal(pthread_create(&thread, NULL, sendv_thread, p), 0);
	for (int i = 0; i < 1500; i++) {
		assert_int_equal(channel_recv(p->b, buf, i % 37, PATIENCE), 0);
		for (int j = 0; j < i % 37; j++)
			assert_int_equal(buf[j], i & 0xff);
	}
	pthread_join(thread, &err);
	assert_null(err);
}

static void test_every_type_has_a_name(void **state)
{
	bool known;

	for (unsigned int t = 1; t < WIRE_TYPES; t++) {
		wire_limit((uint16_t)t, &known);
		assert_true(known);
		assert_string_not_equal(wire_type_name((uint16_t)t), "unknown");
	}
	wire_limit(0, &known);
	assert_false(known);
	assert_string_equal(wire_type_name(WIRE_TYPES), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_messages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_headers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_length_and_hang_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_abort_has_words, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_abort_within_a_message, setup, teardown),
		cmocka_unit_test_setup_teardown(test_scattered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_frames, setup, teardown),
		cmocka_unit_test_setup_teardown(test_frame_headers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hello, setup, teardown),
		cmocka_unit_test(test_every_type_has_a_name),
	};

	return cmocka_run_group_tests_name("migrate_wire", tests, NULL, NULL);
}
