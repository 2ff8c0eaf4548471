/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/migrate_report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/migrate_chart.h"
#include "cli/migrate_faults.h"
#include "cli/version.h"

#define ROUNDS_SHOWN 40 /* rows of the table; of more rounds the first and the last ones */
#define PAGE_BYTES   4096.0

static const char style[] =
	":root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--muted:#59636e;--line:#d8dee4;--card:#f6f8fa;"
	"--rate:#0969da;--dirty:#bc4c00;--left:#1a7f74;--good:#1a7f37;--bad:#cf222e;--warn:#9a6700;"
	"--p0:#afb8c1;--p1:#c8a8f5;--p2:#8cc4f8;--p3:#ff9d94;--p4:#f2cc60;--p5:#7ee2b8;--on:#1b1f24}\n"
	"@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--muted:#9198a1;--line:#2d333b;"
	"--card:#161b22;--rate:#4493f8;--dirty:#f0883e;--left:#3fb9a9;--good:#3fb950;--bad:#f85149;"
	"--warn:#d29922;--p0:#656c76;--p1:#8957e5;--p2:#316dca;--p3:#c93c37;--p4:#966600;--p5:#238665;--on:#fff}}\n"
	"body{margin:0 auto;max-width:960px;padding:24px 16px;background:var(--bg);color:var(--fg);"
	"font:15px/1.5 system-ui,-apple-system,\"Segoe UI\",\"DejaVu Sans\",sans-serif}\n"
	"h1{font-size:24px;margin:0}h2{font-size:17px;margin:32px 0 8px}p{margin:4px 0}.muted{color:var(--muted)}\n"
	".outcome{border-left:4px solid;padding:8px 12px;margin:16px 0;background:var(--card);overflow-wrap:anywhere}\n"
	".good{border-color:var(--good)}.bad{border-color:var(--bad)}.warn{border-color:var(--warn)}\n"
	".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:16px 0}\n"
	".tile{background:var(--card);border-radius:6px;padding:10px 14px}.tile b{display:block;font-size:22px;"
	"font-variant-numeric:tabular-nums}.tile span{color:var(--muted);font-size:13px}\n"
	".wide{overflow-x:auto}svg{display:block;width:100%;min-width:680px;height:auto}\n"
	"table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:4px 16px 4px 0;"
	"border-bottom:1px solid var(--line);text-align:left;font-weight:normal;vertical-align:top}\n"
	"th{color:var(--muted)}.n td,.n th{text-align:right;white-space:nowrap}\n"
	"svg text{fill:var(--fg);font-size:12px}svg .title{font-size:13px;font-weight:600}"
	"svg .label{fill:var(--muted);font-weight:normal}svg .on-phase{fill:var(--on)}\n"
	".grid{stroke:var(--line)}.tick{stroke:var(--muted)}.round{stroke:var(--muted);stroke-dasharray:2 3}\n"
	".band{opacity:.16}.rate{fill:var(--rate);fill-opacity:.22;stroke:var(--rate);stroke-width:1.5}"
	".dirty{fill:none;stroke:var(--dirty);stroke-width:2.5}"
	".left{fill:var(--left);fill-opacity:.22;stroke:var(--left);stroke-width:1.5}\n"
	".faults{fill:var(--rate);fill-opacity:.55;stroke:var(--bg)}.mark{stroke:var(--dirty);stroke-dasharray:4 3}"
	"svg .on-mark{paint-order:stroke;stroke:var(--bg);stroke-width:5}\n"
	".key{list-style:none;padding:0;margin:8px 0;display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px}"
	".key i{display:inline-block;width:12px;height:12px;border-radius:2px;margin-right:6px;vertical-align:-1px}\n"
	".phase-0{fill:var(--p0);background:var(--p0)}.phase-1{fill:var(--p1);background:var(--p1)}"
	".phase-2{fill:var(--p2);background:var(--p2)}.phase-3{fill:var(--p3);background:var(--p3)}"
	".phase-4{fill:var(--p4);background:var(--p4)}.phase-5{fill:var(--p5);background:var(--p5)}"
	".phase-6{fill:var(--bad);background:var(--bad)}.phase-8{fill:var(--p0);background:var(--p0)}\n";

