/* SPDX-License-Identifier: Apache-2.0 */
/* How a migration is shown: the record of its events, the line of progress, and the page. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"

#include "cli/migrate_chart.h"
#include "cli/migrate_faults.h"
#include "cli/migrate_progress.h"
#include "cli/migrate_report.h"

#define MIB 1048576.0

/* An event's data, as the VMM sends it, goes in. */
static void event(struct migrate_record *record, const char *phase, int round, double ms,
		  int pages_left, double bytes, double dirty_rate)
{
	json_t *data =
		json_pack("{s:s, s:i, s:f, s:i, s:i, s:f, s:f, s:f, s:f, s:i}", "phase", phase,
			  "round", round, "elapsed-ms", ms, "pages-total", 1000, "pages-left",
			  pages_left, "bytes-sent", bytes, "rate", 5 * MIB, "dirty-rate",
			  dirty_rate, "expected-downtime-ms", 12.5, "throttle", 0);
	struct migrate_sample sample;

	assert_non_null(data);
	sample = migrate_sample_read(data);
	assert_int_equal(migrate_record_add(record, &sample), 0);
	json_decref(data);
}

/* Two rounds and the last one, which all go as they should. */
static void whole_migration(struct migrate_record *record)
{
	event(record, "connect", 0, 0, 0, 0, 0);
	event(record, "setup", 0, 100, 0, 0, 0);
	event(record, "precopy", 1, 200, 1000, 0, 0);
	event(record, "precopy", 1, 1200, 10, 990, 0);
	event(record, "precopy", 1, 1300, 200, 1000, 700);
	event(record, "precopy", 2, 1300, 200, 1000, 700);
	event(record, "precopy", 2, 1500, 50, 1200, 300);
	event(record, "stop", 2, 1500, 50, 1200, 300);
	event(record, "stop", 3, 1520, 60, 1200, 300);
	event(record, "commit", 3, 1580, 0, 1260, 300);
	event(record, "done", 3, 1600, 0, 1260, 300);
}

static void phases_and_rounds_follow_from_the_events(void **state)
{
	static const enum migrate_phase phases[] = { MIGRATE_CONNECT, MIGRATE_SETUP,
						     MIGRATE_PRECOPY, MIGRATE_STOP,
						     MIGRATE_COMMIT };
	static const double ends[] = { 0.1, 0.2, 1.5, 1.58, 1.6 };
	struct migrate_record r = { 0 };

	whole_migration(&r);
	assert_int_equal(r.nspans, 5);
	for (size_t i = 0; i < r.nspans; i++) {
		assert_int_equal(r.spans[i].phase, phases[i]);
		assert_float_equal(r.spans[i].from, i ? ends[i - 1] : 0, 1e-9);
		assert_float_equal(r.spans[i].to, ends[i], 1e-9);
	}
	assert_int_equal(r.nrounds, 3);
	/* the dirty rate belongs to the round in which it was measured */
	assert_true(r.rounds[0].measured && r.rounds[1].measured && !r.rounds[2].measured);
	assert_float_equal(r.rounds[0].dirty_rate, 700, 1e-9);
	assert_float_equal(r.rounds[1].dirty_rate, 300, 1e-9);
	assert_float_equal(r.rounds[0].bytes, 1000, 1e-9);
	assert_float_equal(r.rounds[1].bytes, 200, 1e-9);
	assert_float_equal(r.rounds[2].bytes, 60, 1e-9);
	assert_float_equal(r.rounds[1].to, 1.5, 1e-9);
	assert_float_equal(r.rounds[2].to, 1.58, 1e-9);
	assert_true(r.rounds[2].stopped && !r.rounds[1].stopped);
	assert_float_equal(migrate_record_seconds(&r), 1.6, 1e-9);
	assert_float_equal(migrate_record_bytes_at(&r, 0.7), 495, 1e-6);
	assert_float_equal(migrate_record_bytes_at(&r, 99), 1260, 1e-9);
	assert_float_equal(migrate_record_bytes_at(&r, -1), 0, 1e-9);
	migrate_record_free(&r);
}

static void a_round_that_broke_off_was_not_measured(void **state)
{
	struct migrate_record r = { 0 };

	event(&r, "precopy", 1, 0, 1000, 0, 0);
	event(&r, "precopy", 1, 100, 80, 1000, 700);
	event(&r, "precopy", 2, 100, 80, 1000, 700);
	event(&r, "precopy", 2, 150, 40, 1040, 700);
	event(&r, "failed", 2, 160, 40, 1040, 700);
	assert_int_equal(r.nrounds, 2);
	assert_true(r.rounds[0].measured && !r.rounds[1].measured);
	assert_float_equal(r.rounds[1].pages_left, 40, 1e-9);
	migrate_record_free(&r);
}

