/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of one migration share: its first failure, its state, how it is cancelled. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "lib/net/accept_queue.h"
#include "lib/net/address.h"
#include "tests/unit/migrate_half.h"

static void only_the_first_failure_counts(void **state)
{
	struct sevmirror_migration m = { 0 };
	struct why later = { .text = "later", .err = -EIO };

	assert_int_equal(session_fail(&m, -ETIMEDOUT, "first %d", 1), -ETIMEDOUT);
	half_assert_why(&m.why, SEVMIRROR_REASON_TIMEOUT, "first 1");
	assert_int_equal(session_fail(&m, -EIO, "second"), -EIO);
	assert_int_equal(session_fail_because(&m, SEVMIRROR_REASON_DISK, -ENOSPC, "third"),
			 -ENOSPC);
	assert_int_equal(session_fail_why(&m, &later), -EIO);
	assert_int_equal(session_host_failed(&m, SEVMIRROR_REASON_GUEST, -EIO, "fourth", NULL),
			 -EIO);
	half_assert_why(&m.why, SEVMIRROR_REASON_TIMEOUT, "first 1");
	session_notice(&m);
	assert_int_equal(session_fail_why(&m, &later), -EIO);
	half_assert_why(&m.why, SEVMIRROR_REASON_NONE, "later");
}

static void a_callback_without_words_has_those_of_its_errno(void **state)
{
	struct sevmirror_migration m = { 0 };

	session_host_failed(&m, SEVMIRROR_REASON_DISK, -ENOSPC, "opening", "");
	half_assert_why(&m.why, SEVMIRROR_REASON_DISK, "opening: No space left on device");
	session_notice(&m);
	session_host_failed(&m, SEVMIRROR_REASON_DISK, -ENOSPC, "opening", "it is locked");
	half_assert_why(&m.why, SEVMIRROR_REASON_DISK, "opening: it is locked");
}

static void cancel(struct half *h)
{
	sevmirror_migration_cancel(&h->m);
}

/* Only where the table says so: after COMMIT nobody can take it back. */
static void cancelling_depends_on_the_state(void **state)
{
	struct half h;
	char byte;

	half_open(&h, true, 0);
	atomic_store(&h.m.state, SOURCE_COMMITTED);
	cancel(&h);
	assert_false(session_cancelled(&h.m));
	atomic_store(&h.m.state, SOURCE_PRECOPY);
	assert_false(session_cancelled(&h.m));
	cancel(&h);
	assert_true(session_cancelled(&h.m));
	half_assert_why(&h.m.why, SEVMIRROR_REASON_CANCELLED, "cancelled");
	assert_int_equal(channel_recv(h.m.control, &byte, 1, HALF_PATIENCE_MS), -ECANCELED);
	assert_int_equal(session_step_or_cancelled(&h.m, SOURCE_STOP), -ECANCELED);
	assert_int_equal(atomic_load(&h.m.state), SOURCE_PRECOPY);
	half_close(&h);
}

static void a_state_of_rest_forgets_that_it_was_cancelled(void **state)
{
	struct half h;
	struct pollfd p = { .events = POLLIN };

	half_open(&h, true, WIRE_F_POSTCOPY);
	p.fd = h.m.cancel_fd;
	atomic_store(&h.m.state, SOURCE_POSTCOPY);
	cancel(&h);
	assert_int_equal(poll(&p, 1, 0), 1);
	assert_int_equal(session_step(&h.m, SOURCE_BREAK), SOURCE_POSTCOPY);
	assert_int_equal(atomic_load(&h.m.state), SOURCE_BROKEN);
	assert_int_equal(session_phase(&h.m), SEVMIRROR_PHASE_BROKEN);
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_false(session_cancelled(&h.m));
	half_close(&h);
}

