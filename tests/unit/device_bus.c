/* SPDX-License-Identifier: Apache-2.0 */
/* The bus: who answers an access, and the saved state of all devices together. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"
#include "vmm/bus.h"

/* A device of 64 bytes of registers that remembers what the bus did to it. */
struct regs {
	struct device dev;
	uint8_t bytes[64];
	unsigned int quiesced, resumed, *destroyed;
	int quiesce_error;
};

static void regs_read(struct device *dev, uint64_t offset, void *data, unsigned int len)
{
	struct regs *r = (struct regs *)dev;

	assert_in_range(offset + len, 1, sizeof(r->bytes));
	for (unsigned int i = 0; i < len; i++)
		((uint8_t *)data)[i] = __atomic_load_n(&r->bytes[offset + i], __ATOMIC_RELAXED);
}

static void regs_write(struct device *dev, uint64_t offset, const void *data, unsigned int len)
{
	struct regs *r = (struct regs *)dev;

	assert_in_range(offset + len, 1, sizeof(r->bytes));
	for (unsigned int i = 0; i < len; i++)
		__atomic_store_n(&r->bytes[offset + i], ((const uint8_t *)data)[i],
				 __ATOMIC_RELAXED);
}

static int regs_quiesce(struct device *dev)
{
	struct regs *r = (struct regs *)dev;

	r->quiesced++;
	return r->quiesce_error;
}

static void regs_resume(struct device *dev)
{
	((struct regs *)dev)->resumed++;
}

static int regs_save(struct device *dev, void *buf, size_t max)
{
	struct regs *r = (struct regs *)dev;

	if (max < sizeof(r->bytes))
		return -ENOSPC;
	memcpy(buf, r->bytes, sizeof(r->bytes));
	return sizeof(r->bytes);
}

static int regs_load(struct device *dev, const void *buf, size_t len)
{
	struct regs *r = (struct regs *)dev;

	if (len != sizeof(r->bytes))
		return -EINVAL;
	memcpy(r->bytes, buf, len);
	return 0;
}

static void regs_destroy(struct device *dev)
{
	struct regs *r = (struct regs *)dev;

	if (r->destroyed)
		(*r->destroyed)++;
	free(r);
}

static const struct device_ops regs_ops = {
	.name = "regs/1",
	.read = regs_read,
	.write = regs_write,
	.quiesce = regs_quiesce,
	.resume = regs_resume,
	.save = regs_save,
	.load = regs_load,
	.destroy = regs_destroy,
};

static const struct device_ops other_ops = {
	.name = "regs/2",
	.read = regs_read,
	.write = regs_write,
	.destroy = regs_destroy,
};

static struct regs *regs_new(const struct device_ops *ops)
{
	struct regs *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->dev.ops = ops;
	return r;
}

static struct regs *regs_add(struct bus *bus, enum bus_space space, uint64_t base)
{
	struct regs *r = regs_new(&regs_ops);

	assert_int_equal(bus_add(bus, space, base, sizeof(r->bytes), &r->dev), 0);
	return r;
}

static void accesses_reach_the_device_of_their_space_and_range(void **state)
{
	struct bus *bus = bus_create();
	struct regs *a = regs_add(bus, BUS_MMIO, 0xd0001000);
	struct regs *b = regs_add(bus, BUS_MMIO, 0xd0000000);
	struct regs *c = regs_add(bus, BUS_PIO, 0x3f8);
	uint32_t v = 0x11223344;

	assert_true(bus_write(bus, BUS_MMIO, 0xd0001004, &v, 4));
	assert_memory_equal(a->bytes + 4, &v, 4);
	assert_true(bus_write(bus, BUS_MMIO, 0xd000003f, &v, 1));
	assert_int_equal(b->bytes[63], 0x44);
	assert_true(bus_write(bus, BUS_PIO, 0x3f8, &v, 2));
	assert_int_equal(c->bytes[0], 0x44);
	v = 0;
	assert_true(bus_read(bus, BUS_MMIO, 0xd0001004, &v, 4));
	assert_int_equal(v, 0x11223344);
	bus_destroy(bus);
}

