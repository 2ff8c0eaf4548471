/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The migration engine between two processes of this machine, at native speed: the guest is a payload that verifies its own memory, the
 * host a small embedder (tiny_host.h). Every trial says in the end that the guest runs at exactly one side, and that side's guest must
 * find every page as it wrote it last.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/kvm.h>

#include <sevmirror/migrate.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/address.h"
#include "payloads/dirtier.h"
#include "tests/kvm/tiny_host.h"
#include "tests/kvm/wire_proxy.h"

#define MIB	  (1ULL << 20)
#define MS	  1000000ULL
#define GUEST_RUN 150000 /* us that a guest runs on after it has moved */

static const char *payload;

/* How the target process ended. */
struct verdict {
	enum sevmirror_outcome outcome;
	bool guest_good;
	char error[512];
};

/* One migration between this process and a child. */
struct trial {
	struct tiny_host *source;
	pid_t child;
	int verdict_fd;
	char address[128];
	struct sevmirror_summary summary;
	enum sevmirror_outcome outcome;
};

/* What the child does differently. */
struct child_plan {
	int fail_state_load, fail_disks;
	int rounds_back; /* how often the guest comes back and goes again */
};

static void child_main(int listen_fd, int verdict_fd, const struct child_plan *plan)
{
	struct sevmirror_target_options options = { .listen_fd = listen_fd,
						    .security.insecure = true };
	struct tiny_host *host = tiny_host_create(payload);
	struct sevmirror_summary summary;
	struct sevmirror_migration *m;
	struct verdict v = { 0 };

	prctl(PR_SET_PDEATHSIG,
	      SIGKILL); /* a failed assertion in the parent leaves nothing behind */
	tiny_host_fail(host, plan->fail_state_load, plan->fail_disks);
	if (sevmirror_target_create(&m, &tiny_host_ops, host, &options, v.error, sizeof(v.error)) ==
	    0) {
		v.outcome = sevmirror_migration_run(m, &summary);
		snprintf(v.error, sizeof(v.error), "%s", summary.error);
		sevmirror_migration_destroy(m);
	}
	if (v.outcome == SEVMIRROR_MIGRATED) {
		usleep(GUEST_RUN);
		v.guest_good = tiny_host_running(host) && tiny_host_finish(host);
	}
	tiny_host_destroy(host);
	_exit(write(verdict_fd, &v, sizeof(v)) == sizeof(v) ? 0 : 1);
}

static void trial_start(struct trial *t, const struct tiny_config *config,
			const struct child_plan *plan)
{
	char why[256];
	int listen_fd, pipe_fds[2];

	memset(t, 0, sizeof(*t));
	listen_fd = address_listen("127.0.0.1:0", why, sizeof(why));
	assert_true(listen_fd >= 0);
	assert_int_equal(address_of(listen_fd, t->address, sizeof(t->address)), 0);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	fflush(NULL);
	t->child = fork();
	assert_true(t->child >= 0);
	if (t->child == 0)
		child_main(listen_fd, pipe_fds[1], plan);
	close(pipe_fds[1]);
	close(listen_fd);
	t->verdict_fd = pipe_fds[0];
	t->source = tiny_host_create(payload);
	assert_int_equal(tiny_host_launch(t->source, config), 0);
}

static void wait_for_writes(struct trial *t, uint64_t writes)
{
	struct payload_shared *shared = tiny_host_shared(t->source);

	for (int i = 0; i < 10000; i++) {
		if (__atomic_load_n(&shared->vcpu[0].counters[DIRTIER_COUNT_WRITES],
				    __ATOMIC_RELAXED) >= writes)
			return;
		usleep(1000);
	}
	fail_msg("the payload does not write");
}

static void migrate(struct trial *t, const struct sevmirror_source_options *wishes)
{
	struct sevmirror_source_options options = *wishes;
	struct sevmirror_migration *m;
	char why[256];

	if (!options.address)
		options.address = t->address;
	options.security.insecure = true;
	assert_int_equal(
		sevmirror_source_create(&m, &tiny_host_ops, t->source, &options, why, sizeof(why)),
		0);
	t->outcome = sevmirror_migration_run(m, &t->summary);
	sevmirror_migration_destroy(m);
}

