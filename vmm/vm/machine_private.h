/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_VM_MACHINE_PRIVATE_H
#define VMM_VM_MACHINE_PRIVATE_H

#include <stdbool.h>
#include <time.h>

#include "vmm/vm/launch_helper.h"
#include "vmm/vm/machine.h"

struct control;
struct virtio_model;

struct machine {
	struct machine_config config;
	struct vm *vm;
	struct region_plan helper;
	struct control *control; /* NULL: the VM has no name */
	uint8_t measurement[SEV_MEASUREMENT_BYTES];
	bool started; /* by machine_go() */
	struct timespec start; /* CLOCK_MONOTONIC */
	struct virtio_model *disks[MACHINE_MAX_DISKS]; /* the bus owns them */
};

/* machine_devices.c: the serial port and all virtio slots, empty ones too. */
int machine_add_devices(struct machine *machine, struct why *why);

/* machine_control.c: tell clients how it ended, and close the socket. Ends the guest if it runs. */
void machine_control_destroy(struct machine *machine);

#endif
