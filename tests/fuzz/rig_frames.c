/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/rig_frames.h"

#include <string.h>

size_t rig_private_directory(struct wire_frame *header, uint8_t *directory, uint64_t gfn,
			     uint16_t n, enum helper_kind kind)
{
	struct sevmirror_batch *batch = (struct sevmirror_batch *)directory;

	*header = (struct wire_frame){ .type = WIRE_FRAME_PRIVATE,
				       .records = n,
				       .payload_bytes =
					       kind == HELPER_PAGE ? n * (uint32_t)PAGE_BYTES : 0 };
	memset(batch, 0, SEVMIRROR_BATCH_BYTES(n));
	batch->count = n;
	for (uint16_t i = 0; i < n; i++)
		batch->record[i] = (struct sevmirror_page_record){ .gpa = (gfn + i) * PAGE_BYTES,
								   .epoch = 1,
								   .kind = (uint16_t)kind,
								   .index = i };
	return SEVMIRROR_BATCH_BYTES(n);
}

size_t rig_shared_directory(struct wire_frame *header, uint8_t *directory, uint64_t gfn, uint16_t n,
			    uint8_t fill)
{
	*header = (struct wire_frame){ .type = WIRE_FRAME_SHARED, .records = n };
	for (uint16_t i = 0; i < n; i++) {
		const uint64_t gpa = (gfn + i) * PAGE_BYTES;

		memcpy(directory + i * sizeof(gpa), &gpa, sizeof(gpa));
	}
	memset(directory + n * sizeof(uint64_t), fill, n * PAGE_BYTES);
	return n * (sizeof(uint64_t) + PAGE_BYTES);
}
