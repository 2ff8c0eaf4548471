/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The region, from its first page: page tables, parameters, TSS, the program's pages, and the work
 * area to the end. All but the work area and the program's zeroed part is launched.
 */
#include "launch/launch_workload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "launch/guest_layout.h"
#include "launch/page_tables.h"
#include "launch/payload_elf.h"
#include "lib/mirror/mirror.h"

#define LARGE_BYTES (2ULL << 20)
#define GIB	    (1ULL << 30)

/*
 * Below 1 GiB: PML4, PDPT, PD; a table each for parameters and TSS, for the work area, for each 2
 * MiB of the program.
 */
#define OWN_TABLES (3 + 2 + PAYLOAD_IMAGE_MAX / LARGE_BYTES)

_Static_assert(WORKLOAD_TSS_BYTES == PAYLOAD_TSS_BYTES, "TSS");
_Static_assert(WORKLOAD_SHARED_VA + WORKLOAD_WINDOW_BYTES <= PAYLOAD_BASE, "the window's place");
_Static_assert(WORKLOAD_WORK_VA % LARGE_BYTES == 0 && WORKLOAD_WORK_VA < GIB, "the work area's");

/* Offsets in the region, in bytes. */
struct layout {
	uint64_t tables_bytes; /* first of all */
	uint64_t params, tss, program, work, end;
};

static uint64_t align_up(uint64_t value, uint64_t to)
{
	return (value + to - 1) / to * to;
}

/* A directory for each GiB of RAM, and what holds them. */
static uint64_t ram_tables(const struct launch_ram *ram)
{
	uint64_t directories =
		align_up(ram->low_end, GIB) / GIB + align_up(ram->high_bytes, GIB) / GIB;

	return directories + (GUEST_HIGH_RAM_GPA + ram->high_bytes) / (512 * GIB) + 1;
}

static void lay_out(struct layout *at, const struct payload_elf *elf, const struct launch_ram *ram)
{
	at->tables_bytes = (OWN_TABLES + ram_tables(ram)) * PAGE_BYTES;
	at->params = at->tables_bytes;
	at->tss = at->params + PAGE_BYTES;
	at->program = at->tss + WORKLOAD_TSS_BYTES;
	at->work = at->program + align_up(elf->end - elf->first, PAGE_BYTES);
	at->end = align_up(at->work, LARGE_BYTES);
}

static int check_program(const struct payload_elf *elf, struct why *why)
{
	if (!elf->has_note)
		return why_set(why, -ENOEXEC,
			       "the mirror payload is not a workload for mirrors: it does not have "
			       "the SDK's PAYLOAD_NOTE");
	if (elf->initialized)
		return why_set(
			why, -ENOEXEC,
			"the mirror payload has variables with initial values: it is run more than "
			"once and must set them itself");
	if (!elf->note.name[0] || memchr(elf->note.name, 0, sizeof(elf->note.name)) == NULL ||
	    elf->note.flags & ~(uint32_t)PAYLOAD_WRITES_MEMORY)
		return why_set(why, -ENOEXEC,
			       "the mirror payload's note asks for an unknown feature");
	return 0;
}

static int make_plan(struct workload_plan *plan, const struct payload_elf *elf,
		     const struct layout *at, const struct launch_config *config, struct why *why)
{
	struct launch_ram ram;

	*plan = (struct workload_plan){
		.bytes = at->end,
		.rip = elf->entry,
		.writes_memory = elf->note.flags & PAYLOAD_WRITES_MEMORY,
	};
	memcpy(plan->name, elf->note.name, sizeof(plan->name));
	launch_ram(&ram, config);
	if (ram.low_end < plan->bytes + LAYOUT_EXTENDED_GPA)
		return why_set(why, -ENOSPC, "no room for the mirror payload: it needs %llu MiB",
			       (unsigned long long)plan->bytes >> 20);
	plan->gpa = ram.low_end - plan->bytes;
	plan->cr3 = plan->gpa;
	if (!workload_plan_ok(plan, ram.low_end))
		return why_set(why, -ENOEXEC,
			       "the mirror payload's name has characters that are not printable");
	return 0;
}

/* The guest's memory but for the region. */
static void list_ram(struct payload_params *params, const struct launch_config *config,
		     const struct workload_plan *plan)
{
	struct launch_ram ram;

	launch_ram(&ram, config);
	params->ram[params->nram++] = (struct payload_ram){ 0, plan->gpa };
	if (ram.high_bytes)
		params->ram[params->nram++] =
			(struct payload_ram){ GUEST_HIGH_RAM_GPA, ram.high_bytes };
}

