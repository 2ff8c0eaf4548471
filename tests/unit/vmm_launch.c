/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launch image: what a guest starts from, looked at as the guest does; and kernels and payloads
 * that are not what they should be.
 */
#include "tests/unit/cmocka_all.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "payloads/sdk/payload.h"
#include "launch/bzimage.h"
#include "launch/launch_helper.h"
#include "launch/image.h"
#include "launch/guest_layout.h"
#include "vmm/memory.h"

#define MIB	     (1ULL << 20)
#define GIB	     (1ULL << 30)
#define C	     (1ULL << 47)
#define SETUP_BYTES  (2 * 512)
#define CODE_BYTES   (64 * 1024)
#define KERNEL_BYTES (SETUP_BYTES + CODE_BYTES)
#define LOAD_GPA     0x1000000ULL
#define INIT_BYTES   (8 * MIB)

static struct setup_header *header_of(uint8_t *kernel)
{
	return (struct setup_header *)(void *)(kernel + BZIMAGE_HEADER_OFFSET);
}

/* A file that says of itself what a bzImage does; its code is a pattern. */
static uint8_t *make_kernel(void)
{
	uint8_t *kernel = calloc(1, KERNEL_BYTES);
	struct setup_header *h;
	size_t i;

	assert_non_null(kernel);
	h = header_of(kernel);
	for (i = 0; i < CODE_BYTES; i++)
		kernel[SETUP_BYTES + i] = (uint8_t)(i * 7);
	h->setup_sects = 1;
	h->syssize = CODE_BYTES / 16;
	h->boot_flag = 0xaa55;
	h->jump = 0x6aeb;
	h->header = 0x53726448;
	h->version = 0x020f;
	h->loadflags = LOADED_HIGH;
	h->xloadflags = XLF_KERNEL_64;
	h->relocatable_kernel = 1;
	h->kernel_alignment = 0x200000;
	h->cmdline_size = 2047;
	h->initrd_addr_max = 0x7fffffff;
	h->payload_length = CODE_BYTES;
	h->pref_address = LOAD_GPA;
	h->init_size = INIT_BYTES;
	return kernel;
}

static const struct launch_segment *segment_at(const struct launch_image *image, uint64_t gpa)
{
	unsigned int i;

	for (i = 0; i < image->nsegments; i++) {
		if (image->segments[i].gpa <= gpa &&
		    gpa - image->segments[i].gpa < image->segments[i].len)
			return &image->segments[i];
	}
	return NULL;
}

/* The image's byte at gpa; it must be there: what is not reads as noise in an encrypted guest. */
static const void *at(const struct launch_image *image, uint64_t gpa)
{
	const struct launch_segment *segment = segment_at(image, gpa);

	if (!segment) {
		fail_msg("0x%llx is not in the image", (unsigned long long)gpa);
		abort(); /* which the analyser does not know of fail_msg() */
	}
	return segment->bytes + (gpa - segment->gpa);
}

/*
 * Walk the page tables as the CPU does. Every table and, if private, every page must have the
 * C-bit. 0: not mapped.
 */
static uint64_t walk(const struct launch_image *image, uint64_t address, uint64_t c_mask,
		     uint64_t *flags)
{
	uint64_t table = image->entry.cr3, entry = 0;
	int shift;

	assert_true((table & c_mask) == c_mask);
	for (shift = 39; shift >= 12; shift -= 9) {
		memcpy(&entry,
		       at(image, (table & ~c_mask & ~0xfffULL) + (address >> shift & 511) * 8), 8);
		if (!(entry & 1))
			return 0;
		if (shift == 12 || entry & 0x80)
			break;
		assert_true((entry & c_mask) == c_mask);
		table = entry;
	}
	*flags = entry;
	return (entry & 0xffffffffff000ULL & ~c_mask & ~((1ULL << shift) - 1)) |
	       (address & ((1ULL << shift) - 1));
}

static struct launch_image *build(const struct launch_config *config)
{
	struct launch_image *image;
	struct why why = { "" };

	if (launch_image_create(&image, config, &why))
		fail_msg("%s", why.text);
	return image;
}

static void check_segments(const struct launch_image *image, uint64_t low_end)
{
	uint64_t end = 0;
	unsigned int i;

	for (i = 0; i < image->nsegments; i++) {
		assert_true(image->segments[i].gpa >= end);
		assert_int_equal(image->segments[i].gpa % 4096, 0);
		assert_int_equal(image->segments[i].len % 4096, 0);
		end = image->segments[i].gpa + image->segments[i].len;
	}
	assert_true(end <= low_end);
}

