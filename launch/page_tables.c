/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/page_tables.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define TABLE_BYTES   4096
#define ENTRIES	      512
#define PTE_PRESENT   (1ULL << 0)
#define PTE_WRITE     (1ULL << 1)
#define PTE_USER      (1ULL << 2)
#define PTE_ACCESSED  (1ULL << 5)
#define PTE_DIRTY     (1ULL << 6)
#define PTE_LARGE     (1ULL << 7)
#define PTE_NX	      (1ULL << 63)
#define PTE_ADDR_MASK 0x000ffffffffff000ULL
#define LARGE_BYTES   (2ULL << 20)

static uint64_t flags(const struct page_tables *tables)
{
	return PTE_PRESENT | PTE_WRITE | PTE_ACCESSED | (tables->user ? PTE_USER : 0);
}

static uint64_t *table_at(const struct page_tables *tables, size_t offset)
{
	return (uint64_t *)(void *)(tables->bytes + offset);
}

/* A new, empty table; its offset, or SIZE_MAX. */
static size_t new_table(struct page_tables *tables)
{
	size_t offset = tables->used;

	if (tables->max - tables->used < TABLE_BYTES)
		return SIZE_MAX;
	memset(tables->bytes + offset, 0, TABLE_BYTES);
	tables->used += TABLE_BYTES;
	return offset;
}

/*
 * The table behind an entry, made when there is none and create is set. SIZE_MAX: not there, or no
 * room.
 */
static size_t next_table(struct page_tables *tables, uint64_t *entry, bool create)
{
	uint64_t value = le64toh(*entry);
	size_t offset;

	if (value & PTE_PRESENT)
		return (size_t)((value & PTE_ADDR_MASK & ~tables->c_mask) - tables->gpa);
	if (!create)
		return SIZE_MAX;
	offset = new_table(tables);
	if (offset != SIZE_MAX)
		*entry = htole64((tables->gpa + offset) | flags(tables) | tables->c_mask);
	return offset;
}

static size_t index_of(uint64_t gpa, unsigned int shift)
{
	return gpa >> shift & (ENTRIES - 1);
}

/* The page directory's entry for gpa, or NULL. */
static uint64_t *directory_entry(struct page_tables *tables, uint64_t gpa, bool create)
{
	size_t offset;

	offset = next_table(tables, &table_at(tables, 0)[index_of(gpa, 39)], create);
	if (offset == SIZE_MAX)
		return NULL;
	offset = next_table(tables, &table_at(tables, offset)[index_of(gpa, 30)], create);
	return offset == SIZE_MAX ? NULL : &table_at(tables, offset)[index_of(gpa, 21)];
}

int page_tables_init(struct page_tables *tables)
{
	tables->used = 0;
	return new_table(tables) == SIZE_MAX ? -ENOSPC : 0;
}

/* The entry of a page; A and D are preset, so that no CPU ever writes the tables. */
static uint64_t leaf(const struct page_tables *tables, uint64_t gpa, unsigned int access)
{
	uint64_t entry = gpa | PTE_PRESENT | PTE_ACCESSED | PTE_DIRTY;

	entry |= tables->user ? PTE_USER : 0;
	entry |= access & PAGE_WRITE ? PTE_WRITE : 0;
	entry |= access & PAGE_EXECUTE ? 0 : PTE_NX;
	return entry | (access & PAGE_SHARED ? 0 : tables->c_mask);
}

int page_tables_map(struct page_tables *tables, uint64_t gpa, uint64_t len)
{
	return page_tables_map_large(tables, gpa, gpa, len, PAGE_WRITE | PAGE_EXECUTE);
}

int page_tables_map_large(struct page_tables *tables, uint64_t va, uint64_t gpa, uint64_t len,
			  unsigned int access)
{
	uint64_t offset, *entry;

	for (offset = 0; offset < len; offset += LARGE_BYTES) {
		entry = directory_entry(tables, va + offset, true);
		if (!entry)
			return -ENOSPC;
		*entry = htole64(leaf(tables, gpa + offset, access) | PTE_LARGE);
	}
	return 0;
}

int page_tables_map_small(struct page_tables *tables, uint64_t va, uint64_t gpa, uint64_t len,
			  unsigned int access)
{
	uint64_t offset, *entry;
	size_t table;

	for (offset = 0; offset < len; offset += TABLE_BYTES) {
		entry = directory_entry(tables, va + offset, true);
		table = entry ? next_table(tables, entry, true) : SIZE_MAX;
		if (table == SIZE_MAX)
			return -ENOSPC;
		table_at(tables, table)[index_of(va + offset, 12)] =
			htole64(leaf(tables, gpa + offset, access));
	}
	return 0;
}

int page_tables_share(struct page_tables *tables, uint64_t gpa)
{
	uint64_t base = gpa & ~(LARGE_BYTES - 1), *entry, *pages;
	const unsigned int access = PAGE_WRITE | PAGE_EXECUTE;
	size_t offset, i;

	entry = directory_entry(tables, gpa, false);
	if (!entry || !(le64toh(*entry) & PTE_PRESENT))
		return -ENOENT;
	if (le64toh(*entry) & PTE_LARGE) {
		offset = new_table(tables);
		if (offset == SIZE_MAX)
			return -ENOSPC;
		pages = table_at(tables, offset);
		for (i = 0; i < ENTRIES; i++)
			pages[i] = htole64(leaf(tables, base + i * TABLE_BYTES, access));
		*entry = htole64((tables->gpa + offset) | flags(tables) | tables->c_mask);
	} else {
		pages = table_at(tables, next_table(tables, entry, false));
	}
	pages[index_of(gpa, 12)] = htole64(leaf(tables, gpa & ~0xfffULL, access | PAGE_SHARED));
	return 0;
}
