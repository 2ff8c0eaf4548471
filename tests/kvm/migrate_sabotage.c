/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A helper that dies or lies, a network that changes what goes through it, a target that dies at
 * the last moment: at each phase of a migration, with the outcome that was promised. What happens
 * to whole hosts is in migrate_faults.sh.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "tests/kvm/trial.h"
#include "tests/kvm/wire_proxy.h"

static const char *payload;

static const struct sevmirror_source_options defaults;
static const struct trial_plan plain;

/* A helper that dies or lies, at either side, while pages go or when they have gone. */
static void test_helpers_spoiled(void **state)
{
	static const struct {
		bool at_source;
		struct trial_sabotage sabotage;
		enum sevmirror_reason reason;
		const char *said;
	} cases[] = {
		{ true,
		  { SEVMIRROR_PHASE_SETUP, TINY_HELPER_DIES },
		  SEVMIRROR_REASON_HELPER,
		  "helper" },
		{ true,
		  { SEVMIRROR_PHASE_PRECOPY, TINY_HELPER_DIES },
		  SEVMIRROR_REASON_HELPER,
		  "helper" },
		{ true,
		  { SEVMIRROR_PHASE_STOP, TINY_HELPER_DIES },
		  SEVMIRROR_REASON_HELPER,
		  "helper" },
		{ true,
		  { SEVMIRROR_PHASE_STOP, TINY_HELPER_LIES },
		  SEVMIRROR_REASON_PEER,
		  "not what the source sealed" },
		{ false,
		  { SEVMIRROR_PHASE_PRECOPY, TINY_HELPER_DIES },
		  SEVMIRROR_REASON_PEER,
		  "helper" },
		{ false,
		  { SEVMIRROR_PHASE_PRECOPY, TINY_HELPER_LIES },
		  SEVMIRROR_REASON_PEER,
		  "not what the source sealed" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tiny_config config = trial_dirtier(32, 1, 20000);
		struct sevmirror_source_options options = { .timeout = 60000 * TRIAL_MS,
							    .max_downtime = 3000 * TRIAL_MS };
		struct trial_sabotage sabotage = cases[i].sabotage;
		struct trial_plan plan = { .timeout = 60000 * TRIAL_MS };
		struct trial t;

		if (!cases[i].at_source)
			plan.sabotage = sabotage;
		trial_start(&t, payload, &config, &plan);
		if (cases[i].at_source)
			tiny_host_hook(t.source, trial_spoil, &sabotage);
		trial_wait_for_writes(&t, 100);
		trial_migrate(&t, &options);
		if (t.outcome != SEVMIRROR_FAILED || t.summary.reason != cases[i].reason ||
		    !strstr(t.summary.error, cases[i].said))
			fail_msg("case %zu: %s, %s: %s", i, sevmirror_outcome_name(t.outcome),
				 sevmirror_reason_name(t.summary.reason), t.summary.error);
		trial_end(&t);
	}
}

/*
 * The target is dead before COMMIT is said: the source sees that in time, and nothing is in doubt.
 */
static void kill_child(struct tiny_host *host, void *arg, enum sevmirror_phase phase,
		       unsigned int round)
{
	struct trial *t = arg;
	siginfo_t info;

	if (phase != TINY_HOST_DISKS)
		return;
	kill(t->child, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)t->child, &info, WEXITED | WNOWAIT), 0);
}

static void test_target_dies_before_commit(void **state)
{
	struct tiny_config config = trial_dirtier(32, 1, 2000);
	struct trial t;

	trial_start(&t, payload, &config, &plain);
	tiny_host_hook(t.source, kill_child, &t);
	trial_wait_for_writes(&t, 100);
	trial_migrate(&t, &defaults);
	assert_int_equal(t.outcome, SEVMIRROR_FAILED);
	assert_int_equal(t.summary.reason, SEVMIRROR_REASON_CONNECTION);
	trial_end(&t);
}

/* One bit of what goes through the network next, under TLS, from a phase on. */
struct tamper {
	struct wire_proxy *proxy;
	enum sevmirror_phase phase;
	unsigned int connection;
	bool to_source;
};

