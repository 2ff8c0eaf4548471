/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Post-copy between two processes of this machine, at native speed: four vCPUs of a payload write
 * and verify their memory while it is not there yet. Every page that is lost, doubled or stale is
 * one that the payload finds.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/source_private.h"
#include "payloads/dirtier.h"
#include "tests/kvm/trial.h"
#include "tests/kvm/wire_proxy.h"

static const char *payload;
/* Busy machines stall for long: only the tests of silence have a short timeout. */
static const struct trial_plan plain = { .timeout = 60000 * TRIAL_MS };

static void print_numbers(const struct trial *t)
{
	const struct sevmirror_postcopy *n = &t->summary.postcopy;

	printf("# %llu pages missing, %llu faults (p50 %llu us, p95 %llu us, p99 %llu us, max %llu "
	       "us), %llu prefetched, %llu of %llu watched ones used, last page after %llu ms, "
	       "downtime %llu ms, limit %llu ms (an estimated %llu ms without post-copy)\n",
	       (unsigned long long)n->pages, (unsigned long long)n->faults,
	       (unsigned long long)n->fault_p50 / 1000, (unsigned long long)n->fault_p95 / 1000,
	       (unsigned long long)n->fault_p99 / 1000, (unsigned long long)n->fault_max / 1000,
	       (unsigned long long)n->prefetched, (unsigned long long)n->prefetch_used,
	       (unsigned long long)n->prefetch_samples, (unsigned long long)n->last_page / 1000000,
	       (unsigned long long)t->summary.downtime / 1000000,
	       (unsigned long long)t->summary.max_downtime / 1000000,
	       (unsigned long long)t->summary.expected_downtime / 1000000);
}

/* A migration that goes well, and what it must say of itself. */
static void assert_goes_over(struct trial *t, const struct sevmirror_source_options *options)
{
	struct trial_verdict v;

	trial_migrate(t, options);
	assert_string_equal(t->summary.error, "");
	assert_int_equal(t->outcome, SEVMIRROR_MIGRATED);
	print_numbers(t);
	v = trial_end(t);
	assert_false(v.pause_requested);
	assert_memory_equal(&v.summary.postcopy, &t->summary.postcopy, sizeof(v.summary.postcopy));
}

/* All of memory is missing when the guest continues. */
static void test_always_at_once(void **state)
{
	struct tiny_config config = trial_dirtier(64, 4, 0);
	struct sevmirror_source_options options = { .postcopy = SEVMIRROR_POSTCOPY_ALWAYS,
						    .bandwidth = 64 * TRIAL_MIB };
	struct trial t;

	trial_start(&t, payload, &config, &plain);
	trial_wait_for_writes(&t, 1000);
	assert_goes_over(&t, &options);
	assert_int_equal(t.summary.rounds, 0);
	assert_true(t.summary.postcopy.pages > 64 * TRIAL_MIB / 4096 - 1024);
	assert_int_equal(t.summary.pages, t.summary.postcopy.pages);
	assert_true(t.summary.postcopy.faults > 0);
	assert_true(t.summary.postcopy.fault_max >= t.summary.postcopy.fault_p50);
}

static void test_always_after_a_round(void **state)
{
	struct tiny_config config = trial_dirtier(64, 4, 0);
	struct sevmirror_source_options options = { .postcopy = SEVMIRROR_POSTCOPY_ALWAYS,
						    .postcopy_after = 1,
						    .streams = 4 };
	struct trial t;

	config.args[DIRTIER_ARG_WORKING_SET] = 32 * TRIAL_MIB;
	trial_start(&t, payload, &config, &plain);
	trial_wait_for_writes(&t, 1000);
	assert_goes_over(&t, &options);
	assert_int_equal(t.summary.rounds, 1);
	assert_true(t.summary.postcopy.pages < 48 * TRIAL_MIB / 4096);
}

static const struct sevmirror_source_options hopeless = { .max_downtime = 40 * TRIAL_MS,
							  .max_rounds = 6,
							  .bandwidth = 80 * TRIAL_MIB };

/*
 * A guest that writes faster than the link takes it, half of its memory over and over: pre-copy
 * fails, post-copy does not.
 */