static void write_params(struct payload_params *params, const struct launch_config *config,
			 const struct workload_plan *plan, const struct layout *at)
{
	*params = (struct payload_params){
		.magic = PAYLOAD_PARAMS_MAGIC,
		.version = PAYLOAD_VERSION,
		.vcpus = 1,
		.shared_va = WORKLOAD_SHARED_VA,
		.shared_bytes = WORKLOAD_WINDOW_BYTES,
		.work_va = WORKLOAD_WORK_VA,
		.work_bytes = at->end - at->work,
		.flags = PAYLOAD_IN_MIRROR,
		.ram_va = WORKLOAD_RAM_VA,
	};
	list_ram(params, config, plan);
}

static uint64_t window_gpa(const struct launch_config *config)
{
	struct launch_ram ram;

	launch_ram(&ram, config);
	return mirror_window_place(ram.high_bytes ? GUEST_HIGH_RAM_GPA + ram.high_bytes :
						    ram.low_end);
}

static int map_program(struct page_tables *tables, const struct payload_elf *elf, uint64_t gpa)
{
	uint64_t va;
	int err = 0;

	for (va = elf->first; !err && va < elf->end; va += PAGE_BYTES)
		err = page_tables_map_small(tables, va, gpa + (va - elf->first), PAGE_BYTES,
					    payload_elf_access(elf, va));
	return err;
}

static int map_ram(struct page_tables *tables, const struct payload_params *params, bool writes)
{
	uint64_t i;
	int err = 0;

	for (i = 0; !err && i < params->nram; i++)
		err = page_tables_map_large(tables, WORKLOAD_RAM_VA + params->ram[i].gpa,
					    params->ram[i].gpa, params->ram[i].bytes,
					    writes ? PAGE_WRITE : 0);
	return err;
}

static int write_tables(uint8_t *region, const struct payload_elf *elf, const struct layout *at,
			const struct launch_config *config, const struct workload_plan *plan,
			struct why *why)
{
	struct page_tables tables = { .bytes = region,
				      .max = at->tables_bytes,
				      .gpa = plan->gpa,
				      .c_mask = config->c_mask,
				      .user = true };
	int err;

	if ((err = page_tables_init(&tables)) ||
	    (err = page_tables_map_small(&tables, WORKLOAD_PARAMS_VA, plan->gpa + at->params,
					 PAGE_BYTES, 0)) ||
	    (err = page_tables_map_small(&tables, WORKLOAD_TSS_VA, plan->gpa + at->tss,
					 WORKLOAD_TSS_BYTES, 0)) ||
	    (err = page_tables_map_large(&tables, WORKLOAD_SHARED_VA, window_gpa(config),
					 WORKLOAD_WINDOW_BYTES, PAGE_WRITE | PAGE_SHARED)) ||
	    (err = map_program(&tables, elf, plan->gpa + at->program)) ||
	    (err = page_tables_map_small(&tables, WORKLOAD_WORK_VA, plan->gpa + at->work,
					 at->end - at->work, PAGE_WRITE)) ||
	    (err = map_ram(&tables, (const void *)(region + at->params), plan->writes_memory)))
		return why_set(why, err, "the mirror payload's page tables do not fit");
	return 0;
}

static int write_region(struct launch_workload *w, const struct payload_elf *elf,
			const struct layout *at, const struct launch_config *config,
			struct why *why)
{
	uint8_t *region;

	w->len = at->program + align_up(elf->file_end - elf->first, PAGE_BYTES);
	w->bytes = region = calloc(1, w->len);
	if (!region)
		return why_set(why, -ENOMEM, "out of memory for the mirror payload");
	write_params((void *)(region + at->params), config, &w->plan, at);
	payload_tss_build(region + at->tss);
	payload_elf_load(elf, region + at->program);
	return write_tables(region, elf, at, config, &w->plan, why);
}

int launch_workload_make(struct launch_workload *w, struct launch_config *config, struct why *why)
{
	struct payload_elf elf;
	struct launch_ram ram;
	struct layout at;
	int err;

	memset(w, 0, sizeof(*w));
	err = payload_elf_parse(&elf, &config->mirror_payload, why);
	if (!err)
		err = check_program(&elf, why);
	if (err)
		return err;
	launch_ram(&ram, config);
	lay_out(&at, &elf, &ram);
	err = make_plan(&w->plan, &elf, &at, config, why);
	if (!err)
		err = write_region(w, &elf, &at, config, why);
	if (err) {
		launch_workload_free(w);
		return err;
	}
	config->workload = w;
	return 0;
}

void launch_workload_free(struct launch_workload *w)
{
	free(w->bytes);
	w->bytes = NULL;
}
