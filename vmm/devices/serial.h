/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16550A UART, as Linux's 8250 driver and its early console expect it. Source: the PC16550D data
 * sheet.
 *
 * What the guest prints goes to a buffer that a thread of the device empties into a file descriptor
 * (console_io.h), and the same thread reads the input, so a vCPU never waits for the host's side.
 * The line status says 'transmitter empty' at once, so a driver that polls does not wait. A driver
 * that works by interrupts may write four FIFOs (64 bytes) in one interrupt; the next interrupt
 * comes 1 ms after the first byte, so the driver leaves its handler in between. When the reader
 * on the host is slow, the buffer fills up and the transmitter reports busy, as a slow line would;
 * nothing is lost unless the guest then writes nevertheless.
 */
#ifndef VMM_DEVICES_SERIAL_H
#define VMM_DEVICES_SERIAL_H

#include "vmm/device.h"

/*
 * in_fd: what is typed (-1: nothing); out_fd: where output goes (-1: nowhere). The descriptors stay
 * the caller's and must outlive the device; their file status flags are not changed (they may be
 * shared with other processes). 0 or a negative errno. device_ops.destroy gives output one more
 * second to leave.
 */
int serial_create(struct device **dev, struct irq_line irq, int in_fd, int out_fd);

/*
 * Writes to the data register do not come one by one: KVM collects them (KVM_CAP_COALESCED_PIO),
 * and fetch() has serial's write operation called for each of them. Every exit of a vCPU calls it
 * before anything else, and so does the device when the driver may have written and no exit
 * followed. Any thread may call fetch(), without a lock of a device held.
 */
struct serial_collected {
	void (*fetch)(void *opaque);
	void *opaque;
};

/* Before the guest runs. */
void serial_set_collected(struct device *dev, struct serial_collected collected);

struct serial_stats {
	uint64_t bytes; /* that the guest has written */
	uint64_t writes; /* system calls that passed them on */
	uint64_t interrupts; /* how often the line was raised */
	uint64_t dropped; /* bytes that the guest wrote while the transmitter was busy: lost */
};

void serial_get_stats(struct device *dev, struct serial_stats *stats);

#endif
