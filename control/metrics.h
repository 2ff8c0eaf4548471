/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers about a VM at one moment, for machines: families of counters and gauges with labels, as
 * Prometheus has them (https://prometheus.io/docs/concepts/data_model/,
 * https://prometheus.io/docs/practices/naming/). They are JSON from the beginning, which the
 * control socket sends as it is; metrics_text() makes the Prometheus text of it.
 */
#ifndef CONTROL_METRICS_H
#define CONTROL_METRICS_H

#include <stdint.h>

#include <jansson.h>

/* changes when a name or a meaning does, not when families come in addition */
#define METRICS_VERSION 1

enum metric_type {
	/* never falls, except when the process starts again; its name ends in _total */
	METRIC_COUNTER,
	METRIC_GAUGE,
};

struct metrics;

/* NULL: out of memory. */
struct metrics *metrics_create(void);

/*
 * A family, to which the samples after it belong. What goes wrong (memory) is remembered and said
 * by metrics_finish(), so that a collector is a plain list of calls.
 */
void metrics_family(struct metrics *metrics, enum metric_type type, const char *name,
		    const char *help);

/* A sample, with one label, or none if label is NULL. */
void metrics_count(struct metrics *metrics, const char *label, const char *value, uint64_t count);
void metrics_measure(struct metrics *metrics, const char *label, const char *value, double number);

/* As metrics_count() with the two labels. */
void metrics_count2(struct metrics *metrics, const char *label1, const char *value1,
		    const char *label2, const char *value2, uint64_t count);

/*
 * The end: {version, metrics: [{name, type, help, samples: [{labels, value}]}]}, a new reference,
 * or NULL: out of memory. Releases metrics.
 */
json_t *metrics_finish(struct metrics *metrics);

/* The same as Prometheus text, format 0.0.4; the caller frees it. NULL: out of memory. */
char *metrics_text(const json_t *finished);

#endif