static void linux_finds_everything(void **state)
{
	static const uint8_t initrd[5000] = { 1, 2, 3 };
	uint8_t *kernel = make_kernel();
	struct launch_config config = { .memory_bytes = 256 * MIB,
					.cpus = 3,
					.c_mask = C,
					.kernel = { kernel, KERNEL_BYTES },
					.initrd = { initrd, sizeof(initrd) },
					.cmdline = "console=ttyS0 x=y" };
	struct launch_helper helper;
	const struct boot_params *params;
	struct launch_image *image;
	uint64_t flags = 0, gpa;

	(void)state;
	assert_int_equal(launch_helper_make(&helper, &config, NULL), 0);
	image = build(&config);
	check_segments(image, 256 * MIB);
	assert_int_equal(image->entry.mode, LAUNCH_LINUX);
	assert_true(image->entry.rip == LOAD_GPA + BZIMAGE_ENTRY64);
	assert_memory_equal(at(image, LOAD_GPA), kernel + SETUP_BYTES, CODE_BYTES);

	params = at(image, image->entry.rsi);
	assert_int_equal(params->hdr.header, 0x53726448);
	assert_int_equal(params->hdr.type_of_loader, 0xff);
	assert_string_equal(at(image, params->hdr.cmd_line_ptr), "console=ttyS0 x=y");
	assert_int_equal(params->hdr.ramdisk_size, sizeof(initrd));
	assert_memory_equal(at(image, params->hdr.ramdisk_image), initrd, sizeof(initrd));
	assert_true(params->hdr.ramdisk_image >= LOAD_GPA + INIT_BYTES);
	assert_true(params->hdr.ramdisk_image + sizeof(initrd) <= 256 * MIB);
	assert_memory_equal(at(image, params->acpi_rsdp_addr), "RSD PTR ", 8);
	/* The helper is no part of the guest's memory, and measured last. */
	assert_true(helper.plan.gpa >= 4 * GIB);
	assert_null(segment_at(image, helper.plan.gpa));
	assert_int_equal(image->helper.len, helper.plan.core_bytes);
	assert_memory_equal(image->helper.bytes, helper.core, helper.plan.core_bytes);
	assert_ptr_equal(launch_image_measured(image, image->nsegments), &image->helper);
	assert_null(launch_image_measured(image, image->nsegments + 1));
	/* The BIOS data area says: nothing here. */
	for (gpa = 0; gpa < 4096; gpa++)
		assert_int_equal(*(const uint8_t *)at(image, gpa), 0);
	for (gpa = 0; gpa < 256 * MIB; gpa += 2 * MIB) {
		assert_true(walk(image, gpa + 0x1234, C, &flags) == gpa + 0x1234);
		assert_true(flags & C && flags & 2 && !(flags & 4));
	}
	assert_true(walk(image, 256 * MIB, C, &flags) == 0);
	launch_image_destroy(image);
	launch_helper_free(&helper);
	free(kernel);
}

/* Every byte of RAM has one type, the tables ACPI's; nothing is kept back for the helper. */
static void the_memory_map_is_complete(void **state)
{
	static const uint64_t sizes[] = { 64 * MIB, 256 * MIB, 3 * GIB, 3 * GIB + 2 * MIB,
					  5 * GIB };
	uint8_t *kernel = make_kernel();
	size_t i;
	int j;

	(void)state;
	for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct launch_config config = { .memory_bytes = sizes[i],
						.cpus = 1,
						.kernel = { kernel, KERNEL_BYTES } };
		uint64_t ram = 0, end = 0;
		const struct boot_params *params;
		struct launch_helper helper;
		struct launch_image *image;

		assert_int_equal(launch_helper_make(&helper, &config, NULL), 0);
		image = build(&config);
		params = at(image, image->entry.rsi);
		for (j = 0; j < params->e820_entries; j++) {
			const struct boot_e820_entry *entry = &params->e820_table[j];

			assert_true(entry->addr >= end && entry->size);
			end = entry->addr + entry->size;
			if (entry->type == 1)
				ram += entry->size;
			else
				assert_true(entry->type == 3 && entry->addr == LAYOUT_ACPI_GPA);
		}
		assert_true(ram == sizes[i] - (LAYOUT_EXTENDED_GPA - LAYOUT_CONVENTIONAL_END));
		assert_true(end == (sizes[i] > GUEST_LOW_RAM_MAX ?
					    GUEST_HIGH_RAM_GPA + sizes[i] - GUEST_LOW_RAM_MAX :
					    sizes[i]));
		launch_image_destroy(image);
		launch_helper_free(&helper);
	}
	free(kernel);
}

