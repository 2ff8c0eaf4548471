/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A payload guest: an ELF program that runs in ring 3 with nothing under it (payloads/sdk/payload.h has the contract). Ring 3, because
 * that is how the Migration Helper runs, and because it runs at native speed even where KVM has neither VMX nor SVM.
 */
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "payloads/sdk/payload.h"
#include "launch/image_private.h"
#include "launch/layout.h"
#include "launch/page_tables.h"

#define PAYLOAD_MAX_PHDRS 16
#define WORK_GPA	  (PAYLOAD_BASE + PAYLOAD_IMAGE_MAX)
#define WORK_BYTES_MIN	  (2ULL << 20)
#define GIB		  (1ULL << 30)

/* AMD64 APM volume 2, 12.2.5: the I/O map base, and behind it a bitmap of zeros (every port allowed) that ends with ones. */
#define TSS_IO_MAP_BASE_OFFSET 0x66
#define TSS_IO_MAP_BASE	       0x100
#define TSS_IO_MAP_BYTES       0x2000

_Static_assert(LAYOUT_PAYLOAD_SHARED_GPA + LAYOUT_PAYLOAD_SHARED_BYTES <= PAYLOAD_BASE, "layout");
_Static_assert(LAUNCH_PAYLOAD_ARGS == PAYLOAD_ARGS, "arguments");

static int bad_elf(struct why *why, const char *what)
{
	return why_set(why, -ENOEXEC,
		       "the payload is not a static x86-64 ELF program for this VMM: %s", what);
}

static int read_header(Elf64_Ehdr *ehdr, const struct launch_blob *elf, struct why *why)
{
	if (elf->len < sizeof(*ehdr))
		return bad_elf(why, "it is truncated");
	memcpy(ehdr, elf->bytes, sizeof(*ehdr));
	if (memcmp(ehdr->e_ident, ELFMAG, SELFMAG) != 0)
		return bad_elf(why, "no ELF magic");
	if (ehdr->e_ident[EI_CLASS] != ELFCLASS64 || ehdr->e_ident[EI_DATA] != ELFDATA2LSB ||
	    ehdr->e_machine != EM_X86_64 || ehdr->e_type != ET_EXEC)
		return bad_elf(
			why, "it must be ELF64, little-endian, x86-64, ET_EXEC (-static -no-pie)");
	if (ehdr->e_phentsize != sizeof(Elf64_Phdr) || !ehdr->e_phnum ||
	    ehdr->e_phnum > PAYLOAD_MAX_PHDRS || ehdr->e_phoff > elf->len ||
	    elf->len - ehdr->e_phoff < ehdr->e_phnum * sizeof(Elf64_Phdr))
		return bad_elf(why, "its program headers lie outside of the file, or are too many");
	return 0;
}

static int check_segment(const Elf64_Phdr *phdr, const struct launch_blob *elf, struct why *why)
{
	if (phdr->p_type == PT_INTERP || phdr->p_type == PT_DYNAMIC)
		return bad_elf(why, "it is dynamically linked");
	if (phdr->p_type != PT_LOAD || !phdr->p_memsz)
		return 0;
	if (phdr->p_paddr != phdr->p_vaddr)
		return bad_elf(why, "a segment's physical address is not its virtual one");
	if (phdr->p_filesz > phdr->p_memsz || phdr->p_offset > elf->len ||
	    phdr->p_filesz > elf->len - phdr->p_offset)
		return bad_elf(why, "a segment lies outside of the file (truncated?)");
	if (phdr->p_paddr < PAYLOAD_BASE || phdr->p_memsz > PAYLOAD_IMAGE_MAX ||
	    phdr->p_paddr - PAYLOAD_BASE > PAYLOAD_IMAGE_MAX - phdr->p_memsz)
		return bad_elf(why, "a segment lies outside of [PAYLOAD_BASE, PAYLOAD_BASE + "
				    "PAYLOAD_IMAGE_MAX)");
	return 0;
}

