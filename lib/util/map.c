/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/util/map.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/util/clock.h"
#include "lib/util/page.h"

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

/*
 * What one thread takes at a time, at most. MADV_COLLAPSE cannot be stopped, and each call first
 * waits for a work item on every CPU: not too small, either.
 */
#define CHUNK_BYTES (32 * UTIL_MAP_ALIGN)
#define WATCH_MS    50

struct commit {
	uint8_t *at;
	size_t bytes, chunk;
	bool large;
	atomic_size_t taken, done;
	atomic_bool unwanted;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int running;
};

/* The first bytes of each 2 MiB. */
static void populate(struct commit *commit, size_t from, size_t bytes, size_t first)
{
	for (size_t i = 0; i < bytes && !atomic_load(&commit->unwanted); i += UTIL_MAP_ALIGN)
		if (madvise(commit->at + from + i, first, MADV_POPULATE_WRITE))
			break;
}

/*
 * The kernel collapses a range that holds at least one page. One that does not collapse (before
 * Linux 6.1, or without memory in one piece) is populated page by page.
 */
static void commit_chunk(struct commit *commit, size_t from, size_t bytes)
{
	bool collapsed = false;

	if (commit->large) {
		populate(commit, from, bytes, PAGE_BYTES);
		collapsed = !atomic_load(&commit->unwanted) &&
			    madvise(commit->at + from, bytes, MADV_COLLAPSE) == 0;
	}
	if (!collapsed)
		populate(commit, from, bytes, UTIL_MAP_ALIGN);
	atomic_fetch_add(&commit->done, bytes);
}

/* Populate the next chunk. False: none is left. */
static bool commit_next(struct commit *commit)
{
	size_t from = atomic_fetch_add(&commit->taken, commit->chunk);

	if (from >= commit->bytes || atomic_load(&commit->unwanted))
		return false;
	commit_chunk(commit, from,
		     commit->bytes - from < commit->chunk ? commit->bytes - from : commit->chunk);
	return true;
}

static void *commit_main(void *arg)
{
	struct commit *commit = arg;

	while (commit_next(commit))
		;
	pthread_mutex_lock(&commit->lock);
	commit->running--;
	pthread_cond_signal(&commit->changed);
	pthread_mutex_unlock(&commit->lock);
	return NULL;
}

static void ask(struct commit *commit, const struct util_map_watch *watch)
{
	if (watch && watch->wanted &&
	    !watch->wanted(watch->opaque, atomic_load(&commit->done), commit->bytes))
		atomic_store(&commit->unwanted, true);
}

/* Until all threads have ended. */
static void watch_threads(struct commit *commit, const struct util_map_watch *watch)
{
	pthread_mutex_lock(&commit->lock);
	while (commit->running) {
		clock_cond_wait(&commit->changed, &commit->lock, clock_ns() + WATCH_MS * NS_PER_MS);
		pthread_mutex_unlock(&commit->lock);
		ask(commit, watch);
		pthread_mutex_lock(&commit->lock);
	}
	pthread_mutex_unlock(&commit->lock);
}

int util_map_commit(void *at, size_t bytes, bool large, const struct util_map_watch *watch)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	size_t n = cpus < 1 ? 1 : cpus > THREADS_MAX ? THREADS_MAX : (size_t)cpus, made = 0;
	size_t each = (bytes / n + UTIL_MAP_ALIGN - 1) & ~(UTIL_MAP_ALIGN - 1);
	struct commit commit = { .at = at,
				 .bytes = bytes,
				 .chunk = each < CHUNK_BYTES ? each : CHUNK_BYTES,
				 .large = large };
	pthread_t threads[THREADS_MAX];

	pthread_mutex_init(&commit.lock, NULL);
	pthread_cond_init(&commit.changed, NULL);
	pthread_mutex_lock(&commit.lock);
	while (made < n && !pthread_create(&threads[made], NULL, commit_main, &commit))
		made++;
	commit.running = (unsigned int)made;
	pthread_mutex_unlock(&commit.lock);
	if (made)
		watch_threads(&commit, watch);
	/* If no thread could be started, this one does all the work. */
	while (!made && commit_next(&commit))
		ask(&commit, watch);
	for (size_t i = 0; i < made; i++)
		pthread_join(threads[i], NULL);
	pthread_cond_destroy(&commit.changed);
	pthread_mutex_destroy(&commit.lock);
	return atomic_load(&commit.unwanted) ? -ECANCELED : 0;
}
