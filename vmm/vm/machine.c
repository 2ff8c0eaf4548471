/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/devices/bus.h"
#include "vmm/devices/layout.h"
#include "vmm/devices/serial.h"
#include "vmm/vm/machine_image.h"

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

int machine_boot(struct machine *machine, const struct machine_boot *boot,
		 uint8_t measurement[SEV_MEASUREMENT_BYTES], struct why *why)
{
	const struct machine_image_config config = {
		.memory_bytes = machine->config.vm.memory_bytes,
		.cpus = machine->config.vm.cpus,
		.c_mask = vm_c_mask(machine->vm),
		.tsc_khz = boot->payload ? vm_tsc_khz(machine->vm) : 0,
	};
	struct launch_image *image = NULL;
	int err = machine_image_create(&image, &config, boot, why);

	if (!err)
		err = vm_launch(machine->vm, image, boot->policy, boot->owner, measurement, why);
	launch_image_destroy(image);
	return err;
}
