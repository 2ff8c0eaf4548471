/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A connection between the two hosts: TLS 1.3 over a stream socket (mutual certificates or a
 * pre-shared key), or the bare socket where the operator said --insecure. One reader and one writer
 * thread at a time; channel_cancel() from any thread.
 */
#ifndef LIB_NET_CHANNEL_H
#define LIB_NET_CHANNEL_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/util/why.h"

/*
 * How the peer is authenticated. Exactly one of: certificate + key + ca (PEM files; the peer's
 * certificate must be signed by ca, and name peer_name where one is given), psk_file (32 to 64
 * bytes in hexadecimal, of owner-only mode), insecure.
 */
struct channel_security {
	const char *certificate;
	const char *key;
	const char *ca;
	const char *peer_name;
	const char *psk_file;
	bool insecure;
	/* what channel_security_prepare() has read; NULL: each channel reads the files */
	struct ssl_ctx_st *prepared;
};

/*
 * 0 if *security is one of the three in full and its files can be read; else -EINVAL or -errno,
 * with the reason in why.
 */
int channel_security_check(const struct channel_security *security, struct why *why);

/*
 * Read the files once, for all channels of one side that are made from here on: a peer that only
 * connects costs no more than its handshake. 0, or a negative errno with the reason in why; then
 * each channel still reads them.
 */
int channel_security_prepare(struct channel_security *security, bool server, struct why *why);

/* Wipe what was read. Channels that were made of it stay, if their handshake is done. */
void channel_security_release(struct channel_security *security);

struct channel;

/*
 * Make a channel of a connected socket and shake hands within timeout_ms. The channel owns the
 * socket, also when this fails. server: the side that accepted. 0, or a negative errno with the
 * reason in why: -EPERM when the peer could not prove who it is.
 */
int channel_open(struct channel **channel, int fd, bool server,
		 const struct channel_security *security, int timeout_ms, struct why *why);

/*
 * The same without waiting. channel_begin() makes the channel, which owns the socket if this
 * succeeds; on failure the socket is still the caller's. Then channel_advance(), again and again: 0
 * once the handshake is done, -EAGAIN when it continues with one of *events (POLLIN, POLLOUT) at
 * the socket, or another negative errno as channel_open()'s: only channel_close() follows.
 */
int channel_begin(struct channel **channel, int fd, bool server,
		  const struct channel_security *security, struct why *why);
int channel_advance(struct channel *channel, short *events, struct why *why);

/* Closes the connection and wipes the keys. NULL is allowed. */
void channel_close(struct channel *channel);

/*
 * Move exactly len bytes. timeout_ms is how long the connection may stall (-1: for ever). 0,
 * -ECONNRESET when the peer has gone, -ETIMEDOUT, -ECANCELED after channel_cancel(), or another
 * negative errno.
 */
int channel_send(struct channel *channel, const void *buf, size_t len, int timeout_ms);
int channel_recv(struct channel *channel, void *buf, size_t len, int timeout_ms);

/*
 * As channel_send(), for what must follow what was sent: channel_cancel() ends it only where it
 * would wait for the peer.
 */
int channel_send_rest(struct channel *channel, const void *buf, size_t len, int timeout_ms);

/*
 * Take what has arrived, at most len bytes: how many (> 0), -EAGAIN with the *events to wait for if
 * there is nothing, or as channel_recv().
 */
ssize_t channel_recv_some(struct channel *channel, void *buf, size_t len, short *events);

/* Nothing more can be sent, and the peer will see that. */
void channel_end_sending(struct channel *channel);

/*
 * channel_send() of several buffers in turn, in as few system calls as they fit in. iov is changed.
 */
int channel_sendv(struct channel *channel, struct iovec *iov, unsigned int n, int timeout_ms);

/*
 * Wait until channel_recv() would find something (timeout_ms -1: for ever). 0, -ETIMEDOUT,
 * -ECANCELED, or another negative errno.
 */
int channel_wait(struct channel *channel, int timeout_ms);

/* True when channel_recv() would find something at once. */
bool channel_readable(struct channel *channel);

/*
 * Wait for the channel or one of n other descriptors (at most CHANNEL_WAIT_MAX; negative ones are
 * passed over) to become readable: 0 for the channel, which goes first, 1 + i for fds[i],
 * -ETIMEDOUT, -ECANCELED.
 */
#define CHANNEL_WAIT_MAX 4
int channel_wait_any(struct channel *channel, const int *fds, unsigned int n, int timeout_ms);

/*
 * What poll() has to wait for to see that the peer has closed the connection; what came before that
 * can still be received.
 */
void channel_watch_hang_up(const struct channel *channel, struct pollfd *p);

/*
 * Wakes threads that are in channel_send() or channel_recv(); they and all later calls return
 * -ECANCELED.
 */
void channel_cancel(struct channel *channel);

/*
 * Undo channel_cancel(), to say last words to the peer. Nobody else may be using the channel any
 * more.
 */
void channel_uncancel(struct channel *channel);

/* "the source" or "the target": who is at the other end. The target accepts, the source connects.
 */
const char *channel_peer(const struct channel *channel);

bool channel_is_tls(const struct channel *channel);

/*
 * Key material that both ends have and nobody else (RFC 8446, section 7.5). On a bare socket the
 * bytes depend only on label and context and so protect nothing. 0 or a negative errno. The caller
 * wipes out.
 */
int channel_export_key(struct channel *channel, const char *label, const uint8_t *context,
		       size_t context_len, uint8_t *out, size_t len);

#endif
