/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole migration between two processes, over loopback, with the fuzzers' VM and helper
 * (tests/fuzz/migrate_rig.h) on either side: no KVM is needed. Each 16th page of the source has
 * content, the others are zero, as the rig's helper has it. Each step that a side takes must be one
 * of the model's (tests/model/steps.h).
 */
#ifndef TESTS_UNIT_MIGRATE_PAIR_H
#define TESTS_UNIT_MIGRATE_PAIR_H

#include <sevmirror/migrate.h>

#include "tests/fuzz/migrate_rig.h"

#define PAIR_RUNS 2

/* One side. What it finds is there for the test when pair_run() has returned. */
struct pair_end {
	/* set by the test; the functions run in the side's own process */
	void (*prepare)(struct pair_end *end); /* may be NULL */
	void (*phase)(struct pair_end *end, enum sevmirror_phase phase); /* likewise */
	enum sevmirror_phase cancels_in; /* its first run is cancelled there; NONE: nowhere */
	enum sevmirror_phase dies_in; /* its process ends there; NONE: nowhere */
	bool recovers; /* the source, after BROKEN: at once */
	struct sevmirror_host_ops ops; /* the rig's; the test or prepare() may replace some */

	struct rig rig; /* the test may set the answers, the touches and whether it refuses */
	struct sevmirror_migration *m;
	unsigned int runs;
	enum sevmirror_outcome outcome[PAIR_RUNS];
	struct sevmirror_summary summary[PAIR_RUNS];
	unsigned int phases; /* bits: those that were reported */
	unsigned int strangers; /* unauthenticated peers that the target heard of */
	bool memory_good; /* the target: every page is the source's */
	bool ended; /* it was not killed */
};

struct pair {
	struct sevmirror_source_options source_options;
	struct sevmirror_target_options target_options;
	struct pair_end source, target;
};

/* A pair in shared memory, with bare sockets; its options may be changed. */
struct pair *pair_new(void);
void pair_free(struct pair *pair);

/* The same as cmocka's fixtures: *state is the pair. In the second the source does post-copy. */
int pair_setup(void **state);
int pair_setup_postcopy(void **state);
int pair_teardown(void **state);
#define pair_test(f)	      cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)
#define pair_postcopy_test(f) cmocka_unit_test_setup_teardown(f, pair_setup_postcopy, pair_teardown)

/* Both sides, to their ends; neither may crash. */
void pair_run(struct pair *pair);

/* That the side's last run ended so, for this reason, with these words in its sentence. */
void pair_assert_ended(const struct pair_end *end, enum sevmirror_outcome outcome,
		       enum sevmirror_reason reason, const char *words);

/* So slow that post-copy takes more than a second. */
void pair_slow_down(struct pair *pair);

static inline bool pair_saw(const struct pair_end *end, enum sevmirror_phase phase)
{
	return end->phases >> phase & 1;
}

#endif
