/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/bzimage.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <stddef.h>
#include <stdbool.h>
#include <string.h>

#define SECTOR_BYTES 512
#define BOOT_FLAG    0xaa55
#define HEADER_MAGIC 0x53726448 /* "HdrS" */
/* Linux 3.8: the first that says whether it has a 64-bit entry */
#define VERSION_XLOADFLAGS 0x020c
/* the header ends here plus the jump's operand, the byte at 0x201 */
#define HEADER_END_BASE 0x202
#define HEADER_END_MAX	0x290 /* boot_params.edd_mbr_sig_buffer follows */
#define LOAD_GPA_MIN	0x100000ULL
#define LOAD_GPA_MAX	0x40000000ULL
#define INIT_BYTES_MAX	0x40000000ULL
#define ALIGNMENT_MAX	0x1000000U

static bool starts_with(const uint8_t *image, size_t bytes, const char *magic, size_t len)
{
	return bytes >= len && !memcmp(image, magic, len);
}

static int not_bzimage(const uint8_t *image, size_t bytes, struct why *why)
{
	const char *hint = "give the kernel's bzImage, /boot/vmlinuz-VERSION on Debian";

	if (!bytes)
		return why_set(why, -ENOEXEC, "the kernel is empty: %s", hint);
	if (starts_with(image, bytes, "\177ELF", 4))
		return why_set(why, -ENOEXEC, "the kernel is an ELF file (vmlinux?): %s", hint);
	if (starts_with(image, bytes, "\037\213", 2))
		return why_set(
			why, -ENOEXEC,
			"the kernel is gzip data (an initrd, or another architecture's kernel?): "
			"%s",
			hint);
	return why_set(why, -ENOEXEC, "the kernel is not an x86 bzImage (no boot sector magic): %s",
		       hint);
}

static int check_flags(const struct setup_header *header, struct why *why)
{
	if (header->version < VERSION_XLOADFLAGS)
		return why_set(
			why, -ENOEXEC,
			"the kernel speaks boot protocol %u.%02u, 2.12 (Linux 3.8) is needed",
			header->version >> 8, header->version & 0xff);
	if (!(header->loadflags & LOADED_HIGH))
		return why_set(why, -ENOEXEC,
			       "the kernel is a zImage that loads low; a bzImage is needed");
	if (!(header->xloadflags & XLF_KERNEL_64))
		return why_set(why, -ENOEXEC, "the kernel is 32-bit: it has no 64-bit entry point");
	if (!header->relocatable_kernel)
		return why_set(why, -ENOEXEC,
			       "the kernel is not relocatable (built without CONFIG_RELOCATABLE)");
	return 0;
}

static int check_placement(const struct setup_header *header, size_t code_bytes, struct why *why)
{
	uint32_t align = header->kernel_alignment;

	if (!align || align & (align - 1) || align > ALIGNMENT_MAX)
		return why_set(why, -ENOEXEC, "the kernel asks for an impossible alignment (0x%x)",
			       align);
	if (header->pref_address < LOAD_GPA_MIN || header->pref_address > LOAD_GPA_MAX ||
	    header->pref_address & (align - 1) || header->pref_address & 0xfff)
		return why_set(why, -ENOEXEC,
			       "the kernel asks to be loaded at 0x%llx, which is not possible",
			       (unsigned long long)header->pref_address);
	if (header->init_size < code_bytes || header->init_size > INIT_BYTES_MAX)
		return why_set(
			why, -ENOEXEC,
			"the kernel says that it needs 0x%x bytes to start, its code alone has "
			"0x%zx",
			header->init_size, code_bytes);
	if (header->payload_offset > code_bytes ||
	    header->payload_length > code_bytes - header->payload_offset)
		return why_set(why, -ENOEXEC, "the compressed kernel is outside of the bzImage");
	if (header->initrd_addr_max < LOAD_GPA_MIN || header->cmdline_size < 255)
		return why_set(
			why, -ENOEXEC,
			"the kernel's limits for initrd (0x%x) or command line (%u) make no sense",
			header->initrd_addr_max, header->cmdline_size);
	return 0;
}

int bzimage_parse(struct bzimage *bzimage, const void *data, size_t bytes, struct why *why)
{
	const uint8_t *image = data;
	struct setup_header header = { 0 };
	size_t header_end, setup_bytes, code_bytes, have;
	int err;

	if (bytes < BZIMAGE_HEADER_OFFSET + offsetof(struct setup_header, version) + 2)
		return not_bzimage(image, bytes, why);
	header_end = HEADER_END_BASE + image[0x201];
	have = bytes - BZIMAGE_HEADER_OFFSET;
	memcpy(&header, image + BZIMAGE_HEADER_OFFSET,
	       have < sizeof(header) ? have : sizeof(header));
	if (header.boot_flag != BOOT_FLAG || header.header != HEADER_MAGIC)
		return not_bzimage(image, bytes, why);
	if (have < sizeof(header) || bytes < header_end)
		return why_set(why, -ENOEXEC,
			       "the kernel is truncated: %zu bytes, less than its header", bytes);
	err = check_flags(&header, why);
	if (err)
		return err;
	/*
	 * The fields read below end with init_size; a header of this version that is shorter
	 * contradicts itself.
	 */
	if (header_end < BZIMAGE_HEADER_OFFSET + offsetof(struct setup_header, handover_offset) ||
	    header_end > HEADER_END_MAX)
		return why_set(why, -ENOEXEC, "the kernel's setup header has a bad length");
	setup_bytes = ((header.setup_sects ? header.setup_sects : 4) + 1) * (size_t)SECTOR_BYTES;
	code_bytes = (size_t)header.syssize * 16;
	if (bytes < setup_bytes || bytes - setup_bytes < code_bytes)
		return why_set(why, -ENOEXEC,
			       "the kernel is truncated: %zu bytes of the %zu that its header "
			       "announces",
			       bytes, setup_bytes + code_bytes);
	if (code_bytes <= BZIMAGE_ENTRY64)
		return why_set(why, -ENOEXEC, "the kernel has no code at its 64-bit entry point");
	err = check_placement(&header, code_bytes, why);
	if (err)
		return err;

	*bzimage = (struct bzimage){
		.header = image + BZIMAGE_HEADER_OFFSET,
		.header_bytes = header_end - BZIMAGE_HEADER_OFFSET,
		.code = image + setup_bytes,
		.code_bytes = code_bytes,
		.load_gpa = header.pref_address,
		.init_bytes = header.init_size,
		.initrd_gpa_max = header.initrd_addr_max,
		.cmdline_max = header.cmdline_size,
	};
	return 0;
}
