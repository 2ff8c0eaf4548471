/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What a frame's directory holds. Private batches: struct sevmirror_batch as it travels; the bodies
 * (pages of ciphertext) follow as the frame's payload, one for each record of kind SEVMIRROR_PAGE,
 * in order. Shared pages: records x u64 gpa, then the pages themselves, so that they are sealed
 * with the directory.
 */
#ifndef LIB_MIGRATE_RECORD_H
#define LIB_MIGRATE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include <sevmirror/seal.h>

#include "lib/migrate/page_frame.h"
#include "lib/util/page.h"

union record_directory {
	struct sevmirror_batch batch;
	uint8_t bytes[sizeof(struct sevmirror_batch) + FRAME_TAG_BYTES];
};

_Static_assert(sizeof(union record_directory) <= WIRE_MAX_DIRECTORY_BYTES, "a full batch fits");
_Static_assert(SEVMIRROR_BATCH_MAX == WIRE_MAX_RECORDS, "one batch, one frame");

/* Room for the directory of a full frame of shared pages. */
#define RECORD_SHARED_BYTES (WIRE_MAX_RECORDS * (sizeof(uint64_t) + PAGE_BYTES) + FRAME_TAG_BYTES)

/* Batches of one stream that are in the helper at once: the slots of its lane. */
#define RECORD_DEPTH 8

/*
 * How many of them are used. In post-copy a page that somebody waits for comes after those that are
 * in the helper.
 */
static inline unsigned int record_depth(bool postcopy)
{
	return postcopy ? 2 : RECORD_DEPTH;
}

#endif