static void what_nobody_answers_reads_as_ones(void **state)
{
	struct bus *bus = bus_create();
	uint64_t v = 0;

	assert_false(bus_read(bus, BUS_MMIO, 0xd0001000, &v, 8));
	assert_int_equal(v, UINT64_MAX);
	regs_add(bus, BUS_MMIO, 0xd0001000);
	v = 0;
	assert_false(bus_read(bus, BUS_PIO, 0xd0001000, &v, 4));
	assert_int_equal(v, 0xffffffff);
	assert_false(bus_write(bus, BUS_MMIO, 0xd0001040, &v, 1));
	assert_false(bus_write(bus, BUS_MMIO, 0xd0000fff, &v, 1));
	/*
	 * over the end of the range, over its beginning, around the end of the space, and no access
	 * at all
	 */
	assert_false(bus_read(bus, BUS_MMIO, 0xd000103d, &v, 4));
	assert_false(bus_read(bus, BUS_MMIO, 0xd0000ffe, &v, 4));
	assert_false(bus_read(bus, BUS_MMIO, UINT64_MAX, &v, 4));
	assert_false(bus_read(bus, BUS_MMIO, 0xd0001000, &v, 0));
	bus_destroy(bus);
}

static void ranges_may_not_overlap_or_wrap(void **state)
{
	struct bus *bus = bus_create();
	struct regs *r = regs_new(&regs_ops);

	regs_add(bus, BUS_MMIO, 0x1000);
	assert_int_equal(bus_add(bus, BUS_MMIO, 0x1000, 1, &r->dev), -EEXIST);
	assert_int_equal(bus_add(bus, BUS_MMIO, 0x103f, 0x1000, &r->dev), -EEXIST);
	assert_int_equal(bus_add(bus, BUS_MMIO, 0xfff, 2, &r->dev), -EEXIST);
	assert_int_equal(bus_add(bus, BUS_MMIO, 0, 0x10000, &r->dev), -EEXIST);
	assert_int_equal(bus_add(bus, BUS_MMIO, 0x2000, 0, &r->dev), -EINVAL);
	assert_int_equal(bus_add(bus, BUS_MMIO, UINT64_MAX, 2, &r->dev), -EINVAL);
	/* the very end of the space is a legal place */
	assert_int_equal(bus_add(bus, BUS_MMIO, UINT64_MAX - 63, 64, &r->dev), 0);
	regs_add(bus, BUS_PIO, 0x1000);
	regs_add(bus, BUS_MMIO, 0xfc0);
	regs_add(bus, BUS_MMIO, 0x1040);
	bus_destroy(bus);
}

static void quiesce_and_resume_reach_all_and_the_first_error_is_told(void **state)
{
	struct bus *bus = bus_create();
	struct regs *r[4];
	unsigned int destroyed = 0;

	for (unsigned int i = 0; i < 4; i++) {
		r[i] = regs_add(bus, BUS_MMIO, 0x1000 * (i + 1));
		r[i]->destroyed = &destroyed;
	}
	r[1]->quiesce_error = -EIO;
	r[2]->quiesce_error = -ENOSPC;
	assert_int_equal(bus_quiesce(bus), -EIO);
	bus_resume(bus);
	for (unsigned int i = 0; i < 4; i++) {
		assert_int_equal(r[i]->quiesced, 1);
		assert_int_equal(r[i]->resumed, 1);
	}
	bus_destroy(bus);
	assert_int_equal(destroyed, 4);
}

