/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-console (virtio 1.2, 5.3), one port: hvc0 in a Linux guest. A line that a process prints
 * is one buffer and one notification that costs no exit to user space, where the serial port needs
 * an access to a register for each byte.
 *
 * What the guest prints is taken at once: Linux's driver waits for that with interrupts off, so a
 * reader on the host that does not read must not stop the guest's CPU. When console_io.h's buffer
 * is full, output is lost and counted.
 */
#ifndef VMM_DEVICES_VIRTIO_CONSOLE_H
#define VMM_DEVICES_VIRTIO_CONSOLE_H

#include "vmm/devices/virtio.h"

/* Input that waits for the guest to offer a buffer, and migrates with it. */
#define VIRTIO_CONSOLE_INPUT_BYTES 64

struct virtio_console_stats {
	uint64_t bytes; /* that the guest has written */
	uint64_t writes; /* system calls that passed them on */
	uint64_t dropped; /* bytes of those that were lost */
};

/*
 * in_fd: where input comes from (-1: nowhere); out_fd: where output goes (-1: nowhere). They stay
 * the caller's and must outlive the device. 0 or a negative errno.
 */
int virtio_console_create(struct virtio_model **model, int in_fd, int out_fd);

void virtio_console_get_stats(struct virtio_model *model, struct virtio_console_stats *stats);

#endif
