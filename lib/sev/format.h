/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes and constants of the structures that the SEV firmware, the guest owner and migration hand to each other: AMD publication
 * 55766 "Secure Encrypted Virtualization API", version 0.24. All integers in them are little-endian.
 */
#ifndef LIB_SEV_FORMAT_H
#define LIB_SEV_FORMAT_H

#include <stdint.h>

#define SEV_CERT_BYTES	     2084 /* PDH, PEK, OCA, CEK and the guest owner's DH certificate */
#define SEV_CERT_CHAIN_BYTES (3 * SEV_CERT_BYTES) /* PEK, OCA, CEK as PDH_CERT_EXPORT gives them */
#define SEV_KEY_BYTES	     16 /* TEK, TIK, KEK, KIK */
#define SEV_NONCE_BYTES	     16
#define SEV_DIGEST_BYTES     32
#define SEV_MEASUREMENT_BYTES \
	48 /* LAUNCH_MEASURE: the measurement's HMAC, 32 bytes, and the firmware's nonce, 16 */
#define SEV_SECRET_BYTES_MAX (16 * 1024) /* LAUNCH_SECRET: the largest payload of one packet */

/* API 0.24, LAUNCH_START "Session" buffer. */
struct sev_session_blob {
	uint8_t nonce[SEV_NONCE_BYTES];
	uint8_t wrapped[2 * SEV_KEY_BYTES]; /* TEK, then TIK, under KEK */
	uint8_t wrap_iv[16];
	uint8_t wrap_mac[32];
	uint8_t policy_mac[32];
};

/* API 0.24, header of a packet of LAUNCH_UPDATE_SECRET, SEND_UPDATE_DATA and RECEIVE_UPDATE_DATA. */
struct sev_packet_header {
	uint8_t flags[4]; /* little-endian; bit 0: payload is compressed */
	uint8_t iv[16];
	uint8_t mac[32];
};

_Static_assert(sizeof(struct sev_session_blob) == 128, "session layout");
_Static_assert(sizeof(struct sev_packet_header) == 52, "packet header layout");

/* The first byte of what a packet's or a measurement's MAC covers. */
enum sev_mac_tag {
	SEV_MAC_LAUNCH_SECRET = 0x01,
	SEV_MAC_PACKET_DATA = 0x02,
	SEV_MAC_PACKET_VMSA = 0x03,
	SEV_MAC_MEASUREMENT = 0x04,
};

/* GUEST_STATUS. */
enum sev_guest_state {
	SEV_GUEST_UNINIT = 0,
	SEV_GUEST_LUPDATE = 1,
	SEV_GUEST_LSECRET = 2,
	SEV_GUEST_RUNNING = 3,
	SEV_GUEST_SUPDATE = 4,
	SEV_GUEST_RUPDATE = 5,
	SEV_GUEST_SENT = 6,
};

#endif
