/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A migration's timeline as one inline SVG: its phases as a strip and as bands behind the curves,
 * throughput and dirty rate, what was left.
 */
#ifndef CLI_MIGRATE_CHART_H
#define CLI_MIGRATE_CHART_H

#include <stdio.h>

#include "cli/migrate_record.h"

/*
 * Colours come from the page's style sheet, by class: phase-0 ..., rate, dirty, left. The record
 * must have samples.
 */
void migrate_chart(FILE *f, const struct migrate_record *record);

/*
 * Bytes, or bytes a second, for people: the unit for values up to max, and the divisor that goes
 * with it.
 */
const char *migrate_unit(double max, double *divisor);

/* A step of 1, 2 or 5 times a power of ten, so that about `count` of them make up max. */
double migrate_step(double max, int count);

/* "137 ms", "1.37 s", "35.1 s", "2 min 3 s". Returns text. */
char *migrate_duration(double seconds, char text[32]);

#endif
