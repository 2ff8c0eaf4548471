/* SPDX-License-Identifier: Apache-2.0 */
/* Control messages of a migration: their failures name the message and the host. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/message.h"
#include "tests/unit/migrate_half.h"

static void a_failed_send_says_what_was_to_go_where(void **state)
{
	static const struct {
		int err;
		enum sevmirror_reason reason;
	} cases[] = { { -ECANCELED, SEVMIRROR_REASON_CANCELLED },
		      { -ETIMEDOUT, SEVMIRROR_REASON_TIMEOUT },
		      { -EMSGSIZE, SEVMIRROR_REASON_INTERNAL },
		      { -EPIPE, SEVMIRROR_REASON_CONNECTION } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sevmirror_migration m = { .is_source = i % 2 };

		assert_int_equal(session_send_failed(&m, WIRE_STATE, cases[i].err), cases[i].err);
		half_assert_why(&m.why, cases[i].reason,
				m.is_source ? "(STATE) to the target: " :
					      "(STATE) to the source: ");
	}
}

static void what_is_sent_is_received(void **state)
{
	const struct message_part parts[] = { { "ab", 2 }, { "c", 1 } };
	struct half h;
	uint16_t type;
	void *body;
	char text[8];
	size_t len;

	half_open(&h, true, 0);
	assert_int_equal(session_send_parts(&h.m, WIRE_CONFIG, parts, 2), 0);
	assert_int_equal(half_hear(&h, WIRE_CONFIG, text, sizeof(text)), 3);
	assert_memory_equal(text, "abc", 3);
	assert_int_equal(session_send(&h.m, WIRE_COMMIT, NULL, 0), 0);
	assert_int_equal(half_hear(&h, WIRE_COMMIT, text, sizeof(text)), 0);
	half_say(&h, WIRE_PAGE_REQUEST, "12345678", 8);
	assert_int_equal(session_recv(&h.m, WIRE_PAGE_REQUEST, text, 8), 0);
	assert_memory_equal(text, "12345678", 8);
	half_say(&h, WIRE_MISSING, "xy", 2);
	assert_int_equal(session_recv_alloc(&h.m, WIRE_MISSING, &body, &len), 0);
	assert_int_equal(len, 2);
	free(body);
	half_say(&h, WIRE_READY, NULL, 0);
	assert_int_equal(session_recv_any(&h.m, &type, &body, &len), 0);
	assert_int_equal(type, WIRE_READY);
	free(body);
	half_close(&h);
}

static void a_body_of_another_length_is_refused(void **state)
{
	struct half h;
	char text[8];

	half_open(&h, true, 0);
	half_say(&h, WIRE_PAGE_REQUEST, "1234567", 7);
	assert_int_equal(session_recv(&h.m, WIRE_PAGE_REQUEST, text, 8), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PROTOCOL, "PAGE_REQUEST message of 7 bytes");
	half_close(&h);
}

static void a_message_that_is_not_due_is_named(void **state)
{
	struct half h;

	half_open(&h, true, 0);
	half_say(&h, WIRE_READY, NULL, 0);
	assert_int_equal(session_recv_unexpected(&h.m), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PROTOCOL, "the target sent ");
	session_notice(&h.m);
	message_abort(h.peer, "no room");
	assert_int_equal(session_recv_unexpected(&h.m), MESSAGE_PEER_ABORTED);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PEER, "the target gave up: no room");
	half_close(&h);
}

static void before_the_answer_the_target_says_that_it_works(void **state)
{
	struct half h;
	void *body;
	size_t len;

	half_open(&h, true, 0);
	for (int i = 0; i < 3; i++)
		half_say(&h, WIRE_WORKING, NULL, 0);
	half_say(&h, WIRE_ACCEPT, "xyz", 3);
	assert_int_equal(session_recv_after_work(&h.m, WIRE_ACCEPT, &body, &len), 0);
	assert_int_equal(len, 3);
	assert_memory_equal(body, "xyz", 3);
	free(body);
	assert_int_equal(h.m.workings, 3);
	half_say(&h, WIRE_WORKING, NULL, 0);
	half_say(&h, WIRE_READY, NULL, 0);
	assert_int_equal(session_recv_after_work(&h.m, WIRE_CORE_DONE, &body, &len), -EPROTO);
	assert_null(body);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PROTOCOL, "(READY) instead of ");
	session_notice(&h.m);
	half_say(&h, WIRE_WORKING, NULL, 0);
	message_abort(h.peer, "no memory");
	assert_int_equal(session_recv_after_work(&h.m, WIRE_CORE_DONE, &body, &len),
			 MESSAGE_PEER_ABORTED);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PEER, "the target gave up: no memory");
	half_close(&h);
}

/* A target that says nothing else does not keep its source for ever. */
static void it_says_so_a_bounded_number_of_times(void **state)
{
	struct half h;
	void *body;
	size_t len;

	half_open(&h, true, 0);
	h.m.workings = WIRE_MAX_WORKING - 2;
	for (int i = 0; i < 3; i++)
		half_say(&h, WIRE_WORKING, NULL, 0);
	assert_int_equal(session_recv_after_work(&h.m, WIRE_ACCEPT, &body, &len), -ETIMEDOUT);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_TIMEOUT, "57600 times that it works");
	half_close(&h);
}

