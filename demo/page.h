/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages and disk blocks that tell what should be in them: the version in the first word, and all
 * else follows from number and version.
 */
#ifndef DEMO_PAGE_H
#define DEMO_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#define PAGE_BYTES 4096U
#define PAGE_WORDS (PAGE_BYTES / 8)

/* The disk that the guest writes is as long as this. */
#define DEMO_DISK_BLOCKS 1024U

static inline uint64_t page_word(uint64_t number, uint64_t version, uint64_t word)
{
	return (number << 40 ^ version << 16 ^ word) * 0x9e3779b97f4a7c15ULL;
}

static inline void page_fill(uint64_t *page, uint64_t number, uint64_t version)
{
	page[0] = version;
	for (uint64_t w = 1; w < PAGE_WORDS; w++)
		page[w] = page_word(number, version, w);
}

/* Of whatever version: is it all one, and of this number? */
static inline bool page_is_whole(const uint64_t *page, uint64_t number)
{
	for (uint64_t w = 1; w < PAGE_WORDS; w++)
		if (page[w] != page_word(number, page[0], w))
			return false;
	return true;
}

static inline bool page_is(const uint64_t *page, uint64_t number, uint64_t version)
{
	return page[0] == version && page_is_whole(page, number);
}

#endif
