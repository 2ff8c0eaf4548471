/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the benchmarks share: time, the machine's description, a table for people and the same
 * numbers as JSON.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdint.h>

struct bench;

/*
 * title names the run; method says in a sentence or two how it was measured. Prints both and the
 * machine. Exits when out of memory.
 */
struct bench *bench_begin(const char *title, const char *method);
/* A row: what, a number, its unit, and a remark or NULL. Printed at once. */
void bench_row(struct bench *bench, const char *what, double value, const char *unit,
	       const char *remark);
/* A line of explanation between rows; goes into the JSON too. */
void bench_note(struct bench *bench, const char *text);
/* Write the JSON to path (NULL: nowhere) and free all. 0 or a negative errno. */
int bench_end(struct bench *bench, const char *path);

/* Seconds, monotonic. */
double bench_now(void);

#endif
