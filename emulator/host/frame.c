/* SPDX-License-Identifier: Apache-2.0 */
#include "frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint32_t frame_get_u32(const uint8_t *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_u32(uint8_t *p, uint32_t v)
{
	p[0] = v;
	p[1] = v >> 8;
	p[2] = v >> 16;
	p[3] = v >> 24;
}

int frame_put(struct buf *b, uint32_t channel, uint32_t type, const void *payload, size_t length)
{
	uint8_t header[FRAME_HEADER_BYTES];
	size_t before = buf_len(b);

	put_u32(header, channel);
	put_u32(header + 4, type);
	put_u32(header + 8, length);
	if (buf_append(b, header, sizeof(header)))
		return -ENOMEM;
	if (buf_append(b, payload, length)) {
		b->end = b->start + before;
		return -ENOMEM;
	}
	return 0;
}

int frame_put_u32(struct buf *b, uint32_t channel, uint32_t type, uint32_t value)
{
	uint8_t payload[4];

	put_u32(payload, value);
	return frame_put(b, channel, type, payload, sizeof(payload));
}

int frame_put_u32x2(struct buf *b, uint32_t channel, uint32_t type, uint32_t first, uint32_t second)
{
	uint8_t payload[8];

	put_u32(payload, first);
	put_u32(payload + 4, second);
	return frame_put(b, channel, type, payload, sizeof(payload));
}

/* Numbers that a payload of this type begins with, in bytes; -1 for a type that does not exist. */
static int fixed_bytes(uint32_t type)
{
	switch (type) {
	case FRAME_HELLO:
	case FRAME_SIGNAL:
		return 4;
	case FRAME_EXEC:
	case FRAME_CREDIT:
	case FRAME_EXIT:
		return 8;
	case FRAME_STDIN:
	case FRAME_STDOUT:
	case FRAME_STDERR:
	case FRAME_SYNC:
	case FRAME_CANCEL:
	case FRAME_ERROR:
	case FRAME_STOP:
	case FRAME_CONSOLE:
		return 0;
	}
	return -1;
}

int frame_peek(const struct buf *b, struct frame *f)
{
	const uint8_t *p = buf_data(b);
	int fixed;

	if (buf_len(b) < FRAME_HEADER_BYTES)
		return 0;
	f->channel = frame_get_u32(p);
	f->type = frame_get_u32(p + 4);
	f->length = frame_get_u32(p + 8);
	f->payload = p + FRAME_HEADER_BYTES;
	fixed = fixed_bytes(f->type);
	if (fixed < 0 || f->length > FRAME_PAYLOAD_MAX || f->length < (uint32_t)fixed)
		return -EPROTO;
	return buf_len(b) - FRAME_HEADER_BYTES >= f->length;
}

void frame_drop(struct buf *b, const struct frame *f)
{
	buf_consume(b, FRAME_HEADER_BYTES + f->length);
}

char **frame_parse_exec(const uint8_t *payload, size_t length, uint32_t *timeout_ms)
{
	const char *s = (const char *)payload + 8, *end = (const char *)payload + length;
	uint32_t argc, i;
	char **argv;

	errno = EPROTO;
	if (length < 8)
		return NULL;
	*timeout_ms = frame_get_u32(payload);
	argc = frame_get_u32(payload + 4);
	/* each string has at least its NUL */
	if (!argc || argc > length - 8)
		return NULL;
	argv = calloc(argc + 1, sizeof(*argv));
	if (!argv)
		return NULL;
	for (i = 0; i < argc; i++) {
		const char *nul = memchr(s, 0, end - s);

		if (!nul)
			break;
		argv[i] = (char *)s;
		s = nul + 1;
	}
	if (i < argc || s != end) {
		free(argv);
		errno = EPROTO;
		return NULL;
	}
	return argv;
}