static void a_long_migration_is_kept_whole_in_bounded_memory(void **state)
{
	struct migrate_record r = { 0 };
	double last = -1;

	for (int i = 0; i < 100000; i++)
		event(&r, "precopy", 1, i * 100, 1000000 - i, i, 0);
	event(&r, "failed", 1, 1e7, 1, 1e5, 0);
	assert_true(r.nsamples <= MIGRATE_SAMPLES_MAX && r.nsamples > MIGRATE_SAMPLES_MAX / 8);
	assert_float_equal(migrate_record_seconds(&r), 1e4, 1e-6);
	for (size_t i = 0; i < r.nsamples; i++) {
		assert_true(r.samples[i].seconds > last);
		assert_true(r.samples[i].seconds - last < 100);
		last = r.samples[i].seconds;
	}
	migrate_record_free(&r);
	for (int i = 0; i < 5000; i++)
		event(&r, "precopy", i + 1, i * 100, 10, i, i);
	assert_int_equal(r.nrounds, MIGRATE_ROUNDS_MAX);
	assert_true(r.nsamples <= MIGRATE_SAMPLES_MAX);
	migrate_record_free(&r);
}

static void the_line_says_what_people_ask_and_fits(void **state)
{
	struct migrate_sample s = { .phase = MIGRATE_PRECOPY,
				    .round = 2,
				    .pages_left = 12345,
				    .rate = 10.5 * MIB,
				    .dirty_rate = 11.25 * MIB,
				    .downtime_ms = 2127,
				    .throttle = 30,
				    .seconds = 37.1 };
	char line[200], narrow[40];

	assert_string_equal(
		migrate_progress_line(&s, line, sizeof(line)),
		"round 2  12345 pages left  10.5 MiB/s  dirty 11.2 MiB/s  downtime ~2127 ms  throttled 30 %  37.1 s");
	migrate_progress_line(&s, narrow, sizeof(narrow));
	assert_int_equal(strlen(narrow), sizeof(narrow) - 1);
	assert_memory_equal(narrow, line, sizeof(narrow) - 1);
	/* nothing was sent yet, so nothing can be estimated; and an estimate of 'never' is none */
	s = (struct migrate_sample){
		.phase = MIGRATE_PRECOPY, .round = 1, .pages_left = 5, .downtime_ms = 4e12
	};
	assert_string_equal(migrate_progress_line(&s, line, sizeof(line)),
			    "round 1  5 pages left  0.0 s");
	s = (struct migrate_sample){ .phase = MIGRATE_SETUP, .seconds = 1 };
	assert_string_equal(migrate_progress_line(&s, line, sizeof(line)), "setting up  1.0 s");
}

static char *page_of(const struct migrate_record *record, const char *name, const json_t *args,
		     const json_t *result)
{
	const struct migrate_report report = {
		.name = name, .host = "here", .args = args, .result = result, .record = record
	};
	char *page;
	size_t len;

	assert_int_equal(migrate_report_make(&report, &page, &len), 0);
	assert_int_equal(strlen(page), len);
	return page;
}

static void assert_has(const char *page, const char *what)
{
	if (!strstr(page, what))
		fail_msg("the page does not have '%s'", what);
}

static void assert_has_not(const char *page, const char *what)
{
	const char *at = strstr(page, what);

	if (at)
		fail_msg("the page has '%.60s'", at);
}

static void the_page_stands_alone(void **state)
{
	static const char *const outside[] = { "http:",	  "https:",  "src=", "href=", "url(",
					       "@import", "<script", "nan",  "inf" };
	json_t *args = json_pack("{s:s, s:b}", "address", "10.0.0.2:7777", "insecure", 1);
	json_t *result =
		json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:f}", "outcome", "migrated", "detail",
			  "The guest runs on the target.", "total-ms", 1600.0, "downtime-ms", 99.5,
			  "expected-downtime-ms", 80.0, "max-downtime-ms", 300.0, "bytes", 1260.0);
	struct migrate_record r = { 0 };
	char *page;

	whole_migration(&r);
	page = page_of(&r, "web", args, result);
	assert_has(page, "<!DOCTYPE html>");
	assert_has(page, "web: The guest runs on the target.");
	assert_has(page, "788 B/s");
	assert_has(page, "mean throughput over the total time");
	assert_has(page, "99.5 ms (estimated 80.0 ms, limit of the estimate 300 ms)");
	assert_has(page, "prefers-color-scheme:dark");
	assert_has(page, "<svg ");
	assert_has(page, "Throughput and dirty rate");
	assert_has(page, "guest stopped");
	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
		assert_has_not(page, outside[i]);
	free(page);
	json_decref(args);
	json_decref(result);
	migrate_record_free(&r);
}