static void tamper(struct tiny_host *host, void *arg, enum sevmirror_phase phase,
		   unsigned int round)
{
	struct tamper *tamper = arg;

	if (!tamper->phase || phase != tamper->phase)
		return;
	wire_proxy_strike(tamper->proxy, tamper->connection, tamper->to_source);
	tamper->phase = SEVMIRROR_PHASE_NONE;
}

static void make_psk(char path[32])
{
	static const char key[] =
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
	int fd;

	strcpy(path, "/tmp/sevmirror-psk-XXXXXX");
	fd = mkstemp(path); /* mode 0600 */
	assert_true(fd >= 0 && write(fd, key, strlen(key)) == (ssize_t)strlen(key));
	close(fd);
}

static void assert_tampering_found(const char *psk, struct tamper plan,
				   enum sevmirror_outcome expected, bool runs_there)
{
	struct tiny_config config = trial_dirtier(32, 1, 20000);
	struct trial_plan child = { .psk_file = psk, .timeout = 60000 * TRIAL_MS };
	struct sevmirror_source_options options = { .timeout = 60000 * TRIAL_MS,
						    .max_downtime = 3000 * TRIAL_MS,
						    .security.psk_file = psk };
	struct wire_fault none = { .connection = UINT32_MAX };
	enum sevmirror_phase phase = plan.phase;
	struct trial_verdict v;
	struct trial t;

	trial_start(&t, payload, &config, &child);
	plan.proxy = wire_proxy_start(t.address, &none);
	assert_non_null(plan.proxy);
	options.address = wire_proxy_address(plan.proxy);
	tiny_host_hook(t.source, tamper, &plan);
	trial_wait_for_writes(&t, 100);
	trial_migrate(&t, &options);
	/*
	 * A stream may have nothing more to carry on a busy machine; the control connection always
	 * has.
	 */
	if (!wire_proxy_struck(plan.proxy) && plan.connection > 0) {
		expected = SEVMIRROR_MIGRATED;
		runs_there = true;
	} else {
		assert_true(wire_proxy_struck(plan.proxy));
	}
	if (t.outcome != expected)
		fail_msg("%s, connection %u: outcome %d, %s", sevmirror_phase_name(phase),
			 plan.connection, t.outcome, t.summary.error);
	wire_proxy_stop(plan.proxy);
	v = trial_end(&t);
	assert_int_equal(v.outcome == SEVMIRROR_MIGRATED, runs_there);
	assert_true(!runs_there || v.guest_good);
}

/*
 * Connection 0 is the control connection, under TLS; the streams' frames are sealed by a key of it.
 */
static void test_tampered_under_tls(void **state)
{
	static const enum sevmirror_phase phases[] = { SEVMIRROR_PHASE_SETUP,
						       SEVMIRROR_PHASE_PRECOPY,
						       SEVMIRROR_PHASE_STOP };
	char psk[32];

	make_psk(psk);
	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++) {
		assert_tampering_found(psk, (struct tamper){ .phase = phases[i] }, SEVMIRROR_FAILED,
				       false);
		assert_tampering_found(psk,
				       (struct tamper){ .phase = phases[i], .to_source = true },
				       SEVMIRROR_FAILED, false);
		if (i > 0)
			assert_tampering_found(
				psk, (struct tamper){ .phase = phases[i], .connection = 1 },
				SEVMIRROR_FAILED, false);
	}
	/*
	 * COMMIT spoiled: it does not run there, but the source cannot know. RUNNING spoiled: it
	 * does.
	 */
	assert_tampering_found(psk, (struct tamper){ .phase = SEVMIRROR_PHASE_COMMIT },
			       SEVMIRROR_UNKNOWN, false);
	assert_tampering_found(
		psk, (struct tamper){ .phase = SEVMIRROR_PHASE_COMMIT, .to_source = true },
		SEVMIRROR_UNKNOWN, true);
	unlink(psk);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_helpers_spoiled),
		cmocka_unit_test(test_target_dies_before_commit),
		cmocka_unit_test(test_tampered_under_tls),
	};
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	payload = argc > 1 ? argv[1] : "payload-dirtier";
	if (kvm < 0) {
		printf("ok 1 - sabotage of a migration # SKIP no /dev/kvm on this machine: %s\n",
		       strerror(errno));
		return 0;
	}
	close(kvm);
	return cmocka_run_group_tests_name("migrate_sabotage", tests, NULL, NULL);
}
