/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page tables of guests and of what runs in their mirrors: four levels (AMD64 APM volume 2,
 * 5.3).
 */
#ifndef LAUNCH_PAGE_TABLES_H
#define LAUNCH_PAGE_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_TABLES_MAX_BYTES 0x7f000 /* what fits below the end of conventional memory */

struct page_tables {
	uint8_t *bytes; /* of the tables; the PML4 first. max must not be exceeded. */
	size_t max;
	size_t used;
	uint64_t gpa; /* of bytes[0] */
	/* set in every entry: tables and pages are private; 0 without encryption */
	uint64_t c_mask;
	bool user; /* pages and tables are open to ring 3 */
};

/* Begin with an empty PML4. -ENOSPC when max is too small even for that. */
int page_tables_init(struct page_tables *tables);

/*
 * Map [gpa, gpa + len), both multiples of 2 MiB, to itself, for everything. 0, or -ENOSPC when the
 * tables do not fit.
 */
int page_tables_map(struct page_tables *tables, uint64_t gpa, uint64_t len);

/* What may be done with a page besides reading it. */
enum page_access {
	PAGE_WRITE = 1,
	PAGE_EXECUTE = 2,
	PAGE_SHARED = 4, /* without the C-bit */
};

/*
 * Map the addresses [va, va + len) to [gpa, gpa + len), in pages of 2 MiB or of 4 KiB: all three
 * are multiples of it, and nothing is mapped there in pages of the other size. 0 or -ENOSPC.
 */
int page_tables_map_large(struct page_tables *tables, uint64_t va, uint64_t gpa, uint64_t len,
			  unsigned int access);
int page_tables_map_small(struct page_tables *tables, uint64_t va, uint64_t gpa, uint64_t len,
			  unsigned int access);

/*
 * Map the 4 KiB page at gpa to itself as a shared one (without C-bit), splitting the 2 MiB page
 * around it. 0, -ENOENT when that is not mapped, -ENOSPC.
 */
int page_tables_share(struct page_tables *tables, uint64_t gpa);

#endif
