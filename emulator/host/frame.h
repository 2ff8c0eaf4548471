/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the three programs around an emulated host say to each other: the client (`sev-host exec`),
 * the daemon that owns the host's QEMU, and the agent inside the host. Client and daemon speak over
 * a unix socket, daemon and agent over a virtio-serial port; both carry these frames. The daemon
 * gives each client a channel number and passes its frames on; the numbers are never reused.
 *
 *	bytes 0-3	channel, little-endian; 0 on the unix socket
 *	bytes 4-7	type
 *	bytes 8-11	length of the payload, at most FRAME_PAYLOAD_MAX
 *
 * Each of a command's three streams flows by credit: the reader grants FRAME_WINDOW bytes at the
 * start and more as it hands data on, the writer never has more than that under way. So a slow
 * reader holds up its own command only, and queues are bounded.
 */
#ifndef EMULATOR_HOST_FRAME_H
#define EMULATOR_HOST_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

#define FRAME_VERSION	   1
#define FRAME_HEADER_BYTES 12
#define FRAME_PAYLOAD_MAX  (256u << 10)
#define FRAME_WINDOW	   (256u << 10)
/* Data is cut into pieces so that channels share the port fairly. */
#define FRAME_CHUNK (32u << 10)

#define FRAME_SYNC_TEXT	 "\x9d\xf3sev-host-sync\x06\xe1"
#define FRAME_SYNC_BYTES (sizeof(FRAME_SYNC_TEXT) - 1)

enum frame_type {
	/* agent to daemon, on channel 0, once it can run commands: u32 FRAME_VERSION */
	FRAME_HELLO = 1,
	/*
	 * client to agent: u32 timeout in ms (0: none), u32 argc, then argc strings, each with its
	 * NUL
	 */
	FRAME_EXEC = 2,
	/* client to agent; an empty one is the end of the input */
	FRAME_STDIN = 3,
	/* agent to client */
	FRAME_STDOUT = 4,
	FRAME_STDERR = 5,
	/* the reader of a stream to its writer: u32 one of FRAME_STD*, u32 bytes */
	FRAME_CREDIT = 6,
	/* client to agent: u32 signal for the command's process group */
	FRAME_SIGNAL = 7,
	/* daemon to agent: the client is gone, end the command; nobody waits for the answer */
	FRAME_CANCEL = 8,
	/* agent to client, the last frame of a channel: u32 enum frame_end, u32 value */
	FRAME_EXIT = 9,
	/* daemon to client, the last frame of a connection: text for the user */
	FRAME_ERROR = 10,
	/* client to daemon: end the host; the connection closes when all is gone */
	FRAME_STOP = 11,
	/*
	 * daemon to agent, its answer to HELLO: FRAME_SYNC_TEXT. What came before it was meant for
	 * a system that a reset has ended, and may begin in the middle of a frame.
	 */
	FRAME_SYNC = 13,
	/* client to daemon: from now on STDIN and STDOUT are the host's serial console */
	FRAME_CONSOLE = 12,
};

enum frame_end {
	FRAME_END_EXITED = 0, /* value: the exit status */
	FRAME_END_SIGNAL = 1, /* value: the signal */
	FRAME_END_TIMEOUT = 2,
	FRAME_END_NO_EXEC = 3, /* value: errno of execve */
	FRAME_END_REFUSED = 4, /* value: errno; the agent could not take the command on */
};

struct frame {
	uint32_t channel, type, length;
	const uint8_t *payload;
};

uint32_t frame_get_u32(const uint8_t *p);

/* Appends a frame to @b. Returns 0 or -ENOMEM. @length is at most FRAME_PAYLOAD_MAX. */
int frame_put(struct buf *b, uint32_t channel, uint32_t type, const void *payload, size_t length);

/* The same for a payload of one or two numbers. */
int frame_put_u32(struct buf *b, uint32_t channel, uint32_t type, uint32_t value);
int frame_put_u32x2(struct buf *b, uint32_t channel, uint32_t type, uint32_t first,
		    uint32_t second);

/*
 * Looks at the first frame in @b. Returns 1 (@f points into @b until the next change of it; drop it
 * by frame_drop), 0 when more bytes are needed, or -EPROTO when what is there cannot be a frame.
 */
int frame_peek(const struct buf *b, struct frame *f);
void frame_drop(struct buf *b, const struct frame *f);

/*
 * Unpacks the payload of FRAME_EXEC. Returns the NULL-terminated argv (one allocation, the caller
 * frees it; the strings point into the payload) or NULL with errno EPROTO or ENOMEM.
 */
char **frame_parse_exec(const uint8_t *payload, size_t length, uint32_t *timeout_ms);

#endif