/* Let the guest finish where it is, and see that it is where the outcome says and nowhere else. */
static struct verdict trial_end(struct trial *t)
{
	struct verdict v = { .outcome = SEVMIRROR_FAILED };
	int status;

	if (t->outcome == SEVMIRROR_FAILED || t->outcome == SEVMIRROR_CANCELLED) {
		assert_true(tiny_host_running(t->source));
		assert_false(tiny_host_handed_over(t->source));
		usleep(GUEST_RUN);
		assert_true(tiny_host_finish(t->source));
	} else {
		assert_false(tiny_host_running(t->source));
	}
	(void)!read(t->verdict_fd, &v, sizeof(v));
	close(t->verdict_fd);
	assert_int_equal(waitpid(t->child, &status, 0), t->child);
	if (t->outcome == SEVMIRROR_MIGRATED) {
		assert_true(tiny_host_handed_over(t->source));
		assert_int_equal(v.outcome, SEVMIRROR_MIGRATED);
		assert_true(v.guest_good);
	} else if (t->outcome != SEVMIRROR_UNKNOWN) {
		assert_int_not_equal(v.outcome, SEVMIRROR_MIGRATED);
	}
	tiny_host_destroy(t->source);
	return v;
}

static struct tiny_config dirtier(uint64_t mib, uint32_t nvcpus, uint64_t rate)
{
	return (struct tiny_config){
		.ram_bytes = mib * MIB,
		.nvcpus = nvcpus,
		.args = { [DIRTIER_ARG_SEED] = 42,
			  [DIRTIER_ARG_RATE] = rate,
			  [DIRTIER_ARG_PATTERN] = DIRTIER_RANDOM,
			  [DIRTIER_ARG_FILL] = 1 },
	};
}

static const struct sevmirror_source_options defaults;
static const struct child_plan plain;

static void test_slow_guest(void **state)
{
	struct tiny_config config = dirtier(64, 1, 2000);
	struct trial t;

	trial_start(&t, &config, &plain);
	wait_for_writes(&t, 100);
	migrate(&t, &defaults);
	assert_string_equal(t.summary.error, "");
	assert_int_equal(t.outcome, SEVMIRROR_MIGRATED);
	assert_true(t.summary.pages >= 64 * MIB / 4096 - 1024);
	assert_int_equal(t.summary.psp_commands, 0);
	trial_end(&t);
}

static void test_four_vcpus_dirtying(void **state)
{
	struct tiny_config config = dirtier(128, 4, 0);
	struct sevmirror_source_options options = { .streams = 4,
						    .throttle = true,
						    .max_rounds = 200 };
	struct trial t;

	config.args[DIRTIER_ARG_WORKING_SET] = 16 * MIB;
	trial_start(&t, &config, &plain);
	wait_for_writes(&t, 1000);
	migrate(&t, &options);
	assert_string_equal(t.summary.error, "");
	assert_int_equal(t.outcome, SEVMIRROR_MIGRATED);
	assert_true(t.summary.pages_resent > 0);
	trial_end(&t);
}

static void test_target_refuses_state(void **state)
{
	struct tiny_config config = dirtier(32, 1, 2000);
	struct child_plan plan = { .fail_state_load = -EINVAL };
	struct trial t;

	trial_start(&t, &config, &plan);
	wait_for_writes(&t, 100);
	migrate(&t, &defaults);
	assert_int_equal(t.outcome, SEVMIRROR_FAILED);
	assert_non_null(strstr(t.summary.error, "told to fail"));
	trial_end(&t);
}

/* After COMMIT: the target's own word that it does not run the guest gives it back. */
static void test_target_refuses_after_commit(void **state)
{
	struct tiny_config config = dirtier(32, 1, 2000);
	struct child_plan plan = { .fail_disks = -EBUSY };
	struct trial t;

	trial_start(&t, &config, &plan);
	wait_for_writes(&t, 100);
	migrate(&t, &defaults);
	assert_int_equal(t.outcome, SEVMIRROR_FAILED);
	assert_non_null(strstr(t.summary.error, "disks"));
	trial_end(&t);
}

