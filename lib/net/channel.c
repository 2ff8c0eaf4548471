/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/net/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>

#include "lib/util/clock.h"
#include "lib/net/tls.h"
#include "lib/util/stack.h"

struct channel {
	int fd;
	int cancel_fd; /* readable once channel_cancel() was called */
	atomic_bool cancelled;
	SSL *ssl; /* NULL on a bare socket */
	SSL_CTX *ctx; /* of this channel alone, or NULL */
	BIO_METHOD *method;
	bool server;
	bool shaken; /* the TLS handshake is done, but not the welcome that follows it */
	/* an SSL object is for one thread at a time; never held while waiting */
	pthread_mutex_t lock;
};

/* Wait until the socket is ready for events. 0, -ETIMEDOUT or -ECANCELED. */
static int wait_for(struct channel *channel, short events, int timeout_ms)
{
	struct pollfd p[2] = { { .fd = channel->fd, .events = events },
			       { .fd = channel->cancel_fd, .events = POLLIN } };
	int n;

	do {
		n = poll(p, 2, timeout_ms);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (p[1].revents)
		return -ECANCELED;
	return n == 0 ? -ETIMEDOUT : 0;
}

/*
 * What an SSL call that did not succeed wants: -EAGAIN and the event to wait for, or another
 * negative errno.
 */
static int tls_wants(int reason, int saved_errno, short *events)
{
	switch (reason) {
	case SSL_ERROR_WANT_READ:
		*events = POLLIN;
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		*events = POLLOUT;
		return -EAGAIN;
	case SSL_ERROR_SYSCALL:
		return saved_errno ? -saved_errno : -ECONNRESET;
	case SSL_ERROR_ZERO_RETURN:
		return -ECONNRESET;
	default:
		return -EPROTO;
	}
}

enum direction { SEND, SEND_REST, RECV };

/* One attempt to move bytes: how many (> 0), -EAGAIN and the event to wait for, or an error. */
static ssize_t try_move(struct channel *channel, enum direction way, void *buf, size_t len,
			short *events)
{
	int reason, saved, err;
	ssize_t n;

	if (way != SEND_REST && atomic_load(&channel->cancelled))
		return -ECANCELED;
	if (len > 1 << 30)
		len = 1 << 30;
	*events = way != RECV ? POLLOUT : POLLIN;
	if (!channel->ssl) {
		do {
			n = way != RECV ? send(channel->fd, buf, len, MSG_NOSIGNAL) :
					  recv(channel->fd, buf, len, 0);
		} while (n < 0 && errno == EINTR);
		return n > 0 ? n : n == 0 ? -ECONNRESET : -errno;
	}
	pthread_mutex_lock(&channel->lock);
	ERR_clear_error();
	errno = 0;
	n = way != RECV ? SSL_write(channel->ssl, buf, (int)len) :
			  SSL_read(channel->ssl, buf, (int)len);
	saved = errno;
	reason = n > 0 ? SSL_ERROR_NONE : SSL_get_error(channel->ssl, (int)n);
	pthread_mutex_unlock(&channel->lock);
	if (n > 0)
		return n;
	err = tls_wants(reason, saved, events);
	return err == -EPIPE ? -ECONNRESET : err;
}

/*
 * One attempt to move bytes. How many (> 0), 0 to try again after a wait that went well, or a
 * negative errno.
 */
static ssize_t move_some(struct channel *channel, enum direction way, void *buf, size_t len,
			 int timeout_ms)
{
	short events;
	ssize_t n = try_move(channel, way, buf, len, &events);

	return n == -EAGAIN ? wait_for(channel, events, timeout_ms) : n;
}

static int move_all(struct channel *channel, enum direction way, char *buf, size_t len,
		    int timeout_ms)
{
	while (len) {
		ssize_t n = move_some(channel, way, buf, len, timeout_ms);

		if (n == -EPIPE)
			return -ECONNRESET;
		if (n < 0)
			return atomic_load(&channel->cancelled) ? -ECANCELED : (int)n;
		buf += n;
		len -= n;
	}
	return 0;
}

int channel_send(struct channel *channel, const void *buf, size_t len, int timeout_ms)
{
	return move_all(channel, SEND, (char *)buf, len, timeout_ms);
}

int channel_send_rest(struct channel *channel, const void *buf, size_t len, int timeout_ms)
{
	return move_all(channel, SEND_REST, (char *)buf, len, timeout_ms);
}

void channel_end_sending(struct channel *channel)
{
	shutdown(channel->fd, SHUT_WR);
}

int channel_recv(struct channel *channel, void *buf, size_t len, int timeout_ms)
{
	return move_all(channel, RECV, buf, len, timeout_ms);
}

ssize_t channel_recv_some(struct channel *channel, void *buf, size_t len, short *events)
{
	return try_move(channel, RECV, buf, len, events);
}

/* One sendmsg() on a bare socket, as move_some(). */
static ssize_t sendv_some(struct channel *channel, struct iovec *iov, unsigned int n,
			  int timeout_ms)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n < IOV_MAX ? n : IOV_MAX };
	ssize_t sent;

	if (atomic_load(&channel->cancelled))
		return -ECANCELED;
	sent = sendmsg(channel->fd, &msg, MSG_NOSIGNAL);
	if (sent >= 0)
		return sent;
	if (errno == EINTR)
		return 0;
	if (errno == EAGAIN)
		return wait_for(channel, POLLOUT, timeout_ms);
	return errno == EPIPE ? -ECONNRESET : -errno;
}

