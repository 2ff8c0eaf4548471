/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two registers of hardware-reduced ACPI by which a guest goes: sleep control (S5 is power off)
 * and reset.
 */
#ifndef VMM_VM_POWER_H
#define VMM_VM_POWER_H

#include "vmm/device.h"

enum power_request {
	POWER_OFF,
	POWER_RESET,
};

/* Called from the vCPU thread that wrote the register. */
typedef void (*power_fn)(void *opaque, enum power_request request);

/* A device of LAYOUT_ACPI_PORTS ports; NULL when out of memory. It has no state. */
struct device *power_create(power_fn request, void *opaque);

#endif