static void the_image_is_a_function_of_the_configuration(void **state)
{
	uint8_t *kernel = make_kernel();
	struct launch_config config = { .memory_bytes = 64 * MIB,
					.cpus = 2,
					.kernel = { kernel, KERNEL_BYTES } };
	struct launch_image *one = build(&config), *two = build(&config), *other;
	unsigned int i;

	(void)state;
	assert_int_equal(one->nsegments, two->nsegments);
	for (i = 0; i < one->nsegments; i++) {
		assert_true(one->segments[i].len == two->segments[i].len);
		assert_memory_equal(one->segments[i].bytes, two->segments[i].bytes,
				    one->segments[i].len);
	}
	config.cpus = 3;
	other = build(&config);
	assert_memory_not_equal(at(one, LAYOUT_ACPI_GPA), at(other, LAYOUT_ACPI_GPA),
				LAYOUT_ACPI_BYTES);
	launch_image_destroy(one);
	launch_image_destroy(two);
	launch_image_destroy(other);
	free(kernel);
}

static uint8_t sum(const uint8_t *bytes, size_t len)
{
	uint8_t total = 0;

	while (len--)
		total = (uint8_t)(total + *bytes++);
	return total;
}

static void acpi_tables_add_up(void **state)
{
	uint8_t *kernel = make_kernel();
	struct launch_config config = { .memory_bytes = 64 * MIB,
					.cpus = LAUNCH_MAX_CPUS,
					.kernel = { kernel, KERNEL_BYTES } };
	struct launch_image *image = build(&config);
	const uint8_t *rsdp = at(image, LAYOUT_ACPI_GPA), *xsdt, *fadt, *madt, *p;
	uint64_t gpa;
	uint32_t len;
	unsigned int cpus = 0, ioapics = 0;

	(void)state;
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	memcpy(&gpa, rsdp + 24, 8);
	xsdt = at(image, gpa);
	memcpy(&len, xsdt + 4, 4);
	assert_int_equal(len, 36 + 2 * 8);
	assert_int_equal(sum(xsdt, len), 0);
	memcpy(&gpa, xsdt + 36, 8);
	fadt = at(image, gpa);
	assert_memory_equal(fadt, "FACP", 4);
	assert_int_equal(sum(fadt, 276), 0);
	memcpy(&gpa, fadt + 140, 8);
	memcpy(&len, (const uint8_t *)at(image, gpa) + 4, 4);
	assert_memory_equal(at(image, gpa), "DSDT", 4);
	assert_int_equal(sum(at(image, gpa), len), 0);
	memcpy(&gpa, xsdt + 44, 8);
	madt = at(image, gpa);
	assert_memory_equal(madt, "APIC", 4);
	memcpy(&len, madt + 4, 4);
	assert_int_equal(sum(madt, len), 0);
	for (p = madt + 44; p < madt + len; p += p[1]) {
		assert_true(p[1] >= 2);
		if (p[0] == 0)
			assert_int_equal(p[3], cpus++);
		ioapics += p[0] == 1;
	}
	assert_int_equal(cpus, LAUNCH_MAX_CPUS);
	assert_int_equal(ioapics, 1);
	launch_image_destroy(image);
	free(kernel);
}

/* The launch is refused with this error and a sentence that has this word. */
static void refused(const struct launch_config *config, int err, const char *word)
{
	struct launch_image *image = NULL;
	struct why why = { "" };
	int got = launch_image_create(&image, config, &why);

	if (got != err || !strstr(why.text, word))
		fail_msg("%d (%s), wanted %d (%s)", got, why.text, err, word);
	assert_null(image);
}

