/* SPDX-License-Identifier: Apache-2.0 */
/* The registers of virtio-mmio (virtio 1.2, 4.2.2), and what a driver's write to each means. */
#include <linux/virtio_mmio.h>
#include <string.h>

#include "vmm/devices/virtio_private.h"

#define VIRTIO_MMIO_MAGIC  0x74726976 /* "virt" */
#define VIRTIO_MMIO_VENDOR 0x56454d53 /* "SMEV" */
#define CONFIG_BYTES_MAX   64

static struct virtqueue *selected_queue(struct virtio *v)
{
	return v->queue_sel < v->model->ops->queues ? &v->queues[v->queue_sel] : NULL;
}

static uint32_t read_interrupt(struct virtio *v, uint64_t offset)
{
	uint32_t value;

	pthread_mutex_lock(&v->irq_lock);
	value = offset == VIRTIO_MMIO_INTERRUPT_STATUS ? v->interrupt_status : v->config_generation;
	pthread_mutex_unlock(&v->irq_lock);
	return value;
}

static uint32_t read_register(struct virtio *v, uint64_t offset)
{
	struct virtqueue *vq = selected_queue(v);

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return VIRTIO_MMIO_MAGIC;
	case VIRTIO_MMIO_VERSION:
		return 2;
	case VIRTIO_MMIO_DEVICE_ID:
		return v->model->ops->device_id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VIRTIO_MMIO_VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return v->features_sel < 2 ? (uint32_t)(v->offered >> (32 * v->features_sel)) : 0;
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return vq ? v->model->ops->queue_size : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return vq ? vq->ready : 0;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return read_interrupt(v, offset);
	case VIRTIO_MMIO_STATUS:
		return v->status;
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX; /* no shared memory region, 4.2.2 */
	default:
		return 0;
	}
}

static void read_config(struct virtio *v, uint64_t offset, void *data, unsigned int len)
{
	uint8_t config[CONFIG_BYTES_MAX] = { 0 };
	size_t size =
		v->model->ops->config ? v->model->ops->config(v->model, config, sizeof(config)) : 0;

	memset(data, 0, len);
	if (offset < size)
		memcpy(data, config + offset, len < size - offset ? len : size - offset);
}

void virtio_mmio_read(struct device *dev, uint64_t offset, void *data, unsigned int len)
{
	struct virtio *v = to_virtio(dev);
	uint32_t value;

	if (offset >= VIRTIO_MMIO_CONFIG) {
		read_config(v, offset - VIRTIO_MMIO_CONFIG, data, len);
		return;
	}
	memset(data, 0, len);
	if (len != sizeof(value) || offset % sizeof(value))
		return;
	pthread_mutex_lock(&v->lock);
	value = read_register(v, offset);
	pthread_mutex_unlock(&v->lock);
	memcpy(data, &value, sizeof(value));
}

static void write_driver_features(struct virtio *v, uint32_t value)
{
	unsigned int shift = 32 * v->driver_features_sel;
	uint64_t accepted = v->accepted;

	if (v->driver_features_sel > 1 || (v->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return;
	accepted &= ~(0xffffffffULL << shift);
	accepted |= (uint64_t)value << shift;
	atomic_store_explicit(&v->accepted, accepted, memory_order_relaxed);
}

static void write_status(struct virtio *v, uint32_t value)
{
	uint8_t added;

	if (!value) {
		virtio_park(v);
		virtio_reset(v);
		virtio_unpark(v);
		return;
	}
	/* A driver sets bits and never takes one back but by a reset (3.1.1). */
	added = (uint8_t)value & VIRTIO_STATUS_DRIVER_BITS & ~v->status;
	if (added & VIRTIO_CONFIG_S_FEATURES_OK) {
		/*
		 * A refusal shows as FEATURES_OK staying clear. Only the layout of version 1 is
		 * spoken here.
		 */
		if ((v->accepted & ~v->offered) || !(v->accepted >> VIRTIO_F_VERSION_1 & 1))
			added &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	}
	if (!((v->status | added) & VIRTIO_CONFIG_S_FEATURES_OK))
		added &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	v->status |= added;
	if (added & VIRTIO_CONFIG_S_DRIVER_OK)
		virtio_kick(v);
}

static void write_queue_ready(struct virtio *v, struct virtqueue *vq, uint32_t value)
{
	virtio_park(v);
	if (!value) {
		virtqueue_stop(vq);
	} else if (!vq->ready) {
		vq->event_idx = v->accepted >> VIRTIO_RING_F_EVENT_IDX & 1;
		vq->indirect = v->accepted >> VIRTIO_RING_F_INDIRECT_DESC & 1;
		if (virtqueue_start(vq, 0, 0))
			virtio_needs_reset(v);
	}
	virtio_unpark(v);
}

static void set_half(uint64_t *address, bool high, uint32_t value)
{
	*address = high ? (*address & 0xffffffffULL) | (uint64_t)value << 32 :
			  (*address & ~0xffffffffULL) | value;
}

/* Registers of the selected queue; all but 'ready' are fixed while it is in use. */
static void write_queue_register(struct virtio *v, uint64_t offset, uint32_t value)
{
	struct virtqueue *vq = selected_queue(v);

	if (!vq)
		return;
	if (offset == VIRTIO_MMIO_QUEUE_READY) {
		write_queue_ready(v, vq, value);
		return;
	}
	if (vq->ready)
		return;
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		vq->size = value <= VIRTQUEUE_SIZE_MAX ? (uint16_t)value : 0;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_half(&vq->desc_gpa, offset == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_half(&vq->avail_gpa, offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_half(&vq->used_gpa, offset == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
		break;
	default:
		break;
	}
}

static void write_register(struct virtio *v, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		v->features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		v->driver_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		write_driver_features(v, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		v->queue_sel = value;
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		virtio_acknowledge(v, value);
		break;
	case VIRTIO_MMIO_STATUS:
		write_status(v, value);
		break;
	default:
		write_queue_register(v, offset, value);
		break;
	}
}

void virtio_mmio_write(struct device *dev, uint64_t offset, const void *data, unsigned int len)
{
	struct virtio *v = to_virtio(dev);
	uint32_t value;

	/* No model here has a writable configuration field. */
	if (len != sizeof(value) || offset % sizeof(value) || offset >= VIRTIO_MMIO_CONFIG)
		return;
	memcpy(&value, data, sizeof(value));
	if (offset == VIRTIO_MMIO_QUEUE_NOTIFY) {
		virtio_kick(v);
		return;
	}
	pthread_mutex_lock(&v->lock);
	write_register(v, offset, value);
	pthread_mutex_unlock(&v->lock);
}
