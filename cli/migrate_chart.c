/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/migrate_chart.h"

#include <stdbool.h>

#define PAGE_BYTES 4096.0

/* Pixels at full width; the page scales the whole. */
#define WIDTH	     960.0
#define LEFT	     72.0
#define RIGHT	     18.0
#define STRIP_TOP    26.0
#define STRIP_HEIGHT 22.0
#define PANEL_HEIGHT 190.0
#define RATES_TOP    86.0
#define LEFT_TOP     (RATES_TOP + PANEL_HEIGHT + 52)
#define HEIGHT	     (LEFT_TOP + PANEL_HEIGHT + 44)
#define CHAR_WIDTH   6.6 /* of a label's character, about */
#define ROUND_APART  18.0 /* numbers of rounds closer together are left out */

#define TICKS	 5
#define BINS_MIN 8
#define BINS_MAX 160

/* One panel: seconds and values to pixels. */
struct panel {
	FILE *f;
	double seconds; /* at the right edge */
	double top, max; /* pixels; value at the upper edge */
};

static double x_of(const struct panel *p, double seconds)
{
	return LEFT + (WIDTH - LEFT - RIGHT) * seconds / p->seconds;
}

static double y_of(const struct panel *p, double value)
{
	return p->top + PANEL_HEIGHT * (1 - value / p->max);
}

double migrate_step(double max, int count)
{
	double raw = max / count, power = 1;

	while (power > raw)
		power /= 10;
	while (power * 10 <= raw)
		power *= 10;
	return raw <= power	? power :
	       raw <= 2 * power ? 2 * power :
	       raw <= 5 * power ? 5 * power :
				  10 * power;
}

/* As many decimals as the step has. */
static int decimals(double step)
{
	int n = 0;

	for (; n < 6 && step < 0.999; n++)
		step *= 10;
	return n;
}

const char *migrate_unit(double max, double *divisor)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	unsigned int i = 0;

	*divisor = 1;
	/* Some numbers above one: 1.5 GiB is better said in MiB on an axis. */
	for (; i < 4 && max / *divisor >= 4096; i++)
		*divisor *= 1024;
	return units[i];
}

char *migrate_duration(double seconds, char text[32])
{
	if (seconds < 1)
		snprintf(text, 32, "%.*f ms", seconds < 0.1 ? 1 : 0, seconds * 1000);
	else if (seconds < 10)
		snprintf(text, 32, "%.2f s", seconds);
	else if (seconds < 120)
		snprintf(text, 32, "%.1f s", seconds);
	else
		snprintf(text, 32, "%.0f min %.0f s", (double)(long)(seconds / 60),
			 seconds - 60 * (double)(long)(seconds / 60));
	return text;
}

static void time_axis(const struct panel *p, bool labels)
{
	double unit = p->seconds < 5	 ? 0.001 :
		      p->seconds < 300	 ? 1 :
		      p->seconds < 18000 ? 60 :
					   3600;
	const char *name = p->seconds < 5     ? "ms" :
			   p->seconds < 300   ? "s" :
			   p->seconds < 18000 ? "min" :
						"h";
	double bottom = p->top + PANEL_HEIGHT, step = migrate_step(p->seconds / unit, 10);

	for (int i = 0; i * step <= p->seconds / unit * 1.0001; i++) {
		double x = x_of(p, i * step * unit);

		fprintf(p->f,
			"<line class=\"tick\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
			x, bottom, x, bottom + 5);
		if (labels)
			fprintf(p->f,
				"<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.*f</text>\n",
				x, bottom + 18, decimals(step), i * step);
	}
	if (labels)
		fprintf(p->f,
			"<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">time since the beginning [%s]</text>\n",
			WIDTH - RIGHT, bottom + 36, name);
}

