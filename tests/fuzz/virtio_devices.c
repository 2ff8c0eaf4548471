/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest: register accesses and writes to its own memory, in any order, against a device.
 * The input is a program. Its first byte chooses the device, then come operations: an opcode, then
 * operands. So that it gets past the set-up, one operation does by the book what a driver does;
 * addresses are taken in the first 64 KiB of RAM unless their top bit says otherwise.
 */
#include <fcntl.h>
#include <linux/virtio_mmio.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/devices/virtio.h"
#include "vmm/devices/virtio_blk.h"
#include "vmm/devices/virtio_console.h"
#include "vmm/devices/virtio_net.h"
#include "vmm/devices/virtio_rng.h"

#define RAM	       (2ULL << 20)
#define PLAYGROUND     0x10000U
#define IMAGE_BYTES    0x8000
#define OPERATIONS_MAX 200
#define QUEUE_SIZE     8
#define QUEUE_BYTES    0x400U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct program {
	const uint8_t *at;
	size_t left;
};

static uint64_t take(struct program *p, unsigned int bytes)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < bytes && p->left; i++, p->at++, p->left--)
		v |= (uint64_t)*p->at << (8 * i);
	return v;
}

/*
 * Sixteen bits: a place in the playground, or, with the top bit, one of the ends of RAM and of all
 * addresses.
 */
static uint64_t take_gpa(struct program *p)
{
	static const uint64_t ends[] = { RAM,	     RAM - 1,	  UINT64_MAX, UINT64_MAX - 16,
					 0xbfffffff, 0x100000000, 1ULL << 63, 0 };
	uint64_t v = take(p, 2);

	return v & 0x8000 ? ends[v & 7] - (v >> 3 & 0xff) : v;
}

static void irq_set(void *opaque, unsigned int gsi, bool level)
{
}

static void write32(struct device *dev, uint64_t offset, uint32_t value)
{
	dev->ops->write(dev, offset, &value, sizeof(value));
}