static void what_does_not_fit_is_refused(void **state)
{
	uint8_t *kernel = make_kernel(), *initrd = calloc(1, 64 * MIB);
	char *cmdline = malloc(2049);
	struct launch_config config = { .memory_bytes = 64 * MIB,
					.cpus = 1,
					.kernel = { kernel, KERNEL_BYTES } };
	struct launch_image *image;

	(void)state;
	assert_non_null(cmdline);
	memset(cmdline, 'x', 2048);
	cmdline[2048] = '\0';
	config.cmdline = cmdline;
	refused(&config, -EINVAL, "command line");
	cmdline[2047] = '\0';
	launch_image_destroy(build(&config));
	config.initrd = (struct launch_blob){ initrd, 64 * MIB - LOAD_GPA - INIT_BYTES + 1 };
	refused(&config, -ENOSPC, "do not fit");
	config.initrd.len--;
	launch_image_destroy(build(&config));
	config.memory_bytes = 16 * MIB;
	refused(&config, -ENOSPC, "do not fit");
	config.memory_bytes = 64 * MIB;
	config.cpus = LAUNCH_MAX_CPUS + 1;
	refused(&config, -EINVAL, "CPUs");
	config.cpus = 1;
	config.kernel.len = 0;
	refused(&config, -EINVAL, "neither");
	/* Of two kernels the one that loads into the initrd's place is not taken. */
	config.kernel.len = KERNEL_BYTES;
	header_of(kernel)->initrd_addr_max = (uint32_t)(LOAD_GPA + INIT_BYTES);
	config.initrd.len = 4096;
	refused(&config, -ENOSPC, "do not fit");
	config.initrd.len = 0;
	image = build(&config);
	launch_image_destroy(image);
	free(kernel);
	free(initrd);
	free(cmdline);
}

static void bad_kernels_are_named(void **state)
{
	uint8_t *kernel = make_kernel();
	struct setup_header *h = header_of(kernel), good = *h;
	struct launch_config config = { .memory_bytes = 64 * MIB,
					.cpus = 1,
					.kernel = { kernel, KERNEL_BYTES } };
	struct bzimage bzimage;
	size_t len;

	(void)state;
#define BAD(change, word)                         \
	do {                                      \
		change;                           \
		refused(&config, -ENOEXEC, word); \
		*h = good;                        \
	} while (0)
	BAD(h->boot_flag = 0, "boot sector");
	BAD(h->header = 0, "boot sector");
	BAD(h->version = 0x020b, "2.11");
	BAD(h->loadflags = 0, "zImage");
	BAD(h->xloadflags = 0, "32-bit");
	BAD(h->relocatable_kernel = 0, "relocatable");
	BAD(h->kernel_alignment = 0x300000, "alignment");
	BAD(h->kernel_alignment = 0, "alignment");
	BAD(h->pref_address = 0x1000001, "not possible");
	BAD(h->pref_address = ~0ULL << 21, "not possible");
	BAD(h->init_size = CODE_BYTES - 1, "to start");
	BAD(h->init_size = 0xffffffff, "to start");
	BAD(h->payload_offset = 1, "outside");
	BAD(h->payload_offset = 0xfffffff0, "outside");
	BAD(h->syssize = 0xffffffff, "truncated");
	BAD(h->setup_sects = 255, "truncated");
	BAD(h->syssize = 1, "entry point");
	BAD(h->cmdline_size = 0, "limits");
	BAD(h->initrd_addr_max = 0, "limits");
	BAD(h->jump = 0x00eb, "length");
	BAD(h->jump = 0xffeb, "length");
#undef BAD
	for (len = 0; len < KERNEL_BYTES; len += len < 1100 ? 1 : 1009) {
		uint8_t *cut = malloc(len ? len : 1);

		assert_non_null(cut);
		memcpy(cut, kernel, len);
		assert_int_equal(bzimage_parse(&bzimage, cut, len, NULL), -ENOEXEC);
		free(cut);
	}
	assert_int_equal(bzimage_parse(&bzimage, kernel, KERNEL_BYTES, NULL), 0);
	config.kernel = (struct launch_blob){ "\177ELF", 4 };
	refused(&config, -ENOEXEC, "ELF");
	config.kernel = (struct launch_blob){ "\037\213\010", 3 };
	refused(&config, -ENOEXEC, "gzip");
	free(kernel);
}

#define ELF_BYTES 0x3000

