/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Which pages are still to go. Pages are numbered through the RAM ranges in order (the holes
 * between them have no number); chunks of 2 MiB of guest-physical addresses are bound to a stream,
 * as they are to a ring of the helper (helper/protocol.h), so that the records of a page stay in
 * order.
 */
#ifndef LIB_MIGRATE_PAGES_H
#define LIB_MIGRATE_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sevmirror/host.h>

/* Page numbers and guest frame numbers. */
struct page_numbering {
	unsigned int nranges;
	struct {
		uint64_t gfn;
		uint64_t npages;
		uint64_t first; /* number of its first page */
	} range[SEVMIRROR_MAX_RAM_RANGES];
	uint64_t npages;
};

/*
 * Number the pages of a VM. -EINVAL if there is no range, or one is empty, not a multiple of 2 MiB
 * in place or size, out of order or overlapping.
 */
int page_numbering_init(struct page_numbering *numbering, const struct sevmirror_vm *vm);

/* number must be below npages. */
uint64_t page_gfn(const struct page_numbering *numbering, uint64_t number);

/* The page's number, or UINT64_MAX for a gfn that is not RAM. */
uint64_t page_number(const struct page_numbering *numbering, uint64_t gfn);

/* The page's address in the primary's mapping, or NULL for a gpa that is not RAM. */
void *page_hva(const struct sevmirror_vm *vm, uint64_t gpa);

struct page_set;

/* An empty set of the pages of a numbering (copied). 0 or -ENOMEM. NULL is allowed in destroy. */
int page_set_create(struct page_set **set, const struct page_numbering *numbering);
void page_set_destroy(struct page_set *set);

void page_set_fill(struct page_set *set);

void page_set_clear(struct page_set *set);

/*
 * Any thread, also while others take from the set. remove: true for the one caller that got the
 * page.
 */
void page_set_add(struct page_set *set, uint64_t number);
bool page_set_remove(struct page_set *set, uint64_t number);
bool page_set_has(const struct page_set *set, uint64_t number);
uint64_t page_set_count(const struct page_set *set);

/* Add all of a bitmap of npages bits; returns how many pages were new to the set. */
uint64_t page_set_add_bitmap(struct page_set *set, const uint64_t *bitmap);

/* The set as a bitmap of npages bits. */
void page_set_copy(const struct page_set *set, uint64_t *bitmap);

/*
 * Take up to max pages of one stream's chunks out of the set, looking from *cursor on and leaving
 * off there; wraps around once. Returns how many page numbers were written. Each stream has its own
 * cursor, starting at 0. One thread for each stream.
 */
unsigned int page_set_take(struct page_set *set, unsigned int stream, unsigned int nstreams,
			   uint64_t *cursor, uint64_t *numbers, unsigned int max);

#endif
