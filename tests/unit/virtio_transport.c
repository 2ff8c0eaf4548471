/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-mmio: registers, negotiation, reset, interrupts and the saved state; with virtio-rng as
 * the device behind it.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/unit/virtio_driver.h"
#include "vmm/devices/virtio_rng.h"

static int rng_setup(void **state)
{
	struct driver *d = calloc(1, sizeof(*d));
	struct virtio_model *model;

	assert_non_null(d);
	assert_int_equal(virtio_rng_create(&model), 0);
	driver_init(d, model);
	*state = d;
	return 0;
}

static int rng_teardown(void **state)
{
	driver_free(*state);
	free(*state);
	return 0;
}

/* Ask for len random bytes and wait for them. */
static uint32_t ask(struct driver *d, uint64_t gpa, uint32_t len, bool indirect)
{
	const struct driver_segment segment = { gpa, len, true };
	uint16_t head = driver_add(d, 0, &segment, 1, indirect);
	struct vring_used_elem used;

	driver_kick(d, 0);
	used = driver_wait(d, 0);
	assert_int_equal(used.id, head);
	return used.len;
}

static unsigned int zeros(const uint8_t *bytes, size_t len)
{
	unsigned int n = 0;

	for (size_t i = 0; i < len; i++)
		n += !bytes[i];
	return n;
}

static void registers_say_what_it_is(void **state)
{
	struct driver *d = *state;
	uint64_t features;

	assert_int_equal(driver_read(d, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_RNG);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_STATUS), 0);
	features = driver_offered(d);
	assert_int_equal(features, 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_F_ACCESS_PLATFORM |
					   1ULL << VIRTIO_RING_F_INDIRECT_DESC |
					   1ULL << VIRTIO_RING_F_EVENT_IDX);
	driver_write(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_DEVICE_FEATURES), 0);
	driver_write(d, VIRTIO_MMIO_QUEUE_SEL, 0);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_QUEUE_NUM_MAX), 8);
	driver_write(d, VIRTIO_MMIO_QUEUE_SEL, 1);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	driver_write(d, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_QUEUE_READY), 0);
	driver_write(d, VIRTIO_MMIO_QUEUE_SEL, UINT32_MAX);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
}

static void odd_accesses_do_nothing(void **state)
{
	struct driver *d = *state;
	uint64_t v = UINT64_MAX;

	for (unsigned int len = 1; len <= 8; len *= 2) {
		for (uint64_t offset = 0; offset + len <= 0x1000; offset++) {
			memset(&v, 0xff, sizeof(v));
			if (len != 4 || offset % 4 || offset >= 0x100)
				d->dev->ops->write(d->dev, offset, &v, len);
			d->dev->ops->read(d->dev, offset, &v, len);
		}
	}
	d->dev->ops->read(d->dev, 1, &v, 4);
	assert_int_equal((uint32_t)v, 0);
	d->dev->ops->read(d->dev, 0, &v, 2);
	assert_int_equal((uint16_t)v, 0);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_STATUS), 0);
}

static void an_empty_slot_has_device_id_0(void **state)
{
	struct device *dev;
	uint32_t v;

	assert_int_equal(virtio_create_empty(&dev), 0);
	dev->ops->read(dev, VIRTIO_MMIO_MAGIC_VALUE, &v, 4);
	assert_int_equal(v, 0x74726976);
	dev->ops->read(dev, VIRTIO_MMIO_DEVICE_ID, &v, 4);
	assert_int_equal(v, 0);
	dev->ops->write(dev, VIRTIO_MMIO_STATUS, &v, 4);
	assert_int_equal(virtio_notify_fd(dev), -1);
	assert_null(virtio_model_of(dev));
	dev->ops->destroy(dev);
}

