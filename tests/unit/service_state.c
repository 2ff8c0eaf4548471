/* SPDX-License-Identifier: Apache-2.0 */
/* The states of a VM's process: the table, its diagram in docs/hacking.md, what a client is told.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"
#include "service/state.h"

/* argv[1]: docs/hacking.md */
static const char *document;

static int state_of(const char *name)
{
	for (int i = 0; i < SERVICE_STATES; i++) {
		if (!strcmp(name, service_state_name((enum service_state)i)))
			return i;
	}
	return -1;
}

static int event_of(const char *name)
{
	for (int i = 0; i < SERVICE_EVENTS; i++) {
		if (!strcmp(name, service_event_name((enum service_event)i)))
			return i;
	}
	return -1;
}

static void the_diagram_is_the_table(void **state)
{
	int drawn[SERVICE_STATES][SERVICE_EVENTS];
	char line[512], from[32], to[32], event[32];
	FILE *f = fopen(document, "re");

	assert_non_null(f);
	memset(drawn, -1, sizeof(drawn));
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, " %31[A-Z_] --> %31[A-Z_]: %31[A-Z_]", from, to, event) != 3)
			continue;
		/* Other machines have other names. */
		if (state_of(from) < 0 || event_of(event) < 0)
			continue;
		assert_int_equal(drawn[state_of(from)][event_of(event)], -1);
		drawn[state_of(from)][event_of(event)] = state_of(to);
	}
	fclose(f);
	for (int s = 0; s < SERVICE_STATES; s++) {
		for (int e = 0; e < SERVICE_EVENTS; e++) {
			enum service_state now = (enum service_state)s;
			int err = service_state_step(&now, (enum service_event)e);

			if (drawn[s][e] != (err ? -1 : (int)now))
				fail_msg("%s: %s is not as the document draws it",
					 service_state_name((enum service_state)s),
					 service_event_name((enum service_event)e));
			if (err)
				assert_int_equal(now, s);
		}
	}
}

/* Each state is reached from the first one, and each in which a thread works hears how it ends. */
static void no_state_is_a_dead_end_by_accident(void **state)
{
	bool reached[SERVICE_STATES] = { [SERVICE_EMPTY] = true };

	for (int round = 0; round < SERVICE_STATES; round++) {
		for (int s = 0; s < SERVICE_STATES; s++) {
			for (int e = 0; reached[s] && e < SERVICE_EVENTS; e++) {
				enum service_state now = (enum service_state)s;

				if (!service_state_step(&now, (enum service_event)e))
					reached[now] = true;
			}
		}
	}
	for (int s = 0; s < SERVICE_STATES; s++) {
		enum service_state now = (enum service_state)s;

		if (!reached[s])
			fail_msg("%s is never reached", service_state_name(now));
		if (service_state_migrates(now) && now != SERVICE_AWAITED)
			assert_int_equal(service_state_step(&now, SERVICE_END_MIGRATED), 0);
	}
}

static void a_client_is_told_by_the_state_alone(void **state)
{
	static const struct {
		enum service_state state;
		enum vm_end end;
		bool paused;
		enum client_state client;
		unsigned int may, may_not;
	} cases[] = {
		{ SERVICE_EMPTY, VM_RUNS, false, CLIENT_STARTING, SERVICE_MAY_STOP,
		  SERVICE_MAY_LOOK | SERVICE_MAY_RESUME | SERVICE_MAY_MIGRATE },
		{ SERVICE_HELD, VM_RUNS, false, CLIENT_STARTING,
		  SERVICE_MAY_RESUME | SERVICE_MAY_INJECT,
		  SERVICE_MAY_PAUSE | SERVICE_MAY_MIGRATE },
		{ SERVICE_HERE, VM_RUNS, false, CLIENT_RUNNING,
		  SERVICE_MAY_MIGRATE | SERVICE_MAY_ATTACH | SERVICE_MAY_PAUSE,
		  SERVICE_MAY_CANCEL | SERVICE_MAY_INJECT | SERVICE_MAY_RECOVER },
		{ SERVICE_HERE, VM_RUNS, true, CLIENT_PAUSED, SERVICE_MAY_RESUME, 0 },
		{ SERVICE_LEAVING, VM_RUNS, false, CLIENT_RUNNING,
		  SERVICE_MAY_CANCEL | SERVICE_MAY_TUNE, SERVICE_MAY_MIGRATE | SERVICE_MAY_ATTACH },
		{ SERVICE_UNDECIDED, VM_RUNS, false, CLIENT_PAUSED, SERVICE_MAY_RESUME,
		  SERVICE_MAY_MIGRATE | SERVICE_MAY_ATTACH | SERVICE_MAY_RECOVER },
		{ SERVICE_BROKEN, VM_RUNS, false, CLIENT_PAUSED, SERVICE_MAY_RECOVER,
		  SERVICE_MAY_RESUME | SERVICE_MAY_STOP | SERVICE_MAY_MIGRATE },
		{ SERVICE_RECOVERING, VM_RUNS, false, CLIENT_PAUSED, SERVICE_MAY_CANCEL,
		  SERVICE_MAY_RESUME | SERVICE_MAY_STOP | SERVICE_MAY_RECOVER },
		{ SERVICE_LOST, VM_RUNS, false, CLIENT_PAUSED, SERVICE_MAY_LOOK,
		  SERVICE_MAY_RESUME | SERVICE_MAY_STOP | SERVICE_MAY_MIGRATE },
		{ SERVICE_AWAITED, VM_RUNS, false, CLIENT_INCOMING,
		  SERVICE_MAY_STOP | SERVICE_MAY_CANCEL, SERVICE_MAY_LOOK | SERVICE_MAY_PAUSE },
		{ SERVICE_AWAITED, VM_STOPPED, false, CLIENT_INCOMING, 0, SERVICE_MAY_LOOK },
		{ SERVICE_FILLING, VM_RUNS, true, CLIENT_PAUSED, SERVICE_MAY_RESUME,
		  SERVICE_MAY_MIGRATE },
		{ SERVICE_CUT, VM_RUNS, false, CLIENT_RUNNING, SERVICE_MAY_PAUSE,
		  SERVICE_MAY_MIGRATE },
		{ SERVICE_LEAVING, VM_MIGRATED, false, CLIENT_MIGRATED, SERVICE_MAY_STOP,
		  SERVICE_MAY_LOOK | SERVICE_MAY_RESUME },
		{ SERVICE_HERE, VM_CRASH, false, CLIENT_CRASHED, 0,
		  SERVICE_MAY_MIGRATE | SERVICE_MAY_RESUME },
		{ SERVICE_HERE, VM_POWEROFF, false, CLIENT_STOPPING, 0, SERVICE_MAY_MIGRATE },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct service_view view =
			service_view(cases[i].state, cases[i].end, cases[i].paused, false);

		if (view.client != cases[i].client)
			fail_msg("%s: a client sees %s", service_state_name(cases[i].state),
				 client_state_name(view.client));
		assert_int_equal(view.permits & cases[i].may, cases[i].may);
		assert_int_equal(view.permits & cases[i].may_not, 0);
		assert_true(*view.sentence);
		assert_true(view.ordinary ==
			    (cases[i].state == SERVICE_HERE && cases[i].end == VM_RUNS));
	}
}

