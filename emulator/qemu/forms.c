/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory-encryption model: page forms.
 *
 * Encrypting at each access would make TCG useless, so a page's host memory holds what its present
 * user wants: raw bytes (form 0), or the plaintext under ASID k's key (form k). Two rules make that
 * equal to an inline cipher:
 *
 * 1. A TLB entry of any vCPU for a page of DRAM exists only while the page is in the form that the
 *    entry was filled for. A change of form therefore drops the page's translated code and its
 *    entries in the TLBs of all vCPUs.
 * 2. Only the vCPU thread changes forms (all vCPUs share one thread; MTTCG is refused), in a TLB
 *    fill or between instructions, or the main thread while the vCPUs are stopped. Everybody else
 *    (device DMA, VMCB loads, the monitor) takes copies of raw bytes, which are transformed outside
 *    of the page, under the lock that a change of form takes too.
 */
#include "qemu/osdep.h"
#include "qemu/guest-random.h"
#include "qemu/lockable.h"
#include "qemu/thread.h"
#include "exec/cputlb.h"
#include "exec/ram_addr.h"
#include "exec/translation-block.h"
#include "exec/exec-all.h"
#include "hw/core/cpu.h"
#include "emulator/psp/memenc.h"
#include "internal.h"

#define BLOCK 16 /* the cipher's */

uint64_t sev_emu_nr_encrypted;

static struct {
	MemoryRegion *dram;
	uint8_t *host;
	uint64_t bytes;
	uint64_t below_4g_bytes;
	uint64_t above_4g_spa;
	struct memenc_key *key[SEV_EMU_MAX_ASID + 1];
	uint8_t *form; /* of each page */
	QemuMutex lock; /* key, form and a page's bytes against a change of form */
} forms;

static uint64_t spa_of(uint64_t offset)
{
	return offset < forms.below_4g_bytes ? offset :
					       forms.above_4g_spa + (offset - forms.below_4g_bytes);
}

static void flush_all_tlbs(void)
{
	CPUState *cs;

	CPU_FOREACH(cs)
	tlb_flush(cs);
}

/* As above, of one page: the other entries are expensive to fill. */
static void flush_page(uint64_t page)
{
	CPUState *cs;

	CPU_FOREACH(cs)
	tlb_flush_ram_page(cs, (uintptr_t)forms.host + (page << TARGET_PAGE_BITS));
}

/* Translated code of the range is not of its bytes any more. */
static void drop_code(uint64_t offset, uint64_t bytes)
{
	ram_addr_t start = memory_region_get_ram_addr(forms.dram) + offset;

	if (cpu_physical_memory_range_includes_clean(start, bytes, 1 << DIRTY_MEMORY_CODE))
		tb_invalidate_phys_range(start, start + bytes - 1);
}

static void transform(uint64_t page, uint8_t want)
{
	uint64_t offset = page << TARGET_PAGE_BITS;
	uint8_t had = forms.form[page];

	if (had)
		memenc_encrypt(forms.key[had], spa_of(offset), forms.host + offset,
			       TARGET_PAGE_SIZE);
	if (want)
		memenc_decrypt(forms.key[want], spa_of(offset), forms.host + offset,
			       TARGET_PAGE_SIZE);
	forms.form[page] = want;
	sev_emu_nr_encrypted += (want != 0) - (had != 0);
}

static void change_form(uint64_t page, uint8_t want)
{
	WITH_QEMU_LOCK_GUARD(&forms.lock)
	transform(page, want);
	drop_code(page << TARGET_PAGE_BITS, TARGET_PAGE_SIZE);
	flush_page(page);
}

void sev_emu_tlb_fill_slow(CPUState *cs, hwaddr spa, MemTxAttrs attrs, uint32_t asid)
{
	AddressSpace *as = cpu_get_address_space(cs, cpu_asidx_from_attrs(cs, attrs));
	hwaddr offset, len = 1;
	MemoryRegion *mr;

	RCU_READ_LOCK_GUARD();
	mr = address_space_translate(as, spa, &offset, &len, false, attrs);
	if (mr == forms.dram && forms.form[offset >> TARGET_PAGE_BITS] != asid)
		change_form(offset >> TARGET_PAGE_BITS, asid);
}

/*
 * One access inside a page of raw form: of natural sizes in one piece, as vCPUs and devices share
 * rings in memory.
 */
static void copy_whole(void *to, const void *from, size_t bytes)
{
	switch (bytes) {
	case 1:
	case 2:
	case 4:
	case 8:
		stn_he_p(to, bytes, ldn_he_p(from, bytes));
		break;
	default:
		memcpy(to, from, bytes);
	}
}

static void read_in_page(uint64_t offset, void *buf, size_t bytes)
{
	uint8_t form = forms.form[offset >> TARGET_PAGE_BITS];
	uint64_t first = QEMU_ALIGN_DOWN(offset, BLOCK), end = QEMU_ALIGN_UP(offset + bytes, BLOCK);
	uint8_t blocks[TARGET_PAGE_SIZE];

	if (!form) {
		copy_whole(buf, forms.host + offset, bytes);
		return;
	}
	memcpy(blocks, forms.host + first, end - first);
	memenc_encrypt(forms.key[form], spa_of(first), blocks, end - first);
	memcpy(buf, blocks + (offset - first), bytes);
}