/* Text between tags. What is special there, or no character at all, is replaced. */
static void put(FILE *f, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		case '&':
			fputs("&amp;", f);
			break;
		case '"':
			fputs("&quot;", f);
			break;
		case '\'':
			fputs("&#39;", f);
			break;
		default:
			fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, f);
		}
	}
}

static const char *outcome_of(const struct migrate_report *r)
{
	return r->result ? migrate_text(r->result, "outcome") : "not known";
}

static bool migrated(const struct migrate_report *r)
{
	return !strcmp(outcome_of(r), "migrated");
}

/* The guest's state, the error, and what to do: the VM's own words, or that there are none. */
static void outcome(FILE *f, const struct migrate_report *r)
{
	const char *what = outcome_of(r), *error = migrate_text(r->result, "error");
	const char *warning = migrate_text(r->result, "warning");

	fprintf(f, "<p class=\"outcome %s\"><b>",
		migrated(r)		   ? "good" :
		!strcmp(what, "cancelled") ? "warn" :
					     "bad");
	put(f, r->name);
	fputs(": ", f);
	put(f, r->result ? migrate_text(r->result, "detail") : "Outcome unknown.");
	fputs("</b> ", f);
	if (!strcmp(what, "cancelled")) {
		fputs("The migration was cancelled.", f);
	} else if (*error) {
		put(f, error);
		fputs(". ", f);
	}
	put(f, r->result ?
		       migrate_text(r->result, "advice") :
		       "The VM's process ended before it reported the outcome. Check the target.");
	fputs("</p>\n", f);
	if (*warning) {
		fputs("<p class=\"outcome warn\">", f);
		put(f, warning);
		fputs("</p>\n", f);
	}
}

static void head(FILE *f, const struct migrate_report *r)
{
	char when[64];
	struct tm utc;

	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", gmtime_r(&r->started, &utc));
	fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n"
	      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
	      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n"
	      "<title>Migration of ",
	      f);
	put(f, r->name);
	fprintf(f, "</title>\n<style>\n%s</style></head><body>\n<h1>Migration of ", style);
	put(f, r->name);
	fputs("</h1>\n<p class=\"muted\">from ", f);
	put(f, r->host);
	if (json_object_get(r->args, "address")) {
		fputs(" to ", f);
		put(f, migrate_text(r->args, "address"));
	}
	fprintf(f, ", begun %s, sevmirror " SEVMIRROR_VERSION "</p>\n", when);
	outcome(f, r);
}

static void tile(FILE *f, const char *value, const char *what)
{
	fprintf(f, "<div class=\"tile\"><b>%s</b><span>%s</span></div>\n", value, what);
}

static char *bytes_text(double bytes, const char *per, char text[32])
{
	double divisor;
	const char *unit = migrate_unit(bytes, &divisor);

	snprintf(text, 32, "%.*f %s%s", divisor > 1 ? 1 : 0, bytes / divisor, unit, per);
	return text;
}

/* What was sent, and how long that took: the last sample is all there is when no result came. */
static double bytes_sent(const struct migrate_report *r)
{
	const struct migrate_record *record = r->record;

	if (r->result)
		return migrate_number(r->result, "bytes");
	return record->nsamples ? record->samples[record->nsamples - 1].bytes : 0;
}

static double total_seconds(const struct migrate_report *r)
{
	return r->result ? migrate_number(r->result, "total-ms") / 1000 :
			   migrate_record_seconds(r->record);
}

static void tiles(FILE *f, const struct migrate_report *r)
{
	double total = total_seconds(r);
	char text[32];

	fputs("<div class=\"tiles\">\n", f);
	if (migrated(r))
		tile(f, migrate_duration(migrate_number(r->result, "downtime-ms") / 1000, text),
		     "downtime");
	tile(f, migrate_duration(total_seconds(r), text), "total time");
	tile(f, bytes_text(bytes_sent(r), "", text), "sent");
	if (total > 0 && bytes_sent(r) > 0)
		tile(f, bytes_text(bytes_sent(r) / total, "/s", text),
		     "mean throughput over the total time");
	fputs("</div>\n", f);
}

