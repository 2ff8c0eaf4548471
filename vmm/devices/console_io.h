/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side of a console (serial.h, virtio_console.h): a thread that moves bytes between file
 * descriptors and the device, so that neither a vCPU nor a stopped VM ever waits for a terminal.
 *
 * Output is gathered: it leaves with one write() at the end of a line, when CONSOLE_IO_CHUNK bytes
 * are there, or CONSOLE_IO_GATHER_MS after its first byte, whichever comes first.
 */
#ifndef VMM_DEVICES_CONSOLE_IO_H
#define VMM_DEVICES_CONSOLE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONSOLE_IO_CHUNK     4096U
#define CONSOLE_IO_GATHER_MS 5

/* Room for output that has not left yet. */
#define CONSOLE_IO_OUT_BYTES (64U << 10)
/* The most that one console_io_put() takes, and that console_io_room() promises. */
#define CONSOLE_IO_ROOM 64

struct console_io;

struct console_io_stats {
	uint64_t bytes; /* taken from the device */
	uint64_t writes; /* write() or send() calls for them */
};

/* Called from the thread, without its lock held. */
struct console_io_ops {
	size_t (*input_room)(void *opaque); /* how many bytes input() will take */
	void (*input)(void *opaque, const uint8_t *bytes, size_t len);
	/*
	 * There is room for output: there was none before, or a time asked for with
	 * console_io_call_after() has come.
	 */
	void (*output_room)(void *opaque);
	/* Every CONSOLE_IO_IDLE_MS, and before output leaves. NULL: nothing to do then. */
	void (*idle)(void *opaque);
};

/*
 * in_fd: where input comes from (-1: nowhere); out_fd: where output goes (-1: nowhere). They stay
 * the caller's and must outlive the console. 0 or a negative errno. console_io_destroy() waits a
 * second at most for output to leave.
 */
int console_io_create(struct console_io **io, const struct console_io_ops *ops, void *opaque,
		      int in_fd, int out_fd);
void console_io_destroy(struct console_io *io);

/*
 * Any thread; none of them blocks. put: false, and nothing is taken, if the bytes do not fit.
 * room: CONSOLE_IO_ROOM bytes fit; if not, output_room() is called once they do.
 */
bool console_io_put(struct console_io *io, const uint8_t *bytes, size_t len);
bool console_io_room(struct console_io *io);
void console_io_want_input(struct console_io *io, bool want);

/* Have output_room() called so many microseconds from now, unless an earlier call is due. */
void console_io_call_after(struct console_io *io, unsigned int microseconds);

/*
 * While paused no input is taken and no call is made (none is under way when pause returns); output
 * keeps leaving.
 */
void console_io_pause(struct console_io *io);
void console_io_unpause(struct console_io *io);

void console_io_get_stats(struct console_io *io, struct console_io_stats *stats);

#endif
