/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The run-time page tables. The bootstrap tables in the core map the region alone, are measured and
 * never change; the helper writes these next to them and the host then enters the vCPUs with the
 * new CR3. So no entry in use is ever edited.
 */
#include "helper/helper_private.h"

#define MIB2	     0x200000ULL
#define ADDRESS_MASK 0x000ffffffffff000ULL

struct tables {
	const struct helper_layout *layout;
	uint8_t *region;
	uint64_t used; /* tables */
};

static uint64_t *table(const struct tables *t, uint64_t page)
{
	return (uint64_t *)(t->region + t->layout->run_tables_offset + page * HELPER_PAGE_BYTES);
}

static uint64_t first_gpa(const struct tables *t)
{
	return t->layout->region_gpa + t->layout->run_tables_offset;
}

static uint64_t link_to(const struct tables *t, uint64_t page)
{
	return (first_gpa(t) + page * HELPER_PAGE_BYTES) | HELPER_PTE_TABLE | t->layout->cbit_mask;
}

static uint64_t index_of(uint64_t va, unsigned int shift)
{
	return va >> shift & 511;
}

/* The table that an entry points to, made if there is none yet; NULL: no room for another. */
static uint64_t *descend(struct tables *t, uint64_t *entry)
{
	uint64_t gpa;

	if (!*entry) {
		if ((t->used + 1) * HELPER_PAGE_BYTES > t->layout->run_tables_bytes)
			return NULL;
		*entry = link_to(t, t->used++);
	}
	gpa = *entry & ADDRESS_MASK & ~t->layout->cbit_mask;
	return table(t, (gpa - first_gpa(t)) / HELPER_PAGE_BYTES);
}

static bool disjoint(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
	return a + a_bytes <= b || b + b_bytes <= a;
}

/*
 * RAM is where it can be, and nowhere in the region or the window: the layout is measured, so this
 * is against a launch that somebody put together wrongly.
 */
static bool places_ok(const struct helper_layout *layout, uint64_t window_gpa,
		      uint64_t window_bytes)
{
	uint64_t limit = layout->cbit_mask ? layout->cbit_mask : 1ULL << 47;
	uint64_t end = 0;
	uint32_t i;

	if (window_gpa % MIB2 || window_bytes % MIB2 || window_bytes == 0 ||
	    window_bytes > HELPER_WINDOW_MAX || window_gpa >= limit ||
	    window_bytes > limit - window_gpa ||
	    !disjoint(window_gpa, window_bytes, layout->region_gpa, layout->region_bytes))
		return false;
	if (layout->nram < 1 || layout->nram > HELPER_RAM_MAX)
		return false;
	for (i = 0; i < layout->nram; i++) {
		const struct helper_ram *ram = &layout->ram[i];
		uint64_t bytes = ram->npages * HELPER_PAGE_BYTES;

		if (ram->gpa % HELPER_PAGE_BYTES || ram->gpa < end || ram->gpa > HELPER_GPA_LIMIT ||
		    ram->npages > (HELPER_GPA_LIMIT - ram->gpa) / HELPER_PAGE_BYTES ||
		    !disjoint(ram->gpa, bytes, window_gpa, window_bytes) ||
		    !disjoint(ram->gpa, bytes, layout->region_gpa, layout->region_bytes))
			return false;
		end = ram->gpa + bytes;
	}
	return true;
}

/* [gpa, end) in pages of 2 MiB, at its edges of 4 KiB. false when the tables do not suffice. */
static bool map_range(struct tables *t, uint64_t gpa, uint64_t end)
{
	uint64_t leaf = HELPER_PTE_READ | HELPER_PTE_WRITE | HELPER_PTE_NX | t->layout->cbit_mask;

	while (gpa < end) {
		uint64_t va = HELPER_RAM_VA + gpa;
		uint64_t *pdpt = descend(t, &table(t, HELPER_RUN_PML4)[index_of(va, 39)]);
		uint64_t *pd = pdpt ? descend(t, &pdpt[index_of(va, 30)]) : NULL;
		uint64_t *pt;

		if (!pd)
			return false;
		if (gpa % MIB2 == 0 && end - gpa >= MIB2) {
			pd[index_of(va, 21)] = gpa | leaf | HELPER_PTE_2MIB;
			gpa += MIB2;
			continue;
		}
		pt = descend(t, &pd[index_of(va, 21)]);
		if (!pt)
			return false;
		pt[index_of(va, 12)] = gpa | leaf;
		gpa += HELPER_PAGE_BYTES;
	}
	return true;
}

static void map_window(const struct tables *t, uint64_t gpa, uint64_t bytes)
{
	uint64_t *pd = table(t, HELPER_RUN_WINDOW_PD);
	uint64_t i;

	table(t, HELPER_RUN_PML4)[index_of(HELPER_WINDOW_VA, 39)] =
		link_to(t, HELPER_RUN_WINDOW_PDPT);
	table(t, HELPER_RUN_WINDOW_PDPT)[0] = link_to(t, HELPER_RUN_WINDOW_PD);
	for (i = 0; i < bytes / MIB2; i++)
		pd[i] = (gpa + i * MIB2) | HELPER_PTE_READ | HELPER_PTE_WRITE | HELPER_PTE_2MIB |
			HELPER_PTE_NX;
}

bool tables_fill(const struct helper_layout *layout, uint8_t *region, uint64_t window_gpa,
		 uint64_t window_bytes)
{
	struct tables t = { layout, region, HELPER_RUN_RAM };
	const uint64_t *boot_pml4 =
		(const uint64_t *)(region + (uint64_t)HELPER_CORE_PML4 * HELPER_PAGE_BYTES);
	uint64_t region_slot = index_of(HELPER_REGION_VA, 39);
	uint32_t i;

	if (!places_ok(layout, window_gpa, window_bytes) ||
	    layout->run_tables_bytes < (uint64_t)HELPER_RUN_RAM * HELPER_PAGE_BYTES)
		return false;
	wipe(table(&t, HELPER_RUN_PML4), layout->run_tables_bytes);
	table(&t, HELPER_RUN_PML4)[region_slot] = boot_pml4[region_slot];
	map_window(&t, window_gpa, window_bytes);
	for (i = 0; i < layout->nram; i++)
		if (!map_range(&t, layout->ram[i].gpa,
			       layout->ram[i].gpa + layout->ram[i].npages * HELPER_PAGE_BYTES))
			return false;
	return true;
}
