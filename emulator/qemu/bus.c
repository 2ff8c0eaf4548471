/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Accesses to DRAM by physical address: device DMA, VMCB and page-table loads of the CPU, the
 * firmware, the monitor. They see raw bytes.
 *
 * QEMU has a kind of RAM that is never accessed by host pointer except through TLBs, "RAM device"
 * (made for passed-through BARs): DRAM becomes one. Then address_space_map() bounces, ring caches
 * fall back to single accesses, and each access comes to the functions below, which take what they
 * need from sev_forms_read() and _write(). So no device holds a pointer into a page whose form may
 * change.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "exec/address-spaces.h"
#include "hw/pci/pci.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_device.h"
#include "internal.h"

/*
 * What one device may have mapped at a time. Linux' virtio disks stay below 256 requests of 1.25
 * MiB.
 */
#define BOUNCE_BYTES (1ULL << 30)

static MemTxResult dram_op_read(void *opaque, hwaddr offset, uint64_t *data, unsigned size,
				MemTxAttrs attrs)
{
	uint64_t raw = 0;

	sev_forms_read(offset, &raw, size);
	*data = raw;
	return MEMTX_OK;
}

static MemTxResult dram_op_write(void *opaque, hwaddr offset, uint64_t data, unsigned size,
				 MemTxAttrs attrs)
{
	sev_forms_write(offset, &data, size);
	return MEMTX_OK;
}

/* x86 on a little-endian host: checked in sev_bus_claim_dram(). */
static const MemoryRegionOps dram_ops = {
	.read_with_attrs = dram_op_read,
	.write_with_attrs = dram_op_write,
	.endianness = DEVICE_LITTLE_ENDIAN,
	.valid = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
	.impl = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
};

void sev_bus_claim_dram(void)
{
	MemoryRegion *dram = sev_forms_dram();

	QEMU_BUILD_BUG_ON(HOST_BIG_ENDIAN);
	dram->ops = &dram_ops;
	dram->opaque = NULL;
	dram->ram_device = true;
}

static hwaddr within(MemoryRegion *mr, hwaddr offset, hwaddr len)
{
	return MIN(len, memory_region_size(mr) - offset);
}

bool sev_emu_dram_read(MemoryRegion *mr, hwaddr offset, void *buf, hwaddr *len)
{
	if (mr != sev_forms_dram() || !mr)
		return false;
	*len = within(mr, offset, *len);
	sev_forms_read(offset, buf, *len);
	return true;
}

bool sev_emu_dram_write(MemoryRegion *mr, hwaddr offset, const void *buf, hwaddr *len)
{
	if (mr != sev_forms_dram() || !mr)
		return false;
	*len = within(mr, offset, *len);
	sev_forms_write(offset, buf, *len);
	return true;
}

static void raise_limit(PCIBus *bus, PCIDevice *dev, void *opaque)
{
	dev->bus_master_as.max_bounce_buffer_size = BOUNCE_BYTES;
}

static void raise_limits_below(PCIBus *bus, void *opaque)
{
	pci_for_each_device_under_bus(bus, raise_limit, NULL);
}

/*
 * QEMU lets a device bounce 4 KiB, as bouncing is its exception. Here it is the rule. After all
 * devices exist.
 */
void sev_bus_raise_bounce_limits(void)
{
	PCIBus *root = PCI_BUS(object_resolve_path_type("", TYPE_PCIE_BUS, NULL));

	address_space_memory.max_bounce_buffer_size = BOUNCE_BYTES;
	if (root)
		pci_for_each_bus(root, raise_limits_below, NULL);
}

bool sev_bus_lookup(uint64_t spa, uint64_t bytes, uint64_t *offset, uint64_t *chunk)
{
	hwaddr xlat, len = bytes;
	MemoryRegion *mr;

	RCU_READ_LOCK_GUARD();
	mr = address_space_translate(&address_space_memory, spa, &xlat, &len, true,
				     MEMTXATTRS_UNSPECIFIED);
	if (!mr || mr != sev_forms_dram() || !len)
		return false;
	*offset = xlat;
	*chunk = len;
	return true;
}
