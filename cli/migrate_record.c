/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/migrate_record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sevmirror/host.h>

double migrate_number(const json_t *object, const char *member)
{
	return json_number_value(json_object_get(object, member));
}

const char *migrate_text(const json_t *object, const char *member)
{
	const char *value = json_string_value(json_object_get(object, member));

	return value ? value : "";
}

const struct migrate_part migrate_downtime_parts[] = {
	{ "stop-ms", "stop" },	       { "state-ms", "state" }, { "pages-ms", "last pages" },
	{ "manifest-ms", "manifest" }, { "load-ms", "load" },	{ "disks-ms", "disks" },
	{ "start-ms", "start" },       { NULL, NULL },
};

char *migrate_downtime(const json_t *r, char *text, size_t max)
{
	double was = migrate_number(r, "downtime-ms");
	double estimated = migrate_number(r, "expected-downtime-ms");
	double limit = migrate_number(r, "max-downtime-ms");

	if (!json_object_get(r, "postcopy"))
		snprintf(text, max, "%.1f ms (estimated %.1f ms, limit of the estimate %.0f ms)",
			 was, estimated, limit);
	else if (estimated > 0)
		snprintf(text, max,
			 "%.1f ms (limit %.0f ms, without post-copy an estimated %.1f ms)", was,
			 limit, estimated);
	else
		snprintf(text, max, "%.1f ms (limit %.0f ms)", was, limit);
	return text;
}

static enum sevmirror_phase phase_of(const char *text)
{
	enum sevmirror_phase phase;

	return sevmirror_phase_parse(text, &phase) ? phase : SEVMIRROR_PHASE_NONE;
}

const char *migrate_phase_name(enum sevmirror_phase phase)
{
	static const char *const names[SEVMIRROR_PHASES] = {
		[SEVMIRROR_PHASE_NONE] = "other",	  [SEVMIRROR_PHASE_CONNECT] = "connecting",
		[SEVMIRROR_PHASE_SETUP] = "setting up",	  [SEVMIRROR_PHASE_PRECOPY] = "pre-copy",
		[SEVMIRROR_PHASE_STOP] = "guest stopped", [SEVMIRROR_PHASE_COMMIT] = "hand-over",
		[SEVMIRROR_PHASE_POSTCOPY] = "post-copy", [SEVMIRROR_PHASE_BROKEN] = "broken off",
		[SEVMIRROR_PHASE_DONE] = "ended",	  [SEVMIRROR_PHASE_FAILED] = "ended",
	};

	return names[phase];
}

const char *migrate_phase_word(enum sevmirror_phase phase)
{
	return phase == SEVMIRROR_PHASE_NONE ? "other" : sevmirror_phase_name(phase);
}

struct migrate_sample migrate_sample_read(const json_t *data)
{
	return (struct migrate_sample){
		.phase = phase_of(migrate_text(data, "phase")),
		.round = (unsigned int)migrate_number(data, "round"),
		.seconds = migrate_number(data, "elapsed-ms") / 1000,
		.pages_total = migrate_number(data, "pages-total"),
		.pages_left = migrate_number(data, "pages-left"),
		.bytes = migrate_number(data, "bytes-sent"),
		.rate = migrate_number(data, "rate"),
		.dirty_rate = migrate_number(data, "dirty-rate"),
		.downtime_ms = migrate_number(data, "expected-downtime-ms"),
		.throttle = (unsigned int)migrate_number(data, "throttle"),
	};
}

static void add_span(struct migrate_record *r, const struct migrate_sample *s)
{
	struct migrate_span *last = r->nspans ? &r->spans[r->nspans - 1] : NULL;

	if (last)
		last->to = s->seconds;
	if (migrate_phase_ended(s->phase) || (last && last->phase == s->phase) ||
	    r->nspans == MIGRATE_SPANS_MAX)
		return;
	r->spans[r->nspans++] =
		(struct migrate_span){ .phase = s->phase, .from = s->seconds, .to = s->seconds };
}

/*
 * A round's dirty rate is in the progress from its end on: it is this round's once it is another
 * one than at the beginning, or the guest was stopped after it, or a later round has begun.
 */
static void update_round(struct migrate_round *round, const struct migrate_sample *s)
{
	bool over =
		s->round > round->number || (s->phase == SEVMIRROR_PHASE_STOP && !round->stopped);

	if (round->closed)
		return;
	if (over || s->dirty_rate != round->dirty_before) {
		round->measured = !round->stopped;
		round->dirty_rate = s->dirty_rate;
	}
	round->to = s->seconds;
	round->bytes = s->bytes - round->bytes_before;
	round->pages_left = s->pages_left;
	round->closed = over || s->phase == SEVMIRROR_PHASE_COMMIT || migrate_phase_ended(s->phase);
}

static void add_round(struct migrate_record *r, const struct migrate_sample *s)
{
	struct migrate_round *last = r->nrounds ? &r->rounds[r->nrounds - 1] : NULL;

	if (last)
		update_round(last, s);
	if (migrate_phase_ended(s->phase) || (last ? s->round <= last->number : !s->round) ||
	    r->nrounds == MIGRATE_ROUNDS_MAX)
		return;
	r->rounds[r->nrounds++] =
		(struct migrate_round){ .number = s->round,
					.from = s->seconds,
					.to = s->seconds,
					.pages_left = s->pages_left,
					.bytes_before = s->bytes,
					.dirty_before = s->dirty_rate,
					.stopped = s->phase == SEVMIRROR_PHASE_STOP };
}

/* Drop every second sample. */
static void thin_out(struct migrate_record *r)
{
	for (size_t i = 1; i < r->nsamples / 2; i++)
		r->samples[i] = r->samples[2 * i];
	r->nsamples /= 2;
	r->every *= 2;
}

static void add_sample(struct migrate_record *r, const struct migrate_sample *s)
{
	const struct migrate_sample *last = r->nsamples ? &r->samples[r->nsamples - 1] : NULL;

	/* Where something begins or ends is kept. */
	if (last && last->phase == s->phase && last->round == s->round && ++r->skipped < r->every)
		return;
	r->skipped = 0;
	if (r->nsamples == MIGRATE_SAMPLES_MAX)
		thin_out(r);
	r->samples[r->nsamples++] = *s;
}

int migrate_record_add(struct migrate_record *r, const struct migrate_sample *s)
{
	if (!r->samples) {
		r->samples = calloc(MIGRATE_SAMPLES_MAX, sizeof(*r->samples));
		r->rounds = calloc(MIGRATE_ROUNDS_MAX, sizeof(*r->rounds));
		r->every = 1;
	}
	if (!r->samples || !r->rounds) {
		migrate_record_free(r);
		return -ENOMEM;
	}
	add_span(r, s);
	add_round(r, s);
	add_sample(r, s);
	return 0;
}

void migrate_record_free(struct migrate_record *r)
{
	free(r->samples);
	free(r->rounds);
	memset(r, 0, sizeof(*r));
}

double migrate_record_seconds(const struct migrate_record *r)
{
	return r->nsamples ? r->samples[r->nsamples - 1].seconds : 0;
}
