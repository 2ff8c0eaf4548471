/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/devices/virtio.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/devices/virtio_private.h"
#include "vmm/thread.h"

void virtio_kick(struct virtio *v)
{
	uint64_t one = 1;

	/* Only fails when the counter is full, and then the worker wakes up anyway. */
	if (write(v->kick_fd, &one, sizeof(one)) < 0)
		return;
}

void virtio_park(struct virtio *v)
{
	atomic_fetch_add_explicit(&v->parked, 1, memory_order_relaxed);
	while (v->busy)
		pthread_cond_wait(&v->idle, &v->lock);
}

void virtio_unpark(struct virtio *v)
{
	if (atomic_fetch_sub_explicit(&v->parked, 1, memory_order_relaxed) == 1)
		virtio_kick(v);
}

bool virtio_must_stop(struct virtio *v)
{
	return atomic_load_explicit(&v->parked, memory_order_relaxed) != 0;
}

void virtio_raise(struct virtio *v, uint32_t cause)
{
	pthread_mutex_lock(&v->irq_lock);
	if (cause & VIRTIO_MMIO_INT_CONFIG)
		v->config_generation++;
	v->interrupt_status |= cause;
	v->irq.set(v->irq.opaque, v->irq.gsi, true);
	pthread_mutex_unlock(&v->irq_lock);
}

void virtio_acknowledge(struct virtio *v, uint32_t causes)
{
	pthread_mutex_lock(&v->irq_lock);
	v->interrupt_status &= ~causes;
	if (!v->interrupt_status)
		v->irq.set(v->irq.opaque, v->irq.gsi, false);
	pthread_mutex_unlock(&v->irq_lock);
}

void virtio_needs_reset(struct virtio *v)
{
	v->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	if (v->status & VIRTIO_CONFIG_S_DRIVER_OK)
		virtio_raise(v, VIRTIO_MMIO_INT_CONFIG);
}

void virtio_reset(struct virtio *v)
{
	const struct virtio_model_ops *ops = v->model->ops;

	if (ops->reset)
		ops->reset(v->model);
	v->status = 0;
	v->accepted = 0;
	v->features_sel = 0;
	v->driver_features_sel = 0;
	v->queue_sel = 0;
	for (unsigned int i = 0; i < ops->queues; i++) {
		virtqueue_stop(&v->queues[i]);
		memset(&v->queues[i], 0, sizeof(v->queues[i]));
		v->queues[i].memory = v->memory;
		v->queues[i].size = ops->queue_size;
	}
	virtio_acknowledge(v, UINT32_MAX);
}

struct virtqueue *virtio_queue(struct virtio *v, unsigned int index)
{
	return &v->queues[index];
}

void virtio_complete(struct virtio *v, struct virtqueue *vq, uint16_t head, uint32_t written)
{
	virtqueue_push(vq, head, written);
	if (virtqueue_wants_interrupt(vq))
		virtio_raise(v, VIRTIO_MMIO_INT_VRING);
}

bool virtio_has_feature(struct virtio *v, unsigned int bit)
{
	return atomic_load_explicit(&v->accepted, memory_order_relaxed) >> bit & 1;
}

void virtio_config_changed(struct virtio *v)
{
	virtio_raise(v, VIRTIO_MMIO_INT_CONFIG);
}

