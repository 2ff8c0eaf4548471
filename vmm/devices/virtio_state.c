/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device's saved state. Between quiesce() and resume() no request is in flight: each chain
 * that was taken has been given back, so a queue is its addresses and two indexes.
 */
#include <errno.h>
#include <linux/virtio_mmio.h>

#include "vmm/devices/virtio_private.h"

#define INTERRUPT_CAUSES (VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG)

static void save_queue(const struct virtqueue *vq, struct state_writer *w)
{
	state_put16(w, vq->size);
	state_put64(w, vq->desc_gpa);
	state_put64(w, vq->avail_gpa);
	state_put64(w, vq->used_gpa);
	state_put8(w, vq->ready);
	state_put16(w, vq->next_avail);
	state_put16(w, vq->next_used);
}

int virtio_state_save(struct device *dev, void *buf, size_t max)
{
	struct virtio *v = to_virtio(dev);
	struct state_writer w = { .buf = buf, .max = max };

	pthread_mutex_lock(&v->lock);
	state_put8(&w, v->status);
	state_put64(&w, v->accepted);
	state_put32(&w, v->features_sel);
	state_put32(&w, v->driver_features_sel);
	state_put32(&w, v->queue_sel);
	state_put32(&w, v->interrupt_status);
	state_put32(&w, v->config_generation);
	state_put8(&w, (uint8_t)v->model->ops->queues);
	for (unsigned int i = 0; i < v->model->ops->queues; i++)
		save_queue(&v->queues[i], &w);
	if (v->model->ops->save)
		v->model->ops->save(v->model, &w);
	pthread_mutex_unlock(&v->lock);
	return state_written(&w);
}

/* The transport's part of a state, read and checked before anything of the device changes. */
struct loaded {
	uint8_t status;
	uint64_t accepted;
	uint32_t features_sel;
	uint32_t driver_features_sel;
	uint32_t queue_sel;
	uint32_t interrupt_status;
	uint32_t config_generation;
	struct virtqueue queues[VIRTIO_QUEUES_MAX];
};

static int load_queue(struct virtio *v, const struct loaded *l, struct virtqueue *vq,
		      struct state_reader *r)
{
	uint16_t next_avail, next_used;
	bool ready;

	vq->memory = v->memory;
	vq->event_idx = l->accepted >> VIRTIO_RING_F_EVENT_IDX & 1;
	vq->indirect = l->accepted >> VIRTIO_RING_F_INDIRECT_DESC & 1;
	vq->size = state_get16(r);
	vq->desc_gpa = state_get64(r);
	vq->avail_gpa = state_get64(r);
	vq->used_gpa = state_get64(r);
	ready = state_get_bool(r);
	next_avail = state_get16(r);
	next_used = state_get16(r);
	if (r->overflow || vq->size > VIRTQUEUE_SIZE_MAX)
		return -EINVAL;
	if (!ready)
		return next_avail || next_used ? -EINVAL : 0;
	return virtqueue_start(vq, next_avail, next_used);
}

static bool status_plausible(const struct virtio *v, const struct loaded *l)
{
	if (l->status & ~(VIRTIO_STATUS_DRIVER_BITS | VIRTIO_CONFIG_S_NEEDS_RESET))
		return false;
	if ((l->status & VIRTIO_CONFIG_S_DRIVER_OK) && !(l->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return false;
	/* Until FEATURES_OK the driver may have written anything. */
	if (!(l->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return true;
	return !(l->accepted & ~v->offered) && (l->accepted >> VIRTIO_F_VERSION_1 & 1);
}

static int load_transport(struct virtio *v, struct loaded *l, struct state_reader *r)
{
	l->status = state_get8(r);
	l->accepted = state_get64(r);
	l->features_sel = state_get32(r);
	l->driver_features_sel = state_get32(r);
	l->queue_sel = state_get32(r);
	l->interrupt_status = state_get32(r);
	l->config_generation = state_get32(r);
	if (state_get8(r) != v->model->ops->queues || r->overflow ||
	    (l->interrupt_status & ~INTERRUPT_CAUSES) || !status_plausible(v, l))
		return -EINVAL;
	for (unsigned int i = 0; i < v->model->ops->queues; i++) {
		int ret = load_queue(v, l, &l->queues[i], r);

		if (ret)
			return ret;
	}
	return 0;
}

static void apply(struct virtio *v, const struct loaded *l)
{
	v->status = l->status;
	v->accepted = l->accepted;
	v->features_sel = l->features_sel;
	v->driver_features_sel = l->driver_features_sel;
	v->queue_sel = l->queue_sel;
	for (unsigned int i = 0; i < v->model->ops->queues; i++)
		v->queues[i] = l->queues[i];
	pthread_mutex_lock(&v->irq_lock);
	v->interrupt_status = l->interrupt_status;
	v->config_generation = l->config_generation;
	pthread_mutex_unlock(&v->irq_lock);
}

int virtio_state_load(struct device *dev, const void *buf, size_t len)
{
	struct virtio *v = to_virtio(dev);
	struct state_reader r = { .buf = buf, .len = len };
	struct loaded l = { 0 };
	int ret = -EBUSY;

	pthread_mutex_lock(&v->lock);
	if (!v->quiesced)
		goto out;
	ret = load_transport(v, &l, &r);
	/* The model reads last and changes nothing unless the whole state is there. */
	if (!ret && v->model->ops->load)
		ret = v->model->ops->load(v->model, &r);
	if (!ret && !state_complete(&r))
		ret = -EINVAL;
	if (!ret)
		apply(v, &l);
out:
	pthread_mutex_unlock(&v->lock);
	return ret;
}
