/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices a guest has, all at fixed places whether they are there or not: the DSDT is part of
 * the launch measurement, which is then the same whatever disks and networks a guest gets. An empty
 * virtio slot answers with DeviceID 0.
 */
#include "launch/acpi_layout.h"

DefinitionBlock ("dsdt.aml", "DSDT", 2, "SEVMIR", "SEVMIRR", 1)
{
	Scope (\_SB)
	{
		Device (COM1)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, 1)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, DSDT_SERIAL_PORT, DSDT_SERIAL_PORT, 0, 8)
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive)
				{
					DSDT_SERIAL_GSI
				}
			})
		}

		Device (PWRB)
		{
			Name (_HID, "PNP0C0C")
			Name (_UID, 1)
		}

		/* Generic event device (ACPI 6.4, 5.6.9): its interrupt is the power button. */
		Device (GED0)
		{
			Name (_HID, "ACPI0013")
			Name (_UID, 1)
			Name (_CRS, ResourceTemplate ()
			{
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive)
				{
					DSDT_ACPI_GSI
				}
			})
			Method (_EVT, 1, Serialized)
			{
				Notify (\_SB.PWRB, 0x80)
			}
		}

#define VIRTIO_SLOT(n)                                                                             \
	Device (VM##n)                                                                             \
	{                                                                                          \
		Name (_HID, "LNRO0005")                                                            \
		Name (_UID, n)                                                                     \
		Name (_CCA, 1)                                                                     \
		Name (_CRS, ResourceTemplate ()                                                    \
		{                                                                                  \
			Memory32Fixed (ReadWrite, DSDT_VIRTIO_GPA_##n, DSDT_VIRTIO_BYTES)          \
			Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive)                 \
			{                                                                          \
				DSDT_VIRTIO_GSI_##n                                                \
			}                                                                          \
		})                                                                                 \
	}

		VIRTIO_SLOT (0)
		VIRTIO_SLOT (1)
		VIRTIO_SLOT (2)
		VIRTIO_SLOT (3)
		VIRTIO_SLOT (4)
		VIRTIO_SLOT (5)
		VIRTIO_SLOT (6)
		VIRTIO_SLOT (7)
	}

	Name (\_S5, Package () { DSDT_SLEEP_S5, 0, 0, 0 })
}
