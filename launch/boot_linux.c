/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Linux guest, entered at the bzImage's 64-bit entry point without firmware (Linux
 * Documentation/arch/x86/boot.rst, "64-bit boot protocol"). Under SEV the kernel reads everything
 * here through private mappings, so all of it is in the launch image.
 */
#include <asm/bootparam.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "launch/acpi.h"
#include "launch/bzimage.h"
#include "launch/image_private.h"
#include "launch/guest_layout.h"
#include "launch/page_tables.h"

#define LARGE_BYTES	 (2ULL << 20)
#define E820_RAM	 1
#define E820_RESERVED	 2
#define E820_ACPI	 3
#define LOADER_UNDEFINED 0xff
#define VGA_MODE_NORMAL	 0xffff
/* PML4, PDPT, and one PD for each GiB below 4 */
#define PAGE_TABLES_BYTES (6 * PAGE_BYTES)

/*
 * __BOOT_CS and __BOOT_DS of the boot protocol are the third and fourth descriptor: flat 64-bit
 * code, flat data.
 */
static const uint64_t boot_gdt[] = { 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff };

static void e820_add(struct boot_params *params, uint64_t from, uint64_t to, uint32_t type)
{
	struct boot_e820_entry *entry = &params->e820_table[params->e820_entries];

	if (from >= to)
		return;
	*entry = (struct boot_e820_entry){ .addr = from, .size = to - from, .type = type };
	params->e820_entries++;
}

/*
 * The ACPI tables have type ACPI and not reserved, because a SEV guest maps reserved memory as
 * shared when a driver asks for it (Linux arch/x86/mm/ioremap.c, __ioremap_check_encrypted()).
 */
static void fill_e820(struct boot_params *params, const struct launch_config *config)
{
	struct launch_ram ram;

	launch_ram(&ram, config);
	e820_add(params, 0, LAYOUT_CONVENTIONAL_END, E820_RAM);
	e820_add(params, LAYOUT_ACPI_GPA, LAYOUT_ACPI_GPA + LAYOUT_ACPI_BYTES, E820_ACPI);
	e820_add(params, LAYOUT_EXTENDED_GPA, ram.usable_end, E820_RAM);
	e820_add(params, ram.usable_end, ram.low_end, E820_RESERVED); /* the workload's region */
	e820_add(params, GUEST_HIGH_RAM_GPA, GUEST_HIGH_RAM_GPA + ram.high_bytes, E820_RAM);
}

static int add_boot_params(struct launch_image *image, const struct launch_config *config,
			   const struct bzimage *kernel, uint64_t initrd_gpa, struct why *why)
{
	struct boot_params *params;
	int err = 0;

	params = (void *)launch_segment_add(image, "boot parameters", LAYOUT_BOOT_PARAMS_GPA,
					    sizeof(*params), &err, why);
	if (!params)
		return err;
	memcpy((uint8_t *)params + BZIMAGE_HEADER_OFFSET, kernel->header, kernel->header_bytes);
	params->hdr.type_of_loader = LOADER_UNDEFINED;
	params->hdr.vid_mode = VGA_MODE_NORMAL;
	params->hdr.cmd_line_ptr = LAYOUT_CMDLINE_GPA;
	params->hdr.ramdisk_image = (uint32_t)initrd_gpa;
	params->hdr.ramdisk_size = (uint32_t)config->initrd.len;
	params->hdr.code32_start = (uint32_t)kernel->load_gpa;
	params->hdr.setup_data = 0;
	params->acpi_rsdp_addr = LAYOUT_ACPI_GPA;
	fill_e820(params, config);
	return 0;
}

static int add_cmdline(struct launch_image *image, const struct launch_config *config,
		       const struct bzimage *kernel, struct why *why)
{
	const char *cmdline = config->cmdline ? config->cmdline : "";
	size_t len = strlen(cmdline), max = kernel->cmdline_max;
	uint8_t *bytes;
	int err = 0;

	if (max > LAYOUT_CMDLINE_BYTES - 1)
		max = LAYOUT_CMDLINE_BYTES - 1;
	if (len > max)
		return why_set(why, -EINVAL,
			       "the command line has %zu characters, this kernel takes %zu", len,
			       max);
	bytes = launch_segment_add(image, "command line", LAYOUT_CMDLINE_GPA, len + 1, &err, why);
	if (bytes)
		memcpy(bytes, cmdline, len + 1);
	return err;
}

/* As high as the kernel allows, so that it does not have to move it; below a workload's region. */
static int place_initrd(uint64_t *gpa, const struct launch_config *config,
			const struct bzimage *kernel, struct why *why)
{
	uint64_t kernel_end = kernel->load_gpa + kernel->init_bytes, end;
	struct launch_ram ram;

	*gpa = 0;
	launch_ram(&ram, config);
	end = kernel->initrd_gpa_max + 1;
	if (end > ram.usable_end)
		end = ram.usable_end;
	if (kernel_end > end || config->initrd.len > end - kernel_end)
		return why_set(
			why, -ENOSPC,
			"kernel and initrd do not fit: they need %llu MiB, the guest has %llu MiB "
			"of usable memory below 3 GiB",
			(unsigned long long)((kernel_end + config->initrd.len) >> 20) + 1,
			(unsigned long long)end >> 20);
	if (config->initrd.len)
		*gpa = (end - config->initrd.len) & ~(PAGE_BYTES - 1);
	if (config->initrd.len && *gpa < kernel_end)
		return why_set(why, -ENOSPC, "kernel and initrd do not fit by less than a page");
	return 0;
}

