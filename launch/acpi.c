/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/acpi.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "dsdt.hex"
#include "launch/device_layout.h"
#include "launch/acpi_layout.h"
#include "launch/guest_layout.h"

_Static_assert(DSDT_SERIAL_PORT == SERIAL_PORT && DSDT_SERIAL_GSI == SERIAL_GSI, "COM1");
_Static_assert(DSDT_VIRTIO_SLOTS == VIRTIO_MMIO_SLOTS && DSDT_VIRTIO_BYTES == VIRTIO_MMIO_STRIDE,
	       "virtio-mmio");

_Static_assert(LAYOUT_RESET_PORT == LAYOUT_ACPI_PORT + ACPI_RESET, "reset register");

#define CHECK_SLOT(n)                                                                      \
	_Static_assert(DSDT_VIRTIO_GPA_##n == VIRTIO_MMIO_BASE + n * VIRTIO_MMIO_STRIDE && \
			       DSDT_VIRTIO_GSI_##n == VIRTIO_MMIO_GSI + n,                 \
		       "virtio-mmio slot " #n)
CHECK_SLOT(0);
CHECK_SLOT(1);
CHECK_SLOT(2);
CHECK_SLOT(3);
CHECK_SLOT(4);
CHECK_SLOT(5);
CHECK_SLOT(6);
CHECK_SLOT(7);

_Static_assert(DSDT_ACPI_PORT == LAYOUT_ACPI_PORT && DSDT_ACPI_GSI == LAYOUT_ACPI_GSI, "ACPI");

#define IOAPIC_GPA     0xfec00000U
#define LOCAL_APIC_GPA 0xfee00000U
#define OEM_ID	       "SEVMIR"
#define OEM_TABLE_ID   "SEVMIRR" /* with its NUL eight bytes */
#define CREATOR_ID     "SVMR"
#define TABLE_ALIGN    16

#define SPACE_SYSTEM_IO 1
#define ACCESS_BYTE	1

#define FADT_REVISION	      6
#define FADT_MINOR	      4
#define FADT_BOOT_NO_VGA      (1 << 2)
#define FADT_BOOT_NO_CMOS_RTC (1 << 5)
#define FADT_WBINVD	      (1 << 0)
#define FADT_PROC_C1	      (1 << 2)
#define FADT_PWR_BUTTON	      (1 << 4) /* 1: a control method device, or none */
#define FADT_SLP_BUTTON	      (1 << 5)
#define FADT_RESET_REG_SUP    (1 << 10)
#define FADT_HW_REDUCED	      (1 << 20)

#define MADT_REVISION	    5
#define MADT_LOCAL_APIC	    0
#define MADT_IOAPIC	    1
#define MADT_LOCAL_APIC_NMI 4
#define MADT_ALL_PROCESSORS 0xff
#define LOCAL_APIC_ENABLED  1
#define LINT1		    1

struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));

struct acpi_rsdp {
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt_gpa;
	uint32_t length;
	uint64_t xsdt_gpa;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));

struct acpi_xsdt {
	struct acpi_header header;
	uint64_t tables[2]; /* FADT and MADT; the DSDT hangs off the FADT */
} __attribute__((packed));

struct acpi_address {
	uint8_t space;
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access_size;
	uint64_t address;
} __attribute__((packed));

/* ACPI 6.4, table 5.9; what hardware-reduced ACPI ignores is left out by name. */
struct acpi_fadt {
	struct acpi_header header;
	uint8_t ignored0[73]; /* FIRMWARE_CTRL to CENTURY */
	uint16_t boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct acpi_address reset;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_revision;
	uint64_t firmware_ctrl;
	uint64_t dsdt_gpa;
	struct acpi_address ignored2[8]; /* X_PM1a_EVT_BLK to X_GPE1_BLK */
	struct acpi_address sleep_control;
	struct acpi_address sleep_status;
	uint64_t hypervisor;
} __attribute__((packed));

struct acpi_madt {
	struct acpi_header header;
	uint32_t local_apic_gpa;
	uint32_t flags;
} __attribute__((packed));

struct madt_local_apic {
	uint8_t type, length, acpi_id, apic_id;
	uint32_t flags;
} __attribute__((packed));

struct madt_ioapic {
	uint8_t type, length, id, reserved;
	uint32_t gpa, first_gsi;
} __attribute__((packed));

struct madt_local_apic_nmi {
	uint8_t type, length, acpi_id;
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));

_Static_assert(sizeof(struct acpi_fadt) == 276, "FADT of ACPI 6");
_Static_assert(sizeof(struct acpi_rsdp) == 36, "RSDP of ACPI 2");

struct builder {
	uint8_t *buf;
	size_t bytes, used;
	uint64_t gpa;
};

/* The next len bytes, on an aligned place; NULL when they are not there. */
static void *take(struct builder *builder, size_t len, uint64_t *gpa)
{
	size_t at = (builder->used + TABLE_ALIGN - 1) & ~(size_t)(TABLE_ALIGN - 1);

	if (at > builder->bytes || len > builder->bytes - at)
		return NULL;
	builder->used = at + len;
	*gpa = builder->gpa + at;
	return builder->buf + at;
}

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *bytes = data;
	uint8_t sum = 0;

	while (len--)
		sum = (uint8_t)(sum + *bytes++);
	return (uint8_t)-sum;
}

/*
 * The header is ours for every table: iasl puts its own version into the DSDT's, and the
 * measurement is not to depend on it.
 */
