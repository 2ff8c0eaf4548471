/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices' saved state. Layout, little-endian: u32 magic, u32 number of devices; then for each,
 * in the order of the bus: u8 space, u64 base address, u8 length of the name, the name, u32 length
 * of the state, the state.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/bus_private.h"
#include "vmm/state_bytes.h"

#define BUS_STATE_MAGIC 0x31767364 /* "dsv1" */
#define BUS_STATE_MAX	(64U << 10)

static void bus_save_range(const struct bus_range *range, struct state_writer *w)
{
	const struct device_ops *ops = range->dev->ops;
	size_t name_len = strlen(ops->name);
	size_t at;
	int len;

	state_put8(w, (uint8_t)range->space);
	state_put64(w, range->base);
	state_put8(w, (uint8_t)name_len);
	state_put(w, ops->name, name_len);
	at = w->used;
	state_put32(w, 0);
	if (w->overflow || !ops->save)
		return;
	len = ops->save(range->dev, w->buf + w->used, w->max - w->used);
	if (len < 0) {
		w->overflow = true;
		return;
	}
	w->used += (size_t)len;
	for (unsigned int i = 0; i < 4; i++)
		w->buf[at + i] = (uint8_t)((uint32_t)len >> (8 * i));
}

int bus_save(struct bus *bus, uint8_t **buf, size_t *len)
{
	struct state_writer w = { .buf = malloc(BUS_STATE_MAX), .max = BUS_STATE_MAX };

	if (!w.buf)
		return -ENOMEM;
	state_put32(&w, BUS_STATE_MAGIC);
	state_put32(&w, (uint32_t)bus->count);
	for (size_t i = 0; i < bus->count; i++)
		bus_save_range(&bus->ranges[i], &w);
	if (w.overflow) {
		free(w.buf);
		return -ENOSPC;
	}
	*buf = w.buf;
	*len = w.used;
	return 0;
}

static int bus_load_range(const struct bus_range *range, struct state_reader *r)
{
	const struct device_ops *ops = range->dev->ops;
	char name[256] = "";
	uint8_t space = state_get8(r);
	uint64_t base = state_get64(r);
	uint8_t name_len = state_get8(r);
	uint32_t len;

	state_get(r, name, name_len);
	len = state_get32(r);
	if (r->overflow || len > r->len - r->used)
		return -EINVAL;
	if (space != range->space || base != range->base || name_len != strlen(ops->name) ||
	    memcmp(name, ops->name, name_len) != 0)
		return -ENODEV;
	r->used += len;
	if (!ops->load)
		return len ? -EINVAL : 0;
	return ops->load(range->dev, r->buf + r->used - len, len);
}

int bus_load(struct bus *bus, const uint8_t *buf, size_t len)
{
	struct state_reader r = { .buf = buf, .len = len };
	uint32_t magic = state_get32(&r);
	uint32_t count = state_get32(&r);

	if (r.overflow || magic != BUS_STATE_MAGIC)
		return -EINVAL;
	if (count != bus->count)
		return -ENODEV;
	for (size_t i = 0; i < bus->count; i++) {
		int ret = bus_load_range(&bus->ranges[i], &r);

		if (ret)
			return ret;
	}
	return state_complete(&r) ? 0 : -EINVAL;
}
