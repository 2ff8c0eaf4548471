/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio devices over virtio-mmio, version 2 (virtio 1.2, 4.2). The transport has the registers,
 * the queues, the interrupt, one worker thread and the saved state; a model (block, net, rng,
 * console) is the table of functions below. Each device offers VIRTIO_F_VERSION_1 and
 * VIRTIO_F_ACCESS_PLATFORM, so that a SEV guest bounces its buffers through shared pages.
 */
#ifndef VMM_DEVICES_VIRTIO_H
#define VMM_DEVICES_VIRTIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/device.h"
#include "vmm/state_bytes.h"
#include "vmm/devices/virtqueue.h"
#include "vmm/memory.h"

#define VIRTIO_QUEUES_MAX 4

struct virtio;
struct virtio_model;

struct virtio_model_ops {
	const char *name; /* struct device_ops */
	uint32_t device_id; /* VIRTIO_ID_... */
	unsigned int queues;
	uint16_t queue_size;

	uint64_t (*features)(
		struct virtio_model *model); /* beyond those that the transport offers */

	/*
	 * The whole configuration space into buf (zeroed), at most max bytes; returns its size. Any
	 * thread.
	 */
	size_t (*config)(struct virtio_model *model, void *buf, size_t max);

	/*
	 * In the worker thread: handle what is in the queues. Between requests look at
	 * virtio_must_stop(). 0, or -EINVAL for a broken ring; then the driver is told that it must
	 * reset the device. Not called while the driver is not ready, a reset is on, or quiesced.
	 */
	int (*work)(struct virtio_model *model);

	/*
	 * A descriptor whose readability calls for work() too, or -1. Asked before each wait; what
	 * it needs of the queues work() has left behind, guest memory is not touched here (in
	 * post-copy that may take long). NULL: none.
	 */
	int (*wait_fd)(struct virtio_model *model);

	/*
	 * After how many milliseconds work() is called though nothing has happened; -1: never.
	 * Asked with wait_fd(). NULL: never.
	 */
	int (*wait_ms)(struct virtio_model *model);

	void (*reset)(struct virtio_model *model); /* work() is not running. NULL: nothing */
	int (*flush)(struct virtio_model
			     *model); /* at quiesce, after work() has stopped. NULL: nothing */
	void (*resume)(struct virtio_model *model); /* before work() runs again. NULL: nothing */
	void (*save)(struct virtio_model *model,
		     struct state_writer *w); /* the model's own fields. NULL: none */
	int (*load)(struct virtio_model *model,
		    struct state_reader *r); /* to the end; 0, or -EINVAL and unchanged */
	void (*destroy)(struct virtio_model *model);
};

/* Embedded as the first member of each model. */
struct virtio_model {
	const struct virtio_model_ops *ops;
	struct virtio *virtio; /* its transport, set by virtio_create() */
};

/*
 * A device that answers a virtio-mmio window. Takes the model over, on success only. 0 or a
 * negative errno. memory must outlive it. The caller adds it to the bus, VIRTIO_MMIO_STRIDE bytes.
 */
int virtio_create(struct device **dev, struct virtio_model *model, struct guest_memory *memory,
		  struct irq_line irq);

/* What an empty slot answers: DeviceID 0. */
int virtio_create_empty(struct device **dev);

/*
 * An eventfd that does what a write to VIRTIO_MMIO_NOTIFY_OFFSET does, for KVM_IOEVENTFD (4 bytes,
 * no datamatch): a notification then costs no exit to user space. -1 for an empty slot. The
 * device's own.
 */
int virtio_notify_fd(struct device *dev);

/* The model behind a device that virtio_create() made, or NULL. */
struct virtio_model *virtio_model_of(struct device *dev);

/* For models, in work(). */
struct virtqueue *virtio_queue(struct virtio *virtio, unsigned int index);
bool virtio_must_stop(struct virtio *virtio);

/* Give a chain back and interrupt the driver if it wants that. */
void virtio_complete(struct virtio *virtio, struct virtqueue *vq, uint16_t head, uint32_t written);

/* For models, any thread. */
bool virtio_has_feature(struct virtio *virtio, unsigned int bit); /* negotiated */
void virtio_config_changed(struct virtio *virtio);
void virtio_kick(struct virtio *virtio); /* have work() called */

#endif
