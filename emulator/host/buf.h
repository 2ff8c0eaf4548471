/* SPDX-License-Identifier: Apache-2.0 */
/* A queue of bytes between two file descriptors. */
#ifndef EMULATOR_HOST_BUF_H
#define EMULATOR_HOST_BUF_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Zeroed memory is an empty queue. The owner bounds it: nothing here limits its growth. */
struct buf {
	uint8_t *data;
	size_t start, end, cap;
};

void buf_free(struct buf *b);

static inline size_t buf_len(const struct buf *b)
{
	return b->end - b->start;
}

static inline const uint8_t *buf_data(const struct buf *b)
{
	return b->data + b->start;
}

/* Appends @len bytes. Returns 0 or -ENOMEM (nothing appended). */
int buf_append(struct buf *b, const void *data, size_t len);

/* Drops @len bytes, which must be there, from the front. */
void buf_consume(struct buf *b, size_t len);

/*
 * Reads once from @fd, at most @max bytes, to the end of the queue. Returns the bytes read, 0 at
 * the end of the file, -EAGAIN when a non-blocking @fd has nothing, or another negative errno.
 */
ssize_t buf_read(struct buf *b, int fd, size_t max);

/*
 * Writes once to @fd, at most @max bytes, and drops what was written. Returns the bytes written or
 * a negative errno.
 */
ssize_t buf_write(struct buf *b, int fd, size_t max);

#endif
