/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side of the serial port: a thread that moves bytes between file descriptors and the
 * UART, so that neither a vCPU nor a stopped VM ever waits for a terminal.
 */
#ifndef VMM_DEVICES_SERIAL_IO_H
#define VMM_DEVICES_SERIAL_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct serial_io;

/* Called from the thread, without its lock held. */
struct serial_io_ops {
	size_t (*input_room)(void *opaque); /* how many bytes input() will take */
	void (*input)(void *opaque, const uint8_t *bytes, size_t len);
	void (*drained)(void *opaque); /* there was no room for output, now there is */
};

/*
 * See serial_create() for the descriptors. 0 or a negative errno. serial_io_destroy() waits a
 * second at most for output to leave.
 */
int serial_io_create(struct serial_io **io, const struct serial_io_ops *ops, void *opaque,
		     int in_fd, int out_fd);
void serial_io_destroy(struct serial_io *io);

/*
 * Any thread; none of them blocks. put: false if the buffer is full. room: a FIFO's worth of bytes
 * fits.
 */
bool serial_io_put(struct serial_io *io, uint8_t byte);
bool serial_io_room(struct serial_io *io);
void serial_io_want_input(struct serial_io *io, bool want);

/* While paused no input is taken (input() has returned when pause does); output goes on leaving. */
void serial_io_pause(struct serial_io *io);
void serial_io_unpause(struct serial_io *io);

#endif
