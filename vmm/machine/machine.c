/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/machine/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sevmirror/pagemap.h>
#include "lib/util/page.h"
#include "vmm/machine/machine_image.h"
#include "vmm/machine/machine_private.h"
#include "vmm/memory.h"

/* The workload's region is the guest's own, whatever it says of other pages. */
static int keep_private(struct machine *machine, struct why *why)
{
	const struct workload_plan *workload = &machine->config.workload;
	struct sevmirror_ram_range ranges[GUEST_MEMORY_RANGES];
	int err;

	if (!workload->bytes)
		return 0;
	guest_memory_ranges(vm_memory(machine->vm), ranges);
	if (!workload_plan_ok(workload, ranges[0].bytes))
		return why_set(why, -EINVAL,
			       "the mirror payload's region is not at the end of RAM below 4 GiB");
	err = sev_pagemap_set_always_private(vm_pagemap(machine->vm), workload->gpa / PAGE_BYTES,
					     workload->bytes / PAGE_BYTES);
	return err ? why_set(why, err, "the mirror payload's region is not in the guest's memory") :
		     0;
}

/* The primary never maps it, but only with the primary can KVM register (pin) it. */
static int add_helper(struct machine *machine, struct why *why)
{
	const struct launch_config config = { .memory_bytes = machine->config.vm.memory_bytes,
					      .c_mask = vm_c_mask(machine->vm) };
	struct region_memory *memory = &machine->helper_memory;
	struct sev_error error = { 0 };
	int err = launch_helper_plan(&machine->helper, &config, why);

	if (err)
		return err;
	err = region_memory_create(memory, &machine->helper);
	if (err)
		return why_set(why, err,
			       "cannot allocate %llu KiB of memory for the Migration Helper: %s",
			       (unsigned long long)machine->helper.bytes >> 10, strerror(-err));
	if (vm_sev(machine->vm)) {
		err = sev_guest_register_memory(vm_sev(machine->vm), memory->hva, memory->bytes,
						&error);
		if (err)
			return why_sev(why, err, &error);
	}
	return keep_private(machine, why);
}

int machine_create(struct machine **machinep, const struct machine_config *config, struct why *why)
{
	struct machine *machine = calloc(1, sizeof(*machine));
	int err;

	if (!machine)
		return why_set(why, -ENOMEM, "out of memory for the VM");
	/* Also of a source, which may say anything. */
	if (config->vm.payload && (config->ndisks || config->nnets)) {
		free(machine);
		return why_set(why, -EINVAL, "a payload has neither disks nor networks");
	}
	/* Before any memory is touched: is there a helper for so much? */
	err = launch_helper_plan(&machine->helper,
				 &(struct launch_config){ .memory_bytes = config->vm.memory_bytes },
				 why);
	if (err) {
		free(machine);
		return err;
	}
	machine->helper_memory = (struct region_memory)REGION_MEMORY_NONE;
	machine->config = *config;
	machine->config.vm.helper_bytes = machine->helper.bytes;
	err = vm_create(&machine->vm, &machine->config.vm, why);
	machine->config.vm.cpuid = NULL; /* lent for vm_create() only */
	if (!err)
		err = add_helper(machine, why);
	if (!err && !config->vm.payload)
		err = machine_add_devices(machine, why);
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
	region_memory_destroy(&machine->helper_memory);
	free(machine);
}

const struct region_plan *machine_helper(const struct machine *machine)
{
	return &machine->helper;
}

const struct region_memory *machine_helper_memory(const struct machine *machine)
{
	return &machine->helper_memory;
}

const struct machine_config *machine_config(const struct machine *machine)
{
	return &machine->config;
}

struct vm *machine_vm(const struct machine *machine)
{
	return machine->vm;
}

int machine_boot(struct machine *machine, const struct machine_boot *boot, struct why *why)
{
	const struct machine_image_config config = {
		.memory_bytes = machine->config.vm.memory_bytes,
		.cpus = machine->config.vm.cpus,
		.c_mask = vm_c_mask(machine->vm),
		.tsc_khz = boot->payload ? vm_tsc_khz(machine->vm) : 0,
	};
	struct launch_image *image = NULL;
	int err = machine_image_create(&image, &machine->config.workload, &config, boot, why);

	if (!err)
		err = keep_private(machine, why);
	if (!err)
		err = vm_launch(machine->vm, image, machine->helper_memory.hva, boot->policy,
				boot->owner, machine->measurement, why);
	launch_image_destroy(image);
	return err;
}

int machine_go(struct machine *machine, struct why *why)
{
	int err = vm_launch_finish(machine->vm, why);

	if (!err)
		err = vm_start(machine->vm, why);
	if (err)
		return err;
	machine->started = true;
	vm_resume(machine->vm);
	return 0;
}

bool machine_started(const struct machine *machine)
{
	return machine->started;
}

const uint8_t *machine_measurement(const struct machine *machine)
{
	return machine->measurement;
}
