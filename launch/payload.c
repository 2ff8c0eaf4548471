/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A payload guest: an ELF program that runs in ring 3 with nothing under it (payloads/sdk/payload.h
 * has the contract). Ring 3, because that is how the Migration Helper runs, and because it runs at
 * native speed even where KVM has neither VMX nor SVM.
 */
#include <errno.h>
#include <string.h>

#include "launch/guest_layout.h"
#include "launch/page_tables.h"
#include "launch/payload_elf.h"

#define WORK_GPA       (PAYLOAD_BASE + PAYLOAD_IMAGE_MAX)
#define WORK_BYTES_MIN (2ULL << 20)
#define GIB	       (1ULL << 30)

_Static_assert(LAYOUT_PAYLOAD_SHARED_GPA + LAYOUT_PAYLOAD_SHARED_BYTES <= PAYLOAD_BASE, "layout");
_Static_assert(LAUNCH_PAYLOAD_ARGS == PAYLOAD_ARGS, "arguments");

/*
 * One launch segment for the whole program: ELF segments may share a page, launch segments may not.
 * The bytes between them are zeros.
 */
static int add_program(struct launch_image *image, const struct launch_blob *file, uint64_t *entry,
		       struct why *why)
{
	struct payload_elf elf;
	uint8_t *bytes;
	int err = payload_elf_parse(&elf, file, why);

	if (err)
		return err;
	bytes = launch_segment_add(image, "payload", elf.first, elf.end - elf.first, &err, why);
	if (!bytes)
		return err;
	payload_elf_load(&elf, bytes);
	*entry = elf.entry;
	return 0;
}

static int add_params(struct launch_image *image, const struct launch_config *config,
		      struct why *why)
{
	struct payload_params *params;
	struct launch_ram ram;
	int err = 0;

	launch_ram(&ram, config);
	if (config->cpus > PAYLOAD_MAX_VCPUS)
		return why_set(why, -EINVAL, "a payload has at most %d CPUs", PAYLOAD_MAX_VCPUS);
	if (ram.usable_end < WORK_GPA + WORK_BYTES_MIN)
		return why_set(why, -ENOSPC, "a payload needs at least %llu MiB of memory",
			       (WORK_GPA + WORK_BYTES_MIN + ram.low_end - ram.usable_end) >> 20);
	params = (void *)launch_segment_add(image, "parameters", LAYOUT_PAYLOAD_PARAMS_GPA,
					    sizeof(*params), &err, why);
	if (!params)
		return err;
	params->magic = PAYLOAD_PARAMS_MAGIC;
	params->version = PAYLOAD_VERSION;
	params->vcpus = config->cpus;
	params->shared_va = LAYOUT_PAYLOAD_SHARED_GPA;
	params->shared_bytes = LAYOUT_PAYLOAD_SHARED_BYTES;
	params->work_va = WORK_GPA;
	params->work_bytes = ram.usable_end - WORK_GPA;
	params->tsc_khz = config->payload_tsc_khz;
	memcpy(params->args, config->payload_args, sizeof(params->args));
	return 0;
}

static int add_page_tables(struct launch_image *image, const struct launch_config *config,
			   struct why *why)
{
	struct page_tables tables = { .gpa = LAYOUT_PAGE_TABLES_GPA,
				      .c_mask = config->c_mask,
				      .user = true };
	struct launch_ram ram;
	uint64_t gpa;
	int err = 0;

	launch_ram(&ram, config);
	/* PML4, two PDPTs at most, a PD for each GiB, and the table of the shared area. */
	tables.max =
		(4 + (ram.low_end + GIB - 1) / GIB + (ram.high_bytes + GIB - 1) / GIB) * PAGE_BYTES;
	if (tables.max > PAGE_TABLES_MAX_BYTES)
		return why_set(why, -ENOSPC, "a payload guest cannot have so much memory");
	tables.bytes = launch_segment_add(image, "page tables", tables.gpa, tables.max, &err, why);
	if (!tables.bytes)
		return err;
	err = page_tables_init(&tables);
	if (!err)
		err = page_tables_map(&tables, 0, ram.low_end);
	if (!err)
		err = page_tables_map(&tables, GUEST_HIGH_RAM_GPA, ram.high_bytes);
	for (gpa = 0; !err && gpa < LAYOUT_PAYLOAD_SHARED_BYTES; gpa += PAGE_BYTES)
		err = page_tables_share(&tables, LAYOUT_PAYLOAD_SHARED_GPA + gpa);
	return err ? why_set(why, err, "the page tables do not fit") : 0;
}

/*
 * AMD64 APM volume 2, 12.2.5: the I/O map base, and behind it a bitmap of zeros (every port
 * allowed) that ends with ones.
 */
void payload_tss_build(uint8_t tss[PAYLOAD_TSS_BYTES])
{
	const unsigned int base_offset = 0x66, base = 0x100, bitmap_bytes = 0x2000;

	tss[base_offset] = base & 0xff;
	tss[base_offset + 1] = base >> 8;
	tss[base + bitmap_bytes] = 0xff;
}

static int add_tss(struct launch_image *image, struct why *why)
{
	int err = 0;
	uint8_t *tss = launch_segment_add(image, "TSS", LAYOUT_PAYLOAD_TSS_GPA, PAYLOAD_TSS_BYTES,
					  &err, why);

	if (!tss)
		return err;
	payload_tss_build(tss);
	return 0;
}

/*
 * A payload finds its work area zeroed. Without encryption fresh memory is; private memory that was
 * never launched reads as noise, so then the zeros are part of the image.
 */
static int add_work_area(struct launch_image *image, const struct launch_config *config,
			 struct why *why)
{
	struct launch_ram ram;
	int err = 0;

	launch_ram(&ram, config);
	if (config->c_mask)
		launch_segment_add(image, "work area", WORK_GPA, ram.usable_end - WORK_GPA, &err,
				   why);
	return err;
}

int launch_payload(struct launch_image *image, const struct launch_config *config, struct why *why)
{
	uint64_t entry;
	int err;

	if ((err = add_program(image, &config->payload, &entry, why)) ||
	    (err = add_params(image, config, why)) || (err = add_page_tables(image, config, why)) ||
	    (err = add_tss(image, why)) || (err = add_work_area(image, config, why)))
		return err;
	image->entry = (struct launch_entry){
		.mode = LAUNCH_PAYLOAD,
		.rip = entry,
		.rdi = LAYOUT_PAYLOAD_PARAMS_GPA,
		.cr3 = LAYOUT_PAGE_TABLES_GPA | config->c_mask,
		.tss_gpa = LAYOUT_PAYLOAD_TSS_GPA,
		.tss_limit = PAYLOAD_TSS_BYTES - 1,
		.shared_gpa = LAYOUT_PAYLOAD_SHARED_GPA,
		.shared_bytes = LAYOUT_PAYLOAD_SHARED_BYTES,
	};
	return 0;
}
