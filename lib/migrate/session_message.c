/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Control messages of a migration, with their failures put into words once. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/migrate/session.h"
#include "lib/util/clock.h"

int session_send_failed(struct sevmirror_migration *m, enum wire_type type, int err)
{
	enum sevmirror_reason reason = SEVMIRROR_REASON_CONNECTION;
	const char *self = m->is_source ? "the source" : "the target";
	const char *peer = m->is_source ? "the target" : "the source";

	if (err == -ECANCELED && atomic_load(&m->cancelled))
		return session_fail(m, err, "cancelled");
	if (err == -ECANCELED)
		reason = SEVMIRROR_REASON_CANCELLED;
	else if (err == -ETIMEDOUT)
		reason = SEVMIRROR_REASON_TIMEOUT;
	else if (err == -EMSGSIZE)
		reason = SEVMIRROR_REASON_INTERNAL;
	return session_fail_because(m, reason, err, "%s cannot send %s to %s: %s", self,
				    wire_type_text((uint16_t)type), peer, strerror(-err));
}

int session_send_parts(struct sevmirror_migration *m, enum wire_type type,
		       const struct message_part *parts, unsigned int nparts)
{
	int err = message_send(m->control, type, parts, nparts, m->timeout_ms);

	return err ? session_send_failed(m, type, err) : 0;
}

int session_send(struct sevmirror_migration *m, enum wire_type type, const void *body, size_t len)
{
	struct message_part part = { body, len };

	return session_send_parts(m, type, &part, len ? 1 : 0);
}

/*
 * Until a message arrives, within timeout_ms. From then on session_interrupt() waits for its end:
 * half of an ABORT would be lost. Returns how long the message itself may take.
 */
static int begin_message(struct sevmirror_migration *m, int timeout_ms)
{
	int err = channel_wait(m->control, timeout_ms);

	pthread_mutex_lock(&m->cancel_lock);
	m->receiving = true;
	pthread_mutex_unlock(&m->cancel_lock);
	return err == -ETIMEDOUT ? 0 : timeout_ms;
}

static int end_message(struct sevmirror_migration *m, int err)
{
	pthread_mutex_lock(&m->cancel_lock);
	if (m->interrupted && session_can_cancel(m))
		channel_cancel(m->control);
	m->receiving = m->interrupted = false;
	pthread_mutex_unlock(&m->cancel_lock);
	return err;
}

int session_recv(struct sevmirror_migration *m, enum wire_type type, void *body, size_t len)
{
	int timeout_ms = begin_message(m, m->timeout_ms);

	return end_message(
		m, message_recv(m->control, type, body, len, len, NULL, timeout_ms, &m->why));
}

int session_recv_alloc(struct sevmirror_migration *m, enum wire_type type, void **body, size_t *len)
{
	int timeout_ms = begin_message(m, m->timeout_ms);

	return end_message(m, message_recv_alloc(m->control, type, body, len, timeout_ms, &m->why));
}

int session_recv_after_work(struct sevmirror_migration *m, enum wire_type type, void **body,
			    size_t *len)
{
	bool working;
	int err;

	do {
		int timeout_ms = begin_message(m, m->timeout_ms);

		err = end_message(m, message_recv_or_working(m->control, type, &working, body, len,
							     timeout_ms, &m->why));
	} while (!err && working && ++m->workings <= WIRE_MAX_WORKING);
	if (err || !working)
		return err;
	return session_fail_because(m, SEVMIRROR_REASON_TIMEOUT, -ETIMEDOUT,
				    "the target has said %u times that it works, and never sent %s",
				    WIRE_MAX_WORKING, wire_type_text((uint16_t)type));
}

static int recv_any(struct sevmirror_migration *m, uint16_t *type, void **body, size_t *len,
		    int timeout_ms, struct why *why)
{
	timeout_ms = begin_message(m, timeout_ms);
	return end_message(m, message_recv_any(m->control, type, body, len, timeout_ms, why));
}

int session_recv_any(struct sevmirror_migration *m, uint16_t *type, void **body, size_t *len)
{
	return recv_any(m, type, body, len, m->timeout_ms, &m->why);
}

int session_recv_unexpected(struct sevmirror_migration *m)
{
	uint16_t type;
	void *body;
	size_t len;
	int err = session_recv_any(m, &type, &body, &len);

	free(body);
	return err ? err :
		     session_fail(m, -EPROTO, "%s sent %s, and no message was expected",
				  channel_peer(m->control), wire_type_text(type));
}

/* A stream that ends interrupts the control connection; cancelling stays in force. */
static bool listen_again(struct sevmirror_migration *m)
{
	bool ok;

	pthread_mutex_lock(&m->cancel_lock);
	ok = !atomic_load(&m->cancelled);
	if (ok)
		channel_uncancel(m->control);
	pthread_mutex_unlock(&m->cancel_lock);
	return ok;
}

int session_why_peer_left(struct sevmirror_migration *m, int err)
{
	uint64_t until = clock_ns() + PEER_WORDS_MS * NS_PER_MS;
	struct why why;

	if (!err || err == MESSAGE_PEER_ABORTED)
		return err;
	while (clock_ns() < until && listen_again(m)) {
		uint16_t type;
		void *body;
		size_t len;
		int got = recv_any(m, &type, &body, &len, clock_ms_until(until), &why);

		free(body);
		if (got == MESSAGE_PEER_ABORTED && !atomic_load(&m->cancelled)) {
			m->why = why;
			return got;
		}
		if (got && got != -ECANCELED)
			break;
	}
	return err;
}