/* Each phase and their sum; of those with the guest stopped, how long it was down. */
static void phases_key(FILE *f, const struct migrate_report *r)
{
	const struct migrate_record *record = r->record;
	double sum = 0;
	char time[32];

	fputs("<ul class=\"key\">\n", f);
	for (size_t i = 0; i < record->nspans; i++) {
		double seconds = record->spans[i].to - record->spans[i].from;

		sum += seconds;
		fprintf(f, "<li><i class=\"phase-%d\"></i>%s %s</li>\n", record->spans[i].phase,
			migrate_phase_name(record->spans[i].phase),
			migrate_duration(seconds, time));
	}
	fprintf(f, "<li>together %s</li>\n</ul>\n", migrate_duration(sum, time));
	if (migrated(r) && migrate_number(r->result, "downtime-ms") > 0)
		fprintf(f,
			"<p class=\"muted\">The phases are the source's view. The guest itself was down "
			"for %s of \"guest stopped\" and \"hand-over\": its CPUs run until they have "
			"stopped, and run again before the source hears of it.</p>\n",
			migrate_duration(migrate_number(r->result, "downtime-ms") / 1000, time));
}

static void timeline(FILE *f, const struct migrate_report *r)
{
	fputs("<h2>Timeline</h2>\n", f);
	if (!r->record->nsamples || !r->record->nrounds) {
		fputs("<p class=\"muted\">It ended before pages were sent.</p>\n", f);
		if (r->record->nspans)
			phases_key(f, r);
		return;
	}
	fputs("<div class=\"wide\">\n", f);
	migrate_chart(f, r->record);
	fputs("</div>\n", f);
	phases_key(f, r);
}

static void row(FILE *f, const char *what, const char *value)
{
	fprintf(f, "<tr><th>%s</th><td>", what);
	put(f, value);
	fputs("</td></tr>\n", f);
}

static void number_row(FILE *f, const char *what, const json_t *object, const char *member,
		       const char *unit)
{
	char text[64];

	snprintf(text, sizeof(text), "%.0f%s", migrate_number(object, member), unit);
	row(f, what, text);
}

static unsigned int highest_throttle(const struct migrate_record *record)
{
	unsigned int max = 0;

	for (size_t i = 0; i < record->nsamples; i++)
		if (record->samples[i].throttle > max)
			max = record->samples[i].throttle;
	return max;
}

static void summary(FILE *f, const struct migrate_report *r)
{
	const json_t *result = r->result;
	char text[128], more[32];

	if (!result)
		return;
	fputs("<h2>Summary</h2>\n<table>\n", f);
	row(f, "outcome", outcome_of(r));
	row(f, "total time", migrate_duration(total_seconds(r), text));
	if (migrated(r))
		row(f, "downtime", migrate_downtime(result, text, sizeof(text)));
	snprintf(text, sizeof(text), "%s, %.0f pages, %.0f of them again",
		 bytes_text(migrate_number(result, "bytes"), "", more),
		 migrate_number(result, "pages"), migrate_number(result, "pages-resent"));
	row(f, "sent", text);
	number_row(f, "rounds", result, "rounds", "");
	if (highest_throttle(r->record)) {
		snprintf(text, sizeof(text), "up to %u %% of its CPUs' time taken",
			 highest_throttle(r->record));
		row(f, "guest slowed down", text);
	}
	number_row(f, "commands to the secure processor", result, "psp-commands", "");
	number_row(f, "VM exits of the helper", result, "helper-exits", "");
	fputs("</table>\n", f);
}

static void wait_row(FILE *f, const char *what, const json_t *postcopy, const char *member)
{
	char text[32];

	row(f, what, migrate_wait(migrate_number(postcopy, member), text));
}

/* The pages that followed the guest. */
static void postcopy(FILE *f, const json_t *p)
{
	double samples = migrate_number(p, "prefetch-samples");
	char text[160];

	if (!p)
		return;
	fputs("<h2>Post-copy</h2>\n<div class=\"wide\">\n", f);
	(void)migrate_faults_chart(f, p);
	fputs("</div>\n<table>\n", f);
	number_row(f, "pages missing when the guest stopped", p, "pages", "");
	number_row(f, "accesses that had to wait for one", p, "faults", "");
	if (migrate_number(p, "faults") > 0) {
		wait_row(f, "half of them at most (p50)", p, "fault-p50-ms");
		wait_row(f, "95 % at most (p95)", p, "fault-p95-ms");
		wait_row(f, "99 % at most (p99)", p, "fault-p99-ms");
		wait_row(f, "the longest", p, "fault-max-ms");
	}
	number_row(f, "pages that came ahead", p, "prefetched", "");
	if (samples > 0) {
		snprintf(text, sizeof(text), "%.0f %% of those that were watched",
			 100 * migrate_number(p, "prefetch-used") / samples);
		row(f, "of them needed", text);
	}
	row(f, "memory whole after",
	    migrate_duration(migrate_number(p, "last-page-ms") / 1000, text));
	number_row(f, "recoveries", p, "recoveries", "");
	fputs("</table>\n", f);
}