static void finish(struct acpi_header *header, const char *signature, size_t len, uint8_t revision)
{
	memcpy(header->signature, signature, sizeof(header->signature));
	header->length = htole32((uint32_t)len);
	header->revision = revision;
	memcpy(header->oem_id, OEM_ID, sizeof(header->oem_id));
	memcpy(header->oem_table_id, OEM_TABLE_ID, sizeof(header->oem_table_id));
	header->oem_revision = htole32(1);
	memcpy(header->creator_id, CREATOR_ID, sizeof(header->creator_id));
	header->creator_revision = htole32(1);
	header->checksum = 0;
	header->checksum = checksum(header, len);
}

static struct acpi_address port(uint64_t number)
{
	return (struct acpi_address){ SPACE_SYSTEM_IO, 8, 0, ACCESS_BYTE, htole64(number) };
}

static int build_dsdt(struct builder *builder, uint64_t *gpa)
{
	uint8_t *dsdt = take(builder, sizeof(dsdt_aml_code), gpa);

	if (!dsdt)
		return -ENOSPC;
	memcpy(dsdt, dsdt_aml_code, sizeof(dsdt_aml_code));
	finish((struct acpi_header *)(void *)dsdt, "DSDT", sizeof(dsdt_aml_code), 2);
	return 0;
}

static int build_fadt(struct builder *builder, uint64_t dsdt_gpa, uint64_t *gpa)
{
	struct acpi_fadt *fadt = take(builder, sizeof(*fadt), gpa);

	if (!fadt)
		return -ENOSPC;
	fadt->boot_arch = htole16(FADT_BOOT_NO_VGA | FADT_BOOT_NO_CMOS_RTC);
	fadt->flags = htole32(FADT_WBINVD | FADT_PROC_C1 | FADT_PWR_BUTTON | FADT_SLP_BUTTON |
			      FADT_RESET_REG_SUP | FADT_HW_REDUCED);
	fadt->reset = port(LAYOUT_ACPI_PORT + ACPI_RESET);
	fadt->reset_value = ACPI_RESET_VALUE;
	fadt->minor_revision = FADT_MINOR;
	fadt->dsdt_gpa = htole64(dsdt_gpa);
	fadt->sleep_control = port(LAYOUT_ACPI_PORT + ACPI_SLEEP_CONTROL);
	fadt->sleep_status = port(LAYOUT_ACPI_PORT + ACPI_SLEEP_STATUS);
	finish(&fadt->header, "FACP", sizeof(*fadt), FADT_REVISION);
	return 0;
}

static int build_madt(struct builder *builder, unsigned int cpus, uint64_t *gpa)
{
	size_t len = sizeof(struct acpi_madt) + cpus * sizeof(struct madt_local_apic) +
		     sizeof(struct madt_ioapic) + sizeof(struct madt_local_apic_nmi);
	struct acpi_madt *madt = take(builder, len, gpa);
	struct madt_local_apic *apic;
	struct madt_ioapic *ioapic;
	struct madt_local_apic_nmi *nmi;
	unsigned int i;

	if (!madt)
		return -ENOSPC;
	madt->local_apic_gpa = htole32(LOCAL_APIC_GPA);
	apic = (struct madt_local_apic *)(madt + 1);
	for (i = 0; i < cpus; i++)
		*apic++ = (struct madt_local_apic){ MADT_LOCAL_APIC, sizeof(*apic), (uint8_t)i,
						    (uint8_t)i, htole32(LOCAL_APIC_ENABLED) };
	ioapic = (struct madt_ioapic *)apic;
	*ioapic =
		(struct madt_ioapic){ MADT_IOAPIC, sizeof(*ioapic), 0, 0, htole32(IOAPIC_GPA), 0 };
	nmi = (struct madt_local_apic_nmi *)(ioapic + 1);
	*nmi = (struct madt_local_apic_nmi){ MADT_LOCAL_APIC_NMI, sizeof(*nmi), MADT_ALL_PROCESSORS,
					     0, LINT1 };
	finish(&madt->header, "APIC", len, MADT_REVISION);
	return 0;
}

int acpi_build(uint8_t *buf, size_t bytes, uint64_t gpa, unsigned int cpus)
{
	struct builder builder = { .buf = buf, .bytes = bytes, .gpa = gpa };
	uint64_t rsdp_gpa, xsdt_gpa, dsdt_gpa, fadt_gpa, madt_gpa;
	struct acpi_rsdp *rsdp = take(&builder, sizeof(*rsdp), &rsdp_gpa);
	struct acpi_xsdt *xsdt = take(&builder, sizeof(*xsdt), &xsdt_gpa);

	if (!rsdp || !xsdt || build_dsdt(&builder, &dsdt_gpa) ||
	    build_fadt(&builder, dsdt_gpa, &fadt_gpa) || build_madt(&builder, cpus, &madt_gpa))
		return -ENOSPC;
	xsdt->tables[0] = htole64(fadt_gpa);
	xsdt->tables[1] = htole64(madt_gpa);
	finish(&xsdt->header, "XSDT", sizeof(*xsdt), 1);

	memcpy(rsdp->signature, "RSD PTR ", sizeof(rsdp->signature));
	memcpy(rsdp->oem_id, OEM_ID, sizeof(rsdp->oem_id));
	rsdp->revision = 2;
	rsdp->length = htole32(sizeof(*rsdp));
	rsdp->xsdt_gpa = htole64(xsdt_gpa);
	/* The first checksum covers ACPI 1.0's part, the second one all of it. */
	rsdp->checksum = checksum(rsdp, offsetof(struct acpi_rsdp, length));
	rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
	return 0;
}
