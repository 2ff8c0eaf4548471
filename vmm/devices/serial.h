/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16550A UART, as Linux's 8250 driver and its early console expect it. Source: the PC16550D data
 * sheet.
 *
 * The line is infinitely fast: a byte written is on its way at once. What the guest prints goes to
 * a buffer that a thread of the device empties into a file descriptor, and input is read by the
 * same thread, so a vCPU never waits for the host's side. When the reader on the host is slow, the
 * buffer fills up and the transmitter reports busy, as a slow line would; nothing is lost unless
 * the guest then writes all the same.
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

/* Bytes that the guest wrote while the transmitter was busy, so they were lost. */
uint64_t serial_dropped(struct device *dev);

#endif
