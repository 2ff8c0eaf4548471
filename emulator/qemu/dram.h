/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SEV emulation for TCG: DRAM as system/physmem.c, which may not know the CPU, reaches it. */
#ifndef HW_I386_SEV_EMU_DRAM_H
#define HW_I386_SEV_EMU_DRAM_H

#include "exec/memory.h"

/*
 * Raw bytes of the region of DRAM, at most *len of them; for device DMA and other accesses by
 * physical address. False when the region is not ours; else *len is what was done. They never
 * change a page's form.
 */
bool sev_emu_dram_read(MemoryRegion *mr, hwaddr offset, void *buf, hwaddr *len);
bool sev_emu_dram_write(MemoryRegion *mr, hwaddr offset, const void *buf, hwaddr *len);

#endif