static void round_row(FILE *f, const struct migrate_round *round)
{
	double seconds = round->to - round->from;
	char time[32], sent[32], rate[32], left[32], dirty[32];

	bytes_text(round->bytes, "", sent);
	bytes_text(seconds > 0 ? round->bytes / seconds : 0, "/s", rate);
	bytes_text(round->pages_left * PAGE_BYTES, "", left);
	bytes_text(round->dirty_rate, "/s", dirty);
	fprintf(f,
		"<tr><td>%u%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td></tr>\n",
		round->number, round->stopped ? " (stopped)" : "", migrate_duration(seconds, time),
		sent, rate, round->measured ? dirty : "\u2013", left);
}

static void rounds(FILE *f, const struct migrate_record *record)
{
	size_t n = record->nrounds, gap = n > ROUNDS_SHOWN ? n - ROUNDS_SHOWN : 0;

	if (!n)
		return;
	fputs("<h2>Rounds</h2>\n<div class=\"wide\"><table class=\"n\">\n<tr><th>round</th><th>time</th><th>sent</th>"
	      "<th>throughput</th><th>dirty rate</th><th>left at its end</th></tr>\n",
	      f);
	for (size_t i = 0; i < n; i++) {
		if (gap && i == ROUNDS_SHOWN / 2) {
			fprintf(f, "<tr><td colspan=\"6\">%zu more</td></tr>\n", gap);
			i += gap;
		}
		round_row(f, &record->rounds[i]);
	}
	fputs("</table></div>\n", f);
}

/* NULL: nothing is said of it. */
static const char *security(const json_t *args)
{
	if (json_is_true(json_object_get(args, "insecure")))
		return "none (insecure)";
	if (json_object_get(args, "psk-file"))
		return "TLS 1.3, pre-shared key";
	return json_object_get(args, "tls-cert") ? "TLS 1.3, certificates" : NULL;
}

/* What was asked for; the defaults are the VMM's. */
static void wishes(FILE *f, const struct migrate_report *r)
{
	const json_t *args = r->args;
	char text[32];

	fputs("<h2>As asked for</h2>\n<table>\n", f);
	row(f, "to", migrate_text(args, "address"));
	row(f, "connection", security(args));
	if (json_object_get(args, "postcopy"))
		row(f, "post-copy", migrate_text(args, "postcopy"));
	if (json_object_get(args, "streams"))
		number_row(f, "data streams", args, "streams", "");
	if (json_object_get(args, "max-downtime-ms"))
		number_row(f, "longest downtime", args, "max-downtime-ms", " ms");
	if (json_object_get(args, "bandwidth"))
		row(f, "bandwidth",
		    bytes_text(migrate_number(args, "bandwidth"), "/s at most", text));
	if (json_object_get(args, "max-rounds"))
		number_row(f, "rounds at most", args, "max-rounds", "");
	row(f, "throttling", json_is_true(json_object_get(args, "throttle")) ? "allowed" : "no");
	fputs("</table>\n", f);
}

int migrate_report_make(const struct migrate_report *r, char **text, size_t *len)
{
	FILE *f = open_memstream(text, len);
	bool failed;

	if (!f)
		return -ENOMEM;
	head(f, r);
	tiles(f, r);
	timeline(f, r);
	summary(f, r);
	postcopy(f, json_object_get(r->result, "postcopy"));
	rounds(f, r->record);
	/* A recovery goes on with what was asked for then. */
	if (json_object_get(r->args, "address") && security(r->args))
		wishes(f, r);
	fputs("</body></html>\n", f);
	failed = ferror(f);
	if (fclose(f) || failed) {
		free(*text);
		*text = NULL;
		return -ENOMEM;
	}
	return 0;
}
