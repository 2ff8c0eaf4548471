/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The migration engine between two processes of this machine, at native speed: the guest is a
 * payload that verifies its own memory, the host a small embedder (tiny_host.h). Every trial says
 * in the end that the guest runs at exactly one side, and that side's guest must find every page as
 * it wrote it last.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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

#include "lib/migrate/state_machine.h"
#include "payloads/dirtier.h"
#include "tests/kvm/trial.h"
#include "tests/kvm/wire_proxy.h"

static const char *payload;

static const struct sevmirror_source_options defaults;
static const struct trial_plan plain;

static void test_slow_guest(void **state)
{
	struct tiny_config config = trial_dirtier(64, 1, 2000);
	struct trial t;

	trial_start(&t, payload, &config, &plain);
	trial_wait_for_writes(&t, 100);
	trial_migrate(&t, &defaults);
	assert_string_equal(t.summary.error, "");
	assert_int_equal(t.outcome, SEVMIRROR_MIGRATED);
	assert_true(t.summary.pages >= 64 * TRIAL_MIB / 4096 - 1024);
	assert_int_equal(t.summary.psp_commands, 0);
	trial_end(&t);
}

static struct {
	enum source_event step[32];
	size_t n;
} life;

static void note_step(const struct state_machine *machine, unsigned int from, unsigned int event,
		      unsigned int to)
{
	assert_ptr_equal(machine, &source_life);
	if (life.n < sizeof(life.step) / sizeof(life.step[0]))
		life.step[life.n++] = (enum source_event)event;
}

/* The source's life is told step by step, of a migration that goes well and of one that does not.
 */
static void test_steps_of_the_source(void **state)
{
	static const enum source_event steps[] = { SOURCE_AGREE,  SOURCE_SEND_CORE, SOURCE_LOG,
						   SOURCE_STOP,	  SOURCE_RELEASE,   SOURCE_COMMIT,
						   SOURCE_RUNNING };
	static const size_t n = sizeof(steps) / sizeof(steps[0]);
	const struct trial_plan plans[] = { { 0 }, { .fail_state_load = -EINVAL } };

	for (size_t i = 0; i < 2; i++) {
		struct tiny_config config = trial_dirtier(32, 1, 2000);
		struct trial t;

		trial_start(&t, payload, &config, &plans[i]);
		trial_wait_for_writes(&t, 100);
		life.n = 0;
		state_machine_trace = note_step;
		trial_migrate(&t, &defaults);
		state_machine_trace = NULL;
		/* A state that does not load is heard of before the disks are released. */
		assert_int_equal(life.n, i ? 5 : n);
		assert_memory_equal(life.step, steps, (i ? 4 : n) * sizeof(steps[0]));
		if (i)
			assert_int_equal(life.step[4], SOURCE_ABORT);
		trial_end(&t);
	}
}

static void test_four_vcpus_dirtying(void **state)
{
	struct tiny_config config = trial_dirtier(128, 4, 0);
	struct sevmirror_source_options options = { .streams = 4,
						    .throttle = true,
						    .max_rounds = 200 };
	struct trial t;

	config.args[DIRTIER_ARG_WORKING_SET] = 16 * TRIAL_MIB;
	trial_start(&t, payload, &config, &plain);
	trial_wait_for_writes(&t, 1000);
	trial_migrate(&t, &options);
	assert_string_equal(t.summary.error, "");
	assert_int_equal(t.summary.reason, SEVMIRROR_REASON_NONE);
	assert_int_equal(t.outcome, SEVMIRROR_MIGRATED);
	assert_true(t.summary.pages_resent > 0);
	trial_end(&t);
}

static void test_target_refuses_state(void **state)
{
	struct tiny_config config = trial_dirtier(32, 1, 2000);
	struct trial_plan plan = { .fail_state_load = -EINVAL };
	struct trial t;

	trial_start(&t, payload, &config, &plan);
	trial_wait_for_writes(&t, 100);
	trial_migrate(&t, &defaults);
	assert_int_equal(t.outcome, SEVMIRROR_FAILED);
	assert_int_equal(t.summary.reason, SEVMIRROR_REASON_PEER);
	assert_non_null(strstr(t.summary.error, "told to fail"));
	trial_end(&t);
}

/* After COMMIT: the target's own word that it does not run the guest gives it back. */
static void test_target_refuses_after_commit(void **state)
{
	struct tiny_config config = trial_dirtier(32, 1, 2000);
	struct trial_plan plan = { .fail_disks = -EBUSY };
	struct trial t;

	trial_start(&t, payload, &config, &plan);
	trial_wait_for_writes(&t, 100);
	trial_migrate(&t, &defaults);
	assert_int_equal(t.outcome, SEVMIRROR_FAILED);
	assert_int_equal(t.summary.reason, SEVMIRROR_REASON_PEER);
	assert_non_null(strstr(t.summary.error, "disks"));
	trial_end(&t);
}

/* A target that has the disks already when it fails: the source's guest runs on, with its disks. */
static void test_target_fails_with_the_disks(void **state)
{
	struct tiny_config config = trial_dirtier(32, 1, 2000);
	struct trial_plan plan = { .fail_resume = -EIO };
	struct trial t;

	trial_start(&t, payload, &config, &plan);
	trial_wait_for_writes(&t, 100);
	trial_migrate(&t, &defaults);
	assert_int_equal(t.outcome, SEVMIRROR_FAILED);
	assert_non_null(strstr(t.summary.error, "the target cannot start the guest"));
	assert_true(tiny_host_has_disk(t.source));
	trial_end(&t);
}

