/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ELF file of a payload (payloads/sdk/payload.h), checked: what it loads, where, and what it
 * says of itself.
 */
#ifndef LAUNCH_PAYLOAD_ELF_H
#define LAUNCH_PAYLOAD_ELF_H

#include <elf.h>
#include <stdbool.h>

#include "launch/image_private.h"
#include "payloads/sdk/payload.h"

#define PAYLOAD_ELF_MAX_PHDRS 16

struct payload_elf {
	const struct launch_blob *file; /* borrowed */
	uint64_t first; /* address of the first page that it has */
	uint64_t end; /* of its last byte; what the file does not fill is zeros */
	uint64_t file_end; /* of the last byte that comes from the file */
	uint64_t entry;
	bool initialized; /* it has writable bytes that come from the file */
	bool has_note; /* it is a workload for mirrors */
	struct payload_note note;
	unsigned int nphdrs;
	Elf64_Phdr phdrs[PAYLOAD_ELF_MAX_PHDRS];
};

/* 0, or -ENOEXEC with the reason in why. */
int payload_elf_parse(struct payload_elf *elf, const struct launch_blob *file, struct why *why);

/*
 * Copy what comes from the file to bytes, which are zeros and stand for the addresses from
 * elf->first to elf->file_end.
 */
void payload_elf_load(const struct payload_elf *elf, uint8_t *bytes);

/*
 * What may be done with the page at va besides reading it: PAGE_WRITE, PAGE_EXECUTE
 * (page_tables.h).
 */
unsigned int payload_elf_access(const struct payload_elf *elf, uint64_t va);

#endif
