/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "vmm/bus.h"
#include "launch/device_layout.h"
#include "vmm/devices/serial.h"
#include "vmm/devices/virtio.h"
#include "vmm/devices/virtio_blk.h"
#include "vmm/devices/virtio_net.h"
#include "vmm/devices/virtio_rng.h"
#include "vmm/host_devices.h"
#include "vmm/machine/machine_private.h"

_Static_assert(MACHINE_MAX_DISKS + MACHINE_MAX_NETS + 1 <= VIRTIO_MMIO_SLOTS, "slots");

/* The bus takes the device over, or it is destroyed. */
static int plug(struct machine *machine, enum bus_space space, uint64_t base, uint64_t len,
		struct device *dev, struct why *why)
{
	int err = bus_add(vm_bus(machine->vm), space, base, len, dev);

	if (!err)
		return 0;
	why_set(why, err, "cannot add the device %s at 0x%llx: %s", dev->ops->name,
		(unsigned long long)base, strerror(-err));
	dev->ops->destroy(dev);
	return err;
}

static void fetch_output(void *vm)
{
	vm_take_coalesced(vm);
}

static int add_serial(struct machine *machine, struct why *why)
{
	struct device *dev;
	int err = serial_create(&dev, vm_irq_line(machine->vm, SERIAL_GSI),
				machine->config.serial.in, machine->config.serial.out);

	if (err)
		return why_set(why, err, "cannot create the serial port: %s", strerror(-err));
	err = plug(machine, BUS_PIO, SERIAL_PORT, SERIAL_PORTS, dev, why);
	if (err)
		return err;
	machine->serial = dev;
	/* Without it each byte is an exit; all works the same. */
	if (!vm_coalesce_port(machine->vm, SERIAL_PORT))
		serial_set_collected(dev, (struct serial_collected){ fetch_output, machine->vm });
	return 0;
}

/* A model into the next slot; NULL: an empty one. Takes the model over whatever happens. */
static int add_virtio(struct machine *machine, unsigned int *slot, struct virtio_model *model,
		      struct why *why)
{
	uint64_t base = VIRTIO_MMIO_BASE + *slot * VIRTIO_MMIO_STRIDE;
	struct device *dev;
	int err;

	if (model)
		err = virtio_create(&dev, model, vm_memory(machine->vm),
				    vm_irq_line(machine->vm, VIRTIO_MMIO_GSI + *slot));
	else
		err = virtio_create_empty(&dev);
	if (err) {
		if (model)
			model->ops->destroy(model);
		return why_set(why, err,
			       "cannot create the virtio device in slot %u: "
			       "%s",
			       *slot, strerror(-err));
	}
	err = plug(machine, BUS_MMIO, base, VIRTIO_MMIO_STRIDE, dev, why);
	if (err)
		return err;
	++*slot;
	if (!model)
		return 0;
	err = vm_ioeventfd(machine->vm, base + VIRTIO_MMIO_NOTIFY_OFFSET, virtio_notify_fd(dev));
	return err ? why_set(why, err,
			     "cannot create a virtio device's notification (KVM_IOEVENTFD): %s",
			     strerror(-err)) :
		     0;
}

static const char *disk_error(int err)
{
	switch (err) {
	case -EAGAIN:
		return "is in use by another VM";
	case -EINVAL:
		return "is empty, or neither a file nor a block device";
	case -ESTALE:
		return "does not have the size that the guest knows";
	case -ENOLCK:
		return "is not locked by the source: it is another file, or its file system does "
		       "not carry locks between hosts";
	case -EBADF:
		return "is not the file that the guest had";
	case -EXDEV:
		return "is not in the directory of --disk-dir";
	case -ELOOP:
		return "is a symbolic link, or its path contains one";
	case -EBADFD:
		return "is a block device: name it with --disk";
	default:
		return NULL;
	}
}

static int disk_failed(const struct machine_disk *disk, int err, struct why *why)
{
	const char *text = disk_error(err), *dir = disk->beneath ? disk->beneath : "";

	return why_set(why, err, "the disk %s%s%s%s %s", dir, *dir ? "/" : "", disk->path,
		       text ? "" : ":", text ? text : strerror(-err));
}

int machine_check_disks(const struct machine_config *config, struct why *why)
{
	for (unsigned int i = 0; i < config->ndisks; i++) {
		const struct machine_disk *disk = &config->disks[i];
		const struct virtio_blk_options options = { .path = disk->path,
							    .read_only = disk->read_only };
		struct virtio_model *model;
		int err = virtio_blk_create(&model, &options);

		if (err)
			return disk_failed(disk, err, why);
		model->ops->destroy(model);
	}
	return 0;
}

/*
 * An incoming machine's disk must be on storage that both hosts reach, and that is to be known
 * before anything of the guest has moved.
 */
