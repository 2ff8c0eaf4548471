/* SPDX-License-Identifier: Apache-2.0 */
/* The exporter's page: several VMs' answers as one, and answers that a VM should not give. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"

#include "cli/exporter_page.h"

#define UP                                                                               \
	"# HELP sevmirror_vm_up 1 for a VM that has answered, 0 for one that has not.\n" \
	"# TYPE sevmirror_vm_up gauge\n"

static void add(struct exporter_page *page, const char *vm, const char *answer)
{
	json_t *metrics = json_loads(answer, 0, NULL);

	assert_non_null(metrics);
	exporter_page_add(page, vm, metrics);
	json_decref(metrics);
}

static void assert_page(struct exporter_page *page, const char *expected)
{
	char *text = exporter_page_finish(page);

	assert_string_equal(text, expected);
	free(text);
}

static void families_of_several_vms_are_one(void **state)
{
	struct exporter_page *page = exporter_page_create();

	add(page, "a",
	    "{\"version\": 1, \"metrics\": [{\"name\": \"x_total\", \"type\": \"counter\", "
	    "\"help\": \"X.\", \"samples\": [{\"labels\": {\"cpu\": \"0\"}, \"value\": "
	    "9007199254740993}]}]}");
	add(page, "b",
	    "{\"version\": 1, \"metrics\": [{\"name\": \"x_total\", \"type\": \"counter\", "
	    "\"help\": \"Y.\", \"samples\": [{\"labels\": {}, \"value\": 2}]}]}");
	exporter_page_add(page, "c", NULL);
	assert_page(page, UP "sevmirror_vm_up{vm=\"a\"} 1\n"
			     "sevmirror_vm_up{vm=\"b\"} 1\n"
			     "sevmirror_vm_up{vm=\"c\"} 0\n"
			     "# HELP x_total X.\n# TYPE x_total counter\n"
			     "x_total{vm=\"a\",cpu=\"0\"} 9007199254740993\nx_total{vm=\"b\"} 2\n");
}

/* Each of these would make Prometheus refuse the whole page, or speak for another VM. */
static void what_is_no_metric_is_left_out(void **state)
{
#define FAMILY(name, type, samples)                                           \
	"{\"version\": 1, \"metrics\": [{\"name\": " name ", \"type\": " type \
	", \"help\": \"H\", \"samples\": " samples "}]}"
	static const char *const wrong[] = {
		FAMILY("\"x\\ny 1\"", "\"gauge\"", "[{\"labels\": {}, \"value\": 1}]"),
		FAMILY("\"\"", "\"gauge\"", "[{\"labels\": {}, \"value\": 1}]"),
		FAMILY("7", "\"gauge\"", "[{\"labels\": {}, \"value\": 1}]"),
		FAMILY("\"sevmirror_vm_up\"", "\"gauge\"", "[{\"labels\": {}, \"value\": 1}]"),
		FAMILY("\"x\"", "\"summary\"", "[{\"labels\": {}, \"value\": 1}]"),
		FAMILY("\"x\"", "null", "[{\"labels\": {}, \"value\": 1}]"),
		"{\"version\": 1, \"metrics\": 7}",
		"{\"version\": 1, \"metrics\": [7, null, {}]}",
	};
	static const char *const wrong_samples[] = {
		FAMILY("\"x\"", "\"gauge\"", "[{\"labels\": {\"vm\": \"b\"}, \"value\": 1}]"),
		FAMILY("\"x\"", "\"gauge\"", "[{\"labels\": {\"A b\": \"b\"}, \"value\": 1}]"),
		FAMILY("\"x\"", "\"gauge\"", "[{\"labels\": {\"l\": 1}, \"value\": 1}]"),
		FAMILY("\"x\"", "\"gauge\"", "[{\"labels\": {}, \"value\": \"1\"}]"),
		FAMILY("\"x\"", "\"gauge\"", "[7, {\"value\": 1}]"),
		FAMILY("\"x\"", "\"gauge\"", "{}"),
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct exporter_page *page = exporter_page_create();

		add(page, "a", wrong[i]);
		assert_page(page, UP "sevmirror_vm_up{vm=\"a\"} 1\n");
	}
	for (size_t i = 0; i < sizeof(wrong_samples) / sizeof(wrong_samples[0]); i++) {
		struct exporter_page *page = exporter_page_create();

		add(page, "a", wrong_samples[i]);
		assert_page(page, UP "sevmirror_vm_up{vm=\"a\"} 1\n# HELP x H\n# TYPE x gauge\n");
	}
}

static void another_version_counts_as_down(void **state)
{
	struct exporter_page *page = exporter_page_create();

	add(page, "a", "{\"version\": 2, \"metrics\": []}");
	add(page, "b", "[]");
	assert_page(page, UP "sevmirror_vm_up{vm=\"a\"} 0\nsevmirror_vm_up{vm=\"b\"} 0\n");
}

static void vms_that_differ_about_a_type(void **state)
{
	struct exporter_page *page = exporter_page_create();

	add(page, "a", FAMILY("\"x\"", "\"gauge\"", "[{\"labels\": {}, \"value\": 1}]"));
	add(page, "b", FAMILY("\"x\"", "\"counter\"", "[{\"labels\": {}, \"value\": 1}]"));
	assert_page(page, UP "sevmirror_vm_up{vm=\"a\"} 1\nsevmirror_vm_up{vm=\"b\"} 1\n"
			     "# HELP x H\n# TYPE x gauge\nx{vm=\"a\"} 1\n");
}

/* More samples than a VM may have: the family is left out, and those that fit are shown. */
static void a_vm_has_so_many_samples_at_most(void **state)
{
	struct exporter_page *page = exporter_page_create();
	json_t *samples = json_array(), *metrics;

	for (int i = 0; i <= EXPORTER_SAMPLES_MAX; i++)
		json_array_append_new(samples, json_integer(1));
	metrics = json_pack("{s:i, s:[{s:s, s:s, s:s, s:o}, {s:s, s:s, s:s, s:[{s:{}, s:i}]}]}",
			    "version", 1, "metrics", "name", "many", "type", "gauge", "help", "H",
			    "samples", samples, "name", "few", "type", "gauge", "help", "H",
			    "samples", "labels", "value", 3);
	assert_non_null(metrics);
	exporter_page_add(page, "a", metrics);
	json_decref(metrics);
	assert_page(
		page, UP
		"sevmirror_vm_up{vm=\"a\"} 1\n# HELP few H\n# TYPE few gauge\nfew{vm=\"a\"} 3\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(families_of_several_vms_are_one),
		cmocka_unit_test(what_is_no_metric_is_left_out),
		cmocka_unit_test(another_version_counts_as_down),
		cmocka_unit_test(vms_that_differ_about_a_type),
		cmocka_unit_test(a_vm_has_so_many_samples_at_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