static void what_went_wrong_is_said(void **state)
{
	json_t *args = json_pack("{s:s, s:s}", "address", "x", "psk-file", "/secret/path");
	json_t *failed = json_pack("{s:s, s:s, s:s, s:s}", "outcome", "failed", "error", "no route",
				   "detail", "The guest still runs here.", "advice", "Try again.");
	json_t *cancelled = json_pack("{s:s}", "outcome", "cancelled");
	json_t *moved = json_pack("{s:s, s:s}", "outcome", "migrated", "warning", "SEND_FINISH: x");
	struct migrate_record empty = { 0 };
	char *page;

	page = page_of(&empty, "web", args, failed);
	assert_has(page, "web: The guest still runs here.</b> no route. Try again.");
	assert_has(page, "It ended before pages were sent");
	assert_has(page, "pre-shared key");
	assert_has_not(page, "/secret/path");
	free(page);
	page = page_of(&empty, "web", args, cancelled);
	assert_has(page, "The migration was cancelled");
	free(page);
	page = page_of(&empty, "web", args, moved);
	assert_has(page, "SEND_FINISH: x");
	free(page);
	page = page_of(&empty, "web", args, NULL);
	assert_has(page, "Outcome unknown.");
	free(page);
	json_decref(args);
	json_decref(failed);
	json_decref(cancelled);
	json_decref(moved);
}

static void what_others_say_cannot_become_markup(void **state)
{
	json_t *args = json_pack("{s:s}", "address", "\"><img>&'");
	json_t *result = json_pack("{s:s, s:s}", "outcome", "failed", "error",
				   "the other host gave up: </p><script>x</script>\x1b[2J");
	struct migrate_record empty = { 0 };
	char *page = page_of(&empty, "<b>&\"'", args, result);

	assert_has(page, "&lt;b&gt;&amp;&quot;&#39;");
	assert_has(page, "&lt;/p&gt;&lt;script&gt;x&lt;/script&gt;?[2J");
	assert_has(page, "&quot;&gt;&lt;img&gt;&amp;&#39;");
	assert_has_not(page, "<script");
	assert_has_not(page, "<img");
	free(page);
	json_decref(args);
	json_decref(result);
}

/* 97 waited some 0.3 ms, 2 some 7 ms, and none in between. */
static json_t *fault_times(void)
{
	return json_pack("[{s:f, s:f, s:i}, {s:f, s:f, s:i}, {s:f, s:f, s:i}]", "from-ms", 0.262144,
			 "to-ms", 0.393216, "faults", 97, "from-ms", 0.393216, "to-ms", 6.291456,
			 "faults", 0, "from-ms", 6.291456, "to-ms", 8.388608, "faults", 2);
}

static char *faults_of(json_t *times)
{
	json_t *postcopy = json_pack("{s:o, s:f, s:f}", "fault-times", times, "fault-p50-ms", 0.25,
				     "fault-max-ms", 1e9);
	bool drawn;
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	drawn = migrate_faults_chart(f, postcopy);
	fclose(f);
	assert_int_equal(drawn, len > 0);
	json_decref(postcopy);
	return text;
}

/* What is no histogram is not drawn, and what is one, however odd, is drawn within the picture. */
static void odd_histograms(void **state)
{
	static const char *const nothing[] = {
		"[]",
		"{}",
		"[1, 2]",
		"[{\"from-ms\": 1, \"to-ms\": 2, \"faults\": 0}]",
		"[{\"from-ms\": 2, \"to-ms\": 1, \"faults\": 3}]",
		"[{\"from-ms\": 1, \"to-ms\": 1, \"faults\": 3}]",
		"[{\"from-ms\": 1, \"to-ms\": 2, \"faults\": -3}]",
		"[{\"from-ms\": 1, \"to-ms\": 4, \"faults\": 3}, {\"from-ms\": 2, \"to-ms\": 8, \"faults\": 3}]",
	};
	json_t *many = json_array();
	char *text;

	for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++) {
		text = faults_of(json_loads(nothing[i], 0, NULL));
		assert_string_equal(text, "");
		free(text);
	}
	for (int i = 0; i < 65; i++)
		json_array_append_new(many, json_pack("{s:i, s:i, s:i}", "from-ms", i + 1, "to-ms",
						      i + 2, "faults", 1));
	text = faults_of(many);
	assert_string_equal(text, "");
	free(text);
	/* one class, from nothing on, with a percentile outside */
	text = faults_of(json_pack("[{s:f, s:f, s:I}]", "from-ms", 0.0, "to-ms", 0.001536, "faults",
				   (json_int_t)1 << 40));
	assert_has(text, "1099511627776");
	assert_has(text, "<rect class=\"faults\" x=\"72.00\"");
	assert_has(text, "x1=\"942.0\"");
	assert_has_not(text, "nan");
	assert_has_not(text, "inf");
	free(text);
}

