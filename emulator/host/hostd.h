/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's inside: see hostd.c for what it does. */
#ifndef EMULATOR_HOST_HOSTD_H
#define EMULATOR_HOST_HOSTD_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "buf.h"

#define CLIENTS_MAX 64

enum agent_state {
	AGENT_BOOTING,
	AGENT_READY,
	/* it has sent what no agent sends, or its port is closed */
	AGENT_BROKEN,
};

struct client {
	int fd;
	uint32_t channel;
	/* a command runs for it */
	bool busy;
	bool console;
	/* has asked for the end of the host */
	bool stopper;
	/* close it once @out is written */
	bool closing;
	struct buf in, out;
};

struct mux {
	int agent_fd, console_fd, log_fd;
	enum agent_state state;
	struct buf agent_in, agent_out, console_out;
	uint64_t log_bytes;
	uint32_t next_channel;
	struct client clients[CLIENTS_MAX];
	unsigned int nclients;
	bool stop_asked;
};

/*
 * The multiplexer between the clients and the agent. It owns the three descriptors (non-blocking;
 * @console_fd and @log_fd may be -1). Nothing that comes from the agent is trusted.
 */
void mux_init(struct mux *m, int agent_fd, int console_fd, int log_fd);
void mux_fini(struct mux *m);

/* A new client; takes @fd. */
void mux_accept(struct mux *m, int fd);

/*
 * mux_poll fills at most this many entries and returns how many; mux_run looks at what poll said of
 * them.
 */
#define MUX_POLL_MAX (2 + CLIENTS_MAX)
unsigned int mux_poll(const struct mux *m, struct pollfd *fds);
void mux_run(struct mux *m, const struct pollfd *fds, unsigned int nfds);

/* Tells every client why this is the end and makes one attempt at getting it out. */
void mux_end(struct mux *m, const char *why);

#endif
