/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/devices/virtio_console.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/devices/console_io.h"

enum { QUEUE_RX, QUEUE_TX, QUEUES };

#define QUEUE_SIZE 64

struct virtio_console {
	struct virtio_model model;
	struct console_io *io;
	struct virtq_chain chain; /* the worker's */

	pthread_mutex_t lock; /* all below; nothing else is called with it held */
	bool open; /* the driver works: input is welcome */
	uint8_t input[VIRTIO_CONSOLE_INPUT_BYTES];
	unsigned int input_bytes;
	uint64_t dropped;
};

static struct virtio_console *to_console(struct virtio_model *model)
{
	return (struct virtio_console *)model;
}

/* console_io's thread: room for how many bytes of input, then the bytes. */
static size_t console_input_room(void *opaque)
{
	struct virtio_console *c = opaque;
	size_t room;

	pthread_mutex_lock(&c->lock);
	room = c->open ? sizeof(c->input) - c->input_bytes : 0;
	pthread_mutex_unlock(&c->lock);
	return room;
}

static void console_input(void *opaque, const uint8_t *bytes, size_t len)
{
	struct virtio_console *c = opaque;

	pthread_mutex_lock(&c->lock);
	/* A reset since console_input_room() only makes more room. */
	memcpy(c->input + c->input_bytes, bytes, len);
	c->input_bytes += (unsigned int)len;
	pthread_mutex_unlock(&c->lock);
	virtio_kick(c->model.virtio);
}

static void console_output_room(void *opaque)
{
}

static bool console_open(struct virtio_console *c, bool open)
{
	bool before;

	pthread_mutex_lock(&c->lock);
	before = c->open;
	c->open = open;
	if (!open)
		c->input_bytes = 0;
	pthread_mutex_unlock(&c->lock);
	return before;
}

/* Take input for a chain of so many bytes; returns how many. */
static size_t console_take_input(struct virtio_console *c, uint8_t *bytes, uint64_t max)
{
	size_t len;

	pthread_mutex_lock(&c->lock);
	len = c->input_bytes < max ? c->input_bytes : (size_t)max;
	memcpy(bytes, c->input, len);
	c->input_bytes -= (unsigned int)len;
	memmove(c->input, c->input + len, c->input_bytes);
	pthread_mutex_unlock(&c->lock);
	return len;
}

static bool console_has_input(struct virtio_console *c)
{
	bool has;

	pthread_mutex_lock(&c->lock);
	has = c->input_bytes > 0;
	pthread_mutex_unlock(&c->lock);
	return has;
}

static int console_work_rx(struct virtio_console *c)
{
	struct virtqueue *vq = virtio_queue(c->model.virtio, QUEUE_RX);
	uint8_t bytes[VIRTIO_CONSOLE_INPUT_BYTES];

	while (console_has_input(c) && !virtio_must_stop(c->model.virtio)) {
		int got = virtqueue_pop(vq, &c->chain);
		size_t len;

		if (got < 0)
			return got;
		if (!got) {
			virtqueue_set_notify(vq, true);
			if (!virtqueue_has_buffers(vq))
				return 0;
			continue;
		}
		len = console_take_input(c, bytes, c->chain.writable_bytes);
		virtq_chain_write(vq, &c->chain, 0, bytes, len);
		virtio_complete(c->model.virtio, vq, c->chain.head, (uint32_t)len);
		console_io_want_input(c->io, true);
	}
	return 0;
}

static void console_print(struct virtio_console *c)
{
	uint8_t bytes[CONSOLE_IO_CHUNK];
	uint64_t at = 0, left;

	for (left = c->chain.readable_bytes; left; left = c->chain.readable_bytes - at) {
		size_t len = left < sizeof(bytes) ? (size_t)left : sizeof(bytes);

		if (!virtq_chain_read(&c->chain, at, bytes, len))
			return;
		if (!console_io_put(c->io, bytes, len)) {
			pthread_mutex_lock(&c->lock);
			c->dropped += len;
			pthread_mutex_unlock(&c->lock);
		}
		at += len;
	}
}