static void test_auto(void **state)
{
	struct tiny_config config = trial_dirtier(64, 4, 0);
	struct sevmirror_source_options options = hopeless;
	struct trial t;

	config.args[DIRTIER_ARG_WORKING_SET] = 32 * TRIAL_MIB;
	trial_start(&t, payload, &config, &plain);
	trial_wait_for_writes(&t, 1000);
	trial_migrate(&t, &options);
	assert_int_equal(t.outcome, SEVMIRROR_FAILED);
	assert_int_equal(t.summary.reason, SEVMIRROR_REASON_CONVERGENCE);
	trial_end(&t);

	trial_start(&t, payload, &config, &plain);
	trial_wait_for_writes(&t, 1000);
	options.postcopy = SEVMIRROR_POSTCOPY_AUTO;
	assert_goes_over(&t, &options);
	assert_true(t.summary.postcopy.pages > 0);
	assert_true(t.summary.rounds > 0);
}

/* Where pre-copy does it, auto is pre-copy. */
static void test_auto_without_need(void **state)
{
	struct tiny_config config = trial_dirtier(32, 2, 500);
	struct sevmirror_source_options options = { .postcopy = SEVMIRROR_POSTCOPY_AUTO };
	struct trial t;

	trial_start(&t, payload, &config, &plain);
	trial_wait_for_writes(&t, 100);
	assert_goes_over(&t, &options);
	assert_int_equal(t.summary.postcopy.pages, 0);
}

static void test_shared_pages(void **state)
{
	struct tiny_config config = trial_dirtier(32, 4, 0);
	struct sevmirror_source_options options = { .postcopy = SEVMIRROR_POSTCOPY_ALWAYS,
						    .bandwidth = 64 * TRIAL_MIB,
						    .streams = 3 };
	struct trial t;

	config.shared_every = 3;
	trial_start(&t, payload, &config, &plain);
	trial_wait_for_writes(&t, 1000);
	assert_goes_over(&t, &options);
}

/*
 * A target that cannot do it says so before any page has moved; without post-copy it does its work.
 */
static void test_target_without_userfaultfd(void **state)
{
	const struct trial_plan plan = { .no_userfaultfd = true, .timeout = 60000 * TRIAL_MS };
	struct tiny_config config = trial_dirtier(32, 1, 500);
	struct sevmirror_source_options options = { .postcopy = SEVMIRROR_POSTCOPY_AUTO };
	struct trial t;

	trial_start(&t, payload, &config, &plan);
	trial_migrate(&t, &options);
	assert_int_equal(t.outcome, SEVMIRROR_FAILED);
	assert_int_equal(t.summary.reason, SEVMIRROR_REASON_PEER);
	assert_non_null(strstr(t.summary.error, "userfaultfd"));
	assert_int_equal(t.summary.pages, 0);
	trial_end(&t);

	options.postcopy = SEVMIRROR_POSTCOPY_NEVER;
	trial_start(&t, payload, &config, &plan);
	assert_goes_over(&t, &options);
}

/* In post-copy nothing has gone until the hand-over: the guest is where it was. */
static void test_target_refuses(void **state)
{
	struct tiny_config config = trial_dirtier(32, 2, 2000);
	struct sevmirror_source_options options = { .postcopy = SEVMIRROR_POSTCOPY_ALWAYS };
	const struct trial_plan plans[] = { { .fail_state_load = -EINVAL },
					    { .fail_disks = -EBUSY } };
	struct trial t;

	for (size_t i = 0; i < 2; i++) {
		trial_start(&t, payload, &config, &plans[i]);
		trial_wait_for_writes(&t, 100);
		trial_migrate(&t, &options);
		assert_int_equal(t.outcome, SEVMIRROR_FAILED);
		assert_non_null(strstr(t.summary.error, "told to fail"));
		trial_end(&t);
	}
}

/* ---- breaks ---- */

/*
 * So slowly that pages are missing when the guest runs on the target, however busy this machine is.
 */
static const struct sevmirror_source_options slowly = { .postcopy = SEVMIRROR_POSTCOPY_ALWAYS,
							.bandwidth = 2 * TRIAL_MIB,
							.timeout = 60000 * TRIAL_MS };

