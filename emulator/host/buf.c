/* SPDX-License-Identifier: Apache-2.0 */
#include "buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void buf_free(struct buf *b)
{
	free(b->data);
	memset(b, 0, sizeof(*b));
}

static int reserve(struct buf *b, size_t len)
{
	size_t used = buf_len(b), cap = b->cap ? b->cap : 4096;
	uint8_t *data;

	if (b->cap - b->end >= len)
		return 0;
	if (b->start) {
		memmove(b->data, b->data + b->start, used);
		b->start = 0;
		b->end = used;
	}
	while (cap - used < len)
		cap *= 2;
	if (cap == b->cap)
		return 0;
	data = realloc(b->data, cap);
	if (!data)
		return -ENOMEM;
	b->data = data;
	b->cap = cap;
	return 0;
}

int buf_append(struct buf *b, const void *data, size_t len)
{
	if (!len)
		return 0;
	if (reserve(b, len))
		return -ENOMEM;
	memcpy(b->data + b->end, data, len);
	b->end += len;
	return 0;
}

void buf_consume(struct buf *b, size_t len)
{
	b->start += len;
	if (b->start == b->end)
		b->start = b->end = 0;
}

ssize_t buf_read(struct buf *b, int fd, size_t max)
{
	ssize_t n;

	if (reserve(b, max))
		return -ENOMEM;
	do {
		n = read(fd, b->data + b->end, max);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	b->end += n;
	return n;
}

ssize_t buf_write(struct buf *b, int fd, size_t max)
{
	size_t len = buf_len(b) < max ? buf_len(b) : max;
	ssize_t n;

	do {
		n = write(fd, buf_data(b), len);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	buf_consume(b, n);
	return n;
}
