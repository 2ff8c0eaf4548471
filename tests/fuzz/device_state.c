/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile source of a migration: the saved state of all devices, with any bytes in it. What is
 * accepted must save again, to bytes that are accepted too, and the devices must then survive a
 * guest that uses them.
 */
#include <fcntl.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/bus.h"
#include "launch/device_layout.h"
#include "vmm/devices/serial.h"
#include "vmm/devices/virtio_blk.h"
#include "vmm/devices/virtio_console.h"
#include "vmm/devices/virtio_net.h"
#include "vmm/devices/virtio_rng.h"

#define RAM	(2ULL << 20)
#define SECTORS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct bus *bus;

static void irq_set(void *opaque, unsigned int gsi, bool level)
{
}

static void add_slot(struct guest_memory *memory, unsigned int slot, struct virtio_model *model)
{
	const struct irq_line irq = { .set = irq_set, .gsi = VIRTIO_MMIO_GSI + slot };
	struct device *dev;

	if (virtio_create(&dev, model, memory, irq) ||
	    bus_add(bus, BUS_MMIO, VIRTIO_MMIO_BASE + slot * VIRTIO_MMIO_STRIDE, VIRTIO_MMIO_STRIDE,
		    dev))
		abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const uint8_t mac[VIRTIO_NET_MAC_BYTES] = { 0x52, 0x54, 0, 0, 0, 1 };
	char path[] = "/tmp/fuzz-disk-XXXXXX";
	const struct virtio_blk_options options = { .path = path, .incoming_bytes = SECTORS * 512 };
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int disk = mkstemp(path);
	const struct irq_line irq = { .set = irq_set, .gsi = SERIAL_GSI };
	struct guest_memory *memory;
	struct virtio_model *model;
	struct device *dev;
	int fds[2];

	bus = bus_create();
	if (!bus || guest_memory_create(&memory, RAM, false) || serial_create(&dev, irq, -1, -1) ||
	    bus_add(bus, BUS_PIO, SERIAL_PORT, SERIAL_PORTS, dev))
		abort();
	/* A target's disk: the source's lock shows. */
	if (disk < 0 || ftruncate(disk, SECTORS * 512) || fcntl(disk, F_OFD_SETLK, &lock) ||
	    virtio_blk_create(&model, &options))
		abort();
	unlink(path);
	add_slot(memory, 0, model);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds) ||
	    virtio_net_create(&model, fds[0], mac))
		abort();
	add_slot(memory, 1, model);
	if (virtio_rng_create(&model))
		abort();
	add_slot(memory, 2, model);
	if (virtio_console_create(&model, -1, -1))
		abort();
	add_slot(memory, 3, model);
	bus_quiesce(bus);
	return 0;
}

static void use_devices(void)
{
	uint32_t v = 0;

	for (uint64_t port = 0; port < SERIAL_PORTS; port++)
		bus_read(bus, BUS_PIO, SERIAL_PORT + port, &v, 1);
	for (unsigned int slot = 0; slot < 4; slot++) {
		uint64_t base = VIRTIO_MMIO_BASE + slot * VIRTIO_MMIO_STRIDE;

		bus_read(bus, BUS_MMIO, base + VIRTIO_MMIO_CONFIG, &v, 4);
		bus_read(bus, BUS_MMIO, base + VIRTIO_MMIO_QUEUE_NUM_MAX, &v, 4);
		bus_write(bus, BUS_MMIO, base + VIRTIO_MMIO_QUEUE_NOTIFY, &v, 4);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *again = NULL;
	size_t len = 0;

	if (bus_load(bus, data, size))
		return 0;
	if (bus_save(bus, &again, &len) || len != size || memcmp(again, data, len) != 0)
		abort();
	free(again);
	bus_resume(bus);
	use_devices();
	bus_quiesce(bus);
	return 0;
}
