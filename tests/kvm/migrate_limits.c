/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a migration promises while it runs: that it can be cancelled at any time, that it keeps to
 * its limits of bandwidth, downtime and memory, and that it says how far it is.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "payloads/dirtier.h"
#include "tests/kvm/trial.h"

static const char *payload;
static const struct trial_plan plain;

/* ---- cancelling ---- */

/* Cancel at this report of this phase. */
static struct {
	enum sevmirror_phase phase;
	unsigned int count;
} cancel;

static void cancel_when_due(struct trial *t, const struct sevmirror_progress *p)
{
	if (cancel.phase && p->phase == cancel.phase && cancel.count-- == 0) {
		cancel.phase = SEVMIRROR_PHASE_NONE;
		sevmirror_migration_cancel(t->migration);
	}
}

static void test_cancelled_at_any_time(void **state)
{
	static const struct {
		enum sevmirror_phase phase;
		unsigned int count;
		enum sevmirror_outcome outcome;
	} cases[] = {
		{ SEVMIRROR_PHASE_CONNECT, 0, SEVMIRROR_CANCELLED },
		{ SEVMIRROR_PHASE_SETUP, 0, SEVMIRROR_CANCELLED },
		{ SEVMIRROR_PHASE_PRECOPY, 0, SEVMIRROR_CANCELLED }, /* nothing sent yet */
		{ SEVMIRROR_PHASE_PRECOPY, 2,
		  SEVMIRROR_CANCELLED }, /* in the middle of the first round */
		{ SEVMIRROR_PHASE_STOP, 0,
		  SEVMIRROR_CANCELLED }, /* the guest is about to be stopped */
		{ SEVMIRROR_PHASE_STOP, 1, SEVMIRROR_CANCELLED }, /* and is stopped */
		{ SEVMIRROR_PHASE_COMMIT, 0, SEVMIRROR_MIGRATED }, /* too late */
	};
	const struct sevmirror_source_options options = { .bandwidth = 8 * TRIAL_MIB };
	struct tiny_config config = trial_dirtier(16, 1, 500);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct trial t;

		trial_start(&t, payload, &config, &plain);
		t.progress = cancel_when_due;
		cancel.phase = cases[i].phase;
		cancel.count = cases[i].count;
		trial_wait_for_writes(&t, 10);
		trial_migrate(&t, &options);
		if (cancel.phase || t.outcome != cases[i].outcome)
			fail_msg("report %u of %s: %s, outcome %d %s", cases[i].count,
				 sevmirror_phase_name(cases[i].phase),
				 cancel.phase ? "did not come" : "cancelled", t.outcome,
				 t.summary.error);
		/* A target that has not heard of the migration keeps waiting. */
		if (cases[i].phase == SEVMIRROR_PHASE_CONNECT)
			kill(t.child, SIGTERM);
		trial_end(&t);
	}
}

/* ---- what is said ---- */

static struct {
	unsigned int reports, rounds;
	unsigned int in_first_round; /* with fewer pages left than the one before */
	bool rate_in_first_round;
	struct sevmirror_progress last, stop; /* stop: the first of that phase */
	uint64_t precopy_began; /* ns */
	enum sevmirror_phase phase;
} seen;

static void watch(struct trial *t, const struct sevmirror_progress *p)
{
	const struct sevmirror_progress *last = &seen.last;
	bool precopy = p->phase == SEVMIRROR_PHASE_PRECOPY;

	assert_true(p->elapsed >= last->elapsed);
	assert_true(p->bytes_sent >= last->bytes_sent);
	assert_true(p->pages_sent >= last->pages_sent);
	assert_true(p->round >= last->round);
	assert_true(p->pages_left <= p->pages_total);
	if (precopy && !seen.precopy_began)
		seen.precopy_began = p->elapsed;
	if (precopy && p->round == 1 && last->round == 1) {
		seen.in_first_round += p->pages_left < last->pages_left;
		seen.rate_in_first_round |= p->rate > 0;
	}
	if (p->phase == SEVMIRROR_PHASE_STOP && seen.phase != SEVMIRROR_PHASE_STOP)
		seen.stop = *p;
	seen.phase = p->phase;
	seen.rounds = p->round;
	seen.reports++;
	seen.last = *p;
}