static int console_work_tx(struct virtio_console *c)
{
	struct virtqueue *vq = virtio_queue(c->model.virtio, QUEUE_TX);

	do {
		virtqueue_set_notify(vq, false);
		while (!virtio_must_stop(c->model.virtio)) {
			int got = virtqueue_pop(vq, &c->chain);

			if (got < 0)
				return got;
			if (!got)
				break;
			console_print(c);
			virtio_complete(c->model.virtio, vq, c->chain.head, 0);
		}
		virtqueue_set_notify(vq, true);
	} while (virtqueue_has_buffers(vq) && !virtio_must_stop(c->model.virtio));
	return 0;
}

static int console_work(struct virtio_model *model)
{
	struct virtio_console *c = to_console(model);
	int ret = console_work_tx(c);

	if (ret)
		return ret;
	if (!console_open(c, true))
		console_io_want_input(c->io, true);
	return console_work_rx(c);
}

static void console_reset(struct virtio_model *model)
{
	console_open(to_console(model), false);
}

static int console_flush(struct virtio_model *model)
{
	console_io_pause(to_console(model)->io);
	return 0;
}

static void console_resume(struct virtio_model *model)
{
	console_io_unpause(to_console(model)->io);
}

static void console_save(struct virtio_model *model, struct state_writer *w)
{
	struct virtio_console *c = to_console(model);

	pthread_mutex_lock(&c->lock);
	state_put8(w, (uint8_t)c->input_bytes);
	state_put(w, c->input, c->input_bytes);
	pthread_mutex_unlock(&c->lock);
}

static int console_load(struct virtio_model *model, struct state_reader *r)
{
	struct virtio_console *c = to_console(model);
	uint8_t input[VIRTIO_CONSOLE_INPUT_BYTES] = { 0 };
	uint8_t bytes = state_get8(r);

	if (bytes > sizeof(input))
		return -EINVAL;
	state_get(r, input, bytes);
	if (!state_complete(r))
		return -EINVAL;
	pthread_mutex_lock(&c->lock);
	memcpy(c->input, input, sizeof(input));
	c->input_bytes = bytes;
	pthread_mutex_unlock(&c->lock);
	return 0;
}

static void console_destroy(struct virtio_model *model)
{
	struct virtio_console *c = to_console(model);

	console_io_destroy(c->io);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static const struct virtio_model_ops console_ops = {
	.name = "virtio-console/1",
	.device_id = VIRTIO_ID_CONSOLE,
	.queues = QUEUES,
	.queue_size = QUEUE_SIZE,
	.work = console_work,
	.reset = console_reset,
	.flush = console_flush,
	.resume = console_resume,
	.save = console_save,
	.load = console_load,
	.destroy = console_destroy,
};

void virtio_console_get_stats(struct virtio_model *model, struct virtio_console_stats *stats)
{
	struct virtio_console *c = to_console(model);
	struct console_io_stats io;

	console_io_get_stats(c->io, &io);
	pthread_mutex_lock(&c->lock);
	*stats = (struct virtio_console_stats){ io.bytes + c->dropped, io.writes, c->dropped };
	pthread_mutex_unlock(&c->lock);
}

int virtio_console_create(struct virtio_model **model, int in_fd, int out_fd)
{
	const struct console_io_ops io_ops = {
		.input_room = console_input_room,
		.input = console_input,
		.output_room = console_output_room,
	};
	struct virtio_console *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return -ENOMEM;
	c->model.ops = &console_ops;
	pthread_mutex_init(&c->lock, NULL);
	ret = console_io_create(&c->io, &io_ops, c, in_fd, out_fd);
	if (ret) {
		pthread_mutex_destroy(&c->lock);
		free(c);
		return ret;
	}
	*model = &c->model;
	return 0;
}
