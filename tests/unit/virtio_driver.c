/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/virtio_driver.h"

#include <endian.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

static void line_set(void *opaque, unsigned int gsi, bool level)
{
	struct driver *d = opaque;

	if (level && !atomic_exchange(&d->line, true))
		d->interrupts++;
	if (!level)
		d->line = false;
}

struct irq_line driver_irq(struct driver *d)
{
	return (struct irq_line){ line_set, d, 16 };
}

void driver_init(struct driver *d, struct virtio_model *model)
{
	memset(d, 0, sizeof(*d));
	assert_int_equal(guest_memory_create(&d->memory, DRIVER_RAM, false), 0);
	assert_int_equal(virtio_create(&d->dev, model, d->memory, driver_irq(d)), 0);
	d->next_gpa = 0x1000;
}

void driver_free(struct driver *d)
{
	d->dev->ops->destroy(d->dev);
	guest_memory_destroy(d->memory);
}

uint32_t driver_read(struct driver *d, uint64_t offset)
{
	uint32_t value;

	d->dev->ops->read(d->dev, offset, &value, sizeof(value));
	return value;
}

void driver_write(struct driver *d, uint64_t offset, uint32_t value)
{
	d->dev->ops->write(d->dev, offset, &value, sizeof(value));
}

uint64_t driver_offered(struct driver *d)
{
	uint64_t low;

	driver_write(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	low = driver_read(d, VIRTIO_MMIO_DEVICE_FEATURES);
	driver_write(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	return low | (uint64_t)driver_read(d, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
}

uint64_t driver_alloc(struct driver *d, uint64_t bytes)
{
	uint64_t gpa = d->next_gpa;

	d->next_gpa = (gpa + bytes + 15) & ~15ULL;
	assert_true(d->next_gpa <= DRIVER_RAM);
	return gpa;
}

void *driver_hva(struct driver *d, uint64_t gpa, uint64_t len)
{
	void *hva = guest_memory_hva(d->memory, gpa, len);

	assert_non_null(hva);
	return hva;
}

void driver_place_queue(struct driver *d, unsigned int index)
{
	struct driver_queue *q = &d->queues[index];

	driver_write(d, VIRTIO_MMIO_QUEUE_SEL, index);
	memset(q, 0, sizeof(*q));
	q->size = DRIVER_QUEUE_SIZE;
	if (q->size > driver_read(d, VIRTIO_MMIO_QUEUE_NUM_MAX))
		q->size = (uint16_t)driver_read(d, VIRTIO_MMIO_QUEUE_NUM_MAX);
	q->desc_gpa = driver_alloc(d, 16ULL * q->size);
	q->avail_gpa = driver_alloc(d, 6 + 2ULL * q->size);
	q->used_gpa = driver_alloc(d, 6 + 8ULL * q->size);
	q->desc = driver_hva(d, q->desc_gpa, 16ULL * q->size);
	q->avail = driver_hva(d, q->avail_gpa, 6 + 2ULL * q->size);
	q->used = driver_hva(d, q->used_gpa, 6 + 8ULL * q->size);
	memset(q->avail, 0, 6 + 2ULL * q->size);
	memset(q->used, 0, 6 + 8ULL * q->size);
	driver_write(d, VIRTIO_MMIO_QUEUE_NUM, q->size);
	driver_write(d, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)q->desc_gpa);
	driver_write(d, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(q->desc_gpa >> 32));
	driver_write(d, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)q->avail_gpa);
	driver_write(d, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(q->avail_gpa >> 32));
	driver_write(d, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)q->used_gpa);
	driver_write(d, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(q->used_gpa >> 32));
}

void driver_start(struct driver *d, uint64_t not )
{
	uint64_t features;

	driver_write(d, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_STATUS), 0);
	driver_write(d, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	features = driver_offered(d) & ~not ;
	driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
	driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
	driver_write(d, VIRTIO_MMIO_STATUS,
		     VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			     VIRTIO_CONFIG_S_FEATURES_OK);
	assert_true(driver_read(d, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned int i = 0; i < virtio_model_of(d->dev)->ops->queues; i++) {
		driver_place_queue(d, i);
		driver_write(d, VIRTIO_MMIO_QUEUE_READY, 1);
		assert_int_equal(driver_read(d, VIRTIO_MMIO_QUEUE_READY), 1);
	}
	driver_write(d, VIRTIO_MMIO_STATUS, 0x0f);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_STATUS), 0x0f);
}

uint16_t driver_add(struct driver *d, unsigned int queue, const struct driver_segment *segments,
		    unsigned int count, bool indirect)
{
	struct driver_queue *q = &d->queues[queue];
	uint64_t table_gpa = indirect ? driver_alloc(d, 16ULL * count) : 0;
	struct vring_desc *table = indirect ? driver_hva(d, table_gpa, 16ULL * count) : q->desc;
	uint16_t head = q->next_desc;

	for (unsigned int i = 0; i < count; i++) {
		uint16_t at = indirect ? (uint16_t)i : q->next_desc++ % q->size;

		table[at].addr = htole64(segments[i].gpa);
		table[at].len = htole32(segments[i].len);
		table[at].flags = (segments[i].device_writes ? VRING_DESC_F_WRITE : 0) |
				  (i + 1 < count ? VRING_DESC_F_NEXT : 0);
		table[at].next = indirect ? (uint16_t)(i + 1) : q->next_desc % q->size;
	}
	if (indirect) {
		struct vring_desc *desc = &q->desc[q->next_desc++ % q->size];

		*desc = (struct vring_desc){ .addr = table_gpa,
					     .len = 16 * count,
					     .flags = VRING_DESC_F_INDIRECT };
	}
	head %= q->size;
	q->avail->ring[q->published % q->size] = head;
	q->published++;
	__atomic_store_n(&q->avail->idx, q->published, __ATOMIC_RELEASE);
	return head;
}

void driver_kick(struct driver *d, unsigned int queue)
{
	driver_write(d, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

bool driver_has_used(struct driver *d, unsigned int queue)
{
	struct driver_queue *q = &d->queues[queue];

	return __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) != q->seen;
}

struct vring_used_elem driver_wait(struct driver *d, unsigned int queue)
{
	struct driver_queue *q = &d->queues[queue];
	struct vring_used_elem elem;

	while (!driver_has_used(d, queue))
		poll(NULL, 0, 1);
	elem.id = __atomic_load_n(&q->used->ring[q->seen % q->size].id, __ATOMIC_RELAXED);
	elem.len = __atomic_load_n(&q->used->ring[q->seen % q->size].len, __ATOMIC_RELAXED);
	q->seen++;
	/* As a Linux driver does: ask for an interrupt at the next one. */
	__atomic_store_n(&q->avail->ring[q->size], q->seen, __ATOMIC_SEQ_CST);
	return elem;
}

uint32_t driver_wait_interrupt(struct driver *d)
{
	uint32_t causes;

	while (!atomic_load(&d->line))
		poll(NULL, 0, 1);
	causes = driver_read(d, VIRTIO_MMIO_INTERRUPT_STATUS);
	driver_write(d, VIRTIO_MMIO_INTERRUPT_ACK, causes);
	return causes;
}
