/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/payload_elf.h"

#include <errno.h>
#include <string.h>

#include "launch/page_tables.h"

#define NOTE_ALIGN 4ULL

static int bad_elf(struct why *why, const char *what)
{
	return why_set(why, -ENOEXEC,
		       "the payload is not a static x86-64 ELF program for this VMM: %s", what);
}

static int read_header(Elf64_Ehdr *ehdr, const struct launch_blob *file, struct why *why)
{
	if (file->len < sizeof(*ehdr))
		return bad_elf(why, "it is truncated");
	memcpy(ehdr, file->bytes, sizeof(*ehdr));
	if (memcmp(ehdr->e_ident, ELFMAG, SELFMAG) != 0)
		return bad_elf(why, "no ELF magic");
	if (ehdr->e_ident[EI_CLASS] != ELFCLASS64 || ehdr->e_ident[EI_DATA] != ELFDATA2LSB ||
	    ehdr->e_machine != EM_X86_64 || ehdr->e_type != ET_EXEC)
		return bad_elf(
			why, "it must be ELF64, little-endian, x86-64, ET_EXEC (-static -no-pie)");
	if (ehdr->e_phentsize != sizeof(Elf64_Phdr) || !ehdr->e_phnum ||
	    ehdr->e_phnum > PAYLOAD_ELF_MAX_PHDRS || ehdr->e_phoff > file->len ||
	    file->len - ehdr->e_phoff < ehdr->e_phnum * sizeof(Elf64_Phdr))
		return bad_elf(why, "its program headers are outside of the file, or there are too "
				    "many");
	return 0;
}

static bool loads(const Elf64_Phdr *phdr)
{
	return phdr->p_type == PT_LOAD && phdr->p_memsz;
}

static int check_segment(const Elf64_Phdr *phdr, const struct launch_blob *file, struct why *why)
{
	if (phdr->p_type == PT_INTERP || phdr->p_type == PT_DYNAMIC)
		return bad_elf(why, "it is dynamically linked");
	if ((loads(phdr) || phdr->p_type == PT_NOTE) &&
	    (phdr->p_offset > file->len || phdr->p_filesz > file->len - phdr->p_offset))
		return bad_elf(why, "a segment is outside of the file (truncated?)");
	if (!loads(phdr))
		return 0;
	if (phdr->p_paddr != phdr->p_vaddr)
		return bad_elf(why, "a segment's physical address is not its virtual one");
	if (phdr->p_filesz > phdr->p_memsz)
		return bad_elf(why, "a segment is outside of the file (truncated?)");
	if (phdr->p_paddr < PAYLOAD_BASE || phdr->p_memsz > PAYLOAD_IMAGE_MAX ||
	    phdr->p_paddr - PAYLOAD_BASE > PAYLOAD_IMAGE_MAX - phdr->p_memsz)
		return bad_elf(why, "a segment is outside of [PAYLOAD_BASE, PAYLOAD_BASE + "
				    "PAYLOAD_IMAGE_MAX)");
	return 0;
}

static void take_segment(struct payload_elf *elf, const Elf64_Phdr *phdr)
{
	uint64_t va = phdr->p_paddr;

	if (va < elf->first)
		elf->first = va & ~(PAGE_BYTES - 1);
	if (va + phdr->p_memsz > elf->end)
		elf->end = va + phdr->p_memsz;
	if (phdr->p_filesz && va + phdr->p_filesz > elf->file_end)
		elf->file_end = va + phdr->p_filesz;
	if (phdr->p_filesz && phdr->p_flags & PF_W)
		elf->initialized = true;
}

static uint64_t padded(uint64_t bytes)
{
	return (bytes + NOTE_ALIGN - 1) & ~(NOTE_ALIGN - 1);
}

/*
 * Take the workload's note from [at, end) of the file, if it is there; others (compilers write
 * some) are passed over.
 */
static int read_notes(struct payload_elf *elf, uint64_t at, uint64_t end, struct why *why)
{
	const uint8_t *file = elf->file->bytes;
	Elf64_Nhdr nhdr;

	while (end - at >= sizeof(nhdr)) {
		uint64_t owner = at + sizeof(nhdr), note;

		memcpy(&nhdr, file + at, sizeof(nhdr));
		note = owner + padded(nhdr.n_namesz);
		at = note + padded(nhdr.n_descsz);
		if (at > end)
			return bad_elf(why, "a note is outside of its segment");
		if (nhdr.n_type != PAYLOAD_NOTE_TYPE ||
		    nhdr.n_namesz != sizeof(PAYLOAD_NOTE_OWNER) ||
		    memcmp(file + owner, PAYLOAD_NOTE_OWNER, sizeof(PAYLOAD_NOTE_OWNER)) != 0)
			continue;
		if (elf->has_note || nhdr.n_descsz != sizeof(elf->note))
			return bad_elf(why, "its note for mirrors is of an unknown kind");
		memcpy(&elf->note, file + note, sizeof(elf->note));
		elf->has_note = true;
		if (elf->note.version != PAYLOAD_VERSION)
			return bad_elf(why, "it was built for another version of the SDK");
	}
	return 0;
}

int payload_elf_parse(struct payload_elf *elf, const struct launch_blob *file, struct why *why)
{
	Elf64_Ehdr ehdr = { 0 };
	unsigned int i;
	int err = read_header(&ehdr, file, why);

	if (err)
		return err;
	memset(elf, 0, sizeof(*elf));
	elf->file = file;
	elf->first = UINT64_MAX;
	elf->entry = ehdr.e_entry;
	elf->nphdrs = ehdr.e_phnum;
	memcpy(elf->phdrs, (const uint8_t *)file->bytes + ehdr.e_phoff,
	       ehdr.e_phnum * sizeof(elf->phdrs[0]));
	for (i = 0; !err && i < elf->nphdrs; i++) {
		const Elf64_Phdr *phdr = &elf->phdrs[i];

		err = check_segment(phdr, file, why);
		if (!err && loads(phdr))
			take_segment(elf, phdr);
		if (!err && phdr->p_type == PT_NOTE)
			err = read_notes(elf, phdr->p_offset, phdr->p_offset + phdr->p_filesz, why);
	}
	if (err)
		return err;
	if (elf->first >= elf->end || elf->entry < elf->first || elf->entry >= elf->end)
		return bad_elf(why, "its entry point is not in a loaded segment");
	return 0;
}

void payload_elf_load(const struct payload_elf *elf, uint8_t *bytes)
{
	const uint8_t *file = elf->file->bytes;
	unsigned int i;

	for (i = 0; i < elf->nphdrs; i++) {
		const Elf64_Phdr *phdr = &elf->phdrs[i];

		if (loads(phdr) && phdr->p_filesz)
			memcpy(bytes + (phdr->p_paddr - elf->first), file + phdr->p_offset,
			       phdr->p_filesz);
	}
}

/* Segments may share a page: then it has the rights of both. */
unsigned int payload_elf_access(const struct payload_elf *elf, uint64_t va)
{
	unsigned int access = 0, i;

	for (i = 0; i < elf->nphdrs; i++) {
		const Elf64_Phdr *phdr = &elf->phdrs[i];

		if (!loads(phdr) || phdr->p_paddr >= va + PAGE_BYTES ||
		    va >= phdr->p_paddr + phdr->p_memsz)
			continue;
		access |= phdr->p_flags & PF_W ? PAGE_WRITE : 0;
		access |= phdr->p_flags & PF_X ? PAGE_EXECUTE : 0;
	}
	return access;
}