/* Somebody has the disk's lock, from the source's release on. */
struct holder {
	int disk_file, fd;
	unsigned int ms; /* 0: until the test closes fd */
	pthread_t thread;
};

static void *let_go_late(void *arg)
{
	struct holder *holder = arg;

	usleep(holder->ms * 1000);
	close(holder->fd);
	return NULL;
}

static void hold_disk(struct tiny_host *host, void *arg, enum sevmirror_phase phase,
		      unsigned int round)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct holder *holder = arg;
	char path[64];

	if (phase != TINY_HOST_DISKS || holder->fd >= 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", holder->disk_file);
	holder->fd = open(path, O_RDWR);
	assert_int_equal(fcntl(holder->fd, F_OFD_SETLK, &lock), 0);
	if (holder->ms)
		assert_int_equal(pthread_create(&holder->thread, NULL, let_go_late, holder), 0);
}

static void test_disks_come_back_late(void **state)
{
	struct tiny_config config = trial_dirtier(32, 1, 2000);
	struct holder holder = { .fd = -1, .ms = 1500 };
	struct trial t;

	trial_start(&t, payload, &config, &plain);
	holder.disk_file = t.disk_file;
	tiny_host_hook(t.source, hold_disk, &holder);
	trial_wait_for_writes(&t, 100);
	trial_migrate(&t, &defaults);
	assert_int_equal(t.outcome, SEVMIRROR_FAILED);
	assert_null(strstr(t.summary.error, "paused"));
	assert_true(tiny_host_has_disk(t.source));
	pthread_join(holder.thread, NULL);
	trial_end(&t);
}

/* A guest without its disk does not run: it stays paused, and the summary says so. */
static void test_disks_do_not_come_back(void **state)
{
	struct tiny_config config = trial_dirtier(32, 1, 2000);
	struct holder holder = { .fd = -1 };
	char why[64];
	struct trial t;

	trial_start(&t, payload, &config, &plain);
	holder.disk_file = t.disk_file;
	tiny_host_hook(t.source, hold_disk, &holder);
	trial_wait_for_writes(&t, 100);
	trial_migrate(&t, &defaults);
	assert_int_equal(t.outcome, SEVMIRROR_FAILED);
	assert_non_null(strstr(t.summary.error, "stays paused on the source"));
	assert_false(tiny_host_running(t.source));
	close(holder.fd);
	assert_int_equal(tiny_host_ops().disks_acquire(t.source, why, sizeof(why)), 0);
	assert_int_equal(tiny_host_ops().resume(t.source), 0);
	trial_end(&t);
}

static void test_does_not_converge(void **state)
{
	struct tiny_config config = trial_dirtier(64, 2, 0);
	struct sevmirror_source_options options = { .max_downtime = 31 * TRIAL_MS,
						    .max_rounds = 4,
						    .bandwidth = 60 * TRIAL_MIB };
	struct trial t;

	config.args[DIRTIER_ARG_WORKING_SET] = 40 * TRIAL_MIB;
	trial_start(&t, payload, &config, &plain);
	trial_wait_for_writes(&t, 1000);
	trial_migrate(&t, &options);
	assert_int_equal(t.outcome, SEVMIRROR_FAILED);
	assert_int_equal(t.summary.reason, SEVMIRROR_REASON_CONVERGENCE);
	trial_end(&t);
}

static void test_nobody_listens(void **state)
{
	struct tiny_config config = trial_dirtier(32, 1, 2000);
	struct sevmirror_source_options options = { .address = "127.0.0.1:1" };
	struct trial t;

	trial_start(&t, payload, &config, &plain);
	trial_migrate(&t, &options);
	assert_int_equal(t.outcome, SEVMIRROR_FAILED);
	kill(t.child, SIGTERM);
	trial_end(&t);
}

/*
 * The network does something to the bytes of one connection: whatever it is, the guest ends at one
 * side, and whole.
 */
static void assert_survives(struct wire_fault fault, bool must_fail)
{
	struct tiny_config config = trial_dirtier(32, 1, 2000);
	struct sevmirror_source_options options = { .timeout = 3000 * TRIAL_MS };
	struct wire_proxy *proxy;
	struct trial t;

	trial_start(&t, payload, &config, &plain);
	proxy = wire_proxy_start(t.address, &fault);
	assert_non_null(proxy);
	options.address = wire_proxy_address(proxy);
	trial_wait_for_writes(&t, 100);
	trial_migrate(&t, &options);
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
		cmocka_unit_test(test_steps_of_the_source),
		cmocka_unit_test(test_four_vcpus_dirtying),
		cmocka_unit_test(test_target_refuses_state),
		cmocka_unit_test(test_target_refuses_after_commit),
		cmocka_unit_test(test_target_fails_with_the_disks),
		cmocka_unit_test(test_disks_come_back_late),
		cmocka_unit_test(test_disks_do_not_come_back),
		cmocka_unit_test(test_does_not_converge),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_data_streams_attacked),
		cmocka_unit_test(test_control_attacked),
	};
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	payload = argc > 1 ? argv[1] : "payload-dirtier";
	if (kvm < 0) {
		printf("ok 1 - migration between two processes # SKIP no /dev/kvm on this machine: "
		       "%s\n",
		       strerror(errno));
		return 0;
	}
	close(kvm);
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	return cmocka_run_group_tests_name("migrate_engine", tests, NULL, NULL);
}
