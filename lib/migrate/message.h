/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Control messages over a channel: framing, bounds, order, and the peer's WIRE_ABORT turned into an
 * error with its words.
 */
#ifndef LIB_MIGRATE_MESSAGE_H
#define LIB_MIGRATE_MESSAGE_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/net/channel.h"
#include "lib/migrate/wire.h"

/* A part of a body to be sent. */
struct message_part {
	const void *bytes;
	size_t len;
};

/*
 * Send one message whose body is the parts one after the other. 0 or a negative errno (-EMSGSIZE:
 * more than wire_limit()).
 */
int message_send(struct channel *channel, enum wire_type type, const struct message_part *parts,
		 unsigned int nparts, int timeout_ms);
int message_send_one(struct channel *channel, enum wire_type type, const void *body, size_t len,
		     int timeout_ms);

/*
 * The peer sent WIRE_ABORT. A number of its own, which no socket and no cancellation gives: after
 * COMMIT the guest is run or not because of it.
 */
#define MESSAGE_PEER_ABORTED (-EREMOTEIO)

/*
 * Receive the next message, which must be of this type and have between min and max bytes, into
 * body (room for max). *len gets its length (may be NULL when min equals max). 0 or a negative
 * errno with the reason in why: MESSAGE_PEER_ABORTED when the peer sent WIRE_ABORT (its words are
 * the reason), -EPROTO when it broke the protocol. Variable bodies of large messages:
 * message_recv_alloc().
 */
int message_recv(struct channel *channel, enum wire_type type, void *body, size_t min, size_t max,
		 size_t *len, int timeout_ms, struct why *why);

/* As above, any length up to wire_limit(): *body is allocated and the caller's to free(). */
int message_recv_alloc(struct channel *channel, enum wire_type type, void **body, size_t *len,
		       int timeout_ms, struct why *why);

/*
 * As message_recv_alloc(), or WORKING, which the peer may send before: then *working is true and
 * *body NULL.
 */
int message_recv_or_working(struct channel *channel, enum wire_type type, bool *working,
			    void **body, size_t *len, int timeout_ms, struct why *why);

/* Any type: *type says which. For loops that serve requests. */
int message_recv_any(struct channel *channel, uint16_t *type, void **body, size_t *len,
		     int timeout_ms, struct why *why);

/*
 * Tell the peer that it is over, and why, even on a cancelled channel. Never fails: a peer that
 * cannot hear is gone anyway.
 */
void message_abort(struct channel *channel, const char *reason);

#endif
