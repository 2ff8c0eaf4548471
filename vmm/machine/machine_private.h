/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_MACHINE_MACHINE_PRIVATE_H
#define VMM_MACHINE_MACHINE_PRIVATE_H

#include <stdbool.h>

#include "launch/launch_helper.h"
#include "vmm/machine/machine.h"

struct device;
struct virtio_model;

struct machine {
	struct machine_config config;
	struct vm *vm;
	struct region_plan helper;
	struct region_memory helper_memory;
	uint8_t measurement[SEV_MEASUREMENT_BYTES];
	bool started; /* by machine_go() */
	struct virtio_model *disks[MACHINE_MAX_DISKS]; /* the bus owns them, and the following */
	struct virtio_model *nets[MACHINE_MAX_NETS];
	struct device *serial; /* NULL: a payload, which has neither */
	struct virtio_model *hvc;
};

/* machine_devices.c: the serial port and all virtio slots, empty ones too. */
int machine_add_devices(struct machine *machine, struct why *why);

#endif