static void a_control_connection_that_comes_late_is_cancelled_too(void **state)
{
	struct half h;
	char byte;

	half_open(&h, true, 0);
	cancel(&h);
	session_set_control(&h.m, h.control.source);
	assert_int_equal(channel_recv(h.m.control, &byte, 1, HALF_PATIENCE_MS), -ECANCELED);
	h.control.source = NULL;
	session_drop_control(&h.m);
	assert_null(h.m.control);
	assert_int_equal(channel_recv(h.peer, &byte, 1, HALF_PATIENCE_MS), -ECONNRESET);
	half_close(&h);
}

static void an_interrupt_ends_a_wait_but_is_no_cancellation(void **state)
{
	struct half h;
	char byte;

	half_open(&h, false, 0);
	atomic_store(&h.m.state, TARGET_RECEIVING);
	session_interrupt(&h.m);
	assert_int_equal(channel_recv(h.m.control, &byte, 1, HALF_PATIENCE_MS), -ECANCELED);
	assert_false(session_cancelled(&h.m));
	half_close(&h);
}

static void a_connection_is_accepted_once_it_speaks(void **state)
{
	static const struct channel_security bare = { .insecure = true };
	struct accept_queue queue;
	struct newcomer newcomer;
	struct half h;
	int silent, speaks;
	char byte;

	half_open(&h, false, 0);
	assert_int_equal(accept_queue_init(&queue, h.listen_fd, h.m.cancel_fd, &bare, 0), 0);
	silent = address_connect(h.address, HALF_PATIENCE_MS, NULL);
	speaks = address_connect(h.address, HALF_PATIENCE_MS, NULL);
	assert_int_equal(write(speaks, "x", 1), 1);
	assert_int_equal(session_accept(&h.m, &queue, &newcomer), 0);
	assert_int_equal(channel_recv(newcomer.channel, &byte, 1, HALF_PATIENCE_MS), 0);
	assert_int_equal(byte, 'x');
	channel_close(newcomer.channel);
	cancel(&h);
	assert_int_equal(session_accept(&h.m, &queue, &newcomer), -ECANCELED);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_CANCELLED, "cancelled");
	accept_queue_close(&queue);
	close(silent);
	close(speaks);
	half_close(&h);
}

static char heard[256];

static void hear_peer(void *opaque, const char *address, const char *why)
{
	snprintf(heard, sizeof(heard), "%s: %s", address, why);
}

static void an_unauthenticated_peer_is_reported(void **state)
{
	struct sevmirror_host_ops ops = { 0 };
	struct sevmirror_migration m = { .ops = &ops };

	session_unauthenticated_peer(&m, "192.0.2.1:5", "no proof"); /* nobody listens */
	ops.unauthenticated_peer = hear_peer;
	session_unauthenticated_peer(&m, "192.0.2.1:5", "no proof");
	assert_string_equal(heard, "192.0.2.1:5: no proof");
	assert_string_equal(m.why.text, "");
}

static void streams_have_names(void **state)
{
	char name[SESSION_STREAM_NAME_BYTES];

	session_stream_name(15, name);
	assert_string_equal(name, "stream 15");
	session_stream_name(WIRE_PRIORITY_STREAM, name);
	assert_string_equal(name, "priority stream");
	session_stream_name(UINT32_MAX, name);
	assert_string_equal(name, "stream 4294967295");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_first_failure_counts),
		cmocka_unit_test(a_callback_without_words_has_those_of_its_errno),
		cmocka_unit_test(cancelling_depends_on_the_state),
		cmocka_unit_test(a_state_of_rest_forgets_that_it_was_cancelled),
		cmocka_unit_test(a_control_connection_that_comes_late_is_cancelled_too),
		cmocka_unit_test(an_interrupt_ends_a_wait_but_is_no_cancellation),
		cmocka_unit_test(a_connection_is_accepted_once_it_speaks),
		cmocka_unit_test(an_unauthenticated_peer_is_reported),
		cmocka_unit_test(streams_have_names),
	};

	return cmocka_run_group_tests_name("migrate_session", tests, NULL, NULL);
}