/* Sets the panel's max so that the highest value fits and the axis ends at a tick. */
static void value_axis(struct panel *p, double highest, const char *title, const char *per)
{
	double divisor, step;
	const char *unit = migrate_unit(highest, &divisor);
	int n = 1;

	highest = highest > 0 ? highest / divisor : 1;
	step = migrate_step(highest, TICKS);
	while (n * step < highest)
		n++;
	p->max = n * step * divisor;
	for (int i = 0; i <= n; i++) {
		double y = y_of(p, i * step * divisor);

		fprintf(p->f,
			"<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n"
			"<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.*f</text>\n",
			LEFT, y, WIDTH - RIGHT, y, LEFT - 8, y + 4, decimals(step), i * step);
	}
	fprintf(p->f,
		"<text class=\"title\" x=\"%.1f\" y=\"%.1f\">%s <tspan class=\"label\">[%s%s]</tspan></text>\n",
		0.0, p->top - 12, title, unit, per);
}

static void bands(const struct panel *p, const struct migrate_record *r)
{
	for (size_t i = 0; i < r->nspans; i++)
		fprintf(p->f,
			"<rect class=\"band phase-%d\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\"/>\n",
			r->spans[i].phase, x_of(p, r->spans[i].from), p->top,
			x_of(p, r->spans[i].to) - x_of(p, r->spans[i].from), PANEL_HEIGHT);
}

/* The phases, one after the other; a name where it has room. */
static void strip(const struct panel *p, const struct migrate_record *r)
{
	char time[32];

	for (size_t i = 0; i < r->nspans; i++) {
		const struct migrate_span *s = &r->spans[i];
		const char *name = migrate_phase_name(s->phase);
		double x = x_of(p, s->from), width = x_of(p, s->to) - x;
		int length = snprintf(NULL, 0, "%s", name);

		fprintf(p->f,
			"<rect class=\"phase-%d\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\"><title>%s: %s</title></rect>\n",
			s->phase, x, STRIP_TOP, width > 1 ? width : 1, STRIP_HEIGHT, name,
			migrate_duration(s->to - s->from, time));
		if (width > CHAR_WIDTH * length + 8)
			fprintf(p->f,
				"<text class=\"on-phase\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n",
				x + width / 2, STRIP_TOP + 15, name);
	}
}

/* Where each round begins; its number where there is room. */
static void rounds(const struct panel *p, const struct migrate_record *r)
{
	double last = -ROUND_APART;

	for (size_t i = 0; i < r->nrounds; i++) {
		double x = x_of(p, r->rounds[i].from);

		if (x - last < ROUND_APART)
			continue;
		last = x;
		fprintf(p->f,
			"<line class=\"round\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n"
			"<text class=\"label\" x=\"%.1f\" y=\"%.1f\">%u</text>\n",
			x, p->top, x, p->top + PANEL_HEIGHT, x + 3, p->top + 12,
			r->rounds[i].number);
	}
}

/* The time in which pages went, in n equal parts. */
struct bins {
	double from, width; /* seconds */
	int n;
};

static struct bins bins_of(const struct migrate_record *r)
{
	size_t n = r->nsamples / 2;
	struct bins bins = { .from = r->nrounds ? r->rounds[0].from : 0 };

	bins.n = n < BINS_MIN ? BINS_MIN : n > BINS_MAX ? BINS_MAX : (int)n;
	bins.width = (migrate_record_seconds(r) - bins.from) / bins.n;
	return bins;
}

/* Bytes a second in one of them. */
static double bin_rate(const struct migrate_record *r, const struct bins *bins, int i)
{
	double from = bins->from + i * bins->width;

	if (bins->width <= 0)
		return 0;
	return (migrate_record_bytes_at(r, from + bins->width) - migrate_record_bytes_at(r, from)) /
	       bins->width;
}

static double highest_rate(const struct migrate_record *r)
{
	struct bins bins = bins_of(r);
	double max = 0, rate;

	for (int i = 0; i < bins.n; i++) {
		rate = bin_rate(r, &bins, i);
		max = rate > max ? rate : max;
	}
	for (size_t i = 0; i < r->nrounds; i++)
		if (r->rounds[i].measured && r->rounds[i].dirty_rate > max)
			max = r->rounds[i].dirty_rate;
	return max;
}

