/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/migrate/message.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ABORT_TIMEOUT_MS 2000

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

/* What went wrong with the connection itself, in words. */
static int explain(int err, const char *waiting_for, char *why, size_t max)
{
	if (err == -ECONNRESET)
		snprintf(why, max, "the other host hung up while %s was due", waiting_for);
	else if (err == -ETIMEDOUT)
		snprintf(why, max, "the other host did not send %s in time", waiting_for);
	else if (err == -ECANCELED)
		snprintf(why, max, "cancelled");
	else
		snprintf(why, max, "connection: %s", strerror(-err));
	return err;
}

/*
 * The peer's words, with everything but printable ASCII replaced: they go to a terminal, and some
 * take U+009B for an escape.
 */
static int read_abort(struct channel *channel, uint32_t len, int timeout_ms, char *why, size_t max)
{
	char reason[WIRE_MAX_REASON + 1];
	int err = channel_recv(channel, reason, len, timeout_ms);

	if (err)
		return explain(err, "the reason of its abort", why, max);
	reason[len] = '\0';
	for (uint32_t i = 0; i < len; i++)
		if ((unsigned char)reason[i] < 0x20 || (unsigned char)reason[i] >= 0x7f)
			reason[i] = '?';
	snprintf(why, max, "the other host gave up: %s", len ? reason : "no reason given");
	return MESSAGE_PEER_ABORTED;
}

static int recv_header(struct channel *channel, const char *waiting_for, struct wire_header *header,
		       int timeout_ms, char *why, size_t max)
{
	int err = channel_recv(channel, header, sizeof(*header), timeout_ms);

	if (err)
		return explain(err, waiting_for, why, max);
	err = wire_check_header(header, why, max);
	if (!err && header->type == WIRE_ABORT)
		err = read_abort(channel, header->bytes, timeout_ms, why, max);
	return err;
}

static int expect(struct channel *channel, enum wire_type type, struct wire_header *header,
		  int timeout_ms, char *why, size_t max)
{
	int err =
		recv_header(channel, wire_type_name((uint16_t)type), header, timeout_ms, why, max);

	if (err || header->type == type)
		return err;
	snprintf(why, max, "%s came where %s was due", wire_type_name(header->type),
		 wire_type_name((uint16_t)type));
	return -EPROTO;
}

int message_recv(struct channel *channel, enum wire_type type, void *body, size_t min, size_t max,
		 size_t *len, int timeout_ms, char *why, size_t why_max)
{
	struct wire_header header;
	int err = expect(channel, type, &header, timeout_ms, why, why_max);

	if (err)
		return err;
	if (header.bytes < min || header.bytes > max) {
		snprintf(why, why_max, "%s message of %u bytes, %zu to %zu were due",
			 wire_type_name(header.type), header.bytes, min, max);
		return -EPROTO;
	}
	if (len)
		*len = header.bytes;
	err = channel_recv(channel, body, header.bytes, timeout_ms);
	return err ? explain(err, wire_type_name(header.type), why, why_max) : 0;
}

/*
 * The body arrives in parts and memory grows with what has really come, so that a header that
 * announces a quarter of a gigabyte costs the sender that much, too.
 */
static int recv_growing(struct channel *channel, const struct wire_header *header, void **body,
			int timeout_ms, char *why, size_t max)
{
	size_t have = 0, room = 0;
	char *buf = NULL;
	int err = 0;

	while (!err && (have < header->bytes || !buf)) {
		size_t want = header->bytes - have;
		char *grown;

		if (want > 1 << 20)
			want = 1 << 20;
		room = have + want;
		grown = realloc(buf, room ? room : 1);
		if (!grown) {
			snprintf(why, max, "out of memory for a %s message",
				 wire_type_name(header->type));
			err = -ENOMEM;
			break;
		}
		buf = grown;
		err = channel_recv(channel, buf + have, want, timeout_ms);
		if (err)
			explain(err, wire_type_name(header->type), why, max);
		have += want;
	}
	if (err) {
		free(buf);
		buf = NULL;
	}
	*body = buf;
	return err;
}

int message_recv_alloc(struct channel *channel, enum wire_type type, void **body, size_t *len,
		       int timeout_ms, char *why, size_t why_max)
{
	struct wire_header header;
	int err = expect(channel, type, &header, timeout_ms, why, why_max);

	*body = NULL;
	if (!err)
		err = recv_growing(channel, &header, body, timeout_ms, why, why_max);
	if (!err)
		*len = header.bytes;
	return err;
}

int message_recv_any(struct channel *channel, uint16_t *type, void **body, size_t *len,
		     int timeout_ms, char *why, size_t why_max)
{
	struct wire_header header;
	int err = recv_header(channel, "a message", &header, timeout_ms, why, why_max);

	*body = NULL;
	if (!err)
		err = recv_growing(channel, &header, body, timeout_ms, why, why_max);
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
