/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the transport's parts share: virtio.c (worker, interrupt, life cycle), virtio_mmio.c
 * (registers), virtio_state.c (save, load).
 *
 * Who may touch a queue: the worker while busy; anyone else with the lock held after virtio_park(),
 * which waits until it is not.
 */
#ifndef VMM_DEVICES_VIRTIO_PRIVATE_H
#define VMM_DEVICES_VIRTIO_PRIVATE_H

#include <stdatomic.h>
#include <pthread.h>

#include "vmm/devices/virtio.h"

#define VIRTIO_STATUS_DRIVER_BITS                                                             \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK | \
	 VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED)

struct virtio {
	struct device dev;
	struct virtio_model *model;
	struct guest_memory *memory;
	uint64_t offered;
	int kick_fd;
	bool has_thread;
	pthread_t thread;

	pthread_mutex_t lock; /* all below, but the queues while busy */
	pthread_cond_t idle;
	bool busy; /* the worker is in the model's work() */
	bool stop;
	bool quiesced;
	/* nobody may start work(); written under the lock, read anywhere */
	_Atomic unsigned int parked;
	uint8_t status;
	_Atomic uint64_t accepted; /* driver features; fixed by FEATURES_OK */
	uint32_t features_sel;
	uint32_t driver_features_sel;
	uint32_t queue_sel;
	struct virtqueue queues[VIRTIO_QUEUES_MAX];

	pthread_mutex_t irq_lock; /* innermost: the line and its cause change together */
	struct irq_line irq;
	uint32_t interrupt_status;
	uint32_t config_generation;
};

static inline struct virtio *to_virtio(struct device *dev)
{
	return (struct virtio *)dev;
}

/*
 * With the lock held: keep the worker out of the model, waiting for it to leave; and let it in
 * again. They nest.
 */
void virtio_park(struct virtio *v);
void virtio_unpark(struct virtio *v);

/* Raise or acknowledge causes (VIRTIO_MMIO_INT_...). */
void virtio_raise(struct virtio *v, uint32_t cause);
void virtio_acknowledge(struct virtio *v, uint32_t causes);

/*
 * The driver broke the rules: with the lock held, ask it to reset the device, which does nothing
 * until then.
 */
void virtio_needs_reset(struct virtio *v);

/* With the lock held and the worker parked: everything as after power-on. */
void virtio_reset(struct virtio *v);

void virtio_mmio_read(struct device *dev, uint64_t offset, void *data, unsigned int len);
void virtio_mmio_write(struct device *dev, uint64_t offset, const void *data, unsigned int len);
int virtio_state_save(struct device *dev, void *buf, size_t max);
int virtio_state_load(struct device *dev, const void *buf, size_t len);

#endif
