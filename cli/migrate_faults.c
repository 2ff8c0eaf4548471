/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/migrate_faults.h"

#include <math.h>

#include "cli/migrate_chart.h"
#include "cli/migrate_record.h"

#define CLASSES_MAX 64
#define MARKS	    4

/* Pixels at full width; the page scales the whole. */
#define WIDTH	  960.0
#define LEFT	  72.0
#define RIGHT	  18.0
#define ROW	  16.0 /* of the marks' words, one below the other so that they never meet */
#define TOP	  (24 + MARKS * ROW)
#define PLOT	  190.0
#define HEIGHT	  (TOP + PLOT + 44)
#define LEAST_BAR 1.5 /* one access of a million shall be seen */
#define SHORTEST  0.001 /* ms: what a class that begins at none is drawn from */
#define TICKS	  4
#define DECADES	  12 /* from the shortest on: eleven days */

struct fault_class {
	double from, to; /* ms */
	double faults;
};

struct chart {
	FILE *f;
	struct fault_class classes[CLASSES_MAX];
	size_t n;
	double from, to; /* ms, at the edges */
	double max; /* at the top */
};

char *migrate_wait(double ms, char text[32])
{
	double us = ms * 1000;

	if (us < 1000)
		snprintf(text, 32, "%.*f \u00b5s", us < 10 ? 1 : 0, us);
	else if (ms < 1000)
		snprintf(text, 32, "%.*f ms", ms < 10 ? 2 : ms < 100 ? 1 : 0, ms);
	else
		snprintf(text, 32, "%.2f s", ms / 1000);
	return text;
}

static double x_of(const struct chart *c, double ms)
{
	double at = log2(ms / c->from) / log2(c->to / c->from);

	return LEFT + (WIDTH - LEFT - RIGHT) * (at > 0 ? at < 1 ? at : 1 : 0);
}

static double y_of(const struct chart *c, double faults)
{
	return TOP + PLOT * (1 - faults / c->max);
}

/* Classes one behind the other, and at least one access. */
static bool read_classes(struct chart *c, const json_t *list)
{
	double last = 0, all = 0;

	if (json_array_size(list) > CLASSES_MAX)
		return false;
	for (c->n = 0; c->n < json_array_size(list); c->n++) {
		const json_t *o = json_array_get(list, c->n);
		struct fault_class *class = &c->classes[c->n];

		*class = (struct fault_class){ .from = migrate_number(o, "from-ms"),
					       .to = migrate_number(o, "to-ms"),
					       .faults = migrate_number(o, "faults") };
		if (class->from < SHORTEST)
			class->from = SHORTEST;
		if (!(class->from >= last && class->to > class->from && class->faults >= 0))
			return false;
		last = class->to;
		all += class->faults;
		c->max = class->faults > c->max ? class->faults : c->max;
	}
	return all > 0;
}

static void counts_axis(struct chart *c)
{
	double step = migrate_step(c->max, TICKS);
	int n = 1;

	step = step < 1 ? 1 : step;
	while (n * step < c->max)
		n++;
	c->max = n * step;
	for (int i = 0; i <= n; i++)
		fprintf(c->f,
			"<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n"
			"<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.0f</text>\n",
			LEFT, y_of(c, i * step), WIDTH - RIGHT, y_of(c, i * step), LEFT - 8,
			y_of(c, i * step) + 4, i * step);
}

static void time_tick(const struct chart *c, double ms)
{
	double x = x_of(c, ms);
	const char *unit = ms < 0.9 ? "\u00b5s" : ms < 900 ? "ms" : "s";

	if (ms < c->from * 0.999 || ms > c->to * 1.001)
		return;
	fprintf(c->f,
		"<line class=\"tick\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n"
		"<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.0f %s</text>\n",
		x, TOP + PLOT, x, TOP + PLOT + 5, x, TOP + PLOT + 18,
		ms < 0.9   ? ms * 1000 :
		ms < 900.0 ? ms :
			     ms / 1000,
		unit);
}

/* Powers of ten; within a few of them twice and five times those, too. */
static void time_axis(const struct chart *c)
{
	bool few = c->to / c->from < 2000;
	double power = SHORTEST;

	for (int i = 0; i < DECADES; i++, power *= 10) {
		time_tick(c, power);
		if (few) {
			time_tick(c, 2 * power);
			time_tick(c, 5 * power);
		}
	}
	fprintf(c->f,
		"<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">how long an access waited for its page</text>\n",
		WIDTH - RIGHT, TOP + PLOT + 36);
}

static void bars(const struct chart *c)
{
	char from[32], to[32];

	for (size_t i = 0; i < c->n; i++) {
		const struct fault_class *class = &c->classes[i];
		double x = x_of(c, class->from), height = TOP + PLOT - y_of(c, class->faults);

		if (class->faults <= 0)
			continue;
		height = height < LEAST_BAR ? LEAST_BAR : height;
		fprintf(c->f,
			"<rect class=\"faults\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"><title>%s to %s: %.0f</title></rect>\n",
			x, TOP + PLOT - height, x_of(c, class->to) - x, height,
			migrate_wait(class->from, from), migrate_wait(class->to, to),
			class->faults);
	}
}

static void marks(const struct chart *c, const json_t *postcopy)
{
	static const char *const words[MARKS] = { "half (p50)", "95 % (p95)", "99 % (p99)",
						  "the longest" };
	static const char *const members[MARKS] = { "fault-p50-ms", "fault-p95-ms", "fault-p99-ms",
						    "fault-max-ms" };
	char text[32];

	for (int i = 0; i < MARKS; i++) {
		double ms = migrate_number(postcopy, members[i]), x = x_of(c, ms);
		double y = 24 + (i + 1) * ROW - 6;
		bool left = x > WIDTH / 2;

		if (ms <= 0)
			continue;
		fprintf(c->f,
			"<line class=\"mark\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n"
			"<text class=\"label on-mark\" x=\"%.1f\" y=\"%.1f\"%s>%s: %s</text>\n",
			x, y - 9, x, TOP + PLOT, left ? x - 5 : x + 5, y,
			left ? " text-anchor=\"end\"" : "", words[i], migrate_wait(ms, text));
	}
}

bool migrate_faults_chart(FILE *f, const json_t *postcopy)
{
	struct chart c = { .f = f };

	if (!read_classes(&c, json_object_get(postcopy, "fault-times")))
		return false;
	c.from = c.classes[0].from;
	c.to = c.classes[c.n - 1].to;
	fprintf(f,
		"<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"How long accesses waited for their page\">\n"
		"<text class=\"title\" x=\"0\" y=\"14\">Accesses that waited <tspan class=\"label\">[number]</tspan></text>\n",
		WIDTH, HEIGHT);
	counts_axis(&c);
	bars(&c);
	marks(&c, postcopy);
	time_axis(&c);
	fputs("</svg>\n", f);
	return true;
}