static void features_must_be_offered_and_modern(void **state)
{
	struct driver *d = *state;

	driver_write(d, VIRTIO_MMIO_STATUS, 3);
	driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES, 0);
	driver_write(d, VIRTIO_MMIO_STATUS, 0x0b);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_STATUS), 3); /* without VERSION_1 */
	driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	driver_write(d, VIRTIO_MMIO_STATUS, 0x0b);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_STATUS), 3); /* with one that is not offered */
	driver_write(d, VIRTIO_MMIO_STATUS, 0x0f);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_STATUS),
			 3); /* nor is DRIVER_OK to be had without FEATURES_OK */
	driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES, 0);
	driver_write(d, VIRTIO_MMIO_STATUS, 0x0b);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_STATUS), 0x0b);
	/* bits go only by a reset */
	driver_write(d, VIRTIO_MMIO_STATUS, 1);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_STATUS), 0x0b);
	driver_write(d, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_STATUS), 0);
}

static void buffers_come_back_filled_with_an_interrupt(void **state)
{
	struct driver *d = *state;
	uint64_t gpa;
	uint8_t *bytes;

	for (unsigned int round = 0; round < 3; round++) {
		/* with all features; without event index; without indirect tables */
		driver_start(d, round == 1 ? 1ULL << VIRTIO_RING_F_EVENT_IDX :
				round == 2 ? 1ULL << VIRTIO_RING_F_INDIRECT_DESC :
					     0);
		gpa = driver_alloc(d, 8192);
		bytes = driver_hva(d, gpa, 8192);
		for (unsigned int i = 0; i < 100; i++) {
			memset(bytes, 0, 256);
			assert_int_equal(ask(d, gpa, 256, round == 0 && i % 2), 256);
			assert_true(zeros(bytes, 256) < 32);
			assert_int_equal(driver_wait_interrupt(d), VIRTIO_MMIO_INT_VRING);
			assert_false(d->line);
		}
		memset(bytes, 0, 8192);
		assert_int_equal(ask(d, gpa, 8192, false), 4096); /* as much as one request gets */
		assert_int_equal(zeros(bytes + 4096, 4096), 4096);
	}
}

static void a_buffer_that_cannot_be_written_gets_nothing(void **state)
{
	struct driver *d = *state;
	uint64_t gpa;
	const struct driver_segment readable = { gpa = 0x100000, 16, false };

	driver_start(d, 0);
	driver_add(d, 0, &readable, 1, false);
	driver_kick(d, 0);
	assert_int_equal(driver_wait(d, 0).len, 0);
	assert_int_equal(zeros(driver_hva(d, gpa, 16), 16), 16);
}

static void an_eventfd_notifies_too(void **state)
{
	struct driver *d = *state;
	const struct driver_segment segment = { 0x100000, 16, true };

	driver_start(d, 0);
	driver_add(d, 0, &segment, 1, false);
	assert_int_equal(eventfd_write(virtio_notify_fd(d->dev), 1), 0);
	assert_int_equal(driver_wait(d, 0).len, 16);
}

