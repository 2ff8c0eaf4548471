/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "service/sandbox/sandbox_private.h"

#define GIVEN_MAX 16 /* descriptors named in arguments; a shell's <(...) makes one each */

/* "/dev/fd/63", also after an '=' or before a ',': the number, or -1. */
static int named_fd(const char *arg)
{
	static const char prefix[] = "/dev/fd/";
	const char *at = strstr(arg, prefix);
	long fd;
	char *end;

	if (!at)
		return -1;
	at += sizeof(prefix) - 1;
	fd = strtol(at, &end, 10);
	return end != at && fd > STDERR_FILENO && fd < INT32_MAX ? (int)fd : -1;
}

static int ascending(const void *a, const void *b)
{
	const int *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static int close_between(unsigned int first, unsigned int last)
{
	if (first > last)
		return 0;
	return syscall(SYS_close_range, first, last, 0) ? -errno : 0;
}

/* Linux 5.9, which a kernel with mirrors is younger than. */
static int close_all_but(const int *keep, unsigned int n, struct why *why)
{
	unsigned int first = STDERR_FILENO + 1, i;
	int err = 0;

	for (i = 0; !err && i < n; i++) {
		if ((unsigned int)keep[i] < first)
			continue;
		err = close_between(first, (unsigned int)keep[i] - 1);
		first = (unsigned int)keep[i] + 1;
	}
	if (!err)
		err = close_between(first, ~0U);
	return err ? why_set(why, err, "cannot close inherited file descriptors: %s",
			     strerror(-err)) :
		     0;
}

int descriptors_close(int argc, char *const *argv, struct why *why)
{
	int keep[GIVEN_MAX];
	unsigned int n = 0;
	int i, fd;

	/* What is opened next must not become somebody's standard output. */
	do {
		fd = open("/dev/null", O_RDWR);
		if (fd < 0)
			return why_errno(why, "/dev/null");
	} while (fd <= STDERR_FILENO);
	close(fd);
	for (i = 1; i < argc; i++) {
		fd = named_fd(argv[i]);
		if (fd < 0)
			continue;
		if (n == GIVEN_MAX)
			return why_set(why, -E2BIG, "more than %d arguments name a /dev/fd/N",
				       GIVEN_MAX);
		keep[n++] = fd;
	}
	qsort(keep, n, sizeof(*keep), ascending);
	return close_all_but(keep, n, why);
}
