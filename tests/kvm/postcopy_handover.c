/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The moment in which a guest goes over without its memory: the callbacks that load its state and
 * start it wait for a page, and the connection breaks just then. The page is kept from the target
 * by the wire, so each of these runs meets that moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/session.h"
#include "tests/kvm/trial.h"
#include "tests/kvm/wire_proxy.h"

/* longer than this test may take: nothing here is ended by it */
#define PATIENT (600 * 1000 * TRIAL_MS)

static const char *payload;

static const struct sevmirror_source_options at_once = { .postcopy = SEVMIRROR_POSTCOPY_ALWAYS,
							 .timeout = PATIENT };

/*
 * Connections in the order in which the source makes them: control, the data streams, the priority
 * stream.
 */
#define FIRST_STREAM 1
#define LAST_STREAM  2
#define PRIORITY     3

static const struct wire_fault no_fault = { .kind = WIRE_FLIP, .connection = UINT32_MAX };

/* Before the first page leaves. */
static void hold_pages(struct trial *t, const struct sevmirror_progress *progress)
{
	if (progress->phase == SEVMIRROR_PHASE_STOP)
		wire_proxy_hold(t->hook, FIRST_STREAM, PRIORITY);
}

static void *break_main(void *arg)
{
	struct trial *t = arg;

	trial_await_callback(t);
	wire_proxy_break(t->hook);
	return NULL;
}

static void *hang_main(void *arg)
{
	struct trial *t = arg;

	trial_await_callback(t);
	wire_proxy_hang(t->hook);
	return NULL;
}

/*
 * Migrate; once the child's callback waits, and without a page that it could have, something
 * happens to the wire.
 */
static void meet_the_moment(struct trial *t, const struct trial_plan *plan,
			    const struct sevmirror_source_options *wishes,
			    void *(*happens)(void *arg))
{
	struct tiny_config config = trial_dirtier(32, 2, 2000);
	struct sevmirror_source_options options = *wishes;
	struct wire_proxy *proxy;
	pthread_t thread;

	trial_start(t, payload, &config, plan);
	trial_wait_for_writes(t, 500);
	proxy = wire_proxy_start(t->address, &no_fault);
	assert_non_null(proxy);
	options.address = wire_proxy_address(proxy);
	t->hook = proxy;
	t->progress = hold_pages;
	assert_int_equal(pthread_create(&thread, NULL, happens, t), 0);
	trial_migrate(t, &options);
	pthread_join(thread, NULL);
	wire_proxy_stop(proxy);
	t->progress = NULL;
}

/* The background does not arrive, and once the guest runs there nothing does. */
static void hold_background(struct trial *t, const struct sevmirror_progress *progress)
{
	if (progress->phase == SEVMIRROR_PHASE_STOP)
		wire_proxy_hold(t->hook, FIRST_STREAM, LAST_STREAM);
	if (progress->phase == SEVMIRROR_PHASE_POSTCOPY)
		wire_proxy_break(t->hook);
}

/*
 * A page that is waited for does not wait its turn: the start has it while everything else is held
 * up. The limit keeps the background, for which alone it is, from having come to that page by
 * itself.
 */
static void test_page_waited_for_goes_first(void **state)
{
	const struct trial_plan plan = { .wait = TRIAL_RESUME_FOR_PAGE, .timeout = PATIENT };
	struct tiny_config config = trial_dirtier(32, 2, 2000);
	struct sevmirror_source_options options = at_once;
	struct wire_proxy *proxy;
	struct trial t;

	trial_start(&t, payload, &config, &plan);
	trial_wait_for_writes(&t, 500);
	proxy = wire_proxy_start(t.address, &no_fault);
	assert_non_null(proxy);
	options.address = wire_proxy_address(proxy);
	options.streams = LAST_STREAM;
	options.bandwidth = TRIAL_MIB / 16;
	t.hook = proxy;
	t.progress = hold_background;
	trial_migrate(&t, &options);
	/* So RUNNING was heard, and not everything was there. */
	assert_int_equal(t.outcome, SEVMIRROR_BROKEN);
	wire_proxy_stop(proxy);
	t.progress = NULL;
	atomic_store(&t.migration->bandwidth, 0);
	trial_recover(&t, t.address);
	assert_string_equal(t.summary.error, "");
	assert_int_equal(t.outcome, SEVMIRROR_MIGRATED);
	trial_end(&t);
}

/*
 * The source cannot know whether the guest runs there, and finds out by coming back: the start then
 * has its page, and succeeds.
 */
static void test_start_waits_for_a_page(void **state)
{
	const struct trial_plan plan = { .wait = TRIAL_RESUME_FOR_PAGE, .timeout = PATIENT };
	struct trial_verdict v;
	struct trial t;

	meet_the_moment(&t, &plan, &at_once, break_main);
	assert_int_equal(t.outcome, SEVMIRROR_UNKNOWN);
	assert_false(tiny_host_running(t.source));
	trial_recover(&t, t.address);
	assert_string_equal(t.summary.error, "");
	assert_int_equal(t.outcome, SEVMIRROR_MIGRATED);
	assert_int_equal(t.summary.postcopy.recoveries, 1);
	assert_true(t.summary.postcopy.faults > 0);
	v = trial_end(&t);
	assert_int_equal(v.summary.postcopy.recoveries, 1);
}

