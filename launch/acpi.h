/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables of a guest: hardware-reduced ACPI (ACPI 6.4, 4.1), no legacy timers, no PCI.
 * Pure, so that the owner can compute the launch digest from the same bytes.
 */
#ifndef LAUNCH_ACPI_H
#define LAUNCH_ACPI_H

#include <stddef.h>
#include <stdint.h>

/*
 * Write RSDP (at buf[0]), XSDT, FADT, MADT and DSDT for a guest with cpus CPUs (APIC IDs 0 to cpus
 * - 1) into buf, which is zeroed and will be at gpa. 0 or -ENOSPC.
 */
int acpi_build(uint8_t *buf, size_t bytes, uint64_t gpa, unsigned int cpus);

/* What the guest writes to the ACPI ports, and what it means. */
#define ACPI_SLEEP_CONTROL 0 /* offset of the sleep control register (ACPI 6.4, 4.8.3.7) */
#define ACPI_SLEEP_STATUS  1
#define ACPI_RESET	   2
#define ACPI_RESET_VALUE   0x06

#endif
