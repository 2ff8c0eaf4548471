/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Sizes and constants of the structures that the SEV firmware, the guest owner and migration hand
 * to each other: AMD publication 55766 "Secure Encrypted Virtualization API", version 0.24. All
 * integers in them are little-endian.
 */
#ifndef LIB_SEV_FORMAT_H
#define LIB_SEV_FORMAT_H

#include <sevmirror/sev.h>

/* The first byte of what a packet's or a measurement's MAC covers. */
enum sev_mac_tag {
	SEV_MAC_LAUNCH_SECRET = 0x01,
	SEV_MAC_PACKET_DATA = 0x02,
	SEV_MAC_PACKET_VMSA = 0x03,
	SEV_MAC_MEASUREMENT = 0x04,
};

#endif
