/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM with everything a user asks for: its console, disks and networks, and what it boots from. The one place that knows which device
 * goes into which slot.
 */
#ifndef VMM_VM_MACHINE_H
#define VMM_VM_MACHINE_H

#include "vmm/vm/launch_image.h"
#include "vmm/vm/vm.h"

struct machine;

/* Strings are borrowed for the machine's life. */
struct machine_config {
	struct vm_config vm;
	int console_in, console_out; /* of the serial port, -1: none; borrowed */
};

/* What it boots from; paths of files. Borrowed while machine_boot() runs. */
struct machine_boot {
	const char *kernel, *initrd, *cmdline; /* initrd and cmdline may be NULL */
	const char *payload; /* instead of a kernel */
	uint64_t payload_args[LAUNCH_PAYLOAD_ARGS];
	uint32_t policy;
	const struct sev_owner_start *owner; /* may be NULL */
};

int machine_create(struct machine **machine, const struct machine_config *config, struct why *why);

/* Ends the guest if it runs. NULL is allowed. */
void machine_destroy(struct machine *machine);

/* Read the files, build the launch image and vm_launch() it; vm_launch_finish() and vm_start() are left to do. */
int machine_boot(struct machine *machine, const struct machine_boot *boot,
		 uint8_t measurement[SEV_MEASUREMENT_BYTES], struct why *why);

struct vm *machine_vm(const struct machine *machine);

#endif
