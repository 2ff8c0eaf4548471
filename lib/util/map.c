/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/util/map.h"

#include "lib/util/page.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define THREADS_MAX 8

/*
 * Linux 6.1. Works on shared memory without any set-up by the administrator, which MADV_HUGEPAGE
 * does not.
 */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

int util_map_aligned(void **at, int fd, off_t offset, size_t bytes)
{
	size_t reserve = bytes + 2 * UTIL_MAP_ALIGN;
	uint8_t *area, *base;

	/* Reserve enough to find the place in it, map the file there, and give the rest back. */
	area = mmap(NULL, reserve, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return -errno;
	base = (uint8_t *)(((uintptr_t)area + UTIL_MAP_ALIGN - 1) & ~(UTIL_MAP_ALIGN - 1));
	base += (size_t)offset % UTIL_MAP_ALIGN;
	if (mmap(base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, offset) ==
	    MAP_FAILED) {
		int err = -errno;

		munmap(area, reserve);
		return err;
	}
	if (base != area)
		munmap(area, (size_t)(base - area));
	munmap(base + bytes, (size_t)(area + reserve - base) - bytes);
	(void)madvise(base, bytes, MADV_DONTDUMP);
	*at = base;
	return 0;
}

struct commit_share {
	pthread_t thread;
	bool started;
	uint8_t *at;
	size_t bytes;
};

/* The kernel collapses a range that holds at least one page. */
static void *commit_part(void *arg)
{
	const struct commit_share *share = arg;

	for (size_t i = 0; i < share->bytes; i += UTIL_MAP_ALIGN)
		if (madvise(share->at + i, PAGE_BYTES, MADV_POPULATE_WRITE))
			return NULL;
	(void)madvise(share->at, share->bytes, MADV_COLLAPSE);
	return NULL;
}

void util_map_commit(void *at, size_t bytes)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	size_t n = cpus < 1 ? 1 : cpus > THREADS_MAX ? THREADS_MAX : (size_t)cpus;
	size_t each = (bytes / n + UTIL_MAP_ALIGN - 1) & ~(UTIL_MAP_ALIGN - 1);
	struct commit_share share[THREADS_MAX] = { 0 };

	for (size_t i = 0, done = 0; i < n && done < bytes; i++, done += each) {
		share[i].at = (uint8_t *)at + done;
		share[i].bytes = bytes - done < each ? bytes - done : each;
		share[i].started =
			pthread_create(&share[i].thread, NULL, commit_part, &share[i]) == 0;
		if (!share[i].started)
			commit_part(&share[i]);
	}
	for (size_t i = 0; i < n; i++)
		if (share[i].started)
			pthread_join(share[i].thread, NULL);
}
