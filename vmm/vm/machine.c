/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util/file.h"
#include "vmm/devices/bus.h"
#include "vmm/devices/layout.h"
#include "vmm/devices/serial.h"

#define KERNEL_BYTES_MAX  (256u << 20)
#define INITRD_BYTES_MAX  (2047u << 20)
#define PAYLOAD_BYTES_MAX (16u << 20)

struct machine {
	struct machine_config config;
	struct vm *vm;
};

/* The bus takes the device over, or it is destroyed. */
static int plug(struct machine *machine, enum bus_space space, uint64_t base, uint64_t len,
		struct device *dev, struct why *why)
{
	int err = bus_add(vm_bus(machine->vm), space, base, len, dev);

	if (!err)
		return 0;
	why_set(why, err, "the device %s at 0x%llx: %s", dev->ops->name, (unsigned long long)base,
		strerror(-err));
	dev->ops->destroy(dev);
	return err;
}

static int add_serial(struct machine *machine, struct why *why)
{
	struct device *dev;
	int err = serial_create(&dev, vm_irq_line(machine->vm, SERIAL_GSI),
				machine->config.console_in, machine->config.console_out);

	if (err)
		return why_set(why, err, "no serial port: %s", strerror(-err));
	return plug(machine, BUS_PIO, SERIAL_PORT, SERIAL_PORTS, dev, why);
}

int machine_create(struct machine **machinep, const struct machine_config *config, struct why *why)
{
	struct machine *machine = calloc(1, sizeof(*machine));
	int err;

	if (!machine)
		return why_set(why, -ENOMEM, "out of memory");
	machine->config = *config;
	err = vm_create(&machine->vm, &config->vm, why);
	if (!err && !config->vm.payload)
		err = add_serial(machine, why);
	if (err) {
		machine_destroy(machine);
		return err;
	}
	*machinep = machine;
	return 0;
}

void machine_destroy(struct machine *machine)
{
	if (!machine)
		return;
	vm_destroy(machine->vm);
	free(machine);
}

struct vm *machine_vm(const struct machine *machine)
{
	return machine->vm;
}

struct boot_files {
	void *kernel, *initrd, *payload;
	struct launch_blob kernel_blob, initrd_blob, payload_blob;
};

static int read_file(const char *path, const char *what, size_t max, void **bytes,
		     struct launch_blob *blob, struct why *why)
{
	int err;

	if (!path)
		return 0;
	err = util_read_file(path, max, bytes, &blob->len);
	if (err == -EFBIG)
		return why_set(why, err, "the %s %s is too large: more than %zu MiB", what, path,
			       max >> 20);
	if (err)
		return why_set(why, err, "the %s %s cannot be read: %s", what, path,
			       strerror(-err));
	if (!blob->len)
		return why_set(why, -ENOEXEC, "the %s %s is empty", what, path);
	blob->bytes = *bytes;
	return 0;
}

static int read_files(struct boot_files *files, const struct machine_boot *boot, struct why *why)
{
	int err = read_file(boot->kernel, "kernel", KERNEL_BYTES_MAX, &files->kernel,
			    &files->kernel_blob, why);

	if (!err)
		err = read_file(boot->initrd, "initrd", INITRD_BYTES_MAX, &files->initrd,
				&files->initrd_blob, why);
	if (!err)
		err = read_file(boot->payload, "payload", PAYLOAD_BYTES_MAX, &files->payload,
				&files->payload_blob, why);
	return err;
}

int machine_boot(struct machine *machine, const struct machine_boot *boot,
		 uint8_t measurement[SEV_MEASUREMENT_BYTES], struct why *why)
{
	struct boot_files files = { 0 };
	struct launch_config launch = {
		.memory_bytes = machine->config.vm.memory_bytes,
		.cpus = machine->config.vm.cpus,
		.c_mask = vm_c_mask(machine->vm),
		.cmdline = boot->cmdline,
	};
	struct launch_image *image = NULL;
	int err;

	err = read_files(&files, boot, why);
	if (!err) {
		launch.kernel = files.kernel_blob;
		launch.initrd = files.initrd_blob;
		launch.payload = files.payload_blob;
		launch.payload_tsc_khz = boot->payload ? vm_tsc_khz(machine->vm) : 0;
		memcpy(launch.payload_args, boot->payload_args, sizeof(launch.payload_args));
		err = launch_image_create(&image, &launch, why);
	}
	if (!err)
		err = vm_launch(machine->vm, image, boot->policy, boot->owner, measurement, why);
	launch_image_destroy(image);
	free(files.kernel);
	free(files.initrd);
	free(files.payload);
	return err;
}
