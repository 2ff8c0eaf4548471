/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long accesses waited for pages in post-copy, as one inline SVG: a histogram over a
 * logarithmic axis, percentiles marked.
 */
#ifndef CLI_MIGRATE_FAULTS_H
#define CLI_MIGRATE_FAULTS_H

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

/*
 * postcopy: of a result (docs/control.md). Colours come from the page's style sheet, by class:
 * faults, mark. False if there is nothing that could be drawn; then nothing was written.
 */
bool migrate_faults_chart(FILE *f, const json_t *postcopy);

/* "137 µs", "1.37 ms", "2.50 s". Returns text. */
char *migrate_wait(double ms, char text[32]);

#endif
