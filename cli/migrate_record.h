/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A migration as it went: its progress events, and what follows from them, the phases and the
 * rounds.
 */
#ifndef CLI_MIGRATE_RECORD_H
#define CLI_MIGRATE_RECORD_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include <sevmirror/host.h>

/* One event `migration` (docs/control.md). */
struct migrate_sample {
	enum sevmirror_phase phase; /* NONE: one that is not known here */
	unsigned int round;
	double seconds; /* since the beginning */
	double pages_total, pages_left;
	double bytes; /* sent */
	double rate, dirty_rate; /* bytes a second */
	double downtime_ms; /* estimated; 0: not yet */
	unsigned int throttle; /* per cent */
};

struct migrate_span {
	enum sevmirror_phase phase;
	double from, to; /* seconds */
};

struct migrate_round {
	unsigned int number;
	double from, to; /* seconds */
	double bytes; /* sent in it */
	double pages_left; /* at its end */
	double dirty_rate; /* while it lasted */
	bool measured; /* it came to its end, so the dirty rate is known */
	bool stopped; /* the guest was */
	double bytes_before, dirty_before; /* when it began */
	bool closed; /* nothing that comes is part of it */
};

#define MIGRATE_SPANS_MAX 32

/*
 * All zeros is an empty record. Its size is bounded however long the migration takes: samples are
 * thinned out evenly, and of more rounds than MIGRATE_ROUNDS_MAX the later ones are not kept.
 */
#define MIGRATE_SAMPLES_MAX 4096
#define MIGRATE_ROUNDS_MAX  1024

struct migrate_record {
	struct migrate_sample *samples; /* in order */
	size_t nsamples, skipped, every;
	struct migrate_span spans[MIGRATE_SPANS_MAX];
	size_t nspans;
	struct migrate_round *rounds;
	size_t nrounds;
};

/* An event's data as a sample. Missing members are zero. */
struct migrate_sample migrate_sample_read(const json_t *data);

/* DONE or FAILED: nothing follows. */
static inline bool migrate_phase_ended(enum sevmirror_phase phase)
{
	return phase == SEVMIRROR_PHASE_DONE || phase == SEVMIRROR_PHASE_FAILED;
}

/* "pre-copy": for people. */
const char *migrate_phase_name(enum sevmirror_phase phase);

/* "precopy": as the control socket and the page's style have it; "other" if not known here. */
const char *migrate_phase_word(enum sevmirror_phase phase);

/* 0 or -ENOMEM; then the record is as before. */
int migrate_record_add(struct migrate_record *record, const struct migrate_sample *sample);
void migrate_record_free(struct migrate_record *record);

/* Seconds from the beginning to the last sample. */
double migrate_record_seconds(const struct migrate_record *record);

/* The downtime of a result, as it was and as it was expected, in words. Returns text. */
char *migrate_downtime(const json_t *result, char *text, size_t max);

/*
 * The parts of the downtime in a result, in order: the member, and what happens in it for people. A
 * NULL member ends the list.
 */
struct migrate_part {
	const char *member, *name;
};

extern const struct migrate_part migrate_downtime_parts[];

/* Members of an object; 0 and "" if they are not there. */
double migrate_number(const json_t *object, const char *member);
const char *migrate_text(const json_t *object, const char *member);

#endif