/* The rest may come as fast as it can. */
static void recover_fast(struct trial *t, const char *address)
{
	t->progress = NULL;
	atomic_store(&t->migration->bandwidth, 0);
	trial_recover(t, address);
}

static void assert_recovers(struct trial *t)
{
	recover_fast(t, t->address);
	assert_string_equal(t->summary.error, "");
	assert_int_equal(t->outcome, SEVMIRROR_MIGRATED);
	print_numbers(t);
	trial_end(t);
}

/* Migrate, or recover, over a wire that does something. */
static void go_over(struct trial *t, const struct sevmirror_source_options *wishes,
		    struct wire_fault fault)
{
	struct sevmirror_source_options options;
	struct wire_proxy *proxy = wire_proxy_start(t->address, &fault);

	assert_non_null(proxy);
	t->hook = proxy;
	if (wishes) {
		options = *wishes;
		options.address = wire_proxy_address(proxy);
		trial_migrate(t, &options);
	} else {
		trial_recover(t, wire_proxy_address(proxy));
	}
	wire_proxy_stop(proxy);
}

static const struct wire_fault no_fault = { .kind = WIRE_FLIP, .connection = UINT32_MAX };

/* The source reports this phase from when it knows that the guest runs there. */
static void break_in_postcopy(struct trial *t, const struct sevmirror_progress *progress)
{
	if (progress->phase == SEVMIRROR_PHASE_POSTCOPY)
		wire_proxy_break(t->hook);
}

static void hang_in_postcopy(struct trial *t, const struct sevmirror_progress *progress)
{
	if (progress->phase == SEVMIRROR_PHASE_POSTCOPY)
		wire_proxy_hang(t->hook);
}

static void start_small(struct trial *t, const struct trial_plan *plan)
{
	struct tiny_config config = trial_dirtier(32, 4, 0);

	trial_start(t, payload, &config, plan);
	trial_wait_for_writes(t, 500);
}

/* Both sides see that the connection is gone; the guest waits, and continues with the next one. */
static void test_break_and_recovery(void **state)
{
	struct trial t;

	start_small(&t, &plain);
	t.progress = break_in_postcopy;
	go_over(&t, &slowly, no_fault);
	assert_int_equal(t.outcome, SEVMIRROR_BROKEN);
	assert_true(strlen(t.summary.error) > 10);
	assert_false(tiny_host_running(t.source));
	assert_false(tiny_host_handed_over(t.source));
	go_over(&t, NULL, no_fault);
	assert_int_equal(t.outcome, SEVMIRROR_BROKEN);
	/* Nobody listens there: nothing is lost by trying. */
	recover_fast(&t, "127.0.0.1:1");
	assert_int_equal(t.outcome, SEVMIRROR_BROKEN);
	assert_recovers(&t);
	assert_int_equal(t.summary.postcopy.recoveries, 2);
}

/*
 * The wire goes dead without a word. The source notices by its timeout; the target, which is more
 * patient, still believes in the old connection when the source comes by another.
 */
/*
 * A healthy but slow link: pages that are asked for count against the limit, too, and neither does
 * the target take the source for gone nor does an access wait for the whole of that debt.
 */
static void test_slow_link(void **state)
{
	struct tiny_config config = trial_dirtier(32, 4, 0);
	struct sevmirror_source_options options = { .postcopy = SEVMIRROR_POSTCOPY_ALWAYS,
						    .bandwidth = 3 * TRIAL_MIB / 2,
						    .timeout = 5000 * TRIAL_MS };
	struct trial_plan plan = { .timeout = 5000 * TRIAL_MS };
	struct trial_verdict v;
	struct trial t;

	trial_start(&t, payload, &config, &plan);
	trial_wait_for_writes(&t, 100);
	trial_migrate(&t, &options);
	assert_string_equal(t.summary.error, "");
	assert_int_equal(t.outcome, SEVMIRROR_MIGRATED);
	v = trial_end(&t);
	assert_true(v.summary.postcopy.faults > 100);
	print_message("# slowest access: %llu ms\n",
		      (unsigned long long)(v.summary.postcopy.fault_max / TRIAL_MS));
	assert_true(v.summary.postcopy.fault_max < 3000 * TRIAL_MS);
}