/* Who looks at the status is told what `migrate` told: with pages here, `stop` loses the guest. */
static void an_unknown_outcome_has_one_advice(void **state)
{
	struct service_view whole = service_view(SERVICE_UNDECIDED, VM_RUNS, false, false);
	struct service_view missing = service_view(SERVICE_UNDECIDED, VM_RUNS, false, true);

	assert_string_equal(whole.action, service_advice(RESULT_UNKNOWN, false, false).action);
	assert_string_equal(missing.action, service_advice(RESULT_UNKNOWN, false, true).action);
	assert_int_equal(whole.permits & SERVICE_MAY_RECOVER, 0);
	assert_int_equal(missing.permits & ~whole.permits, SERVICE_MAY_RECOVER);
}

static void each_result_has_its_words(void **state)
{
	assert_int_equal(service_result(SEVMIRROR_CANCELLED, VM_STOPPED), RESULT_ENDED);
	assert_int_equal(service_result(SEVMIRROR_FAILED, VM_CRASH), RESULT_ENDED);
	assert_int_equal(service_result(SEVMIRROR_FAILED, VM_RUNS), RESULT_FAILED);
	assert_int_equal(service_result(SEVMIRROR_MIGRATED, VM_MIGRATED), RESULT_MIGRATED);
	for (int i = 0; i < SERVICE_RESULTS; i++) {
		enum service_result result = (enum service_result)i;

		assert_int_equal(service_result_of(service_result_name(result)), result);
		assert_true(*service_advice(result, false, false).sentence);
	}
	assert_int_equal(service_result_of("no such"), SERVICE_RESULTS);
	assert_string_not_equal(service_advice_at_target(RESULT_MIGRATED, false).sentence,
				service_advice(RESULT_MIGRATED, false, false).sentence);
	/* An operator in doubt is told what to do. */
	assert_true(*service_advice(RESULT_UNKNOWN, false, false).action);
	assert_true(*service_advice(RESULT_BROKEN, false, false).action);
	assert_true(*service_advice(RESULT_LOST, false, false).action);
	assert_string_not_equal(service_advice(RESULT_UNKNOWN, false, false).action,
				service_advice(RESULT_UNKNOWN, false, true).action);
	assert_string_not_equal(service_advice(RESULT_MIGRATED, false, false).sentence,
				service_advice(RESULT_MIGRATED, true, false).sentence);
}

static void a_migration_has_its_word(void **state)
{
	assert_string_equal(service_migration_status(SERVICE_HERE, false, 0), "none");
	assert_string_equal(service_migration_status(SERVICE_AWAITED, true, 0), "incoming");
	assert_string_equal(service_migration_status(SERVICE_LEAVING, true, 0), "active");
	assert_string_equal(service_migration_status(SERVICE_CUT, true, RESULT_LOST), "active");
	assert_string_equal(service_migration_status(SERVICE_HERE, true, RESULT_CANCELLED),
			    "cancelled");
	assert_string_equal(service_migration_status(SERVICE_NONE_CAME, true, RESULT_FAILED),
			    "failed");
	/* Only in post-copy does the target know more than the source. */
	assert_true(service_result_recoverable(RESULT_UNKNOWN, SEVMIRROR_PHASE_BROKEN));
	assert_false(service_result_recoverable(RESULT_UNKNOWN, SEVMIRROR_PHASE_FAILED));
	assert_false(service_result_recoverable(RESULT_LOST, SEVMIRROR_PHASE_BROKEN));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_diagram_is_the_table),
		cmocka_unit_test(no_state_is_a_dead_end_by_accident),
		cmocka_unit_test(a_client_is_told_by_the_state_alone),
		cmocka_unit_test(an_unknown_outcome_has_one_advice),
		cmocka_unit_test(each_result_has_its_words),
		cmocka_unit_test(a_migration_has_its_word),
	};

	if (argc != 2)
		return 1;
	document = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
