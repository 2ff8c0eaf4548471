/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What stands in a frame's directory. Private batches: struct record_batch and records x struct
 * record_private; the bodies (pages of ciphertext) follow as the frame's payload, one for each
 * record of kind HELPER_PAGE, in order. Shared pages: records x u64 gpa, then the pages themselves,
 * so that they are sealed with the directory.
 */
#ifndef LIB_MIGRATE_RECORD_H
#define LIB_MIGRATE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "helper/protocol.h"
#include "lib/util/clock.h"
#include "lib/migrate/page_frame.h"
#include "lib/util/page.h"

struct record_batch {
	uint8_t salt[24];
};

struct record_private {
	uint64_t gpa;
	uint32_t epoch;
	uint16_t kind;
	uint16_t index;
	uint8_t tag[16];
};

_Static_assert(sizeof(struct record_private) == 32, "no padding");
_Static_assert(sizeof(struct record_batch) + WIRE_MAX_RECORDS * sizeof(struct record_private) +
			       FRAME_TAG_BYTES <=
		       WIRE_MAX_DIRECTORY_BYTES,
	       "a full batch fits");
_Static_assert(HELPER_BATCH_MAX == WIRE_MAX_RECORDS, "one batch, one frame");

/* Room for the directory of a full frame of shared pages. */
#define RECORD_SHARED_BYTES (WIRE_MAX_RECORDS * (sizeof(uint64_t) + PAGE_BYTES) + FRAME_TAG_BYTES)

/*
 * How long a batch may take. A helper that died is noticed by its exit; this is for hosts that are
 * so busy that its vCPUs hardly run.
 */
#define HELPER_PATIENCE_NS (60 * NS_PER_S)

/*
 * Batches of one ring that are in the helper at once; a batch has one window page for struct
 * helper_batch and one for each body.
 */
#define RECORD_DEPTH	   4
#define RECORD_BATCH_PAGES (1 + HELPER_BATCH_MAX)

/*
 * Window pages that a ring needs for its batches and one of the priority stream, and where in them
 * batch number i begins.
 */
#define RECORD_RING_PAGES ((RECORD_DEPTH + 1) * RECORD_BATCH_PAGES)

static inline uint32_t record_batch_page(uint32_t ring_data, uint32_t i)
{
	return ring_data + i % RECORD_DEPTH * RECORD_BATCH_PAGES;
}

/*
 * How many of them are used. In post-copy what somebody waits for stands behind those that are in
 * the helper.
 */
static inline unsigned int record_depth(bool postcopy)
{
	return postcopy ? 2 : RECORD_DEPTH;
}

static inline uint32_t record_priority_page(uint32_t ring_data)
{
	return ring_data + RECORD_DEPTH * RECORD_BATCH_PAGES;
}

#endif