static void state_comes_back_and_every_cut_is_refused(void **state)
{
	struct bus *from = bus_create(), *to = bus_create();
	struct regs *a = regs_add(from, BUS_MMIO, 0x1000), *b = regs_add(from, BUS_PIO, 0x3f8);
	struct regs *c = regs_add(to, BUS_MMIO, 0x1000), *d = regs_add(to, BUS_PIO, 0x3f8);
	uint8_t *buf = NULL, *longer;
	size_t len = 0;

	memset(a->bytes, 0xa1, sizeof(a->bytes));
	memset(b->bytes, 0xb2, sizeof(b->bytes));
	assert_int_equal(bus_save(from, &buf, &len), 0);
	assert_int_equal(bus_load(to, buf, len), 0);
	assert_memory_equal(c->bytes, a->bytes, sizeof(a->bytes));
	assert_memory_equal(d->bytes, b->bytes, sizeof(b->bytes));

	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(bus_load(to, buf, cut), -EINVAL);
	longer = calloc(1, len + 1);
	assert_non_null(longer);
	memcpy(longer, buf, len);
	assert_int_equal(bus_load(to, longer, len + 1), -EINVAL);
	free(longer);
	free(buf);
	bus_destroy(from);
	bus_destroy(to);
}

static void state_of_other_devices_is_refused(void **state)
{
	struct bus *from = bus_create(), *moved = bus_create(), *fewer = bus_create(),
		   *other = bus_create();
	struct regs *r = regs_new(&other_ops);
	uint8_t *buf = NULL;
	size_t len = 0;

	regs_add(from, BUS_MMIO, 0x1000);
	regs_add(moved, BUS_MMIO, 0x2000);
	assert_int_equal(bus_add(other, BUS_MMIO, 0x1000, 64, &r->dev), 0);
	assert_int_equal(bus_save(from, &buf, &len), 0);
	assert_int_equal(bus_load(moved, buf, len), -ENODEV);
	assert_int_equal(bus_load(fewer, buf, len), -ENODEV);
	assert_int_equal(bus_load(other, buf, len), -ENODEV);
	buf[0] ^= 1;
	assert_int_equal(bus_load(from, buf, len), -EINVAL);
	free(buf);
	bus_destroy(from);
	bus_destroy(moved);
	bus_destroy(fewer);
	bus_destroy(other);
}

static void devices_are_described_for_the_handshake(void **state)
{
	struct bus *bus = bus_create();
	char *text;

	regs_add(bus, BUS_MMIO, 0xd0000000);
	regs_add(bus, BUS_PIO, 0x3f8);
	text = bus_describe(bus);
	assert_string_equal(text, "pio 3f8 regs/1\nmmio d0000000 regs/1\n");
	free(text);
	bus_destroy(bus);
}

static void *hammer(void *arg)
{
	struct bus *bus = arg;
	uint8_t v = 1;

	for (unsigned int i = 0; i < 20000; i++) {
		assert_true(bus_write(bus, BUS_MMIO, 0x1000 + i % 64, &v, 1));
		assert_true(bus_read(bus, BUS_MMIO, 0x1000 + i % 64, &v, 1));
	}
	return NULL;
}

static void devices_can_be_added_while_vcpus_access(void **state)
{
	struct bus *bus = bus_create();
	pthread_t threads[3];

	regs_add(bus, BUS_MMIO, 0x1000);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hammer, bus), 0);
	for (unsigned int i = 0; i < 100; i++)
		regs_add(bus, i % 2 ? BUS_MMIO : BUS_PIO, 0x2000 + 0x40 * i);
	for (unsigned int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	bus_destroy(bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accesses_reach_the_device_of_their_space_and_range),
		cmocka_unit_test(what_nobody_answers_reads_as_ones),
		cmocka_unit_test(ranges_may_not_overlap_or_wrap),
		cmocka_unit_test(quiesce_and_resume_reach_all_and_the_first_error_is_told),
		cmocka_unit_test(state_comes_back_and_every_cut_is_refused),
		cmocka_unit_test(state_of_other_devices_is_refused),
		cmocka_unit_test(devices_are_described_for_the_handshake),
		cmocka_unit_test(devices_can_be_added_while_vcpus_access),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