static void test_does_not_converge(void **state)
{
	struct tiny_config config = dirtier(64, 2, 0);
	struct sevmirror_source_options options = { .max_downtime = 31 * MS,
						    .max_rounds = 4,
						    .bandwidth = 60 * MIB };
	struct trial t;

	config.args[DIRTIER_ARG_WORKING_SET] = 40 * MIB;
	trial_start(&t, &config, &plain);
	wait_for_writes(&t, 1000);
	migrate(&t, &options);
	assert_int_equal(t.outcome, SEVMIRROR_FAILED);
	assert_non_null(strstr(t.summary.error, "converge"));
	trial_end(&t);
}

static void test_nobody_listens(void **state)
{
	struct tiny_config config = dirtier(32, 1, 2000);
	struct sevmirror_source_options options = { .address = "127.0.0.1:1" };
	struct trial t;

	trial_start(&t, &config, &plain);
	migrate(&t, &options);
	assert_int_equal(t.outcome, SEVMIRROR_FAILED);
	kill(t.child, SIGTERM);
	trial_end(&t);
}

/* The network does something to the bytes of one connection: whatever it is, the guest ends at one side, and whole. */
static void assert_survives(struct wire_fault fault, bool must_fail)
{
	struct tiny_config config = dirtier(32, 1, 2000);
	struct sevmirror_source_options options = { .timeout = 3000 * MS };
	struct wire_proxy *proxy;
	struct trial t;

	trial_start(&t, &config, &plain);
	proxy = wire_proxy_start(t.address, &fault);
	assert_non_null(proxy);
	options.address = wire_proxy_address(proxy);
	wait_for_writes(&t, 100);
	migrate(&t, &options);
	wire_proxy_stop(proxy);
	if (getenv("SEVMIRROR_TRIALS"))
		fprintf(stderr, "# connection %u, byte %llu, fault %d: outcome %d %s\n",
			fault.connection, (unsigned long long)fault.at, fault.kind, t.outcome,
			t.summary.error);
	if (must_fail) {
		if (t.outcome != SEVMIRROR_FAILED)
			fail_msg("connection %u, byte %llu, fault %d: outcome %d", fault.connection,
				 (unsigned long long)fault.at, fault.kind, t.outcome);
		assert_true(strlen(t.summary.error) > 10);
	}
	trial_end(&t);
}

/* Connection 0 is the control connection, 1 and 2 the data streams. */
static void test_data_streams_attacked(void **state)
{
	const enum wire_fault_kind kinds[] = { WIRE_FLIP, WIRE_DROP, WIRE_REPEAT, WIRE_SWAP,
					       WIRE_CUT };
	const uint64_t places[] = { 0, 20, 60, 100, 3000, 100000, 1000003 };

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (size_t p = 0; p < sizeof(places) / sizeof(places[0]); p++)
			assert_survives((struct wire_fault){ .kind = kinds[k],
							     .connection = 1 + p % 2,
							     .at = places[p] },
					true);
}

static void test_control_attacked(void **state)
{
	const enum wire_fault_kind kinds[] = { WIRE_FLIP, WIRE_DROP, WIRE_CUT };
	const uint64_t places[] = { 0, 5, 12, 30, 70, 200, 5000, 40000, 200000 };

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (size_t p = 0; p < sizeof(places) / sizeof(places[0]); p++)
			assert_survives((struct wire_fault){ .kind = kinds[k],
							     .connection = 0,
							     .at = places[p] },
					false);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slow_guest),
		cmocka_unit_test(test_four_vcpus_dirtying),
		cmocka_unit_test(test_target_refuses_state),
		cmocka_unit_test(test_target_refuses_after_commit),
		cmocka_unit_test(test_does_not_converge),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_data_streams_attacked),
		cmocka_unit_test(test_control_attacked),
	};
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	payload = argc > 1 ? argv[1] : "payload-dirtier";
	if (kvm < 0) {
		printf("ok 1 - migration between two processes # SKIP no /dev/kvm on this machine: %s\n",
		       strerror(errno));
		return 0;
	}
	close(kvm);
	return cmocka_run_group_tests_name("migrate_engine", tests, NULL, NULL);
}
