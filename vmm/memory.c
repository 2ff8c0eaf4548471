/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/memory.h"

#include <errno.h>
#include <linux/memfd.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "launch/guest_layout.h"
#include "lib/util/map.h"
#include "lib/util/page.h"

struct guest_memory {
	uint64_t bytes;
	uint64_t low_bytes;
	int fd;
	uint8_t *base; /* of the memfd's byte 0 */

	/*
	 * The VMM's own dirty log, one bit a page of the memfd. Allocated when first armed, kept
	 * until destroy.
	 */
	atomic_bool armed;
	_Atomic(uint64_t) *dirty;
};

int guest_memory_create(struct guest_memory **memoryp, uint64_t bytes, bool hugepages)
{
	unsigned int flags = MFD_CLOEXEC | (hugepages ? MFD_HUGETLB | MFD_HUGE_2MB : 0);
	struct guest_memory *memory;
	void *base;
	int err;

	if (!bytes || bytes % UTIL_MAP_ALIGN || bytes > INT64_MAX - UTIL_MAP_ALIGN)
		return -EINVAL;
	memory = calloc(1, sizeof(*memory));
	if (!memory)
		return -ENOMEM;
	memory->bytes = bytes;
	memory->low_bytes = bytes < GUEST_LOW_RAM_MAX ? bytes : GUEST_LOW_RAM_MAX;
	memory->fd = memfd_create("guest-ram", flags);
	if (memory->fd < 0 || ftruncate(memory->fd, (off_t)bytes) < 0) {
		err = -errno;
		goto out;
	}
	err = util_map_aligned(&base, memory->fd, 0, bytes);
	if (err)
		goto out;
	memory->base = base;
	*memoryp = memory;
	return 0;
out:
	guest_memory_destroy(memory);
	return err;
}

void guest_memory_destroy(struct guest_memory *memory)
{
	if (!memory)
		return;
	if (memory->base)
		munmap(memory->base, memory->bytes);
	if (memory->fd >= 0)
		close(memory->fd);
	free(memory->dirty);
	free(memory);
}

int guest_memory_commit(struct guest_memory *memory, bool large, const struct util_map_watch *watch)
{
	return util_map_commit(memory->base, memory->bytes, large, watch);
}

uint64_t guest_memory_bytes(const struct guest_memory *memory)
{
	return memory->bytes;
}

int guest_memory_fd(const struct guest_memory *memory)
{
	return memory->fd;
}

unsigned int guest_memory_ranges(const struct guest_memory *memory,
				 struct sevmirror_ram_range ranges[GUEST_MEMORY_RANGES])
{
	ranges[0] = (struct sevmirror_ram_range){ .bytes = memory->low_bytes,
						  .fd = memory->fd,
						  .hva = memory->base };
	if (memory->bytes == memory->low_bytes)
		return 1;
	ranges[1] = (struct sevmirror_ram_range){ .gpa = GUEST_HIGH_RAM_GPA,
						  .bytes = memory->bytes - memory->low_bytes,
						  .offset = memory->low_bytes,
						  .fd = memory->fd,
						  .hva = memory->base + memory->low_bytes };
	return 2;
}

/* The range's place in the memfd, or UINT64_MAX. */
static uint64_t offset_of(const struct guest_memory *memory, uint64_t gpa, uint64_t len)
{
	uint64_t high = memory->bytes - memory->low_bytes;

	if (gpa < memory->low_bytes && len <= memory->low_bytes - gpa)
		return gpa;
	if (gpa < GUEST_HIGH_RAM_GPA || gpa - GUEST_HIGH_RAM_GPA >= high)
		return UINT64_MAX;
	gpa -= GUEST_HIGH_RAM_GPA;
	return len <= high - gpa ? memory->low_bytes + gpa : UINT64_MAX;
}

void *guest_memory_hva(const struct guest_memory *memory, uint64_t gpa, uint64_t len)
{
	uint64_t offset = offset_of(memory, gpa, len);

	return offset == UINT64_MAX ? NULL : memory->base + offset;
}

static void mark_pages(struct guest_memory *memory, uint64_t offset, uint64_t len)
{
	uint64_t page, last = (offset + len - 1) >> PAGE_SHIFT;

	for (page = offset >> PAGE_SHIFT; page <= last; page++)
		atomic_fetch_or(&memory->dirty[page / WORD_BITS], 1ULL << page % WORD_BITS);
}

/* A guest may name a range that reaches over the hole, or beyond RAM: what of it is RAM counts. */
void guest_memory_mark_dirty(struct guest_memory *memory, uint64_t gpa, uint64_t len)
{
	struct sevmirror_ram_range ranges[GUEST_MEMORY_RANGES];
	uint64_t end = len > UINT64_MAX - gpa ? UINT64_MAX : gpa + len;
	unsigned int i, n;

	if (!len || !atomic_load_explicit(&memory->armed, memory_order_acquire))
		return;
	n = guest_memory_ranges(memory, ranges);
	for (i = 0; i < n; i++) {
		uint64_t first = gpa > ranges[i].gpa ? gpa : ranges[i].gpa;
		uint64_t stop = ranges[i].gpa + ranges[i].bytes;

		stop = end < stop ? end : stop;
		if (first < stop)
			mark_pages(memory, ranges[i].offset + first - ranges[i].gpa, stop - first);
	}
}

int guest_memory_log_start(struct guest_memory *memory)
{
	size_t i, words = guest_memory_log_words(memory);

	if (!memory->dirty) {
		memory->dirty = calloc(words, sizeof(*memory->dirty));
		if (!memory->dirty)
			return -ENOMEM;
	}
	for (i = 0; i < words; i++)
		atomic_store_explicit(&memory->dirty[i], 0, memory_order_relaxed);
	atomic_store_explicit(&memory->armed, true, memory_order_release);
	return 0;
}

void guest_memory_log_stop(struct guest_memory *memory)
{
	atomic_store(&memory->armed, false);
}

size_t guest_memory_log_words(const struct guest_memory *memory)
{
	return (size_t)((memory->bytes >> PAGE_SHIFT) + WORD_BITS - 1) / WORD_BITS;
}

void guest_memory_log_fetch(struct guest_memory *memory, uint64_t *bitmap)
{
	size_t i, words = guest_memory_log_words(memory);

	if (!memory->dirty)
		return;
	for (i = 0; i < words; i++) {
		if (atomic_load_explicit(&memory->dirty[i], memory_order_relaxed))
			bitmap[i] |= atomic_exchange(&memory->dirty[i], 0);
	}
}
