/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "vmm/vm/state_private.h"

#define PART_HEADER_BYTES 8

size_t state_part_begin(struct state_writer *w, uint32_t id)
{
	size_t begin = w->used;

	state_put32(w, id);
	state_put32(w, 0);
	return begin;
}

void state_part_end(struct state_writer *w, size_t begin)
{
	uint32_t len;

	if (w->overflow)
		return;
	len = htole32((uint32_t)(w->used - begin - PART_HEADER_BYTES));
	memcpy(w->buf + begin + 4, &len, sizeof(len));
}

int state_parts_find(const uint8_t *buf, size_t len, struct state_part *parts, unsigned int n)
{
	struct state_reader r = { .buf = buf, .len = len };

	memset(parts, 0, n * sizeof(*parts));
	while (r.used < r.len) {
		uint32_t id = state_get32(&r);
		uint32_t bytes = state_get32(&r);

		if (r.overflow || id >= n || parts[id].bytes || bytes > r.len - r.used)
			return -EINVAL;
		parts[id] = (struct state_part){ buf + r.used, bytes };
		r.used += bytes;
	}
	return 0;
}