static uint8_t *make_elf(void)
{
	uint8_t *elf = calloc(1, ELF_BYTES);
	Elf64_Ehdr *ehdr = (void *)elf;
	Elf64_Phdr *phdr = (void *)(elf + sizeof(*ehdr));

	assert_non_null(elf);
	memcpy(ehdr->e_ident, ELFMAG, SELFMAG);
	ehdr->e_ident[EI_CLASS] = ELFCLASS64;
	ehdr->e_ident[EI_DATA] = ELFDATA2LSB;
	ehdr->e_machine = EM_X86_64;
	ehdr->e_type = ET_EXEC;
	ehdr->e_phentsize = sizeof(*phdr);
	ehdr->e_phnum = 2;
	ehdr->e_phoff = sizeof(*ehdr);
	ehdr->e_entry = PAYLOAD_BASE + 0x10;
	phdr[0] = (Elf64_Phdr){ .p_type = PT_LOAD,
				.p_offset = 0x1000,
				.p_vaddr = PAYLOAD_BASE,
				.p_paddr = PAYLOAD_BASE,
				.p_filesz = 0x1080,
				.p_memsz = 0x1080 };
	/* Shares a page with the first, and has a part that is zeros. */
	phdr[1] = (Elf64_Phdr){ .p_type = PT_LOAD,
				.p_offset = 0x2100,
				.p_vaddr = PAYLOAD_BASE + 0x1100,
				.p_paddr = PAYLOAD_BASE + 0x1100,
				.p_filesz = 0x100,
				.p_memsz = 0x5000 };
	memset(elf + 0x1000, 0xaa, 0x1080);
	memset(elf + 0x2100, 0xbb, 0x100);
	return elf;
}

static void a_payload_is_entered_in_ring_3(void **state)
{
	uint8_t *elf = make_elf();
	struct launch_config config = { .memory_bytes = 4 * GIB,
					.cpus = 2,
					.c_mask = C,
					.payload = { elf, ELF_BYTES },
					.payload_tsc_khz = 123,
					.payload_args = { 7, 8 } };
	const struct payload_params *params;
	struct launch_image *image;
	uint64_t flags = 0, gpa;

	(void)state;
	config.memory_bytes = 64 * MIB;
	image = build(&config);
	check_segments(image, 64 * MIB);
	assert_true(image->entry.rip == PAYLOAD_BASE + 0x10);
	assert_int_equal(*(const uint8_t *)at(image, PAYLOAD_BASE + 0x107f), 0xaa);
	assert_int_equal(*(const uint8_t *)at(image, PAYLOAD_BASE + 0x1080), 0);
	assert_int_equal(*(const uint8_t *)at(image, PAYLOAD_BASE + 0x11ff), 0xbb);
	assert_int_equal(*(const uint8_t *)at(image, PAYLOAD_BASE + 0x1200), 0);
	params = at(image, image->entry.rdi);
	assert_true(params->magic == PAYLOAD_PARAMS_MAGIC && params->vcpus == 2);
	assert_true(params->tsc_khz == 123 && params->args[1] == 8);
	/* The work area is zeros in the image, because fresh private memory is not. */
	assert_int_equal(*(const uint8_t *)at(image, params->work_va + params->work_bytes - 1), 0);
	for (gpa = 0; gpa < 64 * MIB; gpa += 4096) {
		bool shared =
			gpa >= params->shared_va && gpa < params->shared_va + params->shared_bytes;

		assert_true(walk(image, gpa, C, &flags) == gpa);
		assert_true((flags & 7) == 7);
		assert_int_equal(!(flags & C), shared);
	}
	assert_null(segment_at(image, params->shared_va));
	launch_image_destroy(image);

	config.memory_bytes = 5 * GIB;
	config.c_mask = 0;
	image = build(&config);
	assert_true(walk(image, 6 * GIB - 8, 0, &flags) == 6 * GIB - 8);
	assert_true(walk(image, GUEST_LOW_RAM_MAX, 0, &flags) == 0);
	launch_image_destroy(image);
	free(elf);
}

