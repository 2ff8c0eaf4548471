/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Post-copy between two processes of this machine, at native speed: four vCPUs of a payload write and verify their memory while it is not there
 * yet. Every page that is lost, doubled or stale is one that the payload finds.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "payloads/dirtier.h"
#include "tests/kvm/trial.h"

static const char *payload;
static const struct trial_plan plain;

static void print_numbers(const struct trial *t)
{
	const struct sevmirror_postcopy *n = &t->summary.postcopy;

	printf("# %llu pages missing, %llu faults (p50 %llu us, p95 %llu us, p99 %llu us, max %llu us), %llu prefetched, %llu of %llu "
	       "watched ones used, last page after %llu ms, downtime %llu ms\n",
	       (unsigned long long)n->pages, (unsigned long long)n->faults,
	       (unsigned long long)n->fault_p50 / 1000, (unsigned long long)n->fault_p95 / 1000,
	       (unsigned long long)n->fault_p99 / 1000, (unsigned long long)n->fault_max / 1000,
	       (unsigned long long)n->prefetched, (unsigned long long)n->prefetch_used,
	       (unsigned long long)n->prefetch_samples, (unsigned long long)n->last_page / 1000000,
	       (unsigned long long)t->summary.downtime / 1000000);
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

/* All of memory is missing when the guest goes on. */
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

/* A guest that writes faster than the link takes it, half of its memory over and over: pre-copy fails, post-copy does not. */
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
	assert_non_null(strstr(t.summary.error, "converge"));
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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_always_at_once), cmocka_unit_test(test_always_after_a_round),
		cmocka_unit_test(test_auto),	       cmocka_unit_test(test_auto_without_need),
		cmocka_unit_test(test_shared_pages),   cmocka_unit_test(test_target_refuses),
	};
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	payload = argc > 1 ? argv[1] : "payload-dirtier";
	if (kvm < 0) {
		printf("ok 1 - post-copy between two processes # SKIP no /dev/kvm on this machine: %s\n",
		       strerror(errno));
		return 0;
	}
	close(kvm);
	return cmocka_run_group_tests_name("postcopy_engine", tests, NULL, NULL);
}
