/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ABORT_TIMEOUT_MS 2000
#define FIRST_PART_BYTES (1u << 20) /* of a long body */

int message_send(struct channel *channel, enum wire_type type, const struct message_part *parts,
		 unsigned int nparts, int timeout_ms)
{
	struct wire_header header = { .magic = WIRE_MAGIC, .type = (uint16_t)type };
	size_t bytes = 0;
	bool known;
	int err;

	for (unsigned int i = 0; i < nparts; i++)
		bytes += parts[i].len;
	if (bytes > wire_limit((uint16_t)type, &known))
		return -EMSGSIZE;
	header.bytes = (uint32_t)bytes;
	err = channel_send(channel, &header, sizeof(header), timeout_ms);
	if (err)
		return err;
	/* Half a message would swallow the ABORT that follows a cancellation. */
	for (unsigned int i = 0; i < nparts && !err; i++)
		err = channel_send_rest(channel, parts[i].bytes, parts[i].len, timeout_ms);
	if (err)
		channel_end_sending(channel);
	return err;
}

int message_send_one(struct channel *channel, enum wire_type type, const void *body, size_t len,
		     int timeout_ms)
{
	struct message_part part = { body, len };

	return message_send(channel, type, &part, len ? 1 : 0, timeout_ms);
}

/* The connection has failed while something was to come. */
static int explain(const struct channel *channel, int err, const char *awaited, struct why *why)
{
	const char *peer = channel_peer(channel);

	if (err == -ECONNRESET)
		return why_set(why, err, "%s closed the connection before it sent %s", peer,
			       awaited);
	if (err == -ETIMEDOUT)
		return why_set(why, err, "%s did not send %s in time", peer, awaited);
	if (err == -ECANCELED)
		return why_set(why, err, "cancelled");
	return why_because(why, SEVMIRROR_REASON_CONNECTION, err,
			   "the connection to %s failed before it sent %s: %s", peer, awaited,
			   strerror(-err));
}

/*
 * The peer's words, with everything but printable ASCII replaced: they go to a terminal, and some
 * take U+009B for an escape.
 */
static int read_abort(struct channel *channel, uint32_t len, int timeout_ms, struct why *why)
{
	char words[WIRE_MAX_REASON + 1];
	int err = channel_recv(channel, words, len, timeout_ms);

	if (err)
		return explain(channel, err, "why it gave up", why);
	words[len] = '\0';
	for (uint32_t i = 0; i < len; i++)
		if ((unsigned char)words[i] < 0x20 || (unsigned char)words[i] >= 0x7f)
			words[i] = '?';
	return why_set(why, MESSAGE_PEER_ABORTED, "%s gave up: %s", channel_peer(channel),
		       len ? words : "it gave no reason");
}

static int recv_header(struct channel *channel, const char *awaited, struct wire_header *header,
		       int timeout_ms, struct why *why)
{
	int err = channel_recv(channel, header, sizeof(*header), timeout_ms);

	if (err)
		return explain(channel, err, awaited, why);
	err = wire_check_header(header, why);
	if (!err && header->type == WIRE_ABORT)
		err = read_abort(channel, header->bytes, timeout_ms, why);
	return err;
}

/* The type of a header that has come must be this one. */
static int expect_type(const struct channel *channel, const struct wire_header *header,
		       enum wire_type type, struct why *why)
{
	if (header->type == type)
		return 0;
	return why_set(why, -EPROTO, "%s sent %s instead of %s", channel_peer(channel),
		       wire_type_text(header->type), wire_type_text((uint16_t)type));
}

static int expect(struct channel *channel, enum wire_type type, struct wire_header *header,
		  int timeout_ms, struct why *why)
{
	int err = recv_header(channel, wire_type_text((uint16_t)type), header, timeout_ms, why);

	return err ? err : expect_type(channel, header, type, why);
}

