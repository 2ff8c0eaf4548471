/* SPDX-License-Identifier: Apache-2.0 */
/* The source's and the target's life: the tables, their diagrams in docs/hacking.md, the model. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"
#include "lib/migrate/state_machine.h"
#include "tests/model/steps.h"

#define STATES_MAX 32
#define EVENTS_MAX 16

/* argv[1]: docs/hacking.md */
static const char *document;

static const struct state_machine *const lives[] = { &source_life, &target_life };

static int state_of(const struct state_machine *life, const char *name)
{
	for (unsigned int i = 0; i < life->nstates; i++)
		if (!strcmp(name, life->state[i].name))
			return (int)i;
	return -1;
}

static int event_of(const struct state_machine *life, const char *name)
{
	for (unsigned int i = 0; i < life->nevents; i++)
		if (!strcmp(name, life->event[i]))
			return (int)i;
	return -1;
}

static void the_diagrams_are_the_tables(void **state)
{
	for (size_t i = 0; i < 2; i++) {
		const struct state_machine *life = lives[i];
		int drawn[STATES_MAX][EVENTS_MAX];
		char line[512], from[32], to[32], event[32];
		FILE *f = fopen(document, "re");

		assert_non_null(f);
		memset(drawn, -1, sizeof(drawn));
		while (fgets(line, sizeof(line), f)) {
			/* Other machines have states of other names. */
			if (sscanf(line, " %31[A-Z_] --> %31[A-Z_]: %31[A-Z_]", from, to, event) !=
				    3 ||
			    state_of(life, from) < 0)
				continue;
			assert_true(event_of(life, event) >= 0 && state_of(life, to) >= 0);
			assert_int_equal(drawn[state_of(life, from)][event_of(life, event)], -1);
			drawn[state_of(life, from)][event_of(life, event)] = state_of(life, to);
		}
		fclose(f);
		for (unsigned int s = 0; s < life->nstates; s++)
			for (unsigned int e = 0; e < life->nevents; e++) {
				int next = state_machine_next(life, s, e);

				if (drawn[s][e] != (next < 0 ? -1 : next))
					fail_msg("%s: %s is not as the document draws it",
						 life->state[s].name, life->event[e]);
			}
	}
}

/*
 * Steps that no run takes, and that the table has nevertheless: if one happened, the engine must
 * not end at an assertion.
 */
static const struct {
	const struct state_machine *life;
	unsigned int from, event;
} defensive[] = {
	/* the source waits for its own helper there, not for the target */
	{ &source_life, SOURCE_SETTING_UP, SOURCE_ABORT },
	/* a target that gives up says so after RUNNING, or in the place of its RECOVER */
	{ &source_life, SOURCE_RECOVERING, SOURCE_ABORT },
};

static bool is_defensive(const struct state_machine *life, unsigned int from, unsigned int event)
{
	for (size_t i = 0; i < sizeof(defensive) / sizeof(defensive[0]); i++)
		if (defensive[i].life == life && defensive[i].from == from &&
		    defensive[i].event == event)
			return true;
	return false;
}

/* tests/model/steps.def: what spin's search of the model took. */
static void the_model_takes_the_steps_of_the_tables(void **state)
{
	for (size_t i = 0; i < 2; i++) {
		const struct state_machine *life = lives[i];

		for (unsigned int s = 0; s < life->nstates; s++)
			for (unsigned int e = 0; e < life->nevents; e++) {
				int next = state_machine_next(life, s, e);

				for (unsigned int to = 0; to < life->nstates; to++)
					if (model_has_step(life, s, e, to) !=
					    (next == (int)to && !is_defensive(life, s, e)))
						fail_msg("%s: %s: the model is not the table",
							 life->state[s].name, life->event[e]);
			}
	}
}

static bool is_end(const struct state_machine *life, unsigned int state)
{
	for (unsigned int e = 0; e < life->nevents; e++)
		if (state_machine_next(life, state, e) >= 0)
			return false;
	return true;
}

/* Each state is reached, and each from which something follows hears of a failure. */
static void no_state_is_a_dead_end_by_accident(void **state)
{
	for (size_t i = 0; i < 2; i++) {
		const struct state_machine *life = lives[i];
		bool reached[STATES_MAX] = { true };

		for (unsigned int round = 0; round < life->nstates; round++)
			for (unsigned int s = 0; s < life->nstates; s++)
				for (unsigned int e = 0; reached[s] && e < life->nevents; e++) {
					int next = state_machine_next(life, s, e);

					if (next >= 0)
						reached[next] = true;
				}
		for (unsigned int s = 0; s < life->nstates; s++) {
			if (!reached[s])
				fail_msg("%s is never reached", life->state[s].name);
			if (is_end(life, s))
				assert_true(life->state[s].phase == SEVMIRROR_PHASE_DONE ||
					    life->state[s].phase == SEVMIRROR_PHASE_FAILED);
		}
	}
	for (unsigned int s = 0; s < SOURCE_STATES; s++) {
		if (is_end(&source_life, s) || source_life.state[s].at_rest)
			continue;
		assert_true(state_machine_next(&source_life, s, SOURCE_BREAK) >= 0);
		assert_true(state_machine_next(&source_life, s, SOURCE_ABORT) >= 0);
	}
}

/* Before COMMIT every failure gives the guest back; after it only the target's own word does. */
static void only_one_host_may_run_the_guest(void **state)
{
	for (unsigned int s = 0; s < SOURCE_COMMITTED; s++) {
		assert_int_equal(state_machine_next(&source_life, s, SOURCE_BREAK), SOURCE_FAILED);
		assert_int_equal(state_machine_next(&source_life, s, SOURCE_ABORT), SOURCE_FAILED);
		assert_true(source_life.state[s].can_cancel);
	}
	for (unsigned int s = SOURCE_COMMITTED; s < SOURCE_STATES; s++)
		assert_int_not_equal(state_machine_next(&source_life, s, SOURCE_BREAK),
				     SOURCE_FAILED);
	/* Once it runs there, nothing gives it back. */
	assert_int_equal(state_machine_next(&source_life, SOURCE_POSTCOPY, SOURCE_ABORT),
			 SOURCE_LOST);
	assert_int_equal(state_machine_next(&source_life, SOURCE_RECOVERING, SOURCE_ABORT),
			 SOURCE_LOST);
	/* The target does not run the guest before it has heard COMMIT. */
	for (unsigned int s = 0; s < TARGET_STATES; s++)
		if (s != TARGET_TAKING && s != TARGET_TAKING_MISSING)
			assert_int_equal(state_machine_next(&target_life, s, TARGET_START),
					 -EINVAL);
	assert_false(target_life.state[TARGET_STARTING].can_cancel);
	assert_false(source_life.state[SOURCE_COMMITTED].can_cancel);
	assert_false(source_life.state[SOURCE_COMMITTED_MISSING].can_cancel);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_diagrams_are_the_tables),
		cmocka_unit_test(the_model_takes_the_steps_of_the_tables),
		cmocka_unit_test(no_state_is_a_dead_end_by_accident),
		cmocka_unit_test(only_one_host_may_run_the_guest),
	};

	document = argc > 1 ? argv[1] : "docs/hacking.md";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