static void write_in_page(uint64_t offset, const void *buf, size_t bytes)
{
	uint8_t form = forms.form[offset >> TARGET_PAGE_BITS];
	uint64_t first = QEMU_ALIGN_DOWN(offset, BLOCK), end = QEMU_ALIGN_UP(offset + bytes, BLOCK);
	uint8_t blocks[TARGET_PAGE_SIZE];

	if (!form) {
		copy_whole(forms.host + offset, buf, bytes);
		return;
	}
	if (first != offset || end != offset + bytes) {
		memcpy(blocks, forms.host + first, end - first);
		memenc_encrypt(forms.key[form], spa_of(first), blocks, end - first);
	}
	memcpy(blocks + (offset - first), buf, bytes);
	memenc_decrypt(forms.key[form], spa_of(first), blocks, end - first);
	memcpy(forms.host + first, blocks, end - first);
}

static size_t in_page(uint64_t offset, uint64_t bytes)
{
	return MIN(bytes, TARGET_PAGE_SIZE - (offset & ~TARGET_PAGE_MASK));
}

void sev_forms_read(uint64_t offset, void *buf, uint64_t bytes)
{
	uint8_t *to = buf;

	assert(offset <= forms.bytes && bytes <= forms.bytes - offset);
	while (bytes) {
		size_t n = in_page(offset, bytes);

		WITH_QEMU_LOCK_GUARD(&forms.lock)
		read_in_page(offset, to, n);
		offset += n;
		to += n;
		bytes -= n;
	}
}

void sev_forms_write(uint64_t offset, const void *buf, uint64_t bytes)
{
	const uint8_t *from = buf;

	assert(offset <= forms.bytes && bytes <= forms.bytes - offset);
	while (bytes) {
		size_t n = in_page(offset, bytes);

		WITH_QEMU_LOCK_GUARD(&forms.lock)
		write_in_page(offset, from, n);
		drop_code(offset, n);
		offset += n;
		from += n;
		bytes -= n;
	}
}

/* A whole page of raw plaintext becomes "plaintext under asid" without touching a byte. */
static void encrypt_page(uint32_t asid, uint64_t page)
{
	WITH_QEMU_LOCK_GUARD(&forms.lock)
	{
		transform(page, 0);
		forms.form[page] = asid;
		sev_emu_nr_encrypted++;
	}
}

static void encrypt_blocks(uint32_t asid, uint64_t offset, size_t bytes)
{
	uint8_t blocks[TARGET_PAGE_SIZE];

	sev_forms_read(offset, blocks, bytes);
	memenc_encrypt(forms.key[asid], spa_of(offset), blocks, bytes);
	sev_forms_write(offset, blocks, bytes);
}

void sev_forms_encrypt(uint32_t asid, uint64_t offset, uint64_t bytes)
{
	assert(offset <= forms.bytes && bytes <= forms.bytes - offset &&
	       !((offset | bytes) & (BLOCK - 1)));
	while (bytes) {
		size_t n = in_page(offset, bytes);

		if (n == TARGET_PAGE_SIZE)
			encrypt_page(asid, offset >> TARGET_PAGE_BITS);
		else
			encrypt_blocks(asid, offset, n);
		drop_code(offset, n);
		offset += n;
		bytes -= n;
	}
	flush_all_tlbs();
}

static void pages_to_raw(uint32_t asid)
{
	uint64_t page, npages = forms.bytes >> TARGET_PAGE_BITS;

	for (page = 0; page < npages && sev_emu_nr_encrypted; page++) {
		if (forms.form[page] != asid)
			continue;
		WITH_QEMU_LOCK_GUARD(&forms.lock)
		transform(page, 0);
		drop_code(page << TARGET_PAGE_BITS, TARGET_PAGE_SIZE);
	}
	flush_all_tlbs();
}

void sev_forms_set_key(uint32_t asid, const uint8_t *vek)
{
	struct memenc_key *key;
	uint8_t unknown[16];

	assert(asid >= SEV_EMU_MIN_ASID && asid <= SEV_EMU_MAX_ASID);
	if (!vek) {
		qemu_guest_getrandom_nofail(unknown, sizeof(unknown));
		vek = unknown;
	}
	key = memenc_key_create(vek);
	if (!key)
		g_error("sev-emu: out of memory");
	pages_to_raw(asid);
	WITH_QEMU_LOCK_GUARD(&forms.lock)
	{
		memenc_key_destroy(forms.key[asid]);
		forms.key[asid] = key;
	}
	explicit_bzero(unknown, sizeof(unknown));
}

void sev_forms_reset(void)
{
	uint32_t asid;

	for (asid = SEV_EMU_MIN_ASID; asid <= SEV_EMU_MAX_ASID; asid++)
		sev_forms_set_key(asid, NULL);
}

void sev_forms_init(MemoryRegion *dram, uint64_t below_4g_bytes, uint64_t above_4g_spa)
{
	assert(!forms.dram);
	qemu_mutex_init(&forms.lock);
	forms.dram = dram;
	forms.host = memory_region_get_ram_ptr(dram);
	forms.bytes = memory_region_size(dram);
	forms.below_4g_bytes = below_4g_bytes;
	forms.above_4g_spa = above_4g_spa;
	forms.form = g_malloc0(forms.bytes >> TARGET_PAGE_BITS);
	sev_forms_reset();
}

MemoryRegion *sev_forms_dram(void)
{
	return forms.dram;
}