static void post_copy_has_its_part(void **state)
{
	json_t *result = json_pack(
		"{s:s, s:f, s:f, s:f, s:{s:i, s:i, s:f, s:f, s:f, s:f, s:o, s:i, s:i, s:i, s:f, s:i}}",
		"outcome", "migrated", "downtime-ms", 100.0, "expected-downtime-ms", 900.0,
		"max-downtime-ms", 250.0, "postcopy", "pages", 4321, "faults", 99, "fault-p50-ms",
		0.25, "fault-p95-ms", 0.5, "fault-p99-ms", 1.0, "fault-max-ms", 7.75, "fault-times",
		fault_times(), "prefetched", 800, "prefetch-samples", 100, "prefetch-used", 60,
		"last-page-ms", 2500.0, "recoveries", 1);
	json_t *broken =
		json_pack("{s:s, s:s}", "outcome", "broken", "detail",
			  "The guest runs on the target, and pages that it needs are here.");
	json_t *args = json_object();
	struct migrate_record r = { 0 };
	char *page;

	event(&r, "precopy", 1, 0, 1000, 0, 0);
	event(&r, "stop", 1, 100, 500, 1000, 700);
	event(&r, "postcopy", 1, 110, 500, 1000, 700);
	event(&r, "broken", 1, 200, 300, 1200, 700);
	event(&r, "postcopy", 1, 900, 300, 1200, 700);
	event(&r, "done", 1, 1000, 0, 1500, 700);
	page = page_of(&r, "web", args, result);
	assert_has(page, "4321");
	assert_has(page, "100.0 ms (limit 250 ms, without post-copy an estimated 900.0 ms)");
	assert_has(page, "half of them at most (p50)</th><td>250 \u00b5s");
	assert_has(page, "95 % at most (p95)</th><td>500 \u00b5s");
	assert_has(page, "99 % at most (p99)</th><td>1.00 ms");
	assert_has(page, "the longest</th><td>7.75 ms");
	assert_has(page, "Accesses that waited");
	assert_has(page, "<title>262 \u00b5s to 393 \u00b5s: 97</title>");
	assert_has(page, "<title>6.29 ms to 8.39 ms: 2</title>");
	assert_has(page, "95 % (p95): 500 \u00b5s");
	assert_has_not(page, "nan");
	assert_has_not(page, "inf");
	assert_has(page, "60 % of those that were watched");
	assert_has(page, "post-copy 90.0 ms");
	assert_has(page, "broken off 700 ms");
	free(page);
	page = page_of(&r, "web", args, broken);
	assert_has(page,
		   "web: The guest runs on the target, and pages that it needs are here.</b>");
	assert_has_not(page, "<h2>Post-copy");
	/* a recovery is asked for nothing */
	assert_has_not(page, "As asked for");
	free(page);
	json_decref(args);
	json_decref(result);
	json_decref(broken);
	migrate_record_free(&r);
}

/* All at one time, nothing sent, a rate of nothing, a phase from the future: drawn all the same. */
static void odd_records_are_drawn(void **state)
{
	json_t *args = json_object(), *result = json_pack("{s:s}", "outcome", "failed");
	struct migrate_record r = { 0 };
	char *page;

	event(&r, "precopy", 1, 0, 0, 0, 0);
	event(&r, "teleport", 1, 0, 0, 0, 0);
	event(&r, "failed", 1, 0, 0, 0, 0);
	page = page_of(&r, "web", args, result);
	assert_has(page, "<svg ");
	assert_has_not(page, "nan");
	assert_has_not(page, "inf");
	free(page);
	json_decref(args);
	json_decref(result);
	migrate_record_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(phases_and_rounds_follow_from_the_events),
		cmocka_unit_test(a_round_that_broke_off_was_not_measured),
		cmocka_unit_test(a_long_migration_is_kept_whole_in_bounded_memory),
		cmocka_unit_test(the_line_says_what_people_ask_and_fits),
		cmocka_unit_test(the_page_stands_alone),
		cmocka_unit_test(what_went_wrong_is_said),
		cmocka_unit_test(what_others_say_cannot_become_markup),
		cmocka_unit_test(post_copy_has_its_part),
		cmocka_unit_test(odd_histograms),
		cmocka_unit_test(odd_records_are_drawn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