/*
 * One launch segment for the whole program: ELF segments may share a page, launch segments may not. The bytes between them are zeros.
 */
static int add_program(struct launch_image *image, const struct launch_blob *elf, uint64_t *entry,
		       struct why *why)
{
	const uint8_t *file = elf->bytes;
	uint64_t first = UINT64_MAX, end = 0;
	Elf64_Phdr phdrs[PAYLOAD_MAX_PHDRS] = { 0 };
	Elf64_Ehdr ehdr = { 0 };
	uint8_t *bytes;
	unsigned int i;
	int err;

	err = read_header(&ehdr, elf, why);
	if (err)
		return err;
	memcpy(phdrs, file + ehdr.e_phoff, ehdr.e_phnum * sizeof(*phdrs));
	for (i = 0; i < ehdr.e_phnum; i++) {
		err = check_segment(&phdrs[i], elf, why);
		if (err)
			return err;
		if (phdrs[i].p_type != PT_LOAD || !phdrs[i].p_memsz)
			continue;
		if (phdrs[i].p_paddr < first)
			first = phdrs[i].p_paddr & ~(LAUNCH_PAGE_BYTES - 1);
		if (phdrs[i].p_paddr + phdrs[i].p_memsz > end)
			end = phdrs[i].p_paddr + phdrs[i].p_memsz;
	}
	if (first >= end || ehdr.e_entry < first || ehdr.e_entry >= end)
		return bad_elf(why, "its entry point does not lie in what it loads");
	bytes = launch_segment_add(image, "payload", first, end - first, &err, why);
	if (!bytes)
		return err;
	for (i = 0; i < ehdr.e_phnum; i++) {
		if (phdrs[i].p_type == PT_LOAD && phdrs[i].p_filesz)
			memcpy(bytes + (phdrs[i].p_paddr - first), file + phdrs[i].p_offset,
			       phdrs[i].p_filesz);
	}
	*entry = ehdr.e_entry;
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
	params->shared_gpa = LAYOUT_PAYLOAD_SHARED_GPA;
	params->shared_bytes = LAYOUT_PAYLOAD_SHARED_BYTES;
	params->work_gpa = WORK_GPA;
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
	tables.max = (4 + (ram.low_end + GIB - 1) / GIB + (ram.high_bytes + GIB - 1) / GIB) *
		     LAUNCH_PAGE_BYTES;
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
	for (gpa = 0; !err && gpa < LAYOUT_PAYLOAD_SHARED_BYTES; gpa += LAUNCH_PAGE_BYTES)
		err = page_tables_share(&tables, LAYOUT_PAYLOAD_SHARED_GPA + gpa);
	return err ? why_set(why, err, "the page tables do not fit") : 0;
}

static int add_tss(struct launch_image *image, struct why *why)
{
	int err = 0;
	uint8_t *tss = launch_segment_add(image, "TSS", LAYOUT_PAYLOAD_TSS_GPA,
					  LAYOUT_PAYLOAD_TSS_BYTES, &err, why);

	if (!tss)
		return err;
	tss[TSS_IO_MAP_BASE_OFFSET] = TSS_IO_MAP_BASE & 0xff;
	tss[TSS_IO_MAP_BASE_OFFSET + 1] = TSS_IO_MAP_BASE >> 8;
	tss[TSS_IO_MAP_BASE + TSS_IO_MAP_BYTES] = 0xff;
	return 0;
}

/*
 * A payload finds its work area zeroed. Without encryption fresh memory is; private memory that was never launched reads as noise, so
 * then the zeros are part of the image.
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
		.tss_limit = LAYOUT_PAYLOAD_TSS_BYTES - 1,
		.shared_gpa = LAYOUT_PAYLOAD_SHARED_GPA,
		.shared_bytes = LAYOUT_PAYLOAD_SHARED_BYTES,
	};
	return 0;
}