/* The start succeeds while nobody is connected; the source hears of it when it is back. */
static void test_started_while_broken(void **state)
{
	const struct trial_plan plan = { .wait = TRIAL_RESUME_FOR_BREAK, .timeout = PATIENT };
	struct trial t;

	meet_the_moment(&t, &plan, &at_once, break_main);
	assert_int_equal(t.outcome, SEVMIRROR_UNKNOWN);
	trial_recover(&t, t.address);
	assert_string_equal(t.summary.error, "");
	assert_int_equal(t.outcome, SEVMIRROR_MIGRATED);
	trial_end(&t);
}

/*
 * The start has its page at last, and fails: the source hears that the guest has not run, and has
 * it back.
 */
static void test_start_fails_after_recovery(void **state)
{
	const struct trial_plan plan = { .wait = TRIAL_RESUME_FOR_PAGE,
					 .fail_resume = -EIO,
					 .timeout = PATIENT };
	struct trial_verdict v;
	struct trial t;

	meet_the_moment(&t, &plan, &at_once, break_main);
	assert_int_equal(t.outcome, SEVMIRROR_UNKNOWN);
	trial_recover(&t, t.address);
	assert_int_equal(t.outcome, SEVMIRROR_FAILED);
	assert_int_equal(t.summary.reason, SEVMIRROR_REASON_PEER);
	assert_non_null(strstr(t.summary.error, "the target cannot start the guest"));
	v = trial_end(&t);
	assert_int_equal(v.outcome, SEVMIRROR_FAILED);
}

/*
 * It fails while nobody is connected: the target says so and keeps nothing; the source still does
 * not know the outcome.
 */
static void test_start_fails_while_broken(void **state)
{
	const struct trial_plan plan = { .wait = TRIAL_RESUME_FOR_BREAK,
					 .fail_resume = -EIO,
					 .timeout = PATIENT };
	struct trial_verdict v;
	struct trial t;

	meet_the_moment(&t, &plan, &at_once, break_main);
	assert_int_equal(t.outcome, SEVMIRROR_UNKNOWN);
	v = trial_end(&t);
	assert_int_equal(v.outcome, SEVMIRROR_FAILED);
	assert_int_equal(v.summary.reason, SEVMIRROR_REASON_GUEST);
	assert_false(v.pause_requested);
}

/*
 * The source is given up while the start still waits: that ends, and the guest does not run then.
 */
static void test_given_up_while_starting(void **state)
{
	const struct trial_plan plan = { .wait = TRIAL_RESUME_FOR_PAGE,
					 .cancel_when_broken = true,
					 .timeout = PATIENT };
	struct trial_verdict v;
	struct trial t;

	meet_the_moment(&t, &plan, &at_once, break_main);
	assert_int_equal(t.outcome, SEVMIRROR_UNKNOWN);
	v = trial_end(&t);
	assert_int_equal(v.outcome, SEVMIRROR_LOST);
	assert_true(v.pause_requested);
	assert_non_null(strstr(v.summary.error, "never arrived"));
}

/* Before the hand-over: each side goes its way at once, whatever the state still waits for. */
static void test_state_waits_for_a_page(void **state)
{
	const struct trial_plan plan = { .wait = TRIAL_LOAD_FOR_PAGE, .timeout = PATIENT };
	struct trial_verdict v;
	struct trial t;

	meet_the_moment(&t, &plan, &at_once, break_main);
	assert_int_equal(t.outcome, SEVMIRROR_FAILED);
	v = trial_end(&t);
	assert_int_equal(v.outcome, SEVMIRROR_FAILED);
	assert_true(strlen(v.summary.error) > 10);
}

/* The wire goes dead without a word: then it is the timeout. */
static void test_state_waits_in_silence(void **state)
{
	const struct trial_plan plan = { .wait = TRIAL_LOAD_FOR_PAGE, .timeout = 5000 * TRIAL_MS };
	struct sevmirror_source_options options = at_once;
	struct trial_verdict v;
	struct trial t;

	options.timeout = 5000 * TRIAL_MS;
	meet_the_moment(&t, &plan, &options, hang_main);
	assert_int_equal(t.outcome, SEVMIRROR_FAILED);
	v = trial_end(&t);
	assert_int_equal(v.outcome, SEVMIRROR_FAILED);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_page_waited_for_goes_first),
		cmocka_unit_test(test_start_waits_for_a_page),
		cmocka_unit_test(test_started_while_broken),
		cmocka_unit_test(test_start_fails_after_recovery),
		cmocka_unit_test(test_start_fails_while_broken),
		cmocka_unit_test(test_given_up_while_starting),
		cmocka_unit_test(test_state_waits_for_a_page),
		cmocka_unit_test(test_state_waits_in_silence),
	};
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	payload = argc > 1 ? argv[1] : "payload-dirtier";
	if (kvm < 0) {
		printf("ok 1 - the hand-over of post-copy # SKIP no /dev/kvm on this machine: %s\n",
		       strerror(errno));
		return 0;
	}
	close(kvm);
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	return cmocka_run_group_tests_name("postcopy_handover", tests, NULL, NULL);
}