static void test_says_how_far_it_is_and_keeps_to_its_limits(void **state)
{
	const struct sevmirror_source_options options = { .bandwidth = 32 * TRIAL_MIB,
							  .max_downtime = 200 * TRIAL_MS };
	struct tiny_config config = trial_dirtier(64, 1, 200);
	struct trial t;
	double seconds;

	memset(&seen, 0, sizeof(seen));
	trial_start(&t, payload, &config, &plain);
	t.progress = watch;
	trial_wait_for_writes(&t, 10);
	trial_migrate(&t, &options);
	assert_string_equal(t.summary.error, "");
	assert_string_equal(t.summary.warning, "");
	assert_int_equal(t.outcome, SEVMIRROR_MIGRATED);

	/*
	 * several times within the two seconds of the first round, at most ten times a second and
	 * at each step
	 */
	assert_true(seen.in_first_round >= 3);
	assert_true(seen.rate_in_first_round);
	assert_true(seen.reports <= seen.last.elapsed / (100 * TRIAL_MS) + 3 * seen.rounds + 8);
	assert_int_equal(seen.phase, SEVMIRROR_PHASE_DONE);
	assert_int_equal(seen.last.bytes_sent, t.summary.bytes);
	assert_int_equal(seen.last.pages_sent, t.summary.pages);
	assert_int_equal(seen.last.round, t.summary.rounds);
	assert_int_equal(seen.last.pages_resent, t.summary.pages_resent);
	assert_true(t.summary.pages_resent > 0 && t.summary.pages_resent < t.summary.pages);

	/*
	 * bandwidth: what went before the stop took at least the time that the limit says, but for
	 * a first frame of each stream
	 */
	seconds = (double)(seen.stop.elapsed - seen.precopy_began) / 1e9;
	assert_true(seen.stop.bytes_sent > 60 * TRIAL_MIB);
	assert_true(seconds >= (double)(seen.stop.bytes_sent - 2 * TRIAL_MIB) / options.bandwidth);

	/* downtime: the guest was stopped when the estimate allowed it */
	assert_int_equal(t.summary.max_downtime, options.max_downtime);
	assert_true(t.summary.expected_downtime > 0);
	assert_true(t.summary.expected_downtime <= t.summary.max_downtime);
	assert_true(t.summary.downtime > 0 && t.summary.downtime < t.summary.total_time);
	trial_end(&t);
}

/* ---- memory ---- */

/* What a process has in memory besides the guest's RAM, and its page tables. */
struct use {
	uint64_t rest, tables; /* bytes */
};

/* "NAME: 123 kB" in /proc: the bytes, or 0 when the line is another. */
static uint64_t field(const char *line, const char *name)
{
	size_t len = strlen(name);

	return !strncmp(line, name, len) && line[len] == ':' ?
		       strtoull(line + len + 1, NULL, 10) << 10 :
		       0;
}

static uint64_t field_of_file(const char *path, const char *name)
{
	uint64_t bytes = 0;
	char line[512];
	FILE *f = fopen(path, "re");

	assert_non_null(f);
	while (!bytes && fgets(line, sizeof(line), f))
		bytes = field(line, name);
	fclose(f);
	return bytes;
}

static struct use read_use(void)
{
	struct use use = { .tables = field_of_file("/proc/self/status", "VmPTE") };
	bool guest = false;
	char line[512];
	FILE *f = fopen("/proc/self/smaps", "re");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		/*
		 * Fields of a mapping begin with a capital letter, the mapping itself with its
		 * address.
		 */
		if (!isupper((unsigned char)line[0]))
			guest = strstr(line, "/memfd:guest-ram") != NULL;
		else if (!guest)
			use.rest += field(line, "Rss");
	}
	fclose(f);
	return use;
}

static struct {
	struct use before, peak;
	enum sevmirror_phase phase;
	unsigned int round, reports;
} memory;

/* Reading it takes a while, so not at each report: at each step, and now and then between. */
static void watch_memory(struct trial *t, const struct sevmirror_progress *p)
{
	struct use use;

	if (memory.phase == p->phase && memory.round == p->round && ++memory.reports % 16)
		return;
	memory.phase = p->phase;
	memory.round = p->round;
	use = read_use();
	if (use.rest + use.tables > memory.peak.rest + memory.peak.tables)
		memory.peak = use;
}

#define MEMORY_MIB 1024ULL

static void test_memory_overhead_at_the_source(void **state)
{
	struct tiny_config config = trial_dirtier(MEMORY_MIB, 1, 2000);
	const struct sevmirror_source_options options = { .streams = 4 };
	uint64_t grown, allowed = MEMORY_MIB * TRIAL_MIB / 200 + 64 * TRIAL_MIB;
	struct trial t;

	/* two hosts, and what else runs here */
	if (field_of_file("/proc/meminfo", "MemAvailable") < 3 * MEMORY_MIB * TRIAL_MIB) {
		print_message("# less than %llu MiB of memory are free\n", 3 * MEMORY_MIB);
		skip();
	}
	memset(&memory, 0, sizeof(memory));
	trial_start(&t, payload, &config, &plain);
	t.progress = watch_memory;
	trial_wait_for_writes(&t, 1000);
	memory.before = read_use();
	trial_migrate(&t, &options);
	assert_int_equal(t.outcome, SEVMIRROR_MIGRATED);
	grown = memory.peak.rest + memory.peak.tables - memory.before.rest - memory.before.tables;
	print_message(
		"# %llu MiB guest, 4 streams: %.1f MiB more at the source (%.1f MiB of it page "
		"tables), %.1f MiB are allowed\n",
		MEMORY_MIB, (double)grown / TRIAL_MIB,
		(double)(memory.peak.tables - memory.before.tables) / TRIAL_MIB,
		(double)allowed / TRIAL_MIB);
	assert_true(memory.peak.rest > memory.before.rest);
	assert_true(grown <= allowed);
	trial_end(&t);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cancelled_at_any_time),
		cmocka_unit_test(test_says_how_far_it_is_and_keeps_to_its_limits),
		cmocka_unit_test(test_memory_overhead_at_the_source),
	};
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	payload = argc > 1 ? argv[1] : "payload-dirtier";
	if (kvm < 0) {
		printf("ok 1 - limits of a migration # SKIP no /dev/kvm on this machine: %s\n",
		       strerror(errno));
		return 0;
	}
	close(kvm);
	return cmocka_run_group_tests_name("migrate_limits", tests, NULL, NULL);
}