static bool virtio_runnable(const struct virtio *v)
{
	return !v->parked && (v->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
	       !(v->status & VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void virtio_work(struct virtio *v)
{
	int ret;

	pthread_mutex_lock(&v->lock);
	if (!virtio_runnable(v)) {
		pthread_mutex_unlock(&v->lock);
		return;
	}
	v->busy = true;
	pthread_mutex_unlock(&v->lock);
	ret = v->model->ops->work(v->model);
	pthread_mutex_lock(&v->lock);
	v->busy = false;
	if (ret)
		virtio_needs_reset(v);
	pthread_cond_broadcast(&v->idle);
	pthread_mutex_unlock(&v->lock);
}

/*
 * What to wait for besides the kick, and how long: nothing while no work may be done, or poll()
 * would not wait.
 */
static int virtio_wait_fd(struct virtio *v, int *wait_ms, bool *stop)
{
	const struct virtio_model_ops *ops = v->model->ops;
	int fd = -1;

	*wait_ms = -1;
	pthread_mutex_lock(&v->lock);
	*stop = v->stop;
	if (!v->stop && virtio_runnable(v)) {
		if (ops->wait_fd)
			fd = ops->wait_fd(v->model);
		if (ops->wait_ms)
			*wait_ms = ops->wait_ms(v->model);
	}
	pthread_mutex_unlock(&v->lock);
	return fd;
}

static void *virtio_worker(void *arg)
{
	struct virtio *v = arg;
	int wait_ms;
	bool stop;

	vmm_thread_enter(VMM_THREAD_DEVICE, "virtio");
	for (;;) {
		struct pollfd fds[2] = { { .fd = v->kick_fd, .events = POLLIN },
					 { .events = POLLIN } };
		uint64_t count;

		fds[1].fd = virtio_wait_fd(v, &wait_ms, &stop);
		if (stop)
			return NULL;
		if (poll(fds, 2, wait_ms) < 0)
			continue;
		if (fds[0].revents && read(v->kick_fd, &count, sizeof(count)) < 0)
			continue;
		virtio_work(v);
	}
}

static int virtio_quiesce(struct device *dev)
{
	struct virtio *v = to_virtio(dev);

	pthread_mutex_lock(&v->lock);
	if (!v->quiesced) {
		v->quiesced = true;
		virtio_park(v);
	}
	pthread_mutex_unlock(&v->lock);
	return v->model->ops->flush ? v->model->ops->flush(v->model) : 0;
}

static void virtio_resume(struct device *dev)
{
	struct virtio *v = to_virtio(dev);

	pthread_mutex_lock(&v->lock);
	if (v->quiesced) {
		v->quiesced = false;
		if (v->model->ops->resume)
			v->model->ops->resume(v->model);
		/*
		 * The line's level is not in the state that migrates with KVM's interrupt
		 * controllers: drive it again.
		 */
		pthread_mutex_lock(&v->irq_lock);
		v->irq.set(v->irq.opaque, v->irq.gsi, v->interrupt_status != 0);
		pthread_mutex_unlock(&v->irq_lock);
		/*
		 * The kick in it replaces notifications that came while nobody worked, on this host
		 * or another one.
		 */
		virtio_unpark(v);
	}
	pthread_mutex_unlock(&v->lock);
}

static void virtio_destroy(struct device *dev)
{
	struct virtio *v = to_virtio(dev);

	if (v->has_thread) {
		pthread_mutex_lock(&v->lock);
		v->stop = true;
		virtio_park(v);
		pthread_mutex_unlock(&v->lock);
		virtio_kick(v);
		pthread_join(v->thread, NULL);
	}
	/* A thread of the model may kick the worker until it is destroyed. */
	if (v->model)
		v->model->ops->destroy(v->model);
	if (v->kick_fd >= 0)
		close(v->kick_fd);
	pthread_cond_destroy(&v->idle);
	pthread_mutex_destroy(&v->irq_lock);
	pthread_mutex_destroy(&v->lock);
	free((struct device_ops *)v->dev.ops);
	free(v);
}

/* Each device has its own table, because the name in it is the model's. */
static struct device_ops *virtio_device_ops(const char *name)
{
	const struct device_ops ops = {
		.name = name,
		.read = virtio_mmio_read,
		.write = virtio_mmio_write,
		.quiesce = virtio_quiesce,
		.resume = virtio_resume,
		.save = virtio_state_save,
		.load = virtio_state_load,
		.destroy = virtio_destroy,
	};
	struct device_ops *copy = malloc(sizeof(*copy));

	if (copy)
		*copy = ops;
	return copy;
}

static struct virtio *virtio_alloc(const char *name, struct irq_line irq)
{
	struct virtio *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->dev.ops = virtio_device_ops(name);
	if (!v->dev.ops) {
		free(v);
		return NULL;
	}
	v->irq = irq;
	v->kick_fd = -1;
	pthread_mutex_init(&v->lock, NULL);
	pthread_mutex_init(&v->irq_lock, NULL);
	pthread_cond_init(&v->idle, NULL);
	return v;
}

static int virtio_start_worker(struct virtio *v)
{
	sigset_t all, old;
	int ret;

	v->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->kick_fd < 0)
		return -errno;
	/* Signals are the business of the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = -pthread_create(&v->thread, NULL, virtio_worker, v);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	v->has_thread = !ret;
	return ret;
}

int virtio_create(struct device **dev, struct virtio_model *model, struct guest_memory *memory,
		  struct irq_line irq)
{
	struct virtio *v;
	int ret;

	if (!model->ops->queues || model->ops->queues > VIRTIO_QUEUES_MAX)
		return -EINVAL;
	v = virtio_alloc(model->ops->name, irq);
	if (!v)
		return -ENOMEM;
	v->memory = memory;
	v->offered = 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_F_ACCESS_PLATFORM |
		     1ULL << VIRTIO_RING_F_INDIRECT_DESC | 1ULL << VIRTIO_RING_F_EVENT_IDX |
		     (model->ops->features ? model->ops->features(model) : 0);
	for (unsigned int i = 0; i < model->ops->queues; i++) {
		v->queues[i].memory = memory;
		v->queues[i].size = model->ops->queue_size;
	}
	v->model = model;
	model->virtio = v;
	ret = virtio_start_worker(v);
	if (ret) {
		v->model = NULL;
		virtio_destroy(&v->dev);
		return ret;
	}
	*dev = &v->dev;
	return 0;
}

int virtio_notify_fd(struct device *dev)
{
	return dev->ops->read == virtio_mmio_read ? to_virtio(dev)->kick_fd : -1;
}

struct virtio_model *virtio_model_of(struct device *dev)
{
	return dev->ops->read == virtio_mmio_read ? to_virtio(dev)->model : NULL;
}

static void empty_read(struct device *dev, uint64_t offset, void *data, unsigned int len)
{
	uint32_t v = offset == VIRTIO_MMIO_MAGIC_VALUE ? 0x74726976 :
		     offset == VIRTIO_MMIO_VERSION     ? 2 :
							 0;

	memset(data, 0, len);
	if (len == sizeof(v))
		memcpy(data, &v, sizeof(v));
}

static void empty_write(struct device *dev, uint64_t offset, const void *data, unsigned int len)
{
}

static void empty_destroy(struct device *dev)
{
	free(dev);
}

int virtio_create_empty(struct device **dev)
{
	static const struct device_ops ops = {
		.name = "virtio-empty/1",
		.read = empty_read,
		.write = empty_write,
		.destroy = empty_destroy,
	};
	struct device *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->ops = &ops;
	*dev = d;
	return 0;
}
