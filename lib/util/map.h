/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Mappings of guest memory. */
#ifndef LIB_UTIL_MAP_H
#define LIB_UTIL_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define UTIL_MAP_ALIGN (2UL << 20)

/*
 * Map [offset, offset + bytes) of fd (whole pages), shared, readable and writable, at an address
 * that is the same as offset modulo 2 MiB, so that KVM can map by 2 MiB what the file holds in such
 * pages. Left out of core dumps: it is a guest's data and, without SEV, the helper's keys. munmap()
 * ends it. 0 or a negative errno.
 */
int util_map_aligned(void **at, int fd, off_t offset, size_t bytes);

/*
 * Asked every 50 ms by the thread that commits memory: is it still wanted? done of all bytes are
 * there.
 */
struct util_map_watch {
	bool (*wanted)(void *opaque, uint64_t done, uint64_t all); /* NULL: always */
	void *opaque;
};

/*
 * Give a shared mapping all its memory now. large: in pages of 2 MiB where the kernel has them,
 * so that later accesses cause fewer page faults. Best effort: the kernel allocates the rest when
 * it is touched. Uses as many threads as there are CPUs, up to a
 * few. at and bytes are multiples of 2 MiB. 0, or -ECANCELED when it is no longer wanted.
 */
int util_map_commit(void *at, size_t bytes, bool large, const struct util_map_watch *watch);

#endif