static void rate_curve(const struct panel *p, const struct migrate_record *r)
{
	struct bins bins = bins_of(r);
	double bottom = p->top + PANEL_HEIGHT, x = x_of(p, bins.from);

	fprintf(p->f, "<path class=\"rate\" d=\"M%.1f %.1f", x, bottom);
	for (int i = 0; i < bins.n; i++) {
		double y = y_of(p, bin_rate(r, &bins, i));

		fprintf(p->f, "L%.1f %.1f", x, y);
		x = x_of(p, bins.from + (i + 1) * bins.width);
		fprintf(p->f, "L%.1f %.1f", x, y);
	}
	fprintf(p->f, "L%.1f %.1f\"/>\n", x, bottom);
}

/* A level for each round that was measured. */
static void dirty_curve(const struct panel *p, const struct migrate_record *r)
{
	bool drawing = false, any = false;

	for (size_t i = 0; i < r->nrounds; i++) {
		const struct migrate_round *round = &r->rounds[i];
		double y = y_of(p, round->dirty_rate);

		if (!round->measured) {
			drawing = false;
			continue;
		}
		if (!any)
			fputs("<path class=\"dirty\" d=\"", p->f);
		any = true;
		fprintf(p->f, "%s%.1f %.1fL%.1f %.1f", drawing ? "L" : "M", x_of(p, round->from), y,
			x_of(p, round->to), y);
		drawing = true;
	}
	if (any)
		fputs("\"/>\n", p->f);
}

static double highest_left(const struct migrate_record *r)
{
	double max = 0;

	for (size_t i = 0; i < r->nsamples; i++)
		max = r->samples[i].pages_left > max ? r->samples[i].pages_left : max;
	return max * PAGE_BYTES;
}

/*
 * A round ends with nothing left, and what was written meanwhile comes on top at once. A new dirty
 * rate tells where.
 */
static void left_curve(const struct panel *p, const struct migrate_record *r)
{
	double bottom = p->top + PANEL_HEIGHT, left = 0, dirty_rate = 0;
	bool drawing = false;

	for (size_t i = 0; i < r->nsamples; i++) {
		const struct migrate_sample *s = &r->samples[i];
		double x = x_of(p, s->seconds);

		if (!s->round)
			continue;
		if (!drawing)
			fprintf(p->f, "<path class=\"left\" d=\"M%.1f %.1f", x, bottom);
		else if (s->pages_left > left || s->dirty_rate != dirty_rate)
			fprintf(p->f, "L%.1f %.1f", x, bottom);
		fprintf(p->f, "L%.1f %.1f", x, y_of(p, s->pages_left * PAGE_BYTES));
		left = s->pages_left;
		dirty_rate = s->dirty_rate;
		drawing = true;
	}
	if (drawing)
		fprintf(p->f, "L%.1f %.1f\"/>\n", x_of(p, p->seconds), bottom);
}

static void rates_legend(FILE *f)
{
	double x = WIDTH - RIGHT - 270, y = RATES_TOP - 16;

	fprintf(f,
		"<rect class=\"rate\" x=\"%.1f\" y=\"%.1f\" width=\"14\" height=\"9\"/>\n"
		"<text class=\"label\" x=\"%.1f\" y=\"%.1f\">throughput</text>\n"
		"<line class=\"dirty\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n"
		"<text class=\"label\" x=\"%.1f\" y=\"%.1f\">dirty rate, round by round</text>\n",
		x, y - 5, x + 19, y + 4, x + 100, y, x + 114, y, x + 119, y + 4);
}

void migrate_chart(FILE *f, const struct migrate_record *r)
{
	double seconds = migrate_record_seconds(r);
	struct panel p = { .f = f, .seconds = seconds > 0 ? seconds : 0.001, .top = RATES_TOP };

	fprintf(f,
		"<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"Timeline of the migration\">\n"
		"<text class=\"title\" x=\"0\" y=\"14\">Phases</text>\n",
		WIDTH, HEIGHT);
	strip(&p, r);

	bands(&p, r);
	value_axis(&p, highest_rate(r), "Throughput and dirty rate", "/s");
	rate_curve(&p, r);
	dirty_curve(&p, r);
	rates_legend(f);
	time_axis(&p, false);

	p.top = LEFT_TOP;
	bands(&p, r);
	value_axis(&p, highest_left(r), "Memory left to send", "");
	left_curve(&p, r);
	rounds(&p, r);
	time_axis(&p, true);
	fputs("</svg>\n", f);
}
