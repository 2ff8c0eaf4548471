/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon of an emulated host between two clients and an agent, all of which say what they like.
 * The input is a list of {who, type, channel, length, bytes}: a well-formed frame of any type, or
 * bytes as they are.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "emulator/host/frame.h"
#include "emulator/host/hostd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { AGENT, CONSOLE, CLIENT_1, CLIENT_2, PEERS };

struct scene {
	struct mux mux;
	int peer[PEERS];
};

static int pair(int *peer)
{
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd))
		abort();
	*peer = fd[0];
	return fd[1];
}

/* What the daemon sends must be frames, whatever it was sent. */
static void read_back(struct scene *s)
{
	for (int i = CLIENT_1; i < PEERS; i++) {
		struct buf b = { 0 };
		struct frame f;
		int ret;

		while (s->peer[i] >= 0 && buf_read(&b, s->peer[i], 64 << 10) > 0)
			;
		while ((ret = frame_peek(&b, &f)) > 0)
			frame_drop(&b, &f);
		if (ret < 0 || buf_len(&b))
			abort();
		buf_free(&b);
	}
}

static void run(struct scene *s)
{
	struct pollfd fds[MUX_POLL_MAX];
	unsigned int n = mux_poll(&s->mux, fds);

	poll(fds, n, 0);
	mux_run(&s->mux, fds, n);
}

static void say(struct scene *s, int who, const struct buf *b)
{
	if (s->peer[who] >= 0 && send(s->peer[who], buf_data(b), buf_len(b), MSG_NOSIGNAL) < 0)
		return;
	run(s);
	run(s);
}

static void step(struct scene *s, const uint8_t *head, const uint8_t *bytes, size_t len)
{
	int who = head[0] % PEERS;
	struct buf b = { 0 };

	if (head[1] == 0xff) {
		buf_append(&b, bytes, len);
	} else if (head[1] == 0xfe && who >= CLIENT_1) {
		close(s->peer[who]);
		s->peer[who] = -1;
	} else {
		frame_put(&b, head[2], head[1] % 16, bytes, len);
	}
	if (buf_len(&b))
		say(s, who, &b);
	else
		run(s);
	buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct scene s;
	int agent = pair(&s.peer[AGENT]), console = pair(&s.peer[CONSOLE]);

	mux_init(&s.mux, agent, console, -1);
	for (int i = CLIENT_1; i < PEERS; i++)
		mux_accept(&s.mux, pair(&s.peer[i]));
	while (len >= 4) {
		size_t n = data[3];

		if (n > len - 4)
			n = len - 4;
		step(&s, data, data + 4, n);
		data += 4 + n;
		len -= 4 + n;
	}
	run(&s);
	read_back(&s);
	mux_end(&s.mux, "the end");
	mux_fini(&s.mux);
	for (int i = 0; i < PEERS; i++)
		if (s.peer[i] >= 0)
			close(s.peer[i]);
	return 0;
}
