/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/bus.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/bus_private.h"

struct bus *bus_create(void)
{
	struct bus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return NULL;
	if (pthread_rwlock_init(&bus->lock, NULL)) {
		free(bus);
		return NULL;
	}
	return bus;
}

void bus_destroy(struct bus *bus)
{
	if (!bus)
		return;
	for (size_t i = 0; i < bus->count; i++) {
		struct device *dev = bus->ranges[i].dev;

		if (dev->ops->destroy)
			dev->ops->destroy(dev);
	}
	pthread_rwlock_destroy(&bus->lock);
	free(bus->ranges);
	free(bus);
}

/* Index of the first range that ends after addr (of the space, or of a later one). */
static size_t bus_search(const struct bus *bus, enum bus_space space, uint64_t addr)
{
	size_t low = 0, high = bus->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct bus_range *r = &bus->ranges[mid];

		if (r->space < space || (r->space == space && r->last < addr))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

int bus_add(struct bus *bus, enum bus_space space, uint64_t base, uint64_t len, struct device *dev)
{
	struct bus_range range = {
		.space = space, .base = base, .last = base + len - 1, .dev = dev
	};
	struct bus_range *ranges;
	size_t at;
	int ret = 0;

	if (!len || range.last < base || !dev)
		return -EINVAL;
	pthread_rwlock_wrlock(&bus->lock);
	at = bus_search(bus, space, base);
	if (at < bus->count && bus->ranges[at].space == space &&
	    bus->ranges[at].base <= range.last) {
		ret = -EEXIST;
		goto out;
	}
	ranges = reallocarray(bus->ranges, bus->count + 1, sizeof(*ranges));
	if (!ranges) {
		ret = -ENOMEM;
		goto out;
	}
	bus->ranges = ranges;
	memmove(&ranges[at + 1], &ranges[at], (bus->count - at) * sizeof(*ranges));
	ranges[at] = range;
	bus->count++;
out:
	pthread_rwlock_unlock(&bus->lock);
	return ret;
}

/*
 * The device that answers all of [addr, addr + len), and addr's offset into its range; NULL:
 * nobody.
 */
static struct device *bus_find(struct bus *bus, enum bus_space space, uint64_t addr,
			       unsigned int len, uint64_t *offset)
{
	struct device *dev = NULL;
	size_t at;

	if (!len || len > 8 || addr + len - 1 < addr)
		return NULL;
	pthread_rwlock_rdlock(&bus->lock);
	at = bus_search(bus, space, addr);
	if (at < bus->count) {
		const struct bus_range *r = &bus->ranges[at];

		if (r->space == space && r->base <= addr && addr + len - 1 <= r->last) {
			dev = r->dev;
			*offset = addr - r->base;
		}
	}
	pthread_rwlock_unlock(&bus->lock);
	return dev;
}

bool bus_read(struct bus *bus, enum bus_space space, uint64_t addr, void *data, unsigned int len)
{
	uint64_t offset = 0;
	struct device *dev = bus_find(bus, space, addr, len, &offset);

	memset(data, 0xff, len);
	if (!dev)
		return false;
	dev->ops->read(dev, offset, data, len);
	return true;
}

bool bus_write(struct bus *bus, enum bus_space space, uint64_t addr, const void *data,
	       unsigned int len)
{
	uint64_t offset = 0;
	struct device *dev = bus_find(bus, space, addr, len, &offset);

	if (!dev)
		return false;
	dev->ops->write(dev, offset, data, len);
	return true;
}

int bus_quiesce(struct bus *bus)
{
	int ret = 0;

	for (size_t i = 0; i < bus->count; i++) {
		struct device *dev = bus->ranges[i].dev;
		int err = dev->ops->quiesce ? dev->ops->quiesce(dev) : 0;

		if (err && !ret)
			ret = err;
	}
	return ret;
}

void bus_resume(struct bus *bus)
{
	for (size_t i = 0; i < bus->count; i++) {
		struct device *dev = bus->ranges[i].dev;

		if (dev->ops->resume)
			dev->ops->resume(dev);
	}
}

char *bus_describe(struct bus *bus)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	for (size_t i = 0; i < bus->count; i++) {
		const struct bus_range *r = &bus->ranges[i];

		fprintf(f, "%s %" PRIx64 " %s\n", r->space == BUS_PIO ? "pio" : "mmio", r->base,
			r->dev->ops->name);
	}
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}
