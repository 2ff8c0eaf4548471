/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's side of a virtio-mmio device, for tests: a driver that does by the book what a test
 * does not do otherwise itself.
 */
#ifndef TESTS_UNIT_VIRTIO_DRIVER_H
#define TESTS_UNIT_VIRTIO_DRIVER_H

#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tests/unit/cmocka_all.h"
#include "vmm/devices/virtio.h"

#define DRIVER_RAM	  (8ULL << 20)
#define DRIVER_QUEUE_SIZE 16

struct driver_queue {
	uint16_t size;
	uint64_t desc_gpa, avail_gpa, used_gpa;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	/* descriptors are used in turn: a test must not have more than size of them out */
	uint16_t next_desc;
	uint16_t published;
	uint16_t seen;
};

struct driver {
	struct guest_memory *memory;
	struct device *dev;
	atomic_bool line;
	atomic_uint interrupts; /* rising edges of the line */
	struct driver_queue queues[VIRTIO_QUEUES_MAX];
	uint64_t next_gpa; /* where the next buffer goes */
};

/* One buffer of a chain. */
struct driver_segment {
	uint64_t gpa;
	uint32_t len;
	bool device_writes;
};

/* The device's interrupt line, for virtio_create(). */
struct irq_line driver_irq(struct driver *d);

/* Make RAM and a device from the model; no register is touched. driver_free() destroys both. */
void driver_init(struct driver *d, struct virtio_model *model);
void driver_free(struct driver *d);

/* Reset, accept all that is offered (but the features in 'not'), set up all queues, DRIVER_OK. */
void driver_start(struct driver *d, uint64_t not );
uint64_t driver_offered(struct driver *d);

uint32_t driver_read(struct driver *d, uint64_t offset);
void driver_write(struct driver *d, uint64_t offset, uint32_t value);

/* Put a queue's rings at next_gpa and tell the device; ready is left to the caller. */
void driver_place_queue(struct driver *d, unsigned int index);

/* Guest memory for a buffer, 16-byte aligned, and its host address. */
uint64_t driver_alloc(struct driver *d, uint64_t bytes);
void *driver_hva(struct driver *d, uint64_t gpa, uint64_t len);

/*
 * Make a chain available, as direct descriptors or an indirect table; returns the head. Then kick,
 * and wait for the next used one.
 */
uint16_t driver_add(struct driver *d, unsigned int queue, const struct driver_segment *segments,
		    unsigned int count, bool indirect);
void driver_kick(struct driver *d, unsigned int queue);
struct vring_used_elem driver_wait(struct driver *d, unsigned int queue);
bool driver_has_used(struct driver *d, unsigned int queue);

/* Wait until the line is high, and acknowledge; returns the causes. */
uint32_t driver_wait_interrupt(struct driver *d);

#endif