static void test_silence_at_the_source(void **state)
{
	const struct trial_plan patient = { .timeout = 600 * 1000 * TRIAL_MS };
	struct sevmirror_source_options options = slowly;
	struct wire_proxy *proxy;
	struct trial t;

	start_small(&t, &patient);
	proxy = wire_proxy_start(t.address, &no_fault);
	assert_non_null(proxy);
	options.address = wire_proxy_address(proxy);
	options.timeout = 10000 * TRIAL_MS;
	options.bandwidth = 0; /* a full pipe is what shows that nobody is there */
	t.progress = hang_in_postcopy;
	t.hook = proxy;
	trial_migrate(&t, &options);
	if (t.outcome != SEVMIRROR_MIGRATED) {
		assert_int_equal(t.outcome, SEVMIRROR_BROKEN);
		recover_fast(&t, t.address);
	}
	wire_proxy_stop(proxy);
	assert_string_equal(t.summary.error, "");
	assert_int_equal(t.outcome, SEVMIRROR_MIGRATED);
	trial_end(&t);
}

/* Not only vCPUs wait: what touches memory from outside the guest does, too. */
static void test_device(void **state)
{
	const struct trial_plan plan = { .device = true, .timeout = 60000 * TRIAL_MS };
	struct tiny_config config = trial_dirtier(32, 2, 2000);
	struct trial_verdict v;
	struct trial t;

	trial_start(&t, payload, &config, &plan);
	trial_wait_for_writes(&t, 500);
	trial_migrate(&t, &slowly);
	assert_string_equal(t.summary.error, "");
	v = trial_end(&t);
	assert_true(v.device_pages > 0);
	assert_true(t.summary.postcopy.faults > 0);
}

static void test_given_up(void **state)
{
	const struct trial_plan plan = { .cancel_when_broken = true,
					 .device = true,
					 .timeout = 60000 * TRIAL_MS };
	struct trial_verdict v;
	struct trial t;

	start_small(&t, &plan);
	t.progress = break_in_postcopy;
	go_over(&t, &slowly, no_fault);
	assert_int_equal(t.outcome, SEVMIRROR_BROKEN);
	v = trial_end(&t);
	assert_int_equal(v.outcome, SEVMIRROR_LOST);
	assert_true(v.pause_requested);
	assert_non_null(strstr(v.summary.error, "never arrived"));
}

/* Silence that only the target notices: then it is given up there. */
static void test_silence_at_the_target(void **state)
{
	const struct trial_plan plan = { .cancel_when_broken = true, .timeout = 10000 * TRIAL_MS };
	struct sevmirror_source_options options = slowly;
	struct trial_verdict v;
	struct trial t;

	options.timeout = 20000 * TRIAL_MS;
	start_small(&t, &plan);
	t.progress = hang_in_postcopy;
	go_over(&t, &options, no_fault);
	assert_int_equal(t.outcome, SEVMIRROR_BROKEN);
	v = trial_end(&t);
	assert_int_equal(v.outcome, SEVMIRROR_LOST);
}

static void cancel_in_postcopy(struct trial *t, const struct sevmirror_progress *progress)
{
	if (progress->phase == SEVMIRROR_PHASE_POSTCOPY)
		sevmirror_migration_cancel(t->migration);
}

/* Cancelling cannot take the guest back, but it stops the traffic, until the recovery. */
static void test_cancelled(void **state)
{
	struct trial t;

	start_small(&t, &plain);
	t.progress = cancel_in_postcopy;
	trial_migrate(&t, &slowly);
	assert_int_equal(t.outcome, SEVMIRROR_BROKEN);
	assert_recovers(&t);
}

/*
 * A source that sends a page again and again, from when it has gone for the first time. t->hook:
 * its number.
 */
static void repeat_page(struct trial *t, const struct sevmirror_progress *progress)
{
	const uint64_t *number = t->hook;

	if (progress->phase == SEVMIRROR_PHASE_POSTCOPY && t->migration->kept &&
	    !page_set_has(t->migration->kept->dirty, *number))
		page_set_add(t->migration->kept->dirty, *number);
}

