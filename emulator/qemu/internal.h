/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SEV emulation for TCG: what the files of this folder share. */
#ifndef HW_I386_SEV_EMU_INTERNAL_H
#define HW_I386_SEV_EMU_INTERNAL_H

#include "sev-emu.h"

/*
 * forms.c: DRAM is the machine's RAM block, addressed by the byte's offset in it; its system
 * physical address, which the cipher is tweaked with, is another one above the hole under 4 GiB.
 */

/* Once, at start-up: the RAM region and how it is split. */
void sev_forms_init(MemoryRegion *dram, uint64_t below_4g_bytes, uint64_t above_4g_spa);
MemoryRegion *sev_forms_dram(void);

/* Copy raw bytes; any thread. The range is inside DRAM. */
void sev_forms_read(uint64_t offset, void *buf, uint64_t bytes);
void sev_forms_write(uint64_t offset, const void *buf, uint64_t bytes);

/* The rest: in the vCPU thread outside of guest code, or while the vCPUs are stopped. */

/* Encrypt in place, under the key of asid, plaintext that is in DRAM raw; 16-byte aligned. */
void sev_forms_encrypt(uint32_t asid, uint64_t offset, uint64_t bytes);
/*
 * Install a key (vek NULL: an unknown, random one). Pages in the ASID's form become raw under the
 * old key first.
 */
void sev_forms_set_key(uint32_t asid, const uint8_t *vek);
/* All pages raw, all keys random. */
void sev_forms_reset(void);

/* bus.c: from now on accesses by physical address come through sev_forms_read() and _write(). */
void sev_bus_claim_dram(void);
void sev_bus_raise_bounce_limits(void);
/*
 * DRAM behind [spa, spa + bytes) of the system address space: its offset and how many bytes are
 * contiguous. False: no DRAM.
 */
bool sev_bus_lookup(uint64_t spa, uint64_t bytes, uint64_t *offset, uint64_t *chunk);

/* platform.c: refusals at start-up, and caches. */
bool sev_platform_check(Error **errp);
bool sev_platform_wbinvd_done(void);
void sev_platform_wbinvd_arm(void);

#endif
