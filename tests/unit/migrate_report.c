/* SPDX-License-Identifier: Apache-2.0 */
/* How a migration is shown: the record of its events, the line of progress, and the page. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"

#include "cli/migrate_progress.h"
#include "cli/migrate_report.h"
#include "service/state.h"

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
	static const enum sevmirror_phase phases[] = {
		SEVMIRROR_PHASE_CONNECT, SEVMIRROR_PHASE_SETUP, SEVMIRROR_PHASE_PRECOPY,
		SEVMIRROR_PHASE_STOP, SEVMIRROR_PHASE_COMMIT
	};
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
	struct migrate_sample s = { .phase = SEVMIRROR_PHASE_PRECOPY,
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
		"round 2  12345 pages left  10.5 MiB/s  dirty 11.2 MiB/s  downtime ~2127 ms  "
		"throttled 30 %  37.1 s");
	migrate_progress_line(&s, narrow, sizeof(narrow));
	assert_int_equal(strlen(narrow), sizeof(narrow) - 1);
	assert_memory_equal(narrow, line, sizeof(narrow) - 1);
	/* nothing was sent yet, so nothing can be estimated; and 'never' is not an estimate */
	s = (struct migrate_sample){
		.phase = SEVMIRROR_PHASE_PRECOPY, .round = 1, .pages_left = 5, .downtime_ms = 4e12
	};
	assert_string_equal(migrate_progress_line(&s, line, sizeof(line)),
			    "round 1  5 pages left  0.0 s");
	s = (struct migrate_sample){ .phase = SEVMIRROR_PHASE_SETUP, .seconds = 1 };
	assert_string_equal(migrate_progress_line(&s, line, sizeof(line)), "setting up  1.0 s");
}

/*
 * The page's data. With REPORT_PAGES in the environment the page is written there, too: to
 * REPORT_PAGES/NAME.html, for tests/unit/report_page.py, which runs its script.
 */
static json_t *page_of(const char *file, const struct migrate_record *record, const char *name,
		       const json_t *args, const json_t *result)
{
	static const char begins[] = "<script type=\"application/json\" id=\"migration\">";
	const struct migrate_report report = {
		.name = name, .host = "here", .args = args, .result = result, .record = record
	};
	const char *dir = getenv("REPORT_PAGES");
	char *page, *json, *end;
	json_t *data;
	size_t len;

	assert_int_equal(migrate_report_make(&report, &page, &len), 0);
	assert_int_equal(strlen(page), len);
	if (dir) {
		char path[512];
		FILE *f;

		snprintf(path, sizeof(path), "%s/%s.html", dir, file);
		f = fopen(path, "w");
		assert_non_null(f);
		assert_int_equal(fwrite(page, 1, len, f), len);
		assert_int_equal(fclose(f), 0);
	}
	json = strstr(page, begins);
	assert_non_null(json);
	json += strlen(begins);
	/* Nothing in the data can end the element. */
	end = strchr(json, '<');
	assert_non_null(end);
	assert_memory_equal(end, "</script>", 9);
	*end = '\0';
	data = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(data);
	free(page);
	return data;
}

static const char *text_of(const json_t *data, const char *object, const char *member)
{
	const json_t *o = object ? json_object_get(data, object) : data;
	const char *text = json_string_value(json_object_get(o, member));

	return text ? text : "";
}

static void the_data_are_the_migration(void **state)
{
	json_t *args = json_pack("{s:s, s:b, s:i, s:s}", "address", "192.0.2.2:7777", "insecure", 1,
				 "streams", 4, "psk-file", "/secret/path");
	json_t *result = json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:{s:f, s:f}}", "outcome",
				   "migrated", "detail", "The guest runs on the target.",
				   "total-ms", 1600.0, "downtime-ms", 99.5, "expected-downtime-ms",
				   80.0, "max-downtime-ms", 300.0, "bytes", 1260.0,
				   "downtime-parts", "pages-ms", 90.0, "start-ms", 9.5);
	struct migrate_record r = { 0 };
	json_t *data, *phase, *round, *parts;

	whole_migration(&r);
	data = page_of("migrated", &r, "web", args, result);
	assert_string_equal(text_of(data, NULL, "name"), "web");
	assert_string_equal(text_of(data, "outcome", "class"), "good");
	assert_string_equal(text_of(data, "outcome", "state"), "The guest runs on the target.");
	assert_string_equal(text_of(data, "outcome", "downtime"),
			    "99.5 ms (estimated 80.0 ms, limit of the estimate 300 ms)");
	assert_true(json_equal(json_object_get(data, "result"), result));
	parts = json_object_get(data, "downtime-parts");
	assert_int_equal(json_array_size(parts), 7);
	assert_string_equal(json_string_value(json_array_get(json_array_get(parts, 2), 0)),
			    "last pages");
	assert_float_equal(json_number_value(json_array_get(json_array_get(parts, 2), 1)), 90.0,
			   1e-9);
	assert_float_equal(json_number_value(json_array_get(json_array_get(parts, 6), 1)), 9.5,
			   1e-9);
	assert_string_equal(text_of(data, "request", "connection"), "none (insecure)");
	assert_null(json_object_get(json_object_get(data, "request"), "psk-file"));
	assert_int_equal(json_array_size(json_object_get(data, "phases")), 5);
	phase = json_array_get(json_object_get(data, "phases"), 2);
	assert_string_equal(text_of(phase, NULL, "phase"), "precopy");
	assert_string_equal(text_of(phase, NULL, "name"), "pre-copy");
	assert_float_equal(migrate_number(phase, "to"), 1.5, 1e-9);
	assert_int_equal(json_array_size(json_object_get(data, "rounds")), 3);
	round = json_array_get(json_object_get(data, "rounds"), 2);
	assert_true(json_is_null(json_object_get(round, "dirty-rate")));
	assert_true(json_is_true(json_object_get(round, "stopped")));
	assert_int_equal(json_array_size(json_object_get(data, "samples")), r.nsamples);
	json_decref(data);
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
	struct migrate_record empty = { 0 };
	json_t *data;

	data = page_of("failed", &empty, "web", args, failed);
	assert_string_equal(text_of(data, "outcome", "class"), "bad");
	assert_string_equal(text_of(data, "outcome", "state"), "The guest still runs here.");
	assert_string_equal(text_of(data, "outcome", "text"), "no route. Try again.");
	assert_string_equal(text_of(data, "request", "connection"), "TLS 1.3, pre-shared key");
	json_decref(data);
	data = page_of("cancelled", &empty, "web", args, cancelled);
	assert_string_equal(text_of(data, "outcome", "class"), "warn");
	assert_string_equal(text_of(data, "outcome", "text"), "The migration was cancelled. ");
	json_decref(data);
	data = page_of("unknown", &empty, "web", args, NULL);
	assert_string_equal(text_of(data, "outcome", "state"),
			    service_advice_unreported().sentence);
	assert_true(json_is_null(json_object_get(data, "result")));
	json_decref(data);
	json_decref(args);
	json_decref(failed);
	json_decref(cancelled);
}

