/* SPDX-License-Identifier: Apache-2.0 */
/* Control messages: what goes out comes in, and every way of breaking the rules is refused by name.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/channel_pair.h"
#include "tests/unit/cmocka_all.h"

#include "lib/migrate/message.h"

#define PATIENCE 60000

static void test_messages(void **state)
{
	struct channel_pair *p = *state;
	struct wire_round out = { .round = 3, .streams = 2, .frames = { 7, 9 } }, in;
	struct message_part parts[] = { { "ab", 2 }, { "", 0 }, { "cde", 3 } };
	struct why why;
	void *body;
	size_t len;

	assert_int_equal(message_send_one(p->source, WIRE_ROUND, &out, sizeof(out), PATIENCE), 0);
	assert_int_equal(message_recv(p->target, WIRE_ROUND, &in, sizeof(in), sizeof(in), NULL,
				      PATIENCE, &why),
			 0);
	assert_memory_equal(&in, &out, sizeof(in));
	assert_int_equal(message_send(p->source, WIRE_CONFIG, parts, 3, PATIENCE), 0);
	assert_int_equal(message_recv_alloc(p->target, WIRE_CONFIG, &body, &len, PATIENCE, &why),
			 0);
	assert_int_equal(len, 5);
	assert_memory_equal(body, "abcde", 5);
	free(body);
	assert_int_equal(message_send_one(p->target, WIRE_READY, NULL, 0, PATIENCE), 0);
	assert_int_equal(message_recv_alloc(p->source, WIRE_READY, &body, &len, PATIENCE, &why), 0);
	assert_int_equal(len, 0);
	free(body);
	assert_int_equal(message_send_one(p->source, WIRE_READY, "x", 1, PATIENCE), -EMSGSIZE);
}

/* Send a header as it stands and see what the other side says of it. */
static void assert_header_refused(struct channel_pair *p, struct wire_header header,
				  const char *word)
{
	struct why why;
	void *body;
	size_t len;

	assert_int_equal(channel_send(p->source, &header, sizeof(header), PATIENCE), 0);
	assert_int_equal(message_recv_alloc(p->target, WIRE_CONFIG, &body, &len, PATIENCE, &why),
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
	struct channel_pair *p = *state;
	struct wire_header cut = { .magic = WIRE_MAGIC, .type = WIRE_CONFIG, .bytes = 100 };
	struct wire_round round;
	struct why why;
	void *body;
	size_t len;

	assert_int_equal(message_send_one(p->source, WIRE_ROUND, "short", 5, PATIENCE), 0);
	assert_int_equal(message_recv(p->target, WIRE_ROUND, &round, sizeof(round), sizeof(round),
				      NULL, PATIENCE, &why),
			 -EPROTO);
	assert_non_null(strstr(why.text, "5 bytes"));
	assert_int_equal(channel_recv(p->target, &why.text, 5, PATIENCE), 0);
	assert_int_equal(channel_send(p->source, &cut, sizeof(cut), PATIENCE), 0);
	channel_close(p->source);
	p->source = NULL;
	assert_int_equal(message_recv_alloc(p->target, WIRE_CONFIG, &body, &len, PATIENCE, &why),
			 -ECONNRESET);
	assert_non_null(strstr(why.text, "closed the connection"));
}

static void test_abort_has_words(void **state)
{
	struct channel_pair *p = *state;
	struct why why;
	void *body;
	size_t len;

	channel_cancel(p->source);
	message_abort(p->source, "no \x1b[31mmemory");
	assert_int_equal(message_recv_alloc(p->target, WIRE_CONFIG, &body, &len, PATIENCE, &why),
			 MESSAGE_PEER_ABORTED);
	assert_string_equal(why.text, "the source gave up: no ?[31mmemory");
	assert_int_equal(why.reason, SEVMIRROR_REASON_PEER);
}

static void *cancel_once_begun(void *arg)
{
	struct channel_pair *p = arg;

	while (!channel_readable(p->target))
		sched_yield();
	channel_cancel(p->source);
	return NULL;
}

/*
 * A message that was begun is finished, unless the peer does not take it; then an ABORT behind it
 * would be read as a part of it.
 */
static void test_no_abort_within_a_message(void **state)
{
	const size_t much = 8 << 20; /* more than a socket holds */
	struct channel_pair *p = *state;
	pthread_t thread;
	struct why why;
	char *body = calloc(1, much);
	void *got;
	size_t len;

	assert_int_equal(pthread_create(&thread, NULL, cancel_once_begun, p), 0);
	assert_int_equal(message_send_one(p->source, WIRE_STATE, body, much, PATIENCE), -ECANCELED);
	pthread_join(thread, NULL);
	assert_int_equal(channel_send(p->source, "x", 1, PATIENCE), -ECANCELED);
	message_abort(p->source, "no more");
	assert_int_equal(message_recv_alloc(p->target, WIRE_STATE, &got, &len, PATIENCE, &why),
			 -ECONNRESET);
	free(body);

	channel_cancel(p->target);
	assert_int_equal(channel_send(p->target, "x", 1, PATIENCE), -ECANCELED);
	assert_int_equal(channel_send_rest(p->target, "x", 1, PATIENCE), 0);
}

#define LONG_BYTES (5u << 20)
#define NEEDLE	   0xa7

static unsigned int freed; /* buffers of a long body that had it in them */

void __real_free(void *p);
void __wrap_free(void *p);

void __wrap_free(void *p)
{
	if (p && malloc_usable_size(p) >= 1 << 20 && *(const uint8_t *)p == NEEDLE)
		freed++;
	__real_free(p);
}

static void *send_long(void *arg)
{
	struct channel_pair *p = arg;
	uint8_t *body = malloc(LONG_BYTES);

	memset(body, NEEDLE, LONG_BYTES);
	if (message_send_one(p->source, WIRE_STATE, body, LONG_BYTES, PATIENCE))
		channel_end_sending(p->source);
	explicit_bzero(body, LONG_BYTES);
	free(body);
	return NULL;
}

/* A guest's state, which comes in parts: none of them stays in the heap. */
static void test_a_long_body_leaves_no_copy(void **state)
{
	struct channel_pair *p = *state;
	pthread_t thread;
	uint8_t *body;
	size_t len;

	freed = 0;
	assert_int_equal(pthread_create(&thread, NULL, send_long, p), 0);
	assert_int_equal(
		message_recv_alloc(p->target, WIRE_STATE, (void **)&body, &len, PATIENCE, NULL), 0);
	pthread_join(thread, NULL);
	assert_int_equal(len, LONG_BYTES);
	for (size_t i = 0; i < LONG_BYTES; i++)
		assert_int_equal(body[i], NEEDLE);
	assert_int_equal(freed, 0);
	free(body);
	assert_int_equal(freed, 1); /* this is how such a buffer is found */
}

/* Also when the rest of it never comes. */
static void test_half_a_body_leaves_no_copy(void **state)
{
	const struct wire_header header = { .magic = WIRE_MAGIC,
					    .type = WIRE_STATE,
					    .bytes = LONG_BYTES };
	struct channel_pair *p = *state;
	static uint8_t part[64 << 10];
	void *body;
	size_t len;

	memset(part, NEEDLE, sizeof(part));
	freed = 0;
	assert_int_equal(channel_send(p->source, &header, sizeof(header), PATIENCE), 0);
	assert_int_equal(channel_send(p->source, part, sizeof(part), PATIENCE), 0);
	channel_end_sending(p->source);
	assert_int_equal(message_recv_alloc(p->target, WIRE_STATE, &body, &len, PATIENCE, NULL),
			 -ECONNRESET);
	assert_null(body);
	assert_int_equal(freed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_messages, channel_pair_setup,
						channel_pair_teardown),
		cmocka_unit_test_setup_teardown(test_bad_headers, channel_pair_setup,
						channel_pair_teardown),
		cmocka_unit_test_setup_teardown(test_wrong_length_and_hang_up, channel_pair_setup,
						channel_pair_teardown),
		cmocka_unit_test_setup_teardown(test_abort_has_words, channel_pair_setup,
						channel_pair_teardown),
		cmocka_unit_test_setup_teardown(test_no_abort_within_a_message, channel_pair_setup,
						channel_pair_teardown),
		cmocka_unit_test_setup_teardown(test_a_long_body_leaves_no_copy, channel_pair_setup,
						channel_pair_teardown),
		cmocka_unit_test_setup_teardown(test_half_a_body_leaves_no_copy, channel_pair_setup,
						channel_pair_teardown),
	};

	return cmocka_run_group_tests_name("migrate_message", tests, NULL, NULL);
}