int channel_sendv(struct channel *channel, struct iovec *iov, unsigned int n, int timeout_ms)
{
	int err = 0;

	if (channel->ssl) {
		for (unsigned int i = 0; i < n && !err; i++)
			err = channel_send(channel, iov[i].iov_base, iov[i].iov_len, timeout_ms);
		return err;
	}
	while (n) {
		ssize_t sent = sendv_some(channel, iov, n, timeout_ms);

		if (sent < 0)
			return (int)sent;
		for (; n && (size_t)sent >= iov->iov_len; iov++, n--)
			sent -= (ssize_t)iov->iov_len;
		if (n) {
			iov->iov_base = (char *)iov->iov_base + sent;
			iov->iov_len -= (size_t)sent;
		}
	}
	return 0;
}

int channel_wait(struct channel *channel, int timeout_ms)
{
	bool pending = false;

	if (channel->ssl) {
		pthread_mutex_lock(&channel->lock);
		pending = SSL_has_pending(channel->ssl);
		pthread_mutex_unlock(&channel->lock);
	}
	return pending ? 0 : wait_for(channel, POLLIN, timeout_ms);
}

bool channel_readable(struct channel *channel)
{
	return channel_wait(channel, 0) == 0;
}

int channel_wait_any(struct channel *channel, const int *fds, unsigned int n, int timeout_ms)
{
	struct pollfd p[2 + CHANNEL_WAIT_MAX] = { { .fd = channel->fd, .events = POLLIN },
						  { .fd = channel->cancel_fd, .events = POLLIN } };
	int ready;

	if (n > CHANNEL_WAIT_MAX)
		return -EINVAL;
	if (channel_readable(channel))
		return 0;
	for (unsigned int i = 0; i < n; i++)
		p[2 + i] = (struct pollfd){ .fd = fds[i], .events = POLLIN };
	do {
		ready = poll(p, 2 + n, timeout_ms);
	} while (ready < 0 && errno == EINTR);
	if (ready < 0)
		return -errno;
	if (p[1].revents)
		return -ECANCELED;
	if (p[0].revents)
		return 0;
	for (unsigned int i = 0; i < n; i++)
		if (p[2 + i].revents)
			return 1 + (int)i;
	return -ETIMEDOUT;
}

void channel_cancel(struct channel *channel)
{
	uint64_t one = 1;

	atomic_store(&channel->cancelled, true);
	(void)!write(channel->cancel_fd, &one, sizeof(one));
}

void channel_uncancel(struct channel *channel)
{
	uint64_t count;

	(void)!read(channel->cancel_fd, &count, sizeof(count));
	atomic_store(&channel->cancelled, false);
}

void channel_watch_hang_up(const struct channel *channel, struct pollfd *p)
{
	*p = (struct pollfd){ .fd = channel->fd, .events = POLLRDHUP };
}

const char *channel_peer(const struct channel *channel)
{
	return channel->server ? "the source" : "the target";
}

bool channel_is_tls(const struct channel *channel)
{
	return channel->ssl != NULL;
}

static int shake_hands(struct channel *channel, short *events)
{
	int n, saved;

	ERR_clear_error();
	errno = 0;
	n = channel->server ? SSL_accept(channel->ssl) : SSL_connect(channel->ssl);
	saved = errno;
	return n == 1 ? 0 : tls_wants(SSL_get_error(channel->ssl, n), saved, events);
}

/*
 * In TLS 1.3 the client has done its part before the server has looked at the client's certificate.
 * One byte from the server says that it is content, so that a refusal shows up here and not
 * somewhere in the middle of the migration.
 */
static int exchange_welcome(struct channel *channel, short *events)
{
	uint8_t byte = 1;
	ssize_t n = try_move(channel, channel->server ? SEND : RECV, &byte, 1, events);

	return n < 0 ? (int)n : 0;
}

