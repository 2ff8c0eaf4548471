/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the loader puts what a guest starts with, guest-physical. Part of the launch measurement:
 * changing a line here changes every digest. Devices: launch/device_layout.h.
 */
#ifndef LAUNCH_GUEST_LAYOUT_H
#define LAUNCH_GUEST_LAYOUT_H

/*
 * RAM: from 0 to its end or here; devices and the APICs are between this and 4 GiB, where the rest
 * of RAM continues.
 */
#define GUEST_LOW_RAM_MAX  0xc0000000ULL
#define GUEST_HIGH_RAM_GPA 0x100000000ULL

/*
 * Conventional memory: page 0 holds the BIOS data area's words (zero: none), and the kernel puts
 * the other CPUs' start code in here.
 */
#define LAYOUT_ZERO_PAGE_GPA	0x00000ULL
#define LAYOUT_GDT_GPA		0x10000ULL
#define LAYOUT_BOOT_PARAMS_GPA	0x11000ULL
#define LAYOUT_CMDLINE_GPA	0x12000ULL
#define LAYOUT_CMDLINE_BYTES	0x2000ULL
#define LAYOUT_PAGE_TABLES_GPA	0x20000ULL
#define LAYOUT_CONVENTIONAL_END 0xa0000ULL

/* In the last part of the hole below 1 MiB, where a BIOS would have them too. */
#define LAYOUT_ACPI_GPA	  0xe0000ULL
#define LAYOUT_ACPI_BYTES 0x10000ULL

/*
 * Room for a secret that the owner injects, zeros in the image: the last page of the ACPI range,
 * because Linux maps that privately for any reader (dd if=/dev/mem bs=4096 skip=239 count=1).
 */
#define LAYOUT_SECRET_GPA   0xef000ULL
#define LAYOUT_SECRET_BYTES 0x1000ULL

/* The PC's reset vector, F000:FFF0, as real mode reaches it. */
#define LAYOUT_RESET_PAGE_GPA 0xff000ULL
#define LAYOUT_RESET_OFFSET   0xff0

#define LAYOUT_EXTENDED_GPA 0x100000ULL

/* Payload guests: below PAYLOAD_BASE, in place of the kernel's things. */
#define LAYOUT_PAYLOAD_PARAMS_GPA   0x11000ULL
#define LAYOUT_PAYLOAD_TSS_GPA	    0x14000ULL
#define LAYOUT_PAYLOAD_SHARED_GPA   0x200000ULL
#define LAYOUT_PAYLOAD_SHARED_BYTES 0x10000ULL

/*
 * The two registers of hardware-reduced ACPI, and the line of its events (power button).
 * acpi_layout.h has what the DSDT knows of it.
 */
#define LAYOUT_ACPI_PORT  0x620
#define LAYOUT_ACPI_PORTS 4
#define LAYOUT_RESET_PORT 0x622 /* LAYOUT_ACPI_PORT + ACPI_RESET */
#define LAYOUT_ACPI_GSI	  9

/*
 * For hosts whose KVM needs pages of the guest's address space for itself (Intel without
 * unrestricted guest): below the BIOS's place.
 */
#define LAYOUT_KVM_IDENTITY_MAP_GPA 0xfffbc000ULL
#define LAYOUT_KVM_TSS_GPA	    0xfffbd000ULL

#endif
