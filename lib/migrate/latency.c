/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/latency.h"

#include <string.h>

#define SUB_BITS 3
#define SUB	 (1u << SUB_BITS)

static unsigned int bucket_of(uint64_t ns)
{
	unsigned int msb;

	if (ns < SUB)
		return (unsigned int)ns;
	msb = 63 - (unsigned int)__builtin_clzll(ns);
	return (msb - SUB_BITS + 1) * SUB + (unsigned int)(ns >> (msb - SUB_BITS) & (SUB - 1));
}

/* The largest time that falls into a bucket. */
static uint64_t bucket_end(unsigned int bucket)
{
	unsigned int shift = bucket / SUB;

	if (shift == 0)
		return bucket;
	return ((uint64_t)(SUB + bucket % SUB + 1) << (shift - 1)) - 1;
}

uint64_t sevmirror_fault_class_from(unsigned int i)
{
	return i ? (uint64_t)(2 + i % 2) << (9 + i / 2) : 0;
}

void latency_add(struct latency *latency, uint64_t ns)
{
	latency->count++;
	latency->bucket[bucket_of(ns)]++;
	if (ns > latency->max)
		latency->max = ns;
}

uint64_t latency_percentile(const struct latency *latency, unsigned int percent)
{
	uint64_t want = (latency->count * percent + 99) / 100, seen = 0;

	for (unsigned int i = 0; i < LATENCY_BUCKETS && want; i++) {
		seen += latency->bucket[i];
		if (seen >= want)
			return bucket_end(i) < latency->max ? bucket_end(i) : latency->max;
	}
	return latency->max;
}

void latency_classes(const struct latency *latency, uint64_t classes[SEVMIRROR_FAULT_CLASSES])
{
	unsigned int class = 0;

	memset(classes, 0, SEVMIRROR_FAULT_CLASSES * sizeof(*classes));
	/* A class begins where a bucket does, so none is in two. */
	for (unsigned int i = 0; i < LATENCY_BUCKETS; i++) {
		while (class + 1 < SEVMIRROR_FAULT_CLASSES &&
		       bucket_end(i) >= sevmirror_fault_class_from(class + 1))
			class ++;
		classes[class] += latency->bucket[i];
	}
}
