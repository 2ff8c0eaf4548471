/* SPDX-License-Identifier: Apache-2.0 */
/* A migration as an object: options that make no sense, limits that change, cancelling before it
 * runs. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/session.h"
#include "lib/net/address.h"
#include "lib/util/clock.h"
#include "tests/fuzz/migrate_rig.h"

static char why[512];
static struct rig rig;

static int make_source(struct sevmirror_migration **m, struct sevmirror_source_options options)
{
	why[0] = '\0';
	return sevmirror_source_create(m, &rig_ops, &rig, &options, why, sizeof(why));
}

static int make_target(struct sevmirror_migration **m, struct sevmirror_target_options options)
{
	why[0] = '\0';
	return sevmirror_target_create(m, &rig_ops, &rig, &options, why, sizeof(why));
}

static void options_have_defaults(void **state)
{
	struct sevmirror_migration *m;

	assert_int_equal(
		make_source(&m, (struct sevmirror_source_options){ .address = "h:1",
								   .security.insecure = true }),
		0);
	assert_int_equal(m->source.streams, 2);
	assert_int_equal(m->source.max_rounds, 30);
	assert_int_equal(atomic_load(&m->max_downtime), 300 * NS_PER_MS);
	assert_int_equal(m->timeout_ms, 10000);
	sevmirror_migration_destroy(m);
	assert_int_equal(
		make_target(&m, (struct sevmirror_target_options){ .listen_fd = -1,
								   .security.insecure = true }),
		0);
	assert_int_equal(m->target.max_streams, WIRE_MAX_STREAMS);
	sevmirror_migration_destroy(m);
	sevmirror_migration_destroy(NULL);
}

static void options_that_make_no_sense_are_refused_by_name(void **state)
{
	struct sevmirror_source_options o = { .security.insecure = true };
	struct sevmirror_migration *m;

	assert_int_equal(make_source(&m, o), -EINVAL);
	assert_null(m);
	assert_string_equal(why, "no address to migrate to");
	o.address = "h:1";
	o.streams = WIRE_MAX_STREAMS + 1;
	assert_int_equal(make_source(&m, o), -EINVAL);
	assert_string_equal(why, "at most 16 data streams");
	o.streams = 0;
	o.security = (struct sevmirror_security){ .psk_file = "/no/such/file" };
	assert_true(make_source(&m, o) < 0);
	assert_non_null(strstr(why, "/no/such/file"));
	o.security = (struct sevmirror_security){ 0 };
	assert_int_equal(make_source(&m, o), -EINVAL);
	assert_int_equal(
		make_target(&m, (struct sevmirror_target_options){ .security.insecure = true,
								   .max_streams =
									   WIRE_MAX_STREAMS + 1 }),
		-EINVAL);
	assert_string_equal(why, "at most 16 data streams");
}

/* So slow that the target would take a stream that sleeps for one that has gone. */
static void a_bandwidth_that_looks_like_silence_is_refused(void **state)
{
	struct sevmirror_source_options o = { .address = "h:1",
					      .security.insecure = true,
					      .bandwidth = 1000 };
	const uint64_t low = 1000, high = 100 << 20, zero = 0, ms = 50 * NS_PER_MS;
	struct sevmirror_migration *m;

	assert_int_equal(make_source(&m, o), -EINVAL);
	assert_non_null(strstr(why, "the bandwidth must be at least "));
	o.bandwidth = 0;
	assert_int_equal(make_source(&m, o), 0);
	assert_int_equal(sevmirror_migration_tune(m, &ms, &low, why, sizeof(why)), -EINVAL);
	assert_int_equal(atomic_load(&m->max_downtime), 300 * NS_PER_MS);
	assert_int_equal(sevmirror_migration_tune(m, &ms, &high, why, sizeof(why)), 0);
	assert_int_equal(atomic_load(&m->max_downtime), ms);
	assert_int_equal(atomic_load(&m->bandwidth), high);
	assert_int_equal(sevmirror_migration_tune(m, &zero, NULL, why, sizeof(why)), 0);
	assert_int_equal(atomic_load(&m->max_downtime), 300 * NS_PER_MS);
	assert_int_equal(atomic_load(&m->bandwidth), high);
	sevmirror_migration_destroy(m);
}

static void a_target_has_no_limits(void **state)
{
	const uint64_t ms = NS_PER_MS;
	struct sevmirror_migration *m;

	assert_int_equal(
		make_target(&m, (struct sevmirror_target_options){ .listen_fd = -1,
								   .security.insecure = true }),
		0);
	assert_int_equal(sevmirror_migration_tune(m, &ms, NULL, why, sizeof(why)), -EINVAL);
	assert_string_equal(why, "only the source has limits to change");
	sevmirror_migration_destroy(m);
}

static void a_run_that_was_cancelled_before_ends_so(void **state)
{
	struct sevmirror_target_options o = { .security.insecure = true };
	struct sevmirror_summary summary;
	struct sevmirror_migration *m;

	rig_reset(&rig, NULL, 0);
	o.listen_fd = address_listen("127.0.0.1:0", NULL);
	assert_true(o.listen_fd >= 0);
	assert_int_equal(make_target(&m, o), 0);
	sevmirror_migration_cancel(m);
	assert_int_equal(sevmirror_migration_run(m, &summary), SEVMIRROR_CANCELLED);
	assert_int_equal(summary.reason, SEVMIRROR_REASON_CANCELLED);
	assert_string_equal(summary.error, "cancelled");
	sevmirror_migration_destroy(m);
	close(o.listen_fd);
}

static void without_a_break_there_is_nothing_to_recover(void **state)
{
	struct sevmirror_summary summary;
	struct sevmirror_migration *m;

	rig_reset(&rig, NULL, 0);
	assert_int_equal(
		make_source(&m, (struct sevmirror_source_options){ .address = "127.0.0.1:1",
								   .security.insecure = true }),
		0);
	assert_int_equal(sevmirror_migration_run(m, &summary), SEVMIRROR_FAILED);
	assert_int_equal(summary.reason, SEVMIRROR_REASON_CONNECTION);
	assert_non_null(strstr(summary.error, "127.0.0.1:1"));
	assert_int_equal(sevmirror_migration_recover(m, NULL, &summary), SEVMIRROR_FAILED);
	assert_string_equal(summary.error, "there is no interrupted post-copy to recover");
	sevmirror_migration_destroy(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_have_defaults),
		cmocka_unit_test(options_that_make_no_sense_are_refused_by_name),
		cmocka_unit_test(a_bandwidth_that_looks_like_silence_is_refused),
		cmocka_unit_test(a_target_has_no_limits),
		cmocka_unit_test(a_run_that_was_cancelled_before_ends_so),
		cmocka_unit_test(without_a_break_there_is_nothing_to_recover),
	};

	return cmocka_run_group_tests_name("migrate_api", tests, NULL, NULL);
}