static void a_broken_ring_asks_for_a_reset_and_stops(void **state)
{
	struct driver *d = *state;
	struct driver_segment segment = { DRIVER_RAM, 16, true };

	driver_start(d, 0);
	driver_add(d, 0, &segment, 1, false);
	driver_kick(d, 0);
	while (!(driver_read(d, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET))
		poll(NULL, 0, 1);
	assert_true(driver_wait_interrupt(d) & VIRTIO_MMIO_INT_CONFIG);
	/* correct buffers do not help any more */
	segment.gpa = 0x100000;
	driver_add(d, 0, &segment, 1, false);
	for (unsigned int i = 0; i < 10; i++)
		driver_kick(d, 0);
	assert_int_equal(d->dev->ops->quiesce(d->dev), 0);
	assert_false(driver_has_used(d, 0));
	d->dev->ops->resume(d->dev);
	/* a reset does */
	d->next_gpa = 0x1000;
	driver_start(d, 0);
	assert_int_equal(ask(d, 0x100000, 16, false), 16);
}

static void a_queue_outside_ram_is_refused(void **state)
{
	struct driver *d = *state;

	driver_write(d, VIRTIO_MMIO_STATUS, 3);
	driver_place_queue(d, 0);
	driver_write(d, VIRTIO_MMIO_QUEUE_DESC_HIGH, 0xffffffff);
	driver_write(d, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_true(driver_read(d, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_false(d->line); /* nobody to tell before DRIVER_OK */
}

static void a_queue_in_use_does_not_move(void **state)
{
	struct driver *d = *state;

	driver_start(d, 0);
	driver_write(d, VIRTIO_MMIO_QUEUE_SEL, 0);
	driver_write(d, VIRTIO_MMIO_QUEUE_NUM, 4);
	driver_write(d, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x200000);
	driver_write(d, VIRTIO_MMIO_QUEUE_USED_HIGH, 0x1234);
	assert_int_equal(ask(d, 0x100000, 16, false), 16);
	driver_write(d, VIRTIO_MMIO_QUEUE_READY, 0);
	driver_kick(d, 0);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_QUEUE_READY), 0);
}

static void resets_while_it_works(void **state)
{
	struct driver *d = *state;
	const struct driver_segment segment = { 0x100000, 4096, true };

	for (unsigned int i = 0; i < 300; i++) {
		d->next_gpa = 0x1000;
		driver_start(d, 0);
		for (unsigned int n = 0; n < 4; n++)
			driver_add(d, 0, &segment, 1, false);
		driver_kick(d, 0);
		if (i % 3 == 0)
			driver_wait(d, 0);
		driver_write(d, VIRTIO_MMIO_STATUS, 0);
		/* from here on the memory is the guest's again */
		memset(driver_hva(d, 0x100000, 4096), 0, 4096);
		assert_int_equal(zeros(driver_hva(d, 0x100000, 4096), 4096), 4096);
		assert_false(d->line);
	}
}

static void nothing_is_written_while_quiesced(void **state)
{
	struct driver *d = *state;
	const struct driver_segment segment = { 0x100000, 16, true };

	driver_start(d, 0);
	assert_int_equal(d->dev->ops->quiesce(d->dev), 0);
	assert_int_equal(d->dev->ops->quiesce(d->dev), 0);
	driver_add(d, 0, &segment, 1, false);
	driver_kick(d, 0);
	poll(NULL, 0, 20);
	assert_false(driver_has_used(d, 0));
	d->dev->ops->resume(d->dev);
	d->dev->ops->resume(d->dev);
	assert_int_equal(driver_wait(d, 0).len, 16);
}

/* A second device on the first one's memory: the target of a migration. */
static struct device *other_device(struct driver *d)
{
	struct virtio_model *model;
	struct device *dev;

	assert_int_equal(virtio_rng_create(&model), 0);
	assert_int_equal(virtio_create(&dev, model, d->memory, driver_irq(d)), 0);
	return dev;
}

static void requests_survive_the_move_to_another_device(void **state)
{
	struct driver *d = *state;
	const struct driver_segment segment = { 0x100000, 16, true };
	uint8_t buf[512];

	driver_start(d, 0);
	for (unsigned int i = 0; i < 200; i++) {
		struct device *to = other_device(d), *from = d->dev;
		bool late = i % 2;
		int len;

		driver_add(d, 0, &segment, 1, false);
		if (!late)
			driver_kick(d, 0);
		assert_int_equal(from->ops->quiesce(from), 0);
		if (late)
			driver_kick(d, 0); /* the source heard it, the target has to do it */
		len = from->ops->save(from, buf, sizeof(buf));
		assert_true(len > 0);
		assert_int_equal(to->ops->load(to, buf, (size_t)len), -EBUSY);
		assert_int_equal(to->ops->quiesce(to), 0);
		assert_int_equal(to->ops->load(to, buf, (size_t)len), 0);
		from->ops->destroy(from);
		d->line = false;
		d->dev = to;
		to->ops->resume(to);
		assert_int_equal(driver_wait(d, 0).len, 16);
		assert_int_equal(driver_wait_interrupt(d), VIRTIO_MMIO_INT_VRING);
	}
}

static void damaged_state_is_refused_or_harmless(void **state)
{
	struct driver *d = *state;
	struct device *to = other_device(d);
	uint8_t buf[512], bad[513];
	int len, accepted = 0;

	driver_start(d, 0);
	assert_int_equal(ask(d, 0x100000, 16, false), 16);
	assert_int_equal(d->dev->ops->quiesce(d->dev), 0);
	len = d->dev->ops->save(d->dev, buf, sizeof(buf));
	assert_in_range(len, 1, sizeof(buf));
	for (int max = 0; max < len; max++)
		assert_int_equal(d->dev->ops->save(d->dev, bad, (size_t)max), -ENOSPC);
	assert_int_equal(to->ops->quiesce(to), 0);
	for (int cut = 0; cut < len; cut++)
		assert_int_equal(to->ops->load(to, buf, (size_t)cut), -EINVAL);
	memcpy(bad, buf, (size_t)len % sizeof(bad));
	bad[len] = 0;
	assert_int_equal(to->ops->load(to, bad, (size_t)len + 1), -EINVAL);
	for (int i = 0; i < len; i++) {
		for (unsigned int bit = 0; bit < 8; bit++) {
			int ret;

			memcpy(bad, buf, (size_t)len);
			bad[i] ^= (uint8_t)(1 << bit);
			ret = to->ops->load(to, bad, (size_t)len);
			assert_true(ret == 0 || ret == -EINVAL);
			accepted += !ret;
			to->ops->resume(to);
			driver_kick(d, 0);
			assert_int_equal(to->ops->quiesce(to), 0);
		}
	}
	/* the last few that can be: selectors, indexes, an address elsewhere in RAM */
	assert_in_range(accepted, 1, len * 8 - 1);
	assert_int_equal(to->ops->load(to, buf, (size_t)len), 0);
	to->ops->destroy(to);
	/*
	 * One with a damaged index may have found time to answer a request again: that was the
	 * other device's answer.
	 */
	d->queues[0].used->idx = d->queues[0].seen;
	d->dev->ops->resume(d->dev);
	assert_int_equal(ask(d, 0x100000, 16, false), 16);
}

static void *kick_for_ever(void *arg)
{
	struct driver *d = arg;

	for (unsigned int i = 0; i < 3000; i++) {
		driver_kick(d, 0);
		driver_read(d, VIRTIO_MMIO_INTERRUPT_STATUS);
		driver_write(d, VIRTIO_MMIO_INTERRUPT_ACK, 1);
		driver_write(d, VIRTIO_MMIO_QUEUE_SEL, i);
	}
	return NULL;
}

static void vcpus_migration_and_device_at_once(void **state)
{
	struct driver *d = *state;
	const struct driver_segment segment = { 0x100000, 64, true };
	pthread_t threads[2];

	driver_start(d, 0);
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, kick_for_ever, d), 0);
	for (unsigned int i = 0; i < 300; i++) {
		driver_add(d, 0, &segment, 1, false);
		driver_kick(d, 0);
		driver_wait(d, 0);
		assert_int_equal(d->dev->ops->quiesce(d->dev), 0);
		d->dev->ops->resume(d->dev);
	}
	for (unsigned int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

#define rng_test(f) cmocka_unit_test_setup_teardown(f, rng_setup, rng_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		rng_test(registers_say_what_it_is),
		rng_test(odd_accesses_do_nothing),
		cmocka_unit_test(an_empty_slot_has_device_id_0),
		rng_test(features_must_be_offered_and_modern),
		rng_test(buffers_come_back_filled_with_an_interrupt),
		rng_test(a_buffer_that_cannot_be_written_gets_nothing),
		rng_test(an_eventfd_notifies_too),
		rng_test(a_broken_ring_asks_for_a_reset_and_stops),
		rng_test(a_queue_outside_ram_is_refused),
		rng_test(a_queue_in_use_does_not_move),
		rng_test(resets_while_it_works),
		rng_test(nothing_is_written_while_quiesced),
		rng_test(requests_survive_the_move_to_another_device),
		rng_test(damaged_state_is_refused_or_harmless),
		rng_test(vcpus_migration_and_device_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
