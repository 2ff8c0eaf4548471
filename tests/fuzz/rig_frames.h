/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of pages as an honest source makes them, for tests that are the source. */
#ifndef TESTS_FUZZ_RIG_FRAMES_H
#define TESTS_FUZZ_RIG_FRAMES_H

#include <stddef.h>
#include <stdint.h>

#include "helper/protocol.h"
#include "lib/migrate/record.h"

/*
 * Fill in *header and the directory for n pages from gfn on; n is at most WIRE_MAX_RECORDS. Returns
 * the directory's length. The directory is aligned for a struct sevmirror_batch and has room for
 * RECORD_SHARED_BYTES, so that the tag fits behind it.
 * Private pages are all of this kind; their bodies, header->payload_bytes, follow the frame. Shared
 * pages are in the directory, all of them filled with the byte.
 */
size_t rig_private_directory(struct wire_frame *header, uint8_t *directory, uint64_t gfn,
			     uint16_t n, enum helper_kind kind);
size_t rig_shared_directory(struct wire_frame *header, uint8_t *directory, uint64_t gfn, uint16_t n,
			    uint8_t fill);

#endif
