/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/mirror/region.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "helper/layout.h"
#include "helper/protocol.h"

#define PAGE HELPER_PAGE_BYTES
#define MIB2 0x200000ULL
#define GIB  0x40000000ULL

extern const uint8_t helper_image_start[], helper_image_end[], helper_image_digest[32];

const struct helper_image *region_image(size_t *bytes)
{
	if (bytes)
		*bytes = (uintptr_t)helper_image_end - (uintptr_t)helper_image_start;
	return (const struct helper_image *)helper_image_start;
}

const uint8_t *region_image_digest(void)
{
	return helper_image_digest;
}

static uint64_t align_up(uint64_t value, uint64_t to)
{
	return (value + to - 1) / to * to;
}

static bool ram_ok(const struct sevmirror_ram_range *ram, unsigned int nram)
{
	uint64_t end = 0;
	unsigned int i;

	if (nram < 1 || nram > REGION_RAM_MAX)
		return false;
	for (i = 0; i < nram; i++) {
		if (ram[i].gpa % PAGE || ram[i].bytes % PAGE || ram[i].bytes == 0 ||
		    ram[i].gpa < end || ram[i].bytes > UINT64_MAX - ram[i].gpa)
			return false;
		end = ram[i].gpa + ram[i].bytes;
	}
	return true;
}

/* Units of unit bytes that hold RAM; each is counted once, though parts may share one. */
static uint64_t units(const struct sevmirror_ram_range *ram, unsigned int nram, uint64_t unit)
{
	uint64_t n = 0, next = 0;
	unsigned int i;

	for (i = 0; i < nram; i++) {
		uint64_t first = ram[i].gpa / unit;
		uint64_t end = (ram[i].gpa + ram[i].bytes + unit - 1) / unit;

		if (first < next)
			first = next;
		n += end - first;
		next = end;
	}
	return n;
}

/* A page table for each 2 MiB in which a part of RAM begins or ends. */
static uint64_t edges(const struct sevmirror_ram_range *ram, unsigned int nram)
{
	uint64_t n = 0, last = UINT64_MAX;
	unsigned int i, side;

	for (i = 0; i < nram; i++) {
		const uint64_t edge[2] = { ram[i].gpa, ram[i].gpa + ram[i].bytes };

		for (side = 0; side < 2; side++) {
			if (edge[side] % MIB2 == 0 || edge[side] / MIB2 == last)
				continue;
			last = edge[side] / MIB2;
			n++;
		}
	}
	return n;
}

/* helper/tables.c takes as many. */
static uint64_t run_tables(const struct sevmirror_ram_range *ram, unsigned int nram)
{
	return HELPER_RUN_RAM + units(ram, nram, 512 * GIB) + units(ram, nram, GIB) +
	       edges(ram, nram);
}

static uint64_t pages_of(const struct sevmirror_ram_range *ram, unsigned int nram)
{
	uint64_t npages = 0;
	unsigned int i;

	for (i = 0; i < nram; i++)
		npages += ram[i].bytes / PAGE;
	return npages;
}

uint64_t mirror_window_place(uint64_t ram_end)
{
	/*
	 * Above RAM and the hole below 4 GiB: nothing of the guest is there, and it is well below a
	 * C-bit.
	 */
	return ((ram_end < 4 * GIB ? 4 * GIB : ram_end) + GIB - 1) / GIB * GIB;
}

int region_plan(struct region_plan *plan, const struct sevmirror_ram_range *ram, unsigned int nram,
		uint64_t cbit_mask)
{
	const struct helper_image *head = region_image(NULL);
	uint64_t ram_end;

	memset(plan, 0, sizeof(*plan));
	if (!ram_ok(ram, nram))
		return -EINVAL;
	ram_end = ram[nram - 1].gpa + ram[nram - 1].bytes;
	if (ram_end > HELPER_GPA_LIMIT)
		return -E2BIG;
	memcpy(plan->ram, ram, nram * sizeof(*ram));
	plan->nram = nram;
	plan->cbit_mask = cbit_mask;
	plan->core_bytes =
		(uint64_t)HELPER_CORE_IMAGE * PAGE + head->text_bytes + head->rodata_bytes;
	plan->volatile_offset = plan->core_bytes;
	plan->run_tables_offset = plan->volatile_offset + head->bss_bytes;
	plan->run_tables_bytes = run_tables(ram, nram) * PAGE;
	plan->epoch_offset = plan->run_tables_offset + plan->run_tables_bytes;
	plan->epoch_bytes = align_up(pages_of(ram, nram) * sizeof(uint32_t), PAGE);
	plan->bytes = align_up(plan->epoch_offset + plan->epoch_bytes, MIB2);
	/* Above the window, however large that is. */
	plan->gpa = mirror_window_place(ram_end) + HELPER_WINDOW_MAX;
	return plan->bytes > HELPER_REGION_MAX ? -E2BIG : 0;
}

