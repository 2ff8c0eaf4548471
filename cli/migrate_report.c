/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/migrate_report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/version.h"
#include "service/state.h"

static const char *text_or(const json_t *object, const char *member, const char *otherwise)
{
	const char *text = migrate_text(object, member);

	return *text ? text : otherwise;
}

/* "good", "warn" or "bad": how the page marks the outcome. */
static const char *class_of(enum service_result result)
{
	return result == RESULT_MIGRATED ? "good" : result == RESULT_CANCELLED ? "warn" : "bad";
}

/* What happened and what to do, in the VM's own words. */
static json_t *outcome(const json_t *result)
{
	const char *name = migrate_text(result, "outcome"), *error = migrate_text(result, "error");
	const enum service_result what = service_result_of(name);
	const struct service_advice unreported = service_advice_unreported();
	char downtime[128];
	json_t *o;

	if (!result)
		return json_pack("{s:s, s:s, s:s}", "class", "bad", "state", unreported.sentence,
				 "text", unreported.action);
	if (what == RESULT_CANCELLED)
		error = "The migration was cancelled";
	o = json_pack(
		"{s:s, s:s, s:o}", "class", class_of(what), "state",
		text_or(result, "detail", name), "text",
		json_sprintf("%s%s%s", error, *error ? ". " : "", migrate_text(result, "advice")));
	if (o && what == RESULT_MIGRATED)
		json_object_set_new(
			o, "downtime",
			json_string(migrate_downtime(result, downtime, sizeof(downtime))));
	return o;
}

/* [name, milliseconds] of each part of the downtime; empty if it is not known. */
static json_t *downtime_parts(const json_t *result)
{
	const json_t *parts = json_object_get(result, "downtime-parts");
	json_t *list = json_array();

	for (const struct migrate_part *p = migrate_downtime_parts; parts && p->member; p++)
		json_array_append_new(
			list, json_pack("[s, f]", p->name, migrate_number(parts, p->member)));
	return list;
}

static json_t *phases(const struct migrate_record *record)
{
	json_t *list = json_array();

	for (size_t i = 0; i < record->nspans; i++) {
		const struct migrate_span *span = &record->spans[i];

		json_array_append_new(list, json_pack("{s:s, s:s, s:f, s:f}", "phase",
						      migrate_phase_word(span->phase), "name",
						      migrate_phase_name(span->phase), "from",
						      span->from, "to", span->to));
	}
	return list;
}

static json_t *rounds(const struct migrate_record *record)
{
	json_t *list = json_array();

	for (size_t i = 0; i < record->nrounds; i++) {
		const struct migrate_round *r = &record->rounds[i];

		json_array_append_new(
			list, json_pack("{s:i, s:f, s:f, s:f, s:f, s:o, s:b}", "number",
					(int)r->number, "from", r->from, "to", r->to, "bytes",
					r->bytes, "pages-left", r->pages_left, "dirty-rate",
					r->measured ? json_real(r->dirty_rate) : json_null(),
					"stopped", r->stopped));
	}
	return list;
}

/* [seconds, round, pages left, bytes sent, dirty rate], and the highest throttle of them all. */
static json_t *samples(const struct migrate_record *record, int *throttle)
{
	json_t *list = json_array();

	*throttle = 0;
	for (size_t i = 0; i < record->nsamples; i++) {
		const struct migrate_sample *s = &record->samples[i];

		json_array_append_new(list, json_pack("[f, i, f, f, f]", s->seconds, (int)s->round,
						      s->pages_left, s->bytes, s->dirty_rate));
		if ((int)s->throttle > *throttle)
			*throttle = (int)s->throttle;
	}
	return list;
}

/* NULL: the arguments say nothing about it. */
static const char *security(const json_t *args)
{
	if (json_is_true(json_object_get(args, "insecure")))
		return "none (insecure)";
	if (json_object_get(args, "psk-file"))
		return "TLS 1.3, pre-shared key";
	return json_object_get(args, "tls-cert") ? "TLS 1.3, certificates" : NULL;
}

/*
 * What was asked for, without the names of key files; the defaults are the VMM's. A recovery asks
 * for nothing: null.
 */
static json_t *request(const json_t *args)
{
	static const char *const shown[] = { "address",		"postcopy",    "streams",
					     "max-downtime-ms", "bandwidth",   "max-rounds",
					     "max-time-ms",	"on-max-time", "throttle" };
	json_t *o;

	if (!json_object_get(args, "address") || !security(args))
		return json_null();
	o = json_pack("{s:s}", "connection", security(args));
	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
		if (json_object_get(args, shown[i]))
			json_object_set(o, shown[i], json_object_get(args, shown[i]));
	return o;
}

static json_t *whole(const struct migrate_report *r)
{
	char when[64];
	struct tm utc;
	int throttle;
	json_t *list = samples(r->record, &throttle);

	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", gmtime_r(&r->started, &utc));
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:O?, s:o, s:o, s:o, s:o, s:i, s:o}",
			 "version", SEVMIRROR_VERSION, "name", r->name, "host", r->host, "to",
			 migrate_text(r->args, "address"), "started", when, "outcome",
			 outcome(r->result), "result", r->result, "downtime-parts",
			 downtime_parts(r->result), "phases", phases(r->record), "rounds",
			 rounds(r->record), "samples", list, "throttle", throttle, "request",
			 request(r->args));
}

/*
 * JSON inside a script element: without '<' nothing in it can end the element, or begin another.
 */
static void put_json(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (*text == '<')
			fputs("\\u003c", f);
		else
			fputc(*text, f);
	}
}

int migrate_report_make(const struct migrate_report *r, char **text, size_t *len)
{
	json_t *data = whole(r);
	char *json = data ? json_dumps(data,
				       JSON_ENSURE_ASCII | JSON_COMPACT | JSON_REAL_PRECISION(12)) :
			    NULL;
	FILE *f = json ? open_memstream(text, len) : NULL;
	bool failed = true;

	if (f) {
		fputs(migrate_report_before, f);
		put_json(f, json);
		fputs(migrate_report_after, f);
		failed = ferror(f);
		if (fclose(f) || failed) {
			free(*text);
			*text = NULL;
			failed = true;
		}
	}
	free(json);
	json_decref(data);
	return failed ? -ENOMEM : 0;
}
