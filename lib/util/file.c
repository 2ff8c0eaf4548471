/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/util/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

int util_write_all(int fd, const void *buf, size_t len)
{
	const char *at = buf;

	while (len) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

ssize_t util_read_full(int fd, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, (char *)buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* Grow by copying, so that no freed block still holds a secret. */
static char *grow(char *old, size_t used, size_t size)
{
	char *new = malloc(size);

	if (new &&old)
		memcpy(new, old, used);
	util_free_secret(old, used);
	return new;
}

static int read_to_end(int fd, size_t max, void **out, size_t *out_len)
{
	size_t size = 0, used = 0;
	char *buf = NULL;
	ssize_t n;

	do {
		size = size ? 2 * size : 8192;
		if (size > max + 2)
			size = max + 2; /* one byte too many to notice it, and the NUL */
		buf = grow(buf, used, size);
		if (!buf)
			return -ENOMEM;
		n = util_read_full(fd, buf + used, size - 1 - used);
		if (n >= 0)
			used += (size_t)n;
	} while (n > 0 && used == size - 1 && used <= max);
	if (n < 0 || used > max) {
		util_free_secret(buf, used);
		return n < 0 ? (int)n : -EFBIG;
	}
	buf[used] = '\0';
	*out = buf;
	*out_len = used;
	return 0;
}

int util_read_file(const char *path, size_t max, void **buf, size_t *len)
{
	struct stat st;
	int fd, err;

	if (!strcmp(path, "-"))
		return read_to_end(STDIN_FILENO, max, buf, len);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = fstat(fd, &st) ? -errno : S_ISDIR(st.st_mode) ? -EISDIR : 0;
	if (!err)
		err = read_to_end(fd, max, buf, len);
	close(fd);
	return err;
}

/*
 * Create a file next to path, which the caller renames or removes; temporary is its path. Returns
 * its descriptor or a negative errno.
 */
static int open_temporary(const char *path, char temporary[PATH_MAX])
{
	int fd;

	if (snprintf(temporary, PATH_MAX, "%s.XXXXXX", path) >= PATH_MAX)
		return -ENAMETOOLONG;
	fd = mkostemp(temporary, O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int util_check_writable(const char *path)
{
	char temporary[PATH_MAX];
	struct stat st;
	int fd;

	if (!*path)
		return -ENOENT;
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	fd = open_temporary(path, temporary);
	if (fd < 0)
		return fd;
	unlink(temporary);
	close(fd);
	return 0;
}

int util_write_file(const char *path, const void *buf, size_t len, mode_t mode)
{
	char temporary[PATH_MAX];
	int fd, err;

	if (!strcmp(path, "-"))
		return util_write_all(STDOUT_FILENO, buf, len);
	fd = open_temporary(path, temporary);
	if (fd < 0)
		return fd;
	err = util_write_all(fd, buf, len);
	if (!err && fchmod(fd, mode))
		err = -errno;
	if (!err && fsync(fd) && errno != EINVAL && errno != EROFS)
		err = -errno;
	if (close(fd) && !err)
		err = -errno;
	if (!err && rename(temporary, path))
		err = -errno;
	if (err)
		unlink(temporary);
	return err;
}

void util_free_secret(void *buf, size_t len)
{
	if (!buf)
		return;
	explicit_bzero(buf, len);
	free(buf);
}
