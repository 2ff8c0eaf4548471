/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * How the helper region is laid out and what the helper sees of memory: agreed between the helper
 * and lib/mirror/region.c, which writes the core.
 *
 * Region, from its first byte (offsets in pages). The core is launched, measured and later carried
 * to the target:
 *   0        layout: what follows and where guest RAM is        read only
 *   1        keys: the session                                  read, write
 *   2        TSS: lets ring 3 write the helper's ports          read only
 *   3..6     bootstrap page tables: map the region              read only
 *   7        image: code, constants                             execute / read only
 * and the rest is zeroed and filled by the helper at start:
 *            .bss with the vCPUs' stacks and batch keys         read, write
 *            run-time page tables: region, guest RAM, window    read, write
 *            epoch table, 4 bytes a page of RAM                 read, write
 *
 * The region is whole pages of 2 MiB in memory that only the mirror maps, at a gpa above all of the
 * guest's own: the guest does not see it.
 */
#ifndef HELPER_LAYOUT_H
#define HELPER_LAYOUT_H

#include <stdint.h>

#define HELPER_PAGE_BYTES 4096
#define HELPER_RAM_MAX	  32

/*
 * Addresses: the same whatever the region's gpa is, so that the image is the same for every guest.
 * Region and window have a slot of 512 GiB each, RAM has as many as HELPER_GPA_LIMIT takes.
 */
#define HELPER_RAM_VA	 0x100000000000ULL /* gpa 0; RAM is mapped with C=1 */
#define HELPER_REGION_VA 0x7e0000000000ULL
#define HELPER_WINDOW_VA 0x7f0000000000ULL /* C=0 */
#define HELPER_GPA_LIMIT 0x400000000000ULL /* RAM ends below: 64 TiB */
/* One page directory in the core maps the region: epochs of a little less than 1 TiB of RAM. */
#define HELPER_REGION_MAX 0x40000000ULL

enum helper_core_page {
	HELPER_CORE_LAYOUT = 0,
	HELPER_CORE_KEYS = 1,
	HELPER_CORE_TSS = 2,
	HELPER_CORE_PML4 = 3,
	HELPER_CORE_PDPT = 4,
	HELPER_CORE_PD = 5,
	HELPER_CORE_PT = 6,
	HELPER_CORE_IMAGE = 7,
};

/* Of the TSS: where its I/O permission bitmap begins, and its last byte. */
#define HELPER_TSS_BITMAP 0x68
#define HELPER_TSS_LIMIT  (HELPER_TSS_BITMAP + 0x20)

/*
 * Page-table entries (APM volume 2, 5.3). A and D are preset, so that the measured tables never
 * change.
 */
#define HELPER_PTE_TABLE 0x27ULL /* present, writable, user, accessed */
#define HELPER_PTE_READ	 0x65ULL /* present, user, accessed, dirty */
#define HELPER_PTE_WRITE 0x02ULL
#define HELPER_PTE_2MIB	 0x80ULL
#define HELPER_PTE_NX	 (1ULL << 63)

#define HELPER_LAYOUT_MAGIC 0x54554f59414c4d53ULL /* "SMLAYOUT" */
#define HELPER_IMAGE_MAGIC  0x00004547414d4d53ULL /* "SMMAGE" */
#define HELPER_STAMP_MAGIC  0x00504d4154534d53ULL /* "SMSTAMP" */

/* A range of what the helper may touch: whole pages of 4 KiB, ascending, without overlap. */
struct helper_ram {
	uint64_t gpa;
	uint64_t npages;
	uint64_t first; /* index of its first page in the epoch table */
};

struct helper_layout {
	uint64_t magic;
	uint32_t abi;
	uint32_t nram;
	uint64_t cbit_mask;
	uint64_t region_gpa, region_bytes;
	uint64_t core_bytes;
	uint64_t run_tables_offset, run_tables_bytes;
	uint64_t epoch_offset, epoch_bytes;
	uint64_t npages; /* of RAM, without its holes */
	struct helper_ram ram[HELPER_RAM_MAX];
};

/*
 * First bytes of the image. Offsets from its first byte; text and rodata are whole pages, bss
 * follows them.
 */
struct helper_image {
	uint64_t magic;
	uint32_t boot, serve; /* entries: vCPU 0 once, then each vCPU */
	uint32_t text_bytes, rodata_bytes, bss_bytes;
	/* bss begins with the vCPUs' areas; the first page of each is a guard and stays unmapped */
	uint32_t vcpus, vcpu_bytes;
	uint32_t reserved;
};

/*
 * The key page. mac is over the whole core: for each page {HELPER_STAMP_MAGIC, gpa, session, the
 * page}, of this one all but mac.
 */
struct helper_keys {
	uint8_t session[16]; /* public name */
	uint32_t live; /* 1: there is a session */
	uint32_t flags; /* HELPER_SESSION_* */
	uint8_t secret[32];
	uint8_t pad[HELPER_PAGE_BYTES - 72];
	uint8_t mac[16];
};

_Static_assert(sizeof(struct helper_layout) <= HELPER_PAGE_BYTES, "the layout is one page");

/*
 * Run-time tables: PML4, the window's page-directory-pointer table and directory, then those of RAM
 * as they are needed: one for each 512 GiB and each GiB that has RAM in it, and one for each 2 MiB
 * that is RAM only in part.
 */
#define HELPER_RUN_PML4	       0
#define HELPER_RUN_WINDOW_PDPT 1
#define HELPER_RUN_WINDOW_PD   2
#define HELPER_RUN_RAM	       3

#endif
