/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the devices of a guest are: ports, MMIO windows and interrupt lines. The ACPI tables
 * (acpi.c), the VM and the device models all take them from here, because the launch measurement
 * covers the tables and a saved state names the addresses.
 */
#ifndef LAUNCH_DEVICE_LAYOUT_H
#define LAUNCH_DEVICE_LAYOUT_H

/* COM1 of a PC: edge-triggered ISA interrupt 4. */
#define SERIAL_PORT  0x3f8
#define SERIAL_PORTS 8
#define SERIAL_GSI   4

/*
 * virtio-mmio windows (ACPI LNRO0005), one a slot, between GUEST_LOW_RAM_MAX and the IOAPIC. Slot n
 * interrupts by GSI VIRTIO_MMIO_GSI + n: IOAPIC pins no legacy device uses, level-triggered, active
 * high. An empty slot answers as a virtio-mmio window with DeviceID 0, which a driver ignores
 * (virtio 1.2, 4.2.2).
 */
#define VIRTIO_MMIO_BASE   0xd0000000ULL
#define VIRTIO_MMIO_STRIDE 0x1000ULL
#define VIRTIO_MMIO_SLOTS  8
#define VIRTIO_MMIO_GSI	   16

/*
 * The window's register to which a guest writes the number of a queue with new buffers: where an
 * ioeventfd belongs.
 */
#define VIRTIO_MMIO_NOTIFY_OFFSET 0x50

/* A payload guest's doorbell (payloads/sdk/payload.h): a 32-bit `out`. */
#define PAYLOAD_DOORBELL_IOPORT 0x600
#define PAYLOAD_DOORBELL_PORTS	4

#endif