/* Page number 2048 is in the work area; with every second one shared it is, and 2049 is not. */
static void start_repeating(struct trial *t, uint64_t *number)
{
	struct tiny_config config = trial_dirtier(32, 4, 0);
	struct sevmirror_source_options options = slowly;

	config.shared_every = 2;
	options.bandwidth = 8 * TRIAL_MIB;
	trial_start(t, payload, &config, &plain);
	*number += tiny_host_work_gpa(t->source) / 4096 % 2;
	trial_wait_for_writes(t, 500);
	t->hook = number;
	t->progress = repeat_page;
	trial_migrate(t, &options);
	assert_int_equal(t->outcome, SEVMIRROR_BROKEN);
	recover_fast(t, NULL);
}

/*
 * A page that is there is refused before it is touched: the guest, which has written to it since,
 * finds it as it wrote it.
 */
static void test_shared_page_comes_twice(void **state)
{
	uint64_t number = 2048;
	struct trial_verdict v;
	struct trial t;

	start_repeating(&t, &number);
	assert_string_equal(t.summary.error, "");
	assert_int_equal(t.outcome, SEVMIRROR_MIGRATED);
	assert_int_equal(t.summary.postcopy.recoveries, 1);
	v = trial_end(&t);
	assert_non_null(strstr(v.reason, "here already"));
}

/*
 * The same with a page that the source's helper has sealed again: the target's refuses it, and that
 * it has another version shows in the manifest.
 */
static void test_private_page_comes_twice(void **state)
{
	uint64_t number = 2049;
	struct trial_verdict v;
	struct trial t;

	start_repeating(&t, &number);
	assert_int_equal(t.outcome, SEVMIRROR_LOST);
	assert_non_null(strstr(t.summary.error, "not what the source sealed"));
	v = trial_end(&t);
	assert_int_equal(v.outcome, SEVMIRROR_LOST);
	assert_int_equal(v.summary.postcopy.recoveries, 1);
	assert_true(v.pause_requested);
	assert_non_null(strstr(v.reason, "RESIDENT"));
}

/* The manifest is changed on the (bare) wire: it comes just before the last message. */
static void test_manifest_does_not_hold(void **state)
{
	struct sevmirror_source_options options = slowly;
	struct trial_verdict v;
	struct wire_proxy *proxy;
	uint64_t bytes;
	struct trial t;

	start_small(&t, &plain);
	proxy = wire_proxy_start(t.address, &no_fault);
	assert_non_null(proxy);
	options.address = wire_proxy_address(proxy);
	options.bandwidth = 0;
	trial_migrate(&t, &options);
	assert_int_equal(t.outcome, SEVMIRROR_MIGRATED);
	bytes = wire_proxy_forwarded(proxy, 0);
	wire_proxy_stop(proxy);
	trial_end(&t);

	start_small(&t, &plain);
	options.address = NULL;
	go_over(&t, &options,
		(struct wire_fault){ .kind = WIRE_FLIP,
				     .connection = 0,
				     .at = bytes - sizeof(struct wire_header) - 5 });
	assert_int_equal(t.outcome, SEVMIRROR_LOST);
	assert_non_null(strstr(t.summary.error, "not what the source sealed"));
	v = trial_end(&t);
	assert_int_equal(v.outcome, SEVMIRROR_LOST);
	assert_true(v.pause_requested);
}

/* ---- random runs ---- */

static uint64_t random_state;

/* SplitMix64. */
static uint64_t random_below(uint64_t below)
{
	uint64_t x = random_state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return (x ^ x >> 31) % below;
}

static unsigned int runs(const char *variable, unsigned int normally)
{
	const char *value = getenv(variable);

	return value ? (unsigned int)strtoul(value, NULL, 0) : normally;
}

/* In the handshake a break is what migrate_engine.c tests. */
#define FIRST_BREAK 500000

