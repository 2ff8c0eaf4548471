/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/pages.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "helper/protocol.h"
#include "lib/util/page.h"

#define CHUNK_PAGES	(1ULL << HELPER_CHUNK_SHIFT)
#define WORDS_PER_CHUNK (CHUNK_PAGES / WORD_BITS)

struct page_set {
	struct page_numbering numbering;
	atomic_uint_fast64_t count;
	_Atomic uint64_t words[];
};

int page_numbering_init(struct page_numbering *numbering, const struct sevmirror_vm *vm)
{
	const uint64_t chunk_bytes = CHUNK_PAGES << PAGE_SHIFT;
	uint64_t end = 0;

	if (vm->nranges == 0 || vm->nranges > SEVMIRROR_MAX_RAM_RANGES)
		return -EINVAL;
	*numbering = (struct page_numbering){ .nranges = vm->nranges };
	for (unsigned int i = 0; i < vm->nranges; i++) {
		const struct sevmirror_ram_range *r = &vm->ranges[i];

		if (r->bytes == 0 || r->gpa % chunk_bytes || r->bytes % chunk_bytes ||
		    r->gpa < end || r->gpa + r->bytes < r->gpa)
			return -EINVAL;
		end = r->gpa + r->bytes;
		numbering->range[i].gfn = r->gpa >> PAGE_SHIFT;
		numbering->range[i].npages = r->bytes >> PAGE_SHIFT;
		numbering->range[i].first = numbering->npages;
		numbering->npages += r->bytes >> PAGE_SHIFT;
	}
	return 0;
}

uint64_t page_gfn(const struct page_numbering *numbering, uint64_t number)
{
	unsigned int i = 0;

	while (i + 1 < numbering->nranges && number >= numbering->range[i + 1].first)
		i++;
	return numbering->range[i].gfn + (number - numbering->range[i].first);
}

uint64_t page_number(const struct page_numbering *numbering, uint64_t gfn)
{
	for (unsigned int i = 0; i < numbering->nranges; i++) {
		uint64_t offset = gfn - numbering->range[i].gfn;

		if (gfn >= numbering->range[i].gfn && offset < numbering->range[i].npages)
			return numbering->range[i].first + offset;
	}
	return UINT64_MAX;
}

void *page_hva(const struct sevmirror_vm *vm, uint64_t gpa)
{
	for (unsigned int i = 0; i < vm->nranges; i++) {
		const struct sevmirror_ram_range *r = &vm->ranges[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->bytes)
			return (char *)r->hva + (gpa - r->gpa);
	}
	return NULL;
}

int page_set_create(struct page_set **out, const struct page_numbering *numbering)
{
	struct page_set *set =
		calloc(1, sizeof(*set) + numbering->npages / WORD_BITS * sizeof(set->words[0]));

	*out = set;
	if (!set)
		return -ENOMEM;
	set->numbering = *numbering;
	return 0;
}

void page_set_destroy(struct page_set *set)
{
	free(set);
}

/* Add the pages of one word's mask; returns how many were new. */
static uint64_t add_word(struct page_set *set, uint64_t word, uint64_t mask)
{
	uint64_t old = atomic_fetch_or_explicit(&set->words[word], mask, memory_order_relaxed);
	uint64_t added = (uint64_t)__builtin_popcountll(mask & ~old);

	atomic_fetch_add_explicit(&set->count, added, memory_order_relaxed);
	return added;
}

void page_set_fill(struct page_set *set)
{
	for (uint64_t w = 0; w < set->numbering.npages / WORD_BITS; w++)
		add_word(set, w, UINT64_MAX);
}

void page_set_add(struct page_set *set, uint64_t number)
{
	add_word(set, number / WORD_BITS, 1ULL << number % WORD_BITS);
}

bool page_set_has(const struct page_set *set, uint64_t number)
{
	return atomic_load_explicit(&set->words[number / WORD_BITS], memory_order_relaxed) >>
		       number % WORD_BITS &
	       1;
}

uint64_t page_set_count(const struct page_set *set)
{
	return atomic_load_explicit(&set->count, memory_order_relaxed);
}

uint64_t page_set_add_bitmap(struct page_set *set, const uint64_t *bitmap)
{
	uint64_t added = 0;

	for (uint64_t w = 0; w < set->numbering.npages / WORD_BITS; w++)
		if (bitmap[w])
			added += add_word(set, w, bitmap[w]);
	return added;
}

/* Take the pages of one word's mask; returns those that were there, which nobody else gets. */
static uint64_t take_word(struct page_set *set, uint64_t word, uint64_t mask)
{
	uint64_t old = atomic_fetch_and_explicit(&set->words[word], ~mask, memory_order_relaxed);

	atomic_fetch_sub_explicit(&set->count, (uint64_t)__builtin_popcountll(old & mask),
				  memory_order_relaxed);
	return old & mask;
}

bool page_set_remove(struct page_set *set, uint64_t number)
{
	return take_word(set, number / WORD_BITS, 1ULL << number % WORD_BITS) != 0;
}

void page_set_clear(struct page_set *set)
{
	for (uint64_t w = 0; w < set->numbering.npages / WORD_BITS; w++)
		take_word(set, w, UINT64_MAX);
}

void page_set_copy(const struct page_set *set, uint64_t *bitmap)
{
	for (uint64_t w = 0; w < set->numbering.npages / WORD_BITS; w++)
		bitmap[w] = atomic_load_explicit(&set->words[w], memory_order_relaxed);
}

/* Take up to max pages out of one word. */
static unsigned int take_from_word(struct page_set *set, uint64_t word, uint64_t *numbers,
				   unsigned int max)
{
	uint64_t bits = atomic_load_explicit(&set->words[word], memory_order_relaxed);
	uint64_t wanted = 0;
	unsigned int n = 0;

	for (; bits && n < max; bits &= bits - 1, n++)
		wanted |= bits & -bits;
	bits = wanted ? take_word(set, word, wanted) : 0;
	for (n = 0; bits; bits &= bits - 1)
		numbers[n++] = word * WORD_BITS + (uint64_t)__builtin_ctzll(bits);
	return n;
}

unsigned int page_set_take(struct page_set *set, unsigned int stream, unsigned int nstreams,
			   uint64_t *cursor, uint64_t *numbers, unsigned int max)
{
	uint64_t nchunks = set->numbering.npages / CHUNK_PAGES;
	unsigned int n = 0;

	for (uint64_t i = 0; i <= nchunks && n < max; i++) {
		uint64_t chunk = (*cursor / CHUNK_PAGES) % nchunks;
		uint64_t word = *cursor % CHUNK_PAGES / WORD_BITS;

		if (helper_ring_of(page_gfn(&set->numbering, chunk * CHUNK_PAGES), nstreams) ==
		    stream) {
			for (; word < WORDS_PER_CHUNK && n < max; word++)
				n += take_from_word(set, chunk * WORDS_PER_CHUNK + word,
						    numbers + n, max - n);
			if (n == max) {
				*cursor = chunk * CHUNK_PAGES + (word - 1) * WORD_BITS;
				return n;
			}
		}
		*cursor = (chunk + 1) % nchunks * CHUNK_PAGES;
	}
	return n;
}
