/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every device model is to the VM: ranges of ports or guest-physical addresses it answers, an
 * interrupt line, and opaque state to save and load. A device never sees a vCPU; the bus (bus.h)
 * calls it from the vCPU thread that exited.
 */
#ifndef VMM_DEVICE_H
#define VMM_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct device;

/*
 * A level- or edge-triggered line to the in-kernel interrupt controllers. Any thread may raise it.
 */
struct irq_line {
	void (*set)(void *opaque, unsigned int gsi, bool level);
	void *opaque;
	unsigned int gsi;
};

struct device_ops {
	/*
	 * as it is in the saved state and in the compatibility handshake, with a version:
	 * "virtio-blk/1"
	 */
	const char *name;

	/*
	 * One access of 1, 2, 4 or 8 bytes at offset into the device's range. Reads fill data
	 * (little-endian) whatever the offset; what is not implemented reads as zeros or ones and
	 * ignores writes, as hardware does. May be called by several vCPUs at once.
	 */
	void (*read)(struct device *dev, uint64_t offset, void *data, unsigned int len);
	void (*write)(struct device *dev, uint64_t offset, const void *data, unsigned int len);

	/*
	 * Stop touching guest memory and host files (vCPUs are stopped already): finish or give
	 * back requests in flight, flush what was written. After resume() the device works again.
	 * NULL: nothing to do. quiesce: 0 or a negative errno (a flush that failed).
	 */
	int (*quiesce)(struct device *dev);
	void (*resume)(struct device *dev);

	/*
	 * The device's state as bytes, between quiesce() and resume(). save: bytes written, or
	 * -ENOSPC if max is too small. load: 0, or -EINVAL for bytes that no save() of this version
	 * can have written; every field is checked, the bytes come from a network.
	 */
	int (*save)(struct device *dev, void *buf, size_t max);
	int (*load)(struct device *dev, const void *buf, size_t len);

	void (*destroy)(struct device *dev);
};

/* Embedded as the first member of each device model. */
struct device {
	const struct device_ops *ops;
};

#endif
