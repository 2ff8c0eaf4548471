/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run-time page tables. The bootstrap tables in the core map the region alone, are measured and
 * never change; the helper writes these beside them and the host then enters the vCPUs with the new
 * CR3. So no entry in use is ever edited.
 */
#include "helper/helper.h"

#define MIB2 0x200000ULL
#define GIB  0x40000000ULL

struct tables {
	const struct helper_layout *layout;
	uint8_t *region;
};

static uint64_t *table(const struct tables *t, uint32_t page)
{
	return (uint64_t *)(t->region + t->layout->run_tables_offset +
			    (uint64_t)page * HELPER_PAGE_BYTES);
}

static uint64_t link_to(const struct tables *t, uint32_t page)
{
	return (t->layout->region_gpa + t->layout->run_tables_offset +
		(uint64_t)page * HELPER_PAGE_BYTES) |
	       HELPER_PTE_TABLE | t->layout->cbit_mask;
}

static uint64_t slot_of(uint64_t va)
{
	return va >> 39 & 511;
}

static bool window_ok(const struct helper_layout *layout, uint64_t gpa, uint64_t bytes)
{
	uint64_t limit = layout->cbit_mask ? layout->cbit_mask : 1ULL << 46;
	uint32_t i;

	if (gpa % MIB2 || bytes % MIB2 || bytes == 0 || bytes > HELPER_WINDOW_MAX)
		return false;
	if (gpa >= limit || bytes > limit - gpa)
		return false;
	for (i = 0; i < layout->nram; i++) {
		const struct helper_ram *ram = &layout->ram[i];

		if (gpa < ram->gpa + ram->npages * HELPER_PAGE_BYTES && ram->gpa < gpa + bytes)
			return false;
	}
	return true;
}

/* RAM, all but the region itself. false when there are more GiB than page directories. */
static bool map_ram(const struct tables *t)
{
	const struct helper_layout *layout = t->layout;
	uint64_t *pdpt = table(t, HELPER_RUN_RAM_PDPT);
	uint64_t leaf = HELPER_PTE_READ | HELPER_PTE_WRITE | HELPER_PTE_2MIB | HELPER_PTE_NX |
			layout->cbit_mask;
	uint32_t next = HELPER_RUN_RAM_PD - 1;
	uint32_t i;
	uint64_t gpa;

	for (i = 0; i < layout->nram; i++) {
		const struct helper_ram *ram = &layout->ram[i];
		uint64_t end = ram->gpa + ram->npages * HELPER_PAGE_BYTES;

		for (gpa = ram->gpa; gpa < end; gpa += MIB2) {
			if (!pdpt[gpa / GIB]) {
				if (++next >= layout->run_tables_bytes / HELPER_PAGE_BYTES)
					return false;
				pdpt[gpa / GIB] = link_to(t, next);
			}
			if (gpa - layout->region_gpa >= layout->region_bytes)
				table(t, next)[gpa / MIB2 % 512] = gpa | leaf;
		}
	}
	return true;
}

bool tables_fill(const struct helper_layout *layout, uint8_t *region, uint64_t window_gpa,
		 uint64_t window_bytes)
{
	const struct tables t = { layout, region };
	const uint64_t *boot_pml4 =
		(const uint64_t *)(region + (uint64_t)HELPER_CORE_PML4 * HELPER_PAGE_BYTES);
	uint64_t *pml4 = table(&t, HELPER_RUN_PML4);
	uint64_t i;

	if (!window_ok(layout, window_gpa, window_bytes) ||
	    layout->run_tables_bytes < (uint64_t)HELPER_RUN_RAM_PD * HELPER_PAGE_BYTES)
		return false;
	wipe(pml4, layout->run_tables_bytes);
	pml4[slot_of(HELPER_REGION_VA)] = boot_pml4[slot_of(HELPER_REGION_VA)];
	pml4[slot_of(HELPER_RAM_VA)] = link_to(&t, HELPER_RUN_RAM_PDPT);
	pml4[slot_of(HELPER_WINDOW_VA)] = link_to(&t, HELPER_RUN_WINDOW_PDPT);
	table(&t, HELPER_RUN_WINDOW_PDPT)[0] = link_to(&t, HELPER_RUN_WINDOW_PD);
	for (i = 0; i < window_bytes / MIB2; i++)
		table(&t, HELPER_RUN_WINDOW_PD)[i] = (window_gpa + i * MIB2) | HELPER_PTE_READ |
						     HELPER_PTE_WRITE | HELPER_PTE_2MIB |
						     HELPER_PTE_NX;
	return map_ram(&t);
}
