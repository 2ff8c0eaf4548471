/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/server.h"

#define OUT_BYTES_MAX (4U << 20) /* a client that is this far behind is cut off */
/* one that is this far behind gets no further command answered */
#define OUT_BYTES_BUSY (64U << 10)

struct conn *conn_create(int fd)
{
	struct conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return NULL;
	conn->in = malloc(CONTROL_LINE_MAX + 1);
	if (!conn->in) {
		free(conn);
		return NULL;
	}
	conn->fd = fd;
	conn->out_last = &conn->out_first;
	return conn;
}

static void close_fds(int *fds, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		close(fds[i]);
}

static void drop_first_message(struct conn *conn)
{
	struct conn_message *m = conn->out_first;

	conn->out_first = m->next;
	if (!conn->out_first)
		conn->out_last = &conn->out_first;
	conn->out_bytes -= m->len;
	close_fds(m->fds, m->fd_count);
	free(m->text);
	free(m);
}

void conn_destroy(struct conn *conn)
{
	while (conn->out_first)
		drop_first_message(conn);
	close_fds(conn->in_fds, conn->in_fd_count);
	close(conn->fd);
	/* A secret for a guest may have come through here. */
	explicit_bzero(conn->in, CONTROL_LINE_MAX + 1);
	free(conn->in);
	free(conn);
}

void conn_queue(struct conn *conn, char *text, const int *fds, unsigned int fd_count)
{
	struct conn_message *m = calloc(1, sizeof(*m));
	size_t len = text ? strlen(text) : 0;

	if (!m || !text || conn->broken || len + 1 > OUT_BYTES_MAX - conn->out_bytes) {
		conn->broken = true;
		for (unsigned int i = 0; i < fd_count; i++)
			close(fds[i]);
		free(text);
		free(m);
		return;
	}
	text[len] = '\n'; /* in place of the terminator: from here on the length counts */
	m->text = text;
	m->len = len + 1;
	m->fd_count = fd_count;
	if (fd_count)
		memcpy(m->fds, fds, fd_count * sizeof(*fds));
	*conn->out_last = m;
	conn->out_last = &m->next;
	conn->out_bytes += m->len;
}

/* The descriptors go with the message's first byte. */
static ssize_t send_message(int fd, struct conn_message *m)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * CONTROL_FDS_MAX)];
	} control = { 0 };
	struct iovec iov = { m->text + m->sent, m->len - m->sent };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (m->fd_count && !m->sent) {
		struct cmsghdr *c;

		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * m->fd_count);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * m->fd_count);
		memcpy(CMSG_DATA(c), m->fds, sizeof(int) * m->fd_count);
	}
	return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void conn_flush(struct conn *conn)
{
	while (conn->out_first && !conn->broken) {
		struct conn_message *m = conn->out_first;
		ssize_t n = send_message(conn->fd, m);

		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				conn->broken = true;
			return;
		}
		m->sent += (size_t)n;
		if (m->sent == m->len)
			drop_first_message(conn);
	}
}

bool conn_wants_input(const struct conn *conn)
{
	return !conn->broken && !conn->ending && conn->out_bytes < OUT_BYTES_BUSY;
}

bool conn_has_line(const struct conn *conn)
{
	return memchr(conn->in, '\n', conn->in_used) != NULL;
}

/*
 * Keep descriptors for the command whose line is being read; one too many and the client is not one
 * of ours.
 */
static void keep_fds(struct conn *conn, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (conn->in_fd_count < CONTROL_FDS_MAX) {
				conn->in_fds[conn->in_fd_count++] = fd;
			} else {
				close(fd);
				conn->broken = true;
			}
		}
	}
	if (msg->msg_flags & MSG_CTRUNC)
		conn->broken = true;
}

void conn_receive(struct conn *conn)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * CONTROL_FDS_MAX)];
	} control;
	struct iovec iov = { conn->in + conn->in_used, CONTROL_LINE_MAX + 1 - conn->in_used };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	ssize_t n;

	if (!iov.iov_len)
		return;
	n = recvmsg(conn->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			conn->broken = true;
		return;
	}
	keep_fds(conn, &msg);
	if (n == 0)
		conn->ending = true;
	conn->in_used += (size_t)n;
}

char *conn_line(struct conn *conn, size_t *len, bool *too_long)
{
	char *end = memchr(conn->in, '\n', conn->in_used);

	*too_long = !end && conn->in_used > CONTROL_LINE_MAX;
	if (!end)
		return NULL;
	*len = (size_t)(end - conn->in);
	return conn->in;
}

void conn_line_done(struct conn *conn, size_t len)
{
	conn->in_used -= len + 1;
	memmove(conn->in, conn->in + len + 1, conn->in_used);
	/* As above: nothing of the line stays behind. */
	explicit_bzero(conn->in + conn->in_used, len + 1);
}
