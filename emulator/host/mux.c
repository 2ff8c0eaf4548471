/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frame.h"
#include "hostd.h"

/* Clients wait while this much has not gone to the agent yet. */
#define AGENT_HIGH (1u << 20)
/*
 * With the windows kept, a client's queue holds two of them and small change (a frame's header may
 * come with each byte of data); more means that the agent does not keep to its windows.
 */
#define CLIENT_MAX (16u << 20)
/* A console that prints for ever shall not fill the disk. */
#define LOG_MAX	     (16ull << 20)
#define CONSOLE_HIGH (64u << 10)

void mux_init(struct mux *m, int agent_fd, int console_fd, int log_fd)
{
	memset(m, 0, sizeof(*m));
	m->agent_fd = agent_fd;
	m->console_fd = console_fd;
	m->log_fd = log_fd;
	m->next_channel = 1;
}

static void client_close(struct mux *m, struct client *c)
{
	if (c->busy && m->state == AGENT_READY)
		frame_put(&m->agent_out, c->channel, FRAME_CANCEL, NULL, 0);
	close(c->fd);
	buf_free(&c->in);
	buf_free(&c->out);
	*c = m->clients[--m->nclients];
}

void mux_fini(struct mux *m)
{
	while (m->nclients)
		client_close(m, &m->clients[0]);
	buf_free(&m->agent_in);
	buf_free(&m->agent_out);
	buf_free(&m->console_out);
	if (m->agent_fd >= 0)
		close(m->agent_fd);
	if (m->console_fd >= 0)
		close(m->console_fd);
	if (m->log_fd >= 0)
		close(m->log_fd);
}

static void client_error(struct client *c, const char *why)
{
	if (!c->closing)
		frame_put(&c->out, 0, FRAME_ERROR, why, strlen(why));
	c->busy = false;
	c->closing = true;
}

static void agent_broken(struct mux *m, const char *why)
{
	if (m->state == AGENT_BROKEN)
		return;
	m->state = AGENT_BROKEN;
	for (unsigned int i = 0; i < m->nclients; i++)
		if (m->clients[i].busy)
			client_error(&m->clients[i], why);
	buf_free(&m->agent_in);
	buf_free(&m->agent_out);
}

void mux_accept(struct mux *m, int fd)
{
	struct client *c;

	if (m->nclients == CLIENTS_MAX) {
		close(fd);
		return;
	}
	c = &m->clients[m->nclients++];
	memset(c, 0, sizeof(*c));
	c->fd = fd;
	c->channel = m->next_channel++;
}

/* Returns false if the frame has to wait for the agent. */
static bool on_client_frame(struct mux *m, struct client *c, const struct frame *f)
{
	switch (f->type) {
	case FRAME_STOP:
		c->stopper = true;
		m->stop_asked = true;
		return true;
	case FRAME_CONSOLE:
		c->console = true;
		return true;
	case FRAME_EXEC:
		if (c->busy || c->console)
			break;
		if (m->state == AGENT_BROKEN) {
			client_error(c, "the host no longer answers (see 'sev-host log')");
			return true;
		}
		if (m->state == AGENT_BOOTING)
			return false;
		c->busy = true;
		frame_put(&m->agent_out, c->channel, f->type, f->payload, f->length);
		return true;
	case FRAME_STDIN:
		if (c->console) {
			buf_append(&m->console_out, f->payload, f->length);
			return true;
		}
		/* fall through */
	case FRAME_CREDIT:
	case FRAME_SIGNAL:
		/* the end of the command may be on its way to the client */
		if (c->busy && m->state == AGENT_READY)
			frame_put(&m->agent_out, c->channel, f->type, f->payload, f->length);
		return true;
	}
	client_error(c,
		     "the daemon does not understand this client; are they of the same version?");
	return true;
}

static bool held_back(const struct mux *m, const struct client *c)
{
	return buf_len(&m->agent_out) > AGENT_HIGH ||
	       (c->console && buf_len(&m->console_out) > CONSOLE_HIGH);
}

static void client_frames(struct mux *m, struct client *c)
{
	struct frame f;
	int ret = 0;

	while (!c->closing && !held_back(m, c) && (ret = frame_peek(&c->in, &f)) > 0) {
		if (!on_client_frame(m, c, &f))
			return;
		frame_drop(&c->in, &f);
	}
	if (ret < 0)
		client_error(c, "the daemon got something that is no frame");
}

/* Returns false when the client is gone. */
static bool client_run(struct mux *m, struct client *c, short revents)
{
	ssize_t n;

	if (revents & (POLLIN | POLLHUP | POLLERR)) {
		n = buf_read(&c->in, c->fd, 64 << 10);
		if (n <= 0 && n != -EAGAIN)
			return false;
	}
	client_frames(m, c);
	if (buf_len(&c->out)) {
		n = buf_write(&c->out, c->fd, 256 << 10);
		if (n < 0 && n != -EAGAIN)
			return false;
	}
	return !c->closing || buf_len(&c->out);
}

static struct client *find(struct mux *m, uint32_t channel)
{
	for (unsigned int i = 0; i < m->nclients; i++)
		if (m->clients[i].channel == channel)
			return &m->clients[i];
	return NULL;
}