/* Anything may break anywhere, from the first byte on, and again in each recovery. */
static void random_run(uint64_t seed, unsigned int max_breaks)
{
	struct trial_plan plan = plain;
	struct tiny_config config;
	struct sevmirror_source_options options = { .timeout = 60000 * TRIAL_MS };
	unsigned int breaks;
	uint64_t bytes;
	struct trial t;

	random_state = seed;
	config = trial_dirtier(16 + 2 * random_below(8), 1 + (uint32_t)random_below(4),
			       random_below(2) ? 0 : 2000);
	bytes = config.ram_bytes;
	config.args[DIRTIER_ARG_SEED] = seed;
	config.args[DIRTIER_ARG_PATTERN] = random_below(3);
	config.args[DIRTIER_ARG_VERIFY] = random_below(2) ? DIRTIER_VERIFY_SWEEP : 0;
	config.args[DIRTIER_ARG_WORKING_SET] = random_below(2) ? bytes / 2 : 0;
	config.shared_every = random_below(3) ? 0 : 2 + random_below(20);
	options.streams = 1 + (unsigned int)random_below(4);
	options.postcopy = random_below(4) ? SEVMIRROR_POSTCOPY_ALWAYS : SEVMIRROR_POSTCOPY_AUTO;
	options.postcopy_after = (unsigned int)random_below(3);
	options.bandwidth = random_below(3) ? (8 + random_below(120)) * TRIAL_MIB : 0;
	plan.device = random_below(2);
	breaks = max_breaks ? 1 + (unsigned int)random_below(max_breaks) : 0;

	trial_start(&t, payload, &config, &plan);
	trial_wait_for_writes(&t, random_below(2000));
	if (breaks)
		go_over(&t, &options,
			(struct wire_fault){ .kind = WIRE_BREAK,
					     .at = FIRST_BREAK + random_below(bytes) });
	else
		trial_migrate(&t, &options);
	while (t.outcome == SEVMIRROR_BROKEN && --breaks)
		go_over(&t, NULL,
			(struct wire_fault){ .kind = WIRE_BREAK,
					     .at = 200 + random_below(bytes / 2) });
	if (t.outcome == SEVMIRROR_BROKEN || t.outcome == SEVMIRROR_UNKNOWN)
		trial_recover(&t, t.address);
	if (t.outcome == SEVMIRROR_BROKEN || t.outcome == SEVMIRROR_LOST ||
	    (max_breaks == 0 && t.outcome != SEVMIRROR_MIGRATED))
		fail_msg("outcome %d: %s", t.outcome, t.summary.error);
	trial_end(&t);
}

/* The seed of a run that fails is the last one printed: SEVMIRROR_SEED is where to begin. */
static void random_runs(const char *variable, unsigned int normally, uint64_t first_seed,
			unsigned int max_breaks)
{
	const char *seed = getenv("SEVMIRROR_SEED");
	unsigned int n = runs(variable, seed ? 1 : normally);

	if (seed)
		first_seed = strtoull(seed, NULL, 0);
	for (uint64_t i = first_seed; i < first_seed + n; i++) {
		printf("# seed %llu\n", (unsigned long long)i);
		fflush(stdout);
		random_run(i, max_breaks);
	}
}

static void test_random_runs(void **state)
{
	random_runs("SEVMIRROR_POSTCOPY_RUNS", 12, 1000, 0);
}

static void test_random_breaks(void **state)
{
	random_runs("SEVMIRROR_POSTCOPY_BREAKS", 20, 500000, 3);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_always_at_once),
		cmocka_unit_test(test_always_after_a_round),
		cmocka_unit_test(test_auto),
		cmocka_unit_test(test_auto_without_need),
		cmocka_unit_test(test_shared_pages),
		cmocka_unit_test(test_device),
		cmocka_unit_test(test_target_without_userfaultfd),
		cmocka_unit_test(test_target_refuses),
		cmocka_unit_test(test_break_and_recovery),
		cmocka_unit_test(test_slow_link),
		cmocka_unit_test(test_silence_at_the_source),
		cmocka_unit_test(test_silence_at_the_target),
		cmocka_unit_test(test_given_up),
		cmocka_unit_test(test_cancelled),
		cmocka_unit_test(test_shared_page_comes_twice),
		cmocka_unit_test(test_private_page_comes_twice),
		cmocka_unit_test(test_manifest_does_not_hold),
		cmocka_unit_test(test_random_runs),
		cmocka_unit_test(test_random_breaks),
	};
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	payload = argc > 1 ? argv[1] : "payload-dirtier";
	if (kvm < 0) {
		printf("ok 1 - post-copy between two processes # SKIP no /dev/kvm on this machine: "
		       "%s\n",
		       strerror(errno));
		return 0;
	}
	close(kvm);
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	return cmocka_run_group_tests_name("postcopy_engine", tests, NULL, NULL);
}