int message_recv(struct channel *channel, enum wire_type type, void *body, size_t min, size_t max,
		 size_t *len, int timeout_ms, struct why *why)
{
	struct wire_header header;
	int err = expect(channel, type, &header, timeout_ms, why);

	if (err)
		return err;
	if (header.bytes < min || header.bytes > max) {
		return why_set(
			why, -EPROTO, "%s sent a %s message of %u bytes, expected %zu to %zu",
			channel_peer(channel), wire_type_name(header.type), header.bytes, min, max);
	}
	if (len)
		*len = header.bytes;
	err = channel_recv(channel, body, header.bytes, timeout_ms);
	return err ? explain(channel, err, wire_type_text(header.type), why) : 0;
}

/* Secrets may be in it. NULL is allowed. */
static void wipe(void *buf, size_t len)
{
	if (buf)
		explicit_bzero(buf, len);
	free(buf);
}

/* A larger buffer with what is in the old one, which is wiped, also when there is no memory. */
static void *grow(void *old, size_t have, size_t room)
{
	void *buf = malloc(room);

	if (buf && have)
		memcpy(buf, old, have);
	wipe(old, have);
	return buf;
}

/*
 * The body arrives in parts and memory grows with what has really come, so that a header that
 * announces a quarter of a gigabyte costs the sender half of that, too. A guest's state leaves no
 * copy behind.
 */
static int recv_growing(struct channel *channel, const struct wire_header *header, void **body,
			int timeout_ms, struct why *why)
{
	size_t have = 0, room = 0;
	char *buf = NULL;
	int err = 0;

	while (!err && (have < header->bytes || !buf)) {
		room = room ? 2 * room : FIRST_PART_BYTES;
		room = room < header->bytes ? room : header->bytes;
		buf = grow(buf, have, room ? room : 1);
		if (!buf)
			return why_set(why, -ENOMEM, "out of memory for a %s message",
				       wire_type_name(header->type));
		err = channel_recv(channel, buf + have, room - have, timeout_ms);
		if (err)
			explain(channel, err, wire_type_text(header->type), why);
		have = room;
	}
	if (err) {
		wipe(buf, have);
		buf = NULL;
	}
	*body = buf;
	return err;
}

int message_recv_alloc(struct channel *channel, enum wire_type type, void **body, size_t *len,
		       int timeout_ms, struct why *why)
{
	struct wire_header header;
	int err = expect(channel, type, &header, timeout_ms, why);

	*body = NULL;
	if (!err)
		err = recv_growing(channel, &header, body, timeout_ms, why);
	if (!err)
		*len = header.bytes;
	return err;
}

int message_recv_or_working(struct channel *channel, enum wire_type type, bool *working,
			    void **body, size_t *len, int timeout_ms, struct why *why)
{
	struct wire_header header;
	int err = recv_header(channel, wire_type_text((uint16_t)type), &header, timeout_ms, why);

	*body = NULL;
	*working = !err && header.type == WIRE_WORKING;
	if (err || *working)
		return err;
	err = expect_type(channel, &header, type, why);
	if (!err)
		err = recv_growing(channel, &header, body, timeout_ms, why);
	if (!err)
		*len = header.bytes;
	return err;
}

int message_recv_any(struct channel *channel, uint16_t *type, void **body, size_t *len,
		     int timeout_ms, struct why *why)
{
	struct wire_header header;
	int err = recv_header(channel, "its next message", &header, timeout_ms, why);

	*body = NULL;
	if (!err)
		err = recv_growing(channel, &header, body, timeout_ms, why);
	if (!err) {
		*type = header.type;
		*len = header.bytes;
	}
	return err;
}

void message_abort(struct channel *channel, const char *reason)
{
	size_t len = strnlen(reason, WIRE_MAX_REASON);

	channel_uncancel(channel);
	(void)message_send_one(channel, WIRE_ABORT, reason, len, ABORT_TIMEOUT_MS);
}