static void what_others_say_cannot_become_markup(void **state)
{
	static const char said[] = "the target gave up: </p></script><script>x</script>\x1b[2J";
	json_t *args = json_pack("{s:s, s:b}", "address", "\"><img>&'", "insecure", 1);
	json_t *result = json_pack("{s:s, s:s, s:s}", "outcome", "failed", "error", said, "warning",
				   "<!--<script>");
	struct migrate_record empty = { 0 };
	json_t *data = page_of("hostile", &empty, "<b>&\"'", args, result);

	/* page_of() has looked for what would end the element */
	assert_string_equal(text_of(data, NULL, "name"), "<b>&\"'");
	assert_string_equal(text_of(data, "result", "error"), said);
	json_decref(data);
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

static void post_copy_has_its_part(void **state)
{
	json_t *result = json_pack(
		"{s:s, s:f, s:f, s:f, s:{s:i, s:i, s:f, s:f, s:f, s:f, s:o, s:i, s:i, s:i, s:f, "
		"s:i}}",
		"outcome", "migrated", "downtime-ms", 100.0, "expected-downtime-ms", 900.0,
		"max-downtime-ms", 250.0, "postcopy", "pages", 4321, "faults", 99, "fault-p50-ms",
		0.25, "fault-p95-ms", 0.5, "fault-p99-ms", 1.0, "fault-max-ms", 7.75, "fault-times",
		fault_times(), "prefetched", 800, "prefetch-samples", 100, "prefetch-used", 60,
		"last-page-ms", 2500.0, "recoveries", 1);
	json_t *args = json_object(), *data;
	struct migrate_record r = { 0 };

	event(&r, "precopy", 1, 0, 1000, 0, 0);
	event(&r, "stop", 1, 100, 500, 1000, 700);
	event(&r, "postcopy", 1, 110, 500, 1000, 700);
	event(&r, "broken", 1, 200, 300, 1200, 700);
	event(&r, "postcopy", 1, 900, 300, 1200, 700);
	event(&r, "done", 1, 1000, 0, 1500, 700);
	data = page_of("postcopy", &r, "web", args, result);
	assert_string_equal(text_of(data, "outcome", "downtime"),
			    "100.0 ms (limit 250 ms, without post-copy an estimated 900.0 ms)");
	/* a recovery is asked for nothing */
	assert_true(json_is_null(json_object_get(data, "request")));
	assert_string_equal(
		text_of(json_array_get(json_object_get(data, "phases"), 3), NULL, "phase"),
		"broken");
	json_decref(data);
	json_decref(args);
	json_decref(result);
	migrate_record_free(&r);
}

/* All at one time, nothing sent, a rate of nothing, a phase from the future. */
static void odd_records_have_a_page(void **state)
{
	json_t *args = json_object(), *result = json_pack("{s:s}", "outcome", "failed"), *data;
	struct migrate_record r = { 0 };

	event(&r, "precopy", 1, 0, 0, 0, 0);
	event(&r, "teleport", 1, 0, 0, 0, 0);
	event(&r, "failed", 1, 0, 0, 0, 0);
	data = page_of("odd", &r, "web", args, result);
	assert_string_equal(
		text_of(json_array_get(json_object_get(data, "phases"), 1), NULL, "phase"),
		"other");
	json_decref(data);
	json_decref(args);
	json_decref(result);
	migrate_record_free(&r);
}

static void many_rounds_have_a_page(void **state)
{
	json_t *args = json_object(), *result = json_pack("{s:s}", "outcome", "failed");
	struct migrate_record r = { 0 };

	for (int i = 0; i < 100; i++)
		event(&r, "precopy", i + 1, i * 100, 1000 - i, i * 1e6, 1e5);
	event(&r, "failed", 100, 1e5, 1, 1e8, 1e5);
	json_decref(page_of("rounds", &r, "web", args, result));
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
		cmocka_unit_test(the_data_are_the_migration),
		cmocka_unit_test(what_went_wrong_is_said),
		cmocka_unit_test(what_others_say_cannot_become_markup),
		cmocka_unit_test(post_copy_has_its_part),
		cmocka_unit_test(odd_records_have_a_page),
		cmocka_unit_test(many_rounds_have_a_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
