/* SPDX-License-Identifier: Apache-2.0 */
#include "control/metrics.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

struct metrics {
	json_t *families;
	json_t *samples; /* of the last family; borrowed */
	bool failed;
};

struct metrics *metrics_create(void)
{
	struct metrics *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->families = json_array();
	m->failed = !m->families;
	return m;
}

void metrics_family(struct metrics *m, enum metric_type type, const char *name, const char *help)
{
	json_t *samples = json_array();
	json_t *family = json_pack("{s:s, s:s, s:s, s:O}", "name", name, "type",
				   type == METRIC_COUNTER ? "counter" : "gauge", "help", help,
				   "samples", samples);

	m->samples = samples;
	m->failed |= !family || json_array_append_new(m->families, family);
	json_decref(samples);
	if (m->failed)
		m->samples = NULL;
}

/* Takes labels and value over. */
static void add_sample(struct metrics *m, json_t *labels, json_t *value)
{
	json_t *sample = json_pack("{s:o, s:o}", "labels", labels, "value", value);

	m->failed |= !m->samples || !sample || json_array_append(m->samples, sample);
	json_decref(sample);
}

static json_t *one_label(const char *label, const char *value)
{
	return label ? json_pack("{s:s}", label, value) : json_object();
}

void metrics_count(struct metrics *m, const char *label, const char *value, uint64_t count)
{
	add_sample(m, one_label(label, value), json_integer((json_int_t)count));
}

void metrics_count2(struct metrics *m, const char *label1, const char *value1, const char *label2,
		    const char *value2, uint64_t count)
{
	add_sample(m, json_pack("{s:s, s:s}", label1, value1, label2, value2),
		   json_integer((json_int_t)count));
}

void metrics_measure(struct metrics *m, const char *label, const char *value, double number)
{
	add_sample(m, one_label(label, value), json_real(number));
}

json_t *metrics_finish(struct metrics *m)
{
	json_t *finished = NULL;

	if (!m->failed)
		finished =
			json_pack("{s:i, s:O}", "version", METRICS_VERSION, "metrics", m->families);
	json_decref(m->families);
	free(m);
	return finished;
}

/* Of a help text a backslash and a newline, of a label's value a quotation mark, too. */
static void put_escaped(FILE *out, const char *text, bool label)
{
	for (; *text; text++) {
		if (*text == '\n')
			fputs("\\n", out);
		else if (*text == '\\' || (label && *text == '"'))
			fprintf(out, "\\%c", *text);
		else
			putc(*text, out);
	}
}

/* A whole number with all of its digits, as far as a double has them. */
static void put_real(FILE *out, double value)
{
	const double exact = 9007199254740992.0; /* 2^53 */

	if (value > -exact && value < exact && value == (double)(int64_t)value)
		fprintf(out, "%.0f\n", value);
	else
		fprintf(out, "%.15g\n", value);
}

static void put_sample(FILE *out, const char *name, const json_t *sample)
{
	json_t *labels = json_object_get(sample, "labels");
	const json_t *value = json_object_get(sample, "value");
	const char *separator = "{";

	fputs(name, out);
	for (void *i = json_object_iter(labels); i; i = json_object_iter_next(labels, i)) {
		fprintf(out, "%s%s=\"", separator, json_object_iter_key(i));
		put_escaped(out, json_string_value(json_object_iter_value(i)), true);
		putc('"', out);
		separator = ",";
	}
	fputs(*separator == ',' ? "} " : " ", out);
	if (json_is_integer(value))
		fprintf(out, "%" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
	else
		put_real(out, json_real_value(value));
}

static void put_family(FILE *out, const json_t *family)
{
	const char *name = json_string_value(json_object_get(family, "name"));
	const json_t *samples = json_object_get(family, "samples");

	fprintf(out, "# HELP %s ", name);
	put_escaped(out, json_string_value(json_object_get(family, "help")), false);
	fprintf(out, "\n# TYPE %s %s\n", name, json_string_value(json_object_get(family, "type")));
	for (size_t i = 0; i < json_array_size(samples); i++)
		put_sample(out, name, json_array_get(samples, i));
}

char *metrics_text(const json_t *finished)
{
	const json_t *families = json_object_get(finished, "metrics");
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	bool failed;

	if (!out)
		return NULL;
	for (size_t i = 0; i < json_array_size(families); i++)
		put_family(out, json_array_get(families, i));
	failed = ferror(out) != 0;
	if (fclose(out) || failed) {
		free(text);
		return NULL;
	}
	return text;
}