int channel_advance(struct channel *channel, short *events, struct why *why)
{
	int err = 0;

	if (!channel->ssl)
		return 0;
	if (!channel->shaken)
		err = shake_hands(channel, events);
	channel->shaken = !err;
	if (!err)
		err = exchange_welcome(channel, events);
	if (err == -EPROTO)
		return tls_explain(channel->ssl, why);
	if (err && err != -EAGAIN)
		why_set(why, err, "the TLS handshake failed: %s",
			err == -ECONNRESET ? "the peer closed the connection" : strerror(-err));
	return err;
}

static int prepare_tls(struct channel *channel, const struct channel_security *security,
		       struct why *why)
{
	int err = security->prepared ?
			  0 :
			  tls_context_create(&channel->ctx, channel->server, security, why);

	if (err)
		return err;
	channel->ssl = SSL_new(security->prepared ? security->prepared : channel->ctx);
	if (!channel->ssl || tls_use_socket(channel->ssl, channel->fd, &channel->method))
		return why_set(why, -ENOMEM, "out of memory for TLS");
	if (security->peer_name && !security->psk_file &&
	    !SSL_set1_host(channel->ssl, security->peer_name))
		return why_set(why, -EINVAL, "invalid host name '%s'", security->peer_name);
	return 0;
}

int channel_begin(struct channel **out, int fd, bool server,
		  const struct channel_security *security, struct why *why)
{
	struct channel *channel = calloc(1, sizeof(*channel));
	int err = 0;

	*out = NULL;
	if (!channel)
		return why_set(why, -ENOMEM, "out of memory for TLS");
	pthread_mutex_init(&channel->lock, NULL);
	channel->fd = fd;
	channel->server = server;
	channel->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (channel->cancel_fd < 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
		err = -errno;
		why_set(why, err, "%s", strerror(-err));
	}
	if (!err && !security->insecure)
		err = prepare_tls(channel, security, why);
	if (err) {
		channel->fd = -1;
		channel_close(channel);
		return err;
	}
	*out = channel;
	return 0;
}

int channel_open(struct channel **out, int fd, bool server, const struct channel_security *security,
		 int timeout_ms, struct why *why)
{
	uint64_t deadline = clock_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	struct channel *channel = NULL;
	int err = channel_begin(&channel, fd, server, security, why);
	short events = 0;

	*out = NULL;
	if (!channel) {
		close(fd);
		return err;
	}
	while ((err = channel_advance(channel, &events, why)) == -EAGAIN) {
		int left = clock_ms_until(deadline);

		err = left ? wait_for(channel, events, left) : -ETIMEDOUT;
		if (err) {
			why_set(why, err, "the TLS handshake failed: %s", strerror(-err));
			break;
		}
	}
	if (err)
		channel_close(channel);
	else
		*out = channel;
	return err;
}

void channel_close(struct channel *channel)
{
	if (!channel)
		return;
	if (channel->ssl) {
		ERR_clear_error();
		if (SSL_is_init_finished(channel->ssl))
			(void)SSL_shutdown(channel->ssl);
	}
	SSL_free(channel->ssl);
	BIO_meth_free(channel->method);
	tls_context_destroy(channel->ctx);
	if (channel->fd >= 0)
		close(channel->fd);
	if (channel->cancel_fd >= 0)
		close(channel->cancel_fd);
	pthread_mutex_destroy(&channel->lock);
	free(channel);
	util_stack_wipe();
}

/* The bare socket's stand-in for an exporter: the same bytes at both ends, known to everyone. */
static int export_in_clear(const char *label, const uint8_t *context, size_t context_len,
			   uint8_t *out, size_t len)
{
	uint8_t block[32];
	uint8_t counter = 0;

	while (len) {
		size_t n = len < sizeof(block) ? len : sizeof(block);
		uint8_t message[256];

		if (context_len > sizeof(message) - 1)
			return -EINVAL;
		message[0] = counter++;
		memcpy(message + 1, context, context_len);
		if (!HMAC(EVP_sha256(), label, (int)strlen(label), message, context_len + 1, block,
			  NULL))
			return -EIO;
		memcpy(out, block, n);
		out += n;
		len -= n;
	}
	return 0;
}

int channel_export_key(struct channel *channel, const char *label, const uint8_t *context,
		       size_t context_len, uint8_t *out, size_t len)
{
	int ok;

	if (!channel->ssl)
		return export_in_clear(label, context, context_len, out, len);
	pthread_mutex_lock(&channel->lock);
	ok = SSL_export_keying_material(channel->ssl, out, len, label, strlen(label), context,
					context_len, 1);
	pthread_mutex_unlock(&channel->lock);
	util_stack_wipe(); /* the label's secret, from which all keys of the label follow */
	return ok == 1 ? 0 : -EIO;
}
