/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device state as bytes: little-endian fields one after the other, no padding. A writer or reader
 * that leaves its buffer remembers that and continues harmlessly, so a device writes or reads all
 * its fields and looks once, at the end.
 */
#ifndef VMM_STATE_BYTES_H
#define VMM_STATE_BYTES_H

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct state_writer {
	uint8_t *buf;
	size_t max;
	size_t used;
	bool overflow;
};

struct state_reader {
	const uint8_t *buf;
	size_t len;
	size_t used;
	bool overflow;
};

static inline void state_put(struct state_writer *w, const void *data, size_t len)
{
	if (w->overflow || len > w->max - w->used) {
		w->overflow = true;
		return;
	}
	if (len)
		memcpy(w->buf + w->used, data, len);
	w->used += len;
}

static inline void state_put8(struct state_writer *w, uint8_t v)
{
	state_put(w, &v, sizeof(v));
}

static inline void state_put16(struct state_writer *w, uint16_t v)
{
	v = htole16(v);
	state_put(w, &v, sizeof(v));
}

static inline void state_put32(struct state_writer *w, uint32_t v)
{
	v = htole32(v);
	state_put(w, &v, sizeof(v));
}

static inline void state_put64(struct state_writer *w, uint64_t v)
{
	v = htole64(v);
	state_put(w, &v, sizeof(v));
}

/* Bytes written, or -ENOSPC: what device_ops.save returns. */
static inline int state_written(const struct state_writer *w)
{
	return w->overflow || w->used > INT_MAX ? -ENOSPC : (int)w->used;
}

/* Past the end the bytes read as zeros. */
static inline void state_get(struct state_reader *r, void *data, size_t len)
{
	if (r->overflow || len > r->len - r->used) {
		r->overflow = true;
		memset(data, 0, len);
		return;
	}
	if (len)
		memcpy(data, r->buf + r->used, len);
	r->used += len;
}

static inline uint8_t state_get8(struct state_reader *r)
{
	uint8_t v;

	state_get(r, &v, sizeof(v));
	return v;
}

static inline uint16_t state_get16(struct state_reader *r)
{
	uint16_t v;

	state_get(r, &v, sizeof(v));
	return le16toh(v);
}

static inline uint32_t state_get32(struct state_reader *r)
{
	uint32_t v;

	state_get(r, &v, sizeof(v));
	return le32toh(v);
}

static inline uint64_t state_get64(struct state_reader *r)
{
	uint64_t v;

	state_get(r, &v, sizeof(v));
	return le64toh(v);
}

/* A byte that can only be 0 or 1; anything else spoils the reader. */
static inline bool state_get_bool(struct state_reader *r)
{
	uint8_t v = state_get8(r);

	if (v > 1)
		r->overflow = true;
	return v == 1;
}

/* True when every field was there and no byte is left over. */
static inline bool state_complete(const struct state_reader *r)
{
	return !r->overflow && r->used == r->len;
}

#endif