static void bad_payloads_are_named(void **state)
{
	uint8_t *elf = make_elf(), *good = make_elf();
	Elf64_Ehdr *ehdr = (void *)elf;
	Elf64_Phdr *phdr = (void *)(elf + sizeof(*ehdr));
	struct launch_config config = { .memory_bytes = 64 * MIB,
					.cpus = 1,
					.payload = { elf, ELF_BYTES } };
	size_t len;

	(void)state;
#define BAD(change, word)                         \
	do {                                      \
		change;                           \
		refused(&config, -ENOEXEC, word); \
		memcpy(elf, good, ELF_BYTES);     \
	} while (0)
	BAD(ehdr->e_ident[0] = 0, "magic");
	BAD(ehdr->e_type = ET_DYN, "ET_EXEC");
	BAD(ehdr->e_machine = EM_386, "x86-64");
	BAD(ehdr->e_phnum = 0, "program headers");
	BAD(ehdr->e_phnum = 17, "program headers");
	BAD(ehdr->e_phoff = ~0ULL - 8, "program headers");
	BAD(ehdr->e_entry = PAYLOAD_BASE - 1, "entry point");
	BAD(ehdr->e_entry = PAYLOAD_BASE + 0x6100, "entry point");
	BAD(phdr[1].p_type = PT_INTERP, "dynamically");
	BAD(phdr[1].p_paddr++, "physical");
	BAD(phdr[1].p_filesz = phdr[1].p_memsz + 1, "outside of the file");
	BAD(phdr[1].p_offset = ~0ULL - 0x10, "outside of the file");
	BAD(phdr[1].p_paddr = phdr[1].p_vaddr = PAYLOAD_BASE - 0x1000, "outside of [");
	BAD(phdr[1].p_memsz = PAYLOAD_IMAGE_MAX, "outside of [");
	BAD(phdr[1].p_memsz = ~0ULL, "outside of [");
#undef BAD
	for (len = 1; len < 0x2200; len += 13) {
		config.payload.len = len;
		refused(&config, -ENOEXEC, "payload");
	}
	config.payload.len = ELF_BYTES;
	config.memory_bytes = 8 * MIB;
	refused(&config, -ENOSPC, "memory");
	free(elf);
	free(good);
}

static void the_vmms_own_writes_are_logged(void **state)
{
	struct guest_memory *memory;
	uint64_t *bitmap;
	size_t words;

	(void)state;
	assert_int_equal(guest_memory_create(&memory, 3 * MIB, false), -EINVAL);
	assert_int_equal(guest_memory_create(&memory, 3 * GIB + 2 * MIB, false), 0);
	words = guest_memory_log_words(memory);
	assert_int_equal(words, (3 * GIB + 2 * MIB) / 4096 / 64);
	bitmap = calloc(words, sizeof(*bitmap));
	assert_non_null(bitmap);
	guest_memory_mark_dirty(memory, 0, 1); /* not armed */
	assert_int_equal(guest_memory_log_start(memory), 0);
	guest_memory_log_fetch(memory, bitmap);
	assert_true(bitmap[0] == 0);
	guest_memory_mark_dirty(memory, 0x1fff, 2);
	guest_memory_mark_dirty(memory, 0x5000, 0);
	guest_memory_mark_dirty(memory, GUEST_HIGH_RAM_GPA + 0x3000, 1);
	guest_memory_mark_dirty(memory, GUEST_LOW_RAM_MAX - 1, 2); /* runs into the hole: nothing */
	bitmap[0] = 1;
	guest_memory_log_fetch(memory, bitmap);
	assert_true(bitmap[0] == 7);
	assert_true(bitmap[3 * GIB / 4096 / 64] == 8);
	memset(bitmap, 0, words * sizeof(*bitmap));
	guest_memory_log_fetch(memory, bitmap);
	assert_true(bitmap[0] == 0);
	guest_memory_log_stop(memory);

	assert_null(guest_memory_hva(memory, GUEST_LOW_RAM_MAX, 1));
	assert_null(guest_memory_hva(memory, GUEST_LOW_RAM_MAX - 1, 2));
	assert_null(guest_memory_hva(memory, ~0ULL, 2));
	assert_null(guest_memory_hva(memory, 1, ~0ULL));
	assert_null(guest_memory_hva(memory, GUEST_HIGH_RAM_GPA + 2 * MIB, 1));
	assert_non_null(guest_memory_hva(memory, GUEST_HIGH_RAM_GPA + 2 * MIB - 1, 1));
	assert_int_equal((uintptr_t)guest_memory_hva(memory, 0, 1) % (2 * MIB), 0);
	guest_memory_destroy(memory);
	free(bitmap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(linux_finds_everything),
		cmocka_unit_test(the_memory_map_is_complete),
		cmocka_unit_test(the_image_is_a_function_of_the_configuration),
		cmocka_unit_test(acpi_tables_add_up),
		cmocka_unit_test(what_does_not_fit_is_refused),
		cmocka_unit_test(bad_kernels_are_named),
		cmocka_unit_test(a_payload_is_entered_in_ring_3),
		cmocka_unit_test(bad_payloads_are_named),
		cmocka_unit_test(the_vmms_own_writes_are_logged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