static int add_page_tables(struct launch_image *image, const struct launch_config *config,
			   struct why *why)
{
	struct page_tables tables = { .max = PAGE_TABLES_BYTES,
				      .gpa = LAYOUT_PAGE_TABLES_GPA,
				      .c_mask = config->c_mask };
	struct launch_ram ram;
	int err = 0;

	tables.bytes = launch_segment_add(image, "page tables", LAYOUT_PAGE_TABLES_GPA,
					  PAGE_TABLES_BYTES, &err, why);
	if (!tables.bytes)
		return err;
	launch_ram(&ram, config);
	err = page_tables_init(&tables);
	if (!err)
		err = page_tables_map(&tables, 0, ram.low_end);
	return err ? why_set(why, err, "the page tables do not fit") : 0;
}

static int add_acpi(struct launch_image *image, const struct launch_config *config, struct why *why)
{
	uint8_t *bytes;
	int err = 0;

	bytes = launch_segment_add(image, "ACPI tables", LAYOUT_ACPI_GPA, LAYOUT_ACPI_BYTES, &err,
				   why);
	if (!bytes)
		return err;
	err = acpi_build(bytes, LAYOUT_ACPI_BYTES - LAYOUT_SECRET_BYTES, LAYOUT_ACPI_GPA,
			 config->cpus);
	return err ? why_set(why, err, "the ACPI tables do not fit") : 0;
}

/*
 * What is at the PC's reset vector: Linux with hardware-reduced ACPI and no EFI does not try ACPI's
 * reset register but jumps there, in real mode (arch/x86/kernel/reboot.c, reboot_init() and
 * MRR_BIOS). So that is where the register is written.
 */
static int add_reset_vector(struct launch_image *image, struct why *why)
{
	static const uint8_t code[] = {
		0xba,
		LAYOUT_RESET_PORT & 0xff,
		LAYOUT_RESET_PORT >> 8, /* mov $LAYOUT_RESET_PORT, %dx */
		0xb0,
		ACPI_RESET_VALUE, /* mov $ACPI_RESET_VALUE, %al */
		0xee, /* out %al, %dx */
		0xf4, /* hlt */
		0xeb,
		0xfd, /* jmp to the hlt */
	};
	uint8_t *page;
	int err = 0;

	page = launch_segment_add(image, "reset vector", LAYOUT_RESET_PAGE_GPA, PAGE_BYTES, &err,
				  why);
	if (page)
		memcpy(page + LAYOUT_RESET_OFFSET, code, sizeof(code));
	return err;
}

int launch_linux(struct launch_image *image, const struct launch_config *config, struct why *why)
{
	const struct launch_blob gdt = { boot_gdt, sizeof(boot_gdt) };
	struct launch_blob code;
	struct bzimage kernel;
	uint64_t initrd_gpa;
	int err = 0;

	err = bzimage_parse(&kernel, config->kernel.bytes, config->kernel.len, why);
	if (!err)
		err = place_initrd(&initrd_gpa, config, &kernel, why);
	if (err)
		return err;
	if (!launch_segment_add(image, "zero page", LAYOUT_ZERO_PAGE_GPA, PAGE_BYTES, &err, why))
		return err;
	code = (struct launch_blob){ kernel.code, kernel.code_bytes };
	if ((err = launch_segment_copy(image, "GDT", LAYOUT_GDT_GPA, gdt, why)) ||
	    (err = add_boot_params(image, config, &kernel, initrd_gpa, why)) ||
	    (err = add_cmdline(image, config, &kernel, why)) ||
	    (err = add_page_tables(image, config, why)) || (err = add_acpi(image, config, why)) ||
	    (err = add_reset_vector(image, why)) ||
	    (err = launch_segment_copy(image, "kernel", kernel.load_gpa, code, why)))
		return err;
	if (config->initrd.len) {
		err = launch_segment_copy(image, "initrd", initrd_gpa, config->initrd, why);
		if (err)
			return err;
	}
	image->entry = (struct launch_entry){
		.mode = LAUNCH_LINUX,
		.rip = kernel.load_gpa + BZIMAGE_ENTRY64,
		.rsi = LAYOUT_BOOT_PARAMS_GPA,
		/* grows down into conventional memory; the kernel takes its own at once */
		.rsp = LAYOUT_GDT_GPA,
		.cr3 = LAYOUT_PAGE_TABLES_GPA | config->c_mask,
		.gdt_gpa = LAYOUT_GDT_GPA,
		.gdt_limit = sizeof(boot_gdt) - 1,
	};
	return 0;
}
