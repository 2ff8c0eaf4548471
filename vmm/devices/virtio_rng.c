/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/devices/virtio_rng.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define QUEUE_SIZE 8
/* a longer buffer is filled to here, which the specification allows */
#define REQUEST_BYTES_MAX 4096

struct virtio_rng {
	struct virtio_model model;
	struct virtq_chain chain;
};

/* 0 bytes when the host has no randomness to give: the driver asks again. */
static uint32_t rng_fill(struct virtqueue *vq, const struct virtq_chain *chain)
{
	uint8_t bytes[REQUEST_BYTES_MAX];
	size_t want = chain->writable_bytes < sizeof(bytes) ? chain->writable_bytes : sizeof(bytes);
	ssize_t got = getrandom(bytes, want, 0);

	if (got <= 0 || !virtq_chain_write(vq, chain, 0, bytes, (size_t)got))
		got = 0;
	explicit_bzero(bytes, sizeof(bytes));
	return (uint32_t)got;
}

static int rng_work(struct virtio_model *model)
{
	struct virtio_rng *rng = (struct virtio_rng *)model;
	struct virtqueue *vq = virtio_queue(model->virtio, 0);

	do {
		while (!virtio_must_stop(model->virtio)) {
			int got = virtqueue_pop(vq, &rng->chain);

			if (got < 0)
				return got;
			if (!got)
				break;
			virtio_complete(model->virtio, vq, rng->chain.head,
					rng_fill(vq, &rng->chain));
		}
		virtqueue_set_notify(vq, true);
	} while (virtqueue_has_buffers(vq) && !virtio_must_stop(model->virtio));
	return 0;
}

static void rng_destroy(struct virtio_model *model)
{
	free(model);
}

static const struct virtio_model_ops rng_ops = {
	.name = "virtio-rng/1",
	.device_id = VIRTIO_ID_RNG,
	.queues = 1,
	.queue_size = QUEUE_SIZE,
	.work = rng_work,
	.destroy = rng_destroy,
};

int virtio_rng_create(struct virtio_model **model)
{
	struct virtio_rng *rng = calloc(1, sizeof(*rng));

	if (!rng)
		return -ENOMEM;
	rng->model.ops = &rng_ops;
	*model = &rng->model;
	return 0;
}