static int add_disk(struct machine *machine, unsigned int i, unsigned int *slot, struct why *why)
{
	const struct machine_disk *disk = &machine->config.disks[i];
	struct virtio_blk_options options = { .path = disk->path,
					      .beneath = disk->beneath,
					      .read_only = disk->read_only };
	int err;

	if (machine->config.incoming && !disk->bytes)
		return why_set(why, -EINVAL, "the source says that the disk %s is empty",
			       disk->path);
	options.incoming_bytes = machine->config.incoming ? disk->bytes : 0;
	err = virtio_blk_create(&machine->disks[i], &options);
	if (err)
		return disk_failed(disk, err, why);
	return add_virtio(machine, slot, machine->disks[i], why);
}

static int add_net(struct machine *machine, unsigned int i, unsigned int *slot, struct why *why)
{
	const struct machine_net *net = &machine->config.nets[i];
	int fd = host_devices_tap(machine->config.vm.devices, net->tap, why), err;

	if (fd < 0)
		return fd;
	err = virtio_net_create(&machine->nets[i], fd, net->mac);
	if (err) {
		close(fd);
		return why_set(why, err, "cannot create a network card on %s: %s", net->tap,
			       strerror(-err));
	}
	return add_virtio(machine, slot, machine->nets[i], why);
}

static int add_rng(struct machine *machine, unsigned int *slot, struct why *why)
{
	struct virtio_model *model;
	int err = virtio_rng_create(&model);

	if (err)
		return why_set(why, err,
			       "cannot create the random number generator: "
			       "%s",
			       strerror(-err));
	return add_virtio(machine, slot, model, why);
}

/* The last slot may be taken: then the guest has the serial port only. */
static int add_console(struct machine *machine, unsigned int *slot, struct why *why)
{
	const struct machine_console *console = &machine->config.hvc;
	int err;

	if (*slot == VIRTIO_MMIO_SLOTS)
		return 0;
	err = virtio_console_create(&machine->hvc, console->in, console->out);
	if (err)
		return why_set(why, err, "cannot create the virtio console: %s", strerror(-err));
	return add_virtio(machine, slot, machine->hvc, why);
}

int machine_add_devices(struct machine *machine, struct why *why)
{
	unsigned int i, slot = 0;
	int err = add_serial(machine, why);

	for (i = 0; !err && i < machine->config.ndisks; i++)
		err = add_disk(machine, i, &slot, why);
	for (i = 0; !err && i < machine->config.nnets; i++)
		err = add_net(machine, i, &slot, why);
	if (!err)
		err = add_rng(machine, &slot, why);
	if (!err)
		err = add_console(machine, &slot, why);
	while (!err && slot < VIRTIO_MMIO_SLOTS)
		err = add_virtio(machine, &slot, NULL, why);
	return err;
}

unsigned int machine_disk_stats(struct machine *machine,
				struct virtio_blk_stats stats[MACHINE_MAX_DISKS])
{
	unsigned int i;

	for (i = 0; i < MACHINE_MAX_DISKS && machine->disks[i]; i++)
		virtio_blk_get_stats(machine->disks[i], &stats[i]);
	return i;
}

unsigned int machine_net_stats(struct machine *machine,
			       struct virtio_net_stats stats[MACHINE_MAX_NETS])
{
	unsigned int i;

	for (i = 0; i < MACHINE_MAX_NETS && machine->nets[i]; i++)
		virtio_net_get_stats(machine->nets[i], &stats[i]);
	return i;
}

bool machine_console_stats(struct machine *machine, struct serial_stats *serial,
			   struct virtio_console_stats *hvc)
{
	if (!machine->serial)
		return false;
	serial_get_stats(machine->serial, serial);
	*hvc = (struct virtio_console_stats){ 0 };
	if (machine->hvc)
		virtio_console_get_stats(machine->hvc, hvc);
	return true;
}

int machine_disks_release(struct machine *machine)
{
	unsigned int i;
	int err = 0, one;

	for (i = 0; i < machine->config.ndisks; i++) {
		one = virtio_blk_detach(machine->disks[i]);
		err = err ? err : one;
	}
	return err;
}

void machine_disks_flush(struct machine *machine)
{
	unsigned int i;

	for (i = 0; i < machine->config.ndisks; i++)
		virtio_blk_flush(machine->disks[i]);
}

int machine_disks_acquire(struct machine *machine, struct why *why)
{
	unsigned int i;
	int err;

	for (i = 0; i < machine->config.ndisks; i++) {
		err = virtio_blk_attach(machine->disks[i]);
		if (err) {
			machine_disks_release(machine);
			return disk_failed(&machine->config.disks[i], err, why);
		}
	}
	return 0;
}

uint64_t machine_disk_bytes(const struct machine *machine, unsigned int i)
{
	return virtio_blk_bytes(machine->disks[i]);
}
