/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbers that the DSDT shares with C. Plain literals: this is read by the preprocessor for
 * dsdt.asl, too. acpi.c checks them against the devices' own headers.
 */
#ifndef LAUNCH_ACPI_LAYOUT_H
#define LAUNCH_ACPI_LAYOUT_H

#define DSDT_SERIAL_PORT 0x3f8
#define DSDT_SERIAL_GSI	 4

/*
 * Slot by slot: iasl 20200925 writes broken lengths where a resource is an expression that it
 * folds.
 */
#define DSDT_VIRTIO_SLOTS 8
#define DSDT_VIRTIO_GPA_0 0xd0000000
#define DSDT_VIRTIO_GPA_1 0xd0001000
#define DSDT_VIRTIO_GPA_2 0xd0002000
#define DSDT_VIRTIO_GPA_3 0xd0003000
#define DSDT_VIRTIO_GPA_4 0xd0004000
#define DSDT_VIRTIO_GPA_5 0xd0005000
#define DSDT_VIRTIO_GPA_6 0xd0006000
#define DSDT_VIRTIO_GPA_7 0xd0007000
#define DSDT_VIRTIO_GSI_0 16
#define DSDT_VIRTIO_GSI_1 17
#define DSDT_VIRTIO_GSI_2 18
#define DSDT_VIRTIO_GSI_3 19
#define DSDT_VIRTIO_GSI_4 20
#define DSDT_VIRTIO_GSI_5 21
#define DSDT_VIRTIO_GSI_6 22
#define DSDT_VIRTIO_GSI_7 23
#define DSDT_VIRTIO_BYTES 0x1000

#define DSDT_ACPI_PORT 0x620
#define DSDT_ACPI_GSI  9

#define DSDT_SLEEP_S5 5 /* the value that \_S5 names for the sleep control register */

#endif
