/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network that stops at a given message of a migration, so that a test can let something happen
 * exactly there.
 *
 * usage: wire-gate TARGET POINT
 *
 * Forwards connections to TARGET. Prints 'listening ADDRESS', then 'reached' when POINT is next,
 * and from then on forwards nothing until a line comes on standard input: 'pass' lets everything
 * through from there on, 'spoil' does so with one bit changed in the last byte of that message or
 * frame, anything else (or the end of the input) ends the program, and with it all connections.
 * Only for migrations with
 * --insecure, whose messages it can tell apart.
 *
 * POINT: 'connect' (the first connection), 'frame' (the first frame of pages), or a message of the
 * control connection by its name in wire.h, '>' before it if it is the source's and '<' if the
 * target's, ':N' after it for the N-th one: '>HELLO', '<ROUND:2'.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/net/address.h"
#include "lib/migrate/wire.h"

#define LINKS_MAX 20
#define DIAL_MS	  60000

struct point {
	char way; /* '>', '<', 'c'onnect or 'f'rame */
	uint16_t type;
	unsigned int nth;
};

/* One direction of a connection. */
struct flow {
	uint64_t plain; /* bytes to forward before the next header (control) or frame (data) */
	uint64_t spoil; /* the how-manieth of them is to be changed, 0: none */
	int from, to;
	char way;
	bool control;
	bool open;
};

static struct point point;

/* True: what comes next is to be spoilt. */
static bool wait_at_the_gate(void)
{
	char line[16] = "";
	bool spoil;

	printf("reached\n");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		exit(0);
	spoil = strcmp(line, "spoil\n") == 0;
	if (!spoil && strcmp(line, "pass\n") != 0)
		exit(0);
	return spoil;
}

/* Is this the place? Counts down to it; the gate is there once. */
static bool pass_point(char way, uint16_t type)
{
	return point.nth && point.way == way && point.type == type && --point.nth == 0 &&
	       wait_at_the_gate();
}

static bool send_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}

static bool forward_header(struct flow *f)
{
	struct wire_header header;

	if (recv(f->from, &header, sizeof(header), MSG_WAITALL) != sizeof(header))
		return false;
	if (pass_point(f->way, header.type))
		f->spoil = header.bytes;
	f->plain = header.bytes;
	return send_all(f->to, (const uint8_t *)&header, sizeof(header));
}

/* From its first frame on a data connection is forwarded as it is. */
static bool begin_frames(struct flow *f)
{
	struct wire_frame frame;

	f->plain = UINT64_MAX;
	if (!pass_point('f', 0))
		return true;
	if (recv(f->from, &frame, sizeof(frame), MSG_PEEK | MSG_WAITALL) != sizeof(frame))
		return false;
	f->spoil = sizeof(frame) + frame.directory_bytes + frame.payload_bytes;
	return true;
}

static bool forward_bytes(struct flow *f)
{
	static uint8_t buf[65536];
	size_t max = f->plain < sizeof(buf) ? f->plain : sizeof(buf);
	ssize_t n = recv(f->from, buf, max, 0);

	if (n <= 0)
		return false;
	f->plain -= (uint64_t)n;
	if (f->spoil && f->spoil <= (uint64_t)n)
		buf[f->spoil - 1] ^= 1;
	f->spoil -= f->spoil < (uint64_t)n ? f->spoil : (uint64_t)n;
	return send_all(f->to, buf, (size_t)n);
}

static bool forward(struct flow *f)
{
	if (f->plain == 0 && f->control)
		return forward_header(f);
	if (f->plain == 0 && !begin_frames(f))
		return false;
	return forward_bytes(f);
}

/* The end of one direction is passed on; after the end of both, the sockets close. */
static void end_flow(struct flow *f, struct flow *other)
{
	f->open = false;
	shutdown(f->to, SHUT_WR);
	if (other->open)
		return;
	close(f->from);
	close(f->to);
}

static int take_connection(int listen_fd, const char *target, struct flow *pair, bool control)
{
	struct why why;
	int client, server;

	client = address_accept(listen_fd, 0);
	if (client < 0)
		return client;
	if (control)
		pass_point('c', 0);
	server = address_connect(target, DIAL_MS, &why);
	if (server < 0) {
		close(client);
		return server;
	}
	pair[0] = (struct flow){ control ? 0 : sizeof(struct wire_stream_hello),
				 0,
				 client,
				 server,
				 '>',
				 control,
				 true };
	pair[1] = (struct flow){ control ? 0 : UINT64_MAX, 0, server, client, '<', control, true };
	return 0;
}

static void serve(int listen_fd, const char *target)
{
	struct flow flows[2 * LINKS_MAX] = { 0 };
	unsigned int n = 0;

	for (;;) {
		struct pollfd p[1 + 2 * LINKS_MAX] = { { .fd = listen_fd, .events = POLLIN } };

		for (unsigned int i = 0; i < n; i++)
			p[1 + i] = (struct pollfd){ .fd = flows[i].open ? flows[i].from : -1,
						    .events = POLLIN };
		poll(p, 1 + n, -1);
		for (unsigned int i = 0; i < n; i++)
			if (flows[i].open && p[1 + i].revents && !forward(&flows[i]))
				end_flow(&flows[i], &flows[i ^ 1]);
		if (p[0].revents && n < 2 * LINKS_MAX &&
		    take_connection(listen_fd, target, &flows[n], n == 0) == 0)
			n += 2;
	}
}

static bool parse_point(const char *text)
{
	const char *colon = strchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) - 1 : strlen(text) - 1;

	point = (struct point){ .way = text[0],
				.nth = colon ? (unsigned int)strtoul(colon + 1, NULL, 10) : 1 };
	if (strcmp(text, "connect") == 0 || strcmp(text, "frame") == 0)
		return true;
	for (unsigned int type = 1; type < WIRE_TYPES; type++) {
		const char *name = wire_type_name((uint16_t)type);

		if (strlen(name) == len && strncmp(name, text + 1, len) == 0)
			point.type = (uint16_t)type;
	}
	return (text[0] == '>' || text[0] == '<') && point.type && point.nth;
}

int main(int argc, char **argv)
{
	struct why why = { "" };
	char address[128];
	int listen_fd;

	if (argc != 3 || !parse_point(argv[2])) {
		fprintf(stderr, "usage: wire-gate TARGET POINT\n");
		return 2;
	}
	listen_fd = address_listen("127.0.0.1:0", &why);
	if (listen_fd < 0 || address_of(listen_fd, address, sizeof(address))) {
		fprintf(stderr, "wire-gate: %s\n", why.text);
		return 1;
	}
	printf("listening %s\n", address);
	fflush(stdout);
	serve(listen_fd, argv[1]);
}
