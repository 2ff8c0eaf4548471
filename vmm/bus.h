/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's two address spaces of devices, ports and MMIO: which device answers an access, and
 * all devices together when the guest is stopped, saved or loaded. The bus owns the devices that
 * were added to it.
 */
#ifndef VMM_BUS_H
#define VMM_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/device.h"

enum bus_space {
	BUS_PIO,
	BUS_MMIO,
};

struct bus;

/*
 * NULL: out of memory. bus_destroy() destroys every device; no vCPU may run any more, and no device
 * may be waiting for a page of post-copy (close the userfaultfd first). NULL is allowed.
 */
struct bus *bus_create(void);
void bus_destroy(struct bus *bus);

/*
 * Let dev answer [base, base + len) of a space; a device has one range. The bus takes the device
 * over on success only. Any thread, also while vCPUs run.
 * -EINVAL: an empty or wrapping range; -EEXIST: it overlaps another one; -ENOMEM.
 */
int bus_add(struct bus *bus, enum bus_space space, uint64_t base, uint64_t len, struct device *dev);

/*
 * One access of a vCPU: 1 to 8 bytes. Reads that nobody answers give ones, writes are dropped, as
 * on a PC. An access that runs over the end of a device's range is nobody's. Returns whether a
 * device answered. Any thread.
 */
bool bus_read(struct bus *bus, enum bus_space space, uint64_t addr, void *data, unsigned int len);
bool bus_write(struct bus *bus, enum bus_space space, uint64_t addr, const void *data,
	       unsigned int len);

/*
 * All devices at once, in the order of their addresses (device.h has what each means).
 * bus_quiesce() continues after an error and returns the first; the devices are quiet nevertheless,
 * and bus_resume() is what undoes it.
 */
int bus_quiesce(struct bus *bus);
void bus_resume(struct bus *bus);

/*
 * The state of all devices as bytes, between bus_quiesce() and bus_resume(): a version, then for
 * each device its space, address, name and own bytes. bus_save() allocates *buf (free it) and
 * returns 0 or a negative errno. bus_load() takes it only if the very same devices are at the same
 * places: 0, -EINVAL for malformed bytes, -ENODEV when the devices differ, or what a device's load
 * says. On an error some devices may have been loaded: throw the VM away. Neither blocks on
 * anything but the devices.
 */
int bus_save(struct bus *bus, uint8_t **buf, size_t *len);
int bus_load(struct bus *bus, const uint8_t *buf, size_t len);

/*
 * Names and addresses of the devices as one string ("mmio d0000000 virtio-blk/1\n..."), for the
 * hosts' compatibility handshake.
 */
char *bus_describe(struct bus *bus);

#endif