static void start_by_the_book(struct device *dev, uint32_t features)
{
	write32(dev, VIRTIO_MMIO_STATUS, 0);
	write32(dev, VIRTIO_MMIO_STATUS, 3);
	write32(dev, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	write32(dev, VIRTIO_MMIO_DRIVER_FEATURES, features);
	write32(dev, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	write32(dev, VIRTIO_MMIO_DRIVER_FEATURES, 3);
	write32(dev, VIRTIO_MMIO_STATUS, 0x0b);
	for (uint32_t i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		write32(dev, VIRTIO_MMIO_QUEUE_SEL, i);
		write32(dev, VIRTIO_MMIO_QUEUE_NUM, QUEUE_SIZE);
		write32(dev, VIRTIO_MMIO_QUEUE_DESC_LOW, i * QUEUE_BYTES);
		write32(dev, VIRTIO_MMIO_QUEUE_AVAIL_LOW, i * QUEUE_BYTES + 0x100);
		write32(dev, VIRTIO_MMIO_QUEUE_USED_LOW, i * QUEUE_BYTES + 0x200);
		write32(dev, VIRTIO_MMIO_QUEUE_READY, 1);
	}
	write32(dev, VIRTIO_MMIO_STATUS, 0x0f);
}

/* A descriptor of queue's table and, if asked for, its head made available. */
static void add_descriptor(struct program *p, uint8_t *ram)
{
	uint64_t queue = take(p, 1) % VIRTIO_QUEUES_MAX, index = take(p, 1) % QUEUE_SIZE;
	uint8_t *base = ram + queue * QUEUE_BYTES;
	struct vring_desc *desc = (struct vring_desc *)base + index;
	uint16_t *avail = (uint16_t *)(base + 0x100);
	uint8_t how;

	desc->addr = take_gpa(p);
	desc->len = (uint32_t)take(p, 2);
	how = (uint8_t)take(p, 1);
	desc->flags = how & 7;
	desc->next = how >> 3 & 15;
	if (how & 0x80) {
		avail[2 + avail[1] % QUEUE_SIZE] = (uint16_t)index;
		__atomic_store_n(&avail[1], (uint16_t)(avail[1] + 1), __ATOMIC_RELEASE);
	}
}

/* Give the worker time to do what it was told, so that the same input does the same. */
static void settle(struct device *dev)
{
	struct pollfd kick = { .fd = virtio_notify_fd(dev), .events = POLLIN };

	while (poll(&kick, 1, 0) > 0)
		sched_yield();
	dev->ops->quiesce(dev);
	dev->ops->resume(dev);
}

static void step(struct program *p, struct device *dev, uint8_t *ram, int wire)
{
	uint8_t op = (uint8_t)take(p, 1), bytes[64];
	uint64_t gpa, value;
	unsigned int len;

	switch (op % 8) {
	case 0:
		start_by_the_book(dev, (uint32_t)take(p, 4));
		break;
	case 1:
	case 2:
		add_descriptor(p, ram);
		break;
	case 3:
		write32(dev, VIRTIO_MMIO_QUEUE_NOTIFY, op >> 3);
		settle(dev);
		break;
	case 4:
		gpa = take(p, 2) % PLAYGROUND;
		for (len = op >> 3; len && gpa < PLAYGROUND; len--)
			ram[gpa++] = (uint8_t)take(p, 1);
		break;
	case 5:
		value = take(p, 2);
		len = 1U << (op >> 3 & 3);
		gpa = take(p, len);
		dev->ops->write(dev, value % (0x1000 - 8), &gpa, len);
		break;
	case 6:
		dev->ops->read(dev, take(p, 2) % (0x1000 - 8), bytes, 1U << (op >> 3 & 3));
		break;
	default:
		memset(bytes, op, sizeof(bytes));
		if (wire >= 0 && send(wire, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			break;
		settle(dev);
		break;
	}
}

static int image(void)
{
	static int fd = -1;

	if (fd < 0) {
		fd = memfd_create("image", MFD_CLOEXEC);
		if (fd < 0 || ftruncate(fd, IMAGE_BYTES))
			abort();
	}
	return fd;
}

static struct virtio_model *make_model(unsigned int which, int *wire, int *console)
{
	static const uint8_t mac[VIRTIO_NET_MAC_BYTES] = { 0x52, 0x54, 0, 0, 0, 1 };
	struct virtio_model *model = NULL;
	char path[40];
	int fds[2];

	if (which == 0) {
		const struct virtio_blk_options options = { .path = path, .serial = "fuzz" };

		snprintf(path, sizeof(path), "/proc/self/fd/%d", image());
		if (virtio_blk_create(&model, &options))
			abort();
	} else if (which == 1) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds) ||
		    virtio_net_create(&model, fds[0], mac))
			abort();
		*wire = fds[1];
	} else if (which == 2) {
		if (virtio_rng_create(&model))
			abort();
	} else {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) ||
		    virtio_console_create(&model, fds[0], fds[0]))
			abort();
		*wire = fds[1];
		*console = fds[0];
	}
	return model;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct irq_line irq = { .set = irq_set, .gsi = 16 };
	static struct guest_memory *memory;
	struct program p = { data, size };
	struct device *dev;
	uint8_t *ram, state[1024];
	int wire = -1, console = -1, len;

	if (!memory && guest_memory_create(&memory, RAM, false))
		abort();
	ram = guest_memory_hva(memory, 0, RAM);
	memset(ram, 0, PLAYGROUND);
	if (virtio_create(&dev, make_model((unsigned int)take(&p, 1) % 4, &wire, &console), memory,
			  irq))
		abort();
	for (unsigned int i = 0; i < OPERATIONS_MAX && p.left; i++)
		step(&p, dev, ram, wire);
	/* Whatever a guest does, its state can be saved and what was saved can be loaded. */
	dev->ops->quiesce(dev);
	len = dev->ops->save(dev, state, sizeof(state));
	if (len < 0 || dev->ops->load(dev, state, (size_t)len))
		abort();
	dev->ops->destroy(dev);
	if (wire >= 0)
		close(wire);
	if (console >= 0)
		close(console);
	return 0;
}
