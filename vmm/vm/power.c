/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm/power.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "launch/acpi.h"
#include "launch/acpi_layout.h"

/* Sleep control register: SLP_TYPx in bits 4:2, SLP_EN in bit 5 (ACPI 6.4, 4.8.3.7). */
#define SLEEP_TYPE(value) ((value) >> 2 & 7)
#define SLEEP_ENABLE	  (1 << 5)

struct power {
	struct device dev;
	power_fn request;
	void *opaque;
};

static void power_read(struct device *dev, uint64_t offset, void *data, unsigned int len)
{
	memset(data, 0, len);
}

static void power_write(struct device *dev, uint64_t offset, const void *data, unsigned int len)
{
	struct power *power = (struct power *)dev;
	uint8_t value = *(const uint8_t *)data;

	if (offset == ACPI_SLEEP_CONTROL && value & SLEEP_ENABLE &&
	    SLEEP_TYPE(value) == DSDT_SLEEP_S5)
		power->request(power->opaque, POWER_OFF);
	else if (offset == ACPI_RESET && value == ACPI_RESET_VALUE)
		power->request(power->opaque, POWER_RESET);
}

static int power_save(struct device *dev, void *buf, size_t max)
{
	return 0;
}

static int power_load(struct device *dev, const void *buf, size_t len)
{
	return len ? -EINVAL : 0;
}

static void power_destroy(struct device *dev)
{
	free(dev);
}

static const struct device_ops power_ops = {
	.name = "acpi-power/1",
	.read = power_read,
	.write = power_write,
	.save = power_save,
	.load = power_load,
	.destroy = power_destroy,
};

struct device *power_create(power_fn request, void *opaque)
{
	struct power *power = calloc(1, sizeof(*power));

	if (!power)
		return NULL;
	power->dev.ops = &power_ops;
	power->request = request;
	power->opaque = opaque;
	return &power->dev;
}