/* The host is up; if it was before, then a reset has ended all that ran in it. */
static void agent_hello(struct mux *m)
{
	for (unsigned int i = 0; i < m->nclients; i++)
		if (m->clients[i].busy)
			client_error(&m->clients[i], "the host was reset");
	buf_free(&m->agent_out);
	frame_put(&m->agent_out, 0, FRAME_SYNC, FRAME_SYNC_TEXT, FRAME_SYNC_BYTES);
	m->state = AGENT_READY;
}

static int on_agent_frame(struct mux *m, const struct frame *f)
{
	struct client *c;

	if (f->type == FRAME_HELLO) {
		if (frame_get_u32(f->payload) != FRAME_VERSION)
			return -EPROTO;
		agent_hello(m);
		return 0;
	}
	if (f->type != FRAME_STDOUT && f->type != FRAME_STDERR && f->type != FRAME_CREDIT &&
	    f->type != FRAME_EXIT)
		return -EPROTO;
	c = find(m, f->channel);
	if (!c || !c->busy)
		return 0;
	frame_put(&c->out, 0, f->type, f->payload, f->length);
	if (f->type == FRAME_EXIT) {
		c->busy = false;
		c->closing = true;
	} else if (buf_len(&c->out) > CLIENT_MAX) {
		buf_free(&c->out);
		client_error(c, "the host's agent sent more than it was allowed to");
	}
	return 0;
}

static void agent_run(struct mux *m, short revents)
{
	struct frame f;
	ssize_t n;
	int ret;

	if (revents & (POLLIN | POLLHUP | POLLERR)) {
		n = buf_read(&m->agent_in, m->agent_fd, 256 << 10);
		if (n <= 0 && n != -EAGAIN) {
			/* QEMU is gone; its end says more than this, and comes at once */
			m->state = AGENT_BROKEN;
			buf_free(&m->agent_out);
			close(m->agent_fd);
			m->agent_fd = -1;
			return;
		}
		while ((ret = frame_peek(&m->agent_in, &f)) > 0) {
			ret = on_agent_frame(m, &f);
			if (ret)
				break;
			frame_drop(&m->agent_in, &f);
		}
		if (ret < 0)
			agent_broken(m, "the host's agent sent something that is no frame");
	}
	if (m->state == AGENT_BROKEN) {
		buf_free(&m->agent_in);
		return;
	}
	if (buf_len(&m->agent_out)) {
		n = buf_write(&m->agent_out, m->agent_fd, 256 << 10);
		if (n < 0 && n != -EAGAIN)
			m->state = AGENT_BROKEN;
	}
}

static void console_output(struct mux *m, const uint8_t *data, size_t len)
{
	if (m->log_fd >= 0 && m->log_bytes < LOG_MAX) {
		if (write(m->log_fd, data, len) > 0)
			m->log_bytes += len;
	}
	for (unsigned int i = 0; i < m->nclients; i++) {
		struct client *c = &m->clients[i];

		/* a client that does not keep up misses something, as on a real line */
		if (c->console && !c->closing && buf_len(&c->out) < CONSOLE_HIGH)
			frame_put(&c->out, 0, FRAME_STDOUT, data, len);
	}
}

static void console_run(struct mux *m, short revents)
{
	struct buf b = { 0 };
	ssize_t n;

	if (revents & (POLLIN | POLLHUP | POLLERR)) {
		n = buf_read(&b, m->console_fd, 64 << 10);
		if (n > 0)
			console_output(m, buf_data(&b), n);
		buf_free(&b);
		if (n <= 0 && n != -EAGAIN) {
			close(m->console_fd);
			m->console_fd = -1;
			return;
		}
	}
	if (buf_len(&m->console_out))
		buf_write(&m->console_out, m->console_fd, 4096);
}

unsigned int mux_poll(const struct mux *m, struct pollfd *fds)
{
	unsigned int n = 0;

	/* poll ignores negative descriptors, so the order of entries is always the same */
	fds[n++] =
		(struct pollfd){ m->agent_fd, POLLIN | (buf_len(&m->agent_out) ? POLLOUT : 0), 0 };
	fds[n++] = (struct pollfd){ m->console_fd,
				    POLLIN | (buf_len(&m->console_out) ? POLLOUT : 0), 0 };
	for (unsigned int i = 0; i < m->nclients; i++) {
		const struct client *c = &m->clients[i];
		short events = buf_len(&c->out) ? POLLOUT : 0;

		/* what it may send before it is held back is bounded by one frame */
		if (!held_back(m, c) && buf_len(&c->in) <= FRAME_PAYLOAD_MAX + FRAME_HEADER_BYTES)
			events |= POLLIN;
		fds[n++] = (struct pollfd){ c->fd, events, 0 };
	}
	return n;
}

void mux_run(struct mux *m, const struct pollfd *fds, unsigned int nfds)
{
	/* the clients last: what they wait for may just have happened */
	if (m->agent_fd >= 0)
		agent_run(m, fds[0].revents);
	if (m->console_fd >= 0)
		console_run(m, fds[1].revents);
	/* backwards, because a client that goes is replaced by the last one */
	for (unsigned int i = nfds - 2; i-- > 0;)
		if (!client_run(m, &m->clients[i], fds[2 + i].revents))
			client_close(m, &m->clients[i]);
}

void mux_end(struct mux *m, const char *why)
{
	for (unsigned int i = 0; i < m->nclients; i++) {
		struct client *c = &m->clients[i];

		if (c->stopper)
			continue;
		client_error(c, why);
		buf_write(&c->out, c->fd, buf_len(&c->out));
	}
}
