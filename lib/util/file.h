/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Whole files and whole buffers: what read() and write() do not promise. */
#ifndef LIB_UTIL_FILE_H
#define LIB_UTIL_FILE_H

#include <stddef.h>
#include <sys/types.h>

/* All of buf to fd, over short writes and EINTR. 0 or a negative errno. */
int util_write_all(int fd, const void *buf, size_t len);

/* Up to len bytes, less only at end of file. Bytes read or a negative errno. */
ssize_t util_read_full(int fd, void *buf, size_t len);

/*
 * The whole file ("-": standard input) into *buf, which the caller frees, followed by a NUL that
 * *len does not count. 0, -EFBIG for more than max bytes, or another negative errno.
 */
int util_read_file(const char *path, size_t max, void **buf, size_t *len);

/*
 * Replace path by a file of exactly these bytes and this mode: written next to it and renamed, so
 * that path is at every moment the old file or the whole new one. "-" writes to standard output. 0
 * or a negative errno, with nothing left behind.
 */
int util_write_file(const char *path, const void *buf, size_t len, mode_t mode);

/*
 * Could util_write_file() write there now? 0 or a negative errno; -EINVAL for what is there and no
 * plain file, which a rename would put an end to. Leaves nothing behind.
 */
int util_check_writable(const char *path);

/* free() after wiping. NULL is allowed. */
void util_free_secret(void *buf, size_t len);

#endif