static void elsewhere_working_is_no_message(void **state)
{
	struct half h;

	half_open(&h, true, 0);
	half_say(&h, WIRE_WORKING, NULL, 0);
	assert_int_equal(session_recv(&h.m, WIRE_READY, NULL, 0), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PROTOCOL, "(WORKING) instead of ");
	half_close(&h);
}

/* Behind what else it had to say, on a connection that a stream's end has interrupted. */
static void the_peer_s_words_are_the_reason(void **state)
{
	struct half h;

	half_open(&h, false, 0);
	atomic_store(&h.m.state, TARGET_RECEIVING);
	session_fail(&h.m, -ECONNRESET, "stream 1 ended");
	session_interrupt(&h.m);
	half_say(&h, WIRE_LAST_PAGE, NULL, 0);
	message_abort(h.peer, "it is late");
	assert_int_equal(session_why_peer_left(&h.m, -ECONNRESET), MESSAGE_PEER_ABORTED);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PEER, "the source gave up: it is late");
	half_close(&h);
}

static void *receive_unexpected(void *arg)
{
	return (void *)(intptr_t)session_recv_unexpected(arg);
}

static void *interrupt(void *arg)
{
	session_interrupt(arg);
	return NULL;
}

/* Half of an ABORT is as good as none, so its other half is awaited. */
static void an_interrupt_waits_for_the_end_of_a_message(void **state)
{
	const struct wire_header header = { .magic = WIRE_MAGIC, .type = WIRE_ABORT, .bytes = 4 };
	pthread_t receiver, interrupter;
	struct half h;
	void *err;

	half_open(&h, false, 0);
	atomic_store(&h.m.state, TARGET_RECEIVING);
	assert_int_equal(channel_send(h.peer, &header, sizeof(header), HALF_PATIENCE_MS), 0);
	assert_int_equal(pthread_create(&receiver, NULL, receive_unexpected, &h.m), 0);
	while (channel_readable(h.m.control)) /* until the header has been read */
		sched_yield();
	assert_int_equal(pthread_create(&interrupter, NULL, interrupt, &h.m), 0);
	pthread_join(interrupter, NULL);
	assert_int_equal(channel_send(h.peer, "late", 4, HALF_PATIENCE_MS), 0);
	pthread_join(receiver, &err);
	assert_int_equal((intptr_t)err, MESSAGE_PEER_ABORTED);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PEER, "the source gave up: late");
	assert_int_equal(session_recv_unexpected(&h.m), -ECANCELED);
	half_close(&h);
}

static void a_peer_that_says_nothing_leaves_the_reason_as_it_was(void **state)
{
	struct half h;

	half_open(&h, false, 0);
	session_fail(&h.m, -ECONNRESET, "stream 1 ended");
	channel_close(h.control.source);
	h.control.source = NULL;
	assert_int_equal(session_why_peer_left(&h.m, -ECONNRESET), -ECONNRESET);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_CONNECTION, "stream 1 ended");
	assert_int_equal(session_why_peer_left(&h.m, 0), 0);
	half_close(&h);
}

static void a_side_that_cancels_asks_nobody(void **state)
{
	struct half h;

	half_open(&h, false, 0);
	sevmirror_migration_cancel(&h.m);
	message_abort(h.peer, "it is late");
	assert_int_equal(session_why_peer_left(&h.m, -ECANCELED), -ECANCELED);
	assert_string_equal(h.m.why.text, "");
	half_close(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failed_send_says_what_was_to_go_where),
		cmocka_unit_test(what_is_sent_is_received),
		cmocka_unit_test(a_body_of_another_length_is_refused),
		cmocka_unit_test(a_message_that_is_not_due_is_named),
		cmocka_unit_test(before_the_answer_the_target_says_that_it_works),
		cmocka_unit_test(it_says_so_a_bounded_number_of_times),
		cmocka_unit_test(elsewhere_working_is_no_message),
		cmocka_unit_test(the_peer_s_words_are_the_reason),
		cmocka_unit_test(an_interrupt_waits_for_the_end_of_a_message),
		cmocka_unit_test(a_peer_that_says_nothing_leaves_the_reason_as_it_was),
		cmocka_unit_test(a_side_that_cancels_asks_nobody),
	};

	return cmocka_run_group_tests_name("migrate_session_message", tests, NULL, NULL);
}
