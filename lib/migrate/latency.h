/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A histogram of times, exact to an eighth: buckets of a power of two, eight to each. */
#ifndef LIB_MIGRATE_LATENCY_H
#define LIB_MIGRATE_LATENCY_H

#include <stdint.h>

#include <sevmirror/host.h>

#define LATENCY_BUCKETS 512

struct latency {
	uint64_t count;
	uint64_t max;
	uint64_t bucket[LATENCY_BUCKETS];
};

void latency_add(struct latency *latency, uint64_t ns);

/*
 * What so many per cent of the times did not exceed: the upper end of their bucket, at most the
 * longest. 0 without any.
 */
uint64_t latency_percentile(const struct latency *latency, unsigned int percent);

/* The same in coarser classes, for people: sevmirror_fault_class_from(). */
void latency_classes(const struct latency *latency, uint64_t classes[SEVMIRROR_FAULT_CLASSES]);

#endif