static void build_layout(const struct region_plan *plan, struct helper_layout *layout)
{
	uint64_t first = 0;
	unsigned int i;

	layout->magic = HELPER_LAYOUT_MAGIC;
	layout->abi = HELPER_ABI_VERSION;
	layout->nram = plan->nram;
	layout->cbit_mask = plan->cbit_mask;
	layout->region_gpa = plan->gpa;
	layout->region_bytes = plan->bytes;
	layout->core_bytes = plan->core_bytes;
	layout->run_tables_offset = plan->run_tables_offset;
	layout->run_tables_bytes = plan->run_tables_bytes;
	layout->epoch_offset = plan->epoch_offset;
	layout->epoch_bytes = plan->epoch_bytes;
	for (i = 0; i < plan->nram; i++) {
		layout->ram[i].gpa = plan->ram[i].gpa;
		layout->ram[i].npages = plan->ram[i].bytes / PAGE;
		layout->ram[i].first = first;
		first += layout->ram[i].npages;
	}
	layout->npages = first;
}

/*
 * A 64-bit TSS (APM volume 2, 12.2.5) that is there for its I/O permission bitmap only: ring 3 may
 * write the helper's ports. The CPU refuses a port whose bits are beyond the limit.
 */
static void build_tss(uint8_t *tss)
{
	unsigned int port;

	tss[0x66] = HELPER_TSS_BITMAP & 0xff;
	tss[0x67] = HELPER_TSS_BITMAP >> 8;
	memset(tss + HELPER_TSS_BITMAP, 0xff, HELPER_TSS_LIMIT + 1 - HELPER_TSS_BITMAP);
	for (port = HELPER_PORT_EVENT; port < HELPER_PORT_DOORBELL + 4; port++)
		tss[HELPER_TSS_BITMAP + port / 8] &= (uint8_t) ~(1u << port % 8);
}

static uint64_t small_page(const struct region_plan *plan, uint64_t offset)
{
	const struct helper_image *head = region_image(NULL);
	uint64_t text = (uint64_t)HELPER_CORE_IMAGE * PAGE;
	uint64_t areas = plan->volatile_offset;
	uint64_t entry = (plan->gpa + offset) | plan->cbit_mask | HELPER_PTE_READ;

	if (offset >= text && offset < text + head->text_bytes)
		return entry;
	entry |= HELPER_PTE_NX;
	if (offset < plan->core_bytes)
		return offset / PAGE == HELPER_CORE_KEYS ? entry | HELPER_PTE_WRITE : entry;
	if (offset - areas < (uint64_t)head->vcpus * head->vcpu_bytes &&
	    (offset - areas) % head->vcpu_bytes == 0)
		return 0; /* a stack's guard page */
	return entry | HELPER_PTE_WRITE;
}

/* The bootstrap tables: the region alone, its first 2 MiB page by page. */
static void build_tables(const struct region_plan *plan, uint8_t *core)
{
	uint64_t *pml4 = (uint64_t *)(core + (size_t)HELPER_CORE_PML4 * PAGE);
	uint64_t *pdpt = (uint64_t *)(core + (size_t)HELPER_CORE_PDPT * PAGE);
	uint64_t *pd = (uint64_t *)(core + (size_t)HELPER_CORE_PD * PAGE);
	uint64_t *pt = (uint64_t *)(core + (size_t)HELPER_CORE_PT * PAGE);
	uint64_t link = plan->gpa | plan->cbit_mask | HELPER_PTE_TABLE;
	uint64_t offset;

	pml4[HELPER_REGION_VA >> 39 & 511] = link + (uint64_t)HELPER_CORE_PDPT * PAGE;
	pdpt[0] = link + (uint64_t)HELPER_CORE_PD * PAGE;
	pd[0] = link + (uint64_t)HELPER_CORE_PT * PAGE;
	for (offset = 0; offset < MIB2; offset += PAGE)
		pt[offset / PAGE] = small_page(plan, offset);
	for (offset = MIB2; offset < plan->bytes; offset += MIB2)
		pd[offset / MIB2] = (plan->gpa + offset) | plan->cbit_mask | HELPER_PTE_READ |
				    HELPER_PTE_WRITE | HELPER_PTE_2MIB | HELPER_PTE_NX;
}

int region_build(const struct region_plan *plan, void *core, size_t bytes)
{
	uint8_t *at = core;

	if (bytes < plan->core_bytes)
		return -ENOBUFS;
	memset(core, 0, plan->core_bytes);
	build_layout(plan, core);
	build_tss(at + (size_t)HELPER_CORE_TSS * PAGE);
	build_tables(plan, at);
	memcpy(at + (size_t)HELPER_CORE_IMAGE * PAGE, helper_image_start,
	       (uintptr_t)helper_image_end - (uintptr_t)helper_image_start);
	return 0;
}
