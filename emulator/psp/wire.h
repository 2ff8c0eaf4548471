/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything of the SEV API that has a layout: command numbers, status codes, command buffers,
 * certificates, sessions, packets. Little-endian, packed. Sources: AMD publication 55766 (chapters
 * 4 to 6, appendices B and C); command buffers as Linux has them in include/linux/psp-sev.h, status
 * codes as in include/uapi/linux/psp-sev.h. Names are the specification's.
 */
#ifndef EMULATOR_PSP_WIRE_H
#define EMULATOR_PSP_WIRE_H

#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the structures below are read and written as they are"
#endif

#define PSP_PACKED __attribute__((packed))

enum psp_cmd {
	PSP_CMD_INIT = 0x01,
	PSP_CMD_SHUTDOWN = 0x02,
	PSP_CMD_FACTORY_RESET = 0x03,
	PSP_CMD_PLATFORM_STATUS = 0x04,
	PSP_CMD_PEK_GEN = 0x05,
	PSP_CMD_PEK_CSR = 0x06,
	PSP_CMD_PEK_CERT_IMPORT = 0x07,
	PSP_CMD_PDH_CERT_EXPORT = 0x08,
	PSP_CMD_PDH_GEN = 0x09,
	PSP_CMD_DF_FLUSH = 0x0a,
	PSP_CMD_DOWNLOAD_FIRMWARE = 0x0b,
	PSP_CMD_GET_ID = 0x0c,
	PSP_CMD_INIT_EX = 0x0d,

	PSP_CMD_DECOMMISSION = 0x20,
	PSP_CMD_ACTIVATE = 0x21,
	PSP_CMD_DEACTIVATE = 0x22,
	PSP_CMD_GUEST_STATUS = 0x23,
	PSP_CMD_COPY = 0x24,
	PSP_CMD_ACTIVATE_EX = 0x25,

	PSP_CMD_LAUNCH_START = 0x30,
	PSP_CMD_LAUNCH_UPDATE_DATA = 0x31,
	PSP_CMD_LAUNCH_UPDATE_VMSA = 0x32,
	PSP_CMD_LAUNCH_MEASURE = 0x33,
	PSP_CMD_LAUNCH_UPDATE_SECRET = 0x34,
	PSP_CMD_LAUNCH_FINISH = 0x35,
	PSP_CMD_ATTESTATION_REPORT = 0x36,

	PSP_CMD_SEND_START = 0x40,
	PSP_CMD_SEND_UPDATE_DATA = 0x41,
	PSP_CMD_SEND_UPDATE_VMSA = 0x42,
	PSP_CMD_SEND_FINISH = 0x43,
	PSP_CMD_SEND_CANCEL = 0x44,

	PSP_CMD_RECEIVE_START = 0x50,
	PSP_CMD_RECEIVE_UPDATE_DATA = 0x51,
	PSP_CMD_RECEIVE_UPDATE_VMSA = 0x52,
	PSP_CMD_RECEIVE_FINISH = 0x53,

	PSP_CMD_DBG_DECRYPT = 0x60,
	PSP_CMD_DBG_ENCRYPT = 0x61,
};

enum psp_status {
	PSP_OK = 0,
	PSP_INVALID_PLATFORM_STATE = 0x01,
	PSP_INVALID_GUEST_STATE = 0x02,
	PSP_INVALID_CONFIG = 0x03,
	PSP_INVALID_LEN = 0x04,
	PSP_ALREADY_OWNED = 0x05,
	PSP_INVALID_CERTIFICATE = 0x06,
	PSP_POLICY_FAILURE = 0x07,
	PSP_INACTIVE = 0x08,
	PSP_INVALID_ADDRESS = 0x09,
	PSP_BAD_SIGNATURE = 0x0a,
	PSP_BAD_MEASUREMENT = 0x0b,
	PSP_ASID_OWNED = 0x0c,
	PSP_INVALID_ASID = 0x0d,
	PSP_WBINVD_REQUIRED = 0x0e,
	PSP_DFFLUSH_REQUIRED = 0x0f,
	PSP_INVALID_GUEST = 0x10,
	PSP_INVALID_COMMAND = 0x11,
	PSP_ACTIVE = 0x12,
	PSP_HWERROR_PLATFORM = 0x13,
	PSP_HWERROR_UNSAFE = 0x14,
	PSP_UNSUPPORTED = 0x15,
	PSP_INVALID_PARAM = 0x16,
	PSP_RESOURCE_LIMIT = 0x17,
	PSP_SECURE_DATA_INVALID = 0x18,
};

enum platform_state {
	PLATFORM_UNINIT = 0,
	PLATFORM_INIT = 1,
	PLATFORM_WORKING = 2,
};

enum guest_state {
	GUEST_UNINIT = 0,
	GUEST_LUPDATE = 1,
	GUEST_LSECRET = 2,
	GUEST_RUNNING = 3,
	GUEST_SUPDATE = 4,
	GUEST_RUPDATE = 5,
	GUEST_SENT = 6,
};

/* Guest policy (chapter 3). */
#define POLICY_NODBG	    0x01u
#define POLICY_NOKS	    0x02u
#define POLICY_ES	    0x04u
#define POLICY_NOSEND	    0x08u
#define POLICY_DOMAIN	    0x10u
#define POLICY_SEV	    0x20u
#define POLICY_API_MAJOR(p) ((uint8_t)((p) >> 16))
#define POLICY_API_MINOR(p) ((uint8_t)((p) >> 24))

/* Certificates (appendices B and C). */
enum cert_usage {
	USAGE_ARK = 0x0,
	USAGE_ASK = 0x13,
	USAGE_NONE = 0x1000,
	USAGE_OCA = 0x1001,
	USAGE_PEK = 0x1002,
	USAGE_PDH = 0x1003,
	USAGE_CEK = 0x1004,
};

enum cert_algo {
	ALGO_NONE = 0,
	ALGO_RSA_SHA256 = 0x1,
	ALGO_ECDSA_SHA256 = 0x2,
	ALGO_ECDH_SHA256 = 0x3,
	ALGO_RSA_SHA384 = 0x101,
	ALGO_ECDSA_SHA384 = 0x102,
	ALGO_ECDH_SHA384 = 0x103,
};

#define EC_CURVE_P384 2u
#define EC_COMP_BYTES 72 /* a coordinate or a signature's half, padded with zeros */

struct ec_pubkey {
	uint32_t curve;
	uint8_t qx[EC_COMP_BYTES];
	uint8_t qy[EC_COMP_BYTES];
	uint8_t zero[1028 - 4 - 2 * EC_COMP_BYTES];
} PSP_PACKED;

struct ec_signature {
	uint8_t r[EC_COMP_BYTES];
	uint8_t s[EC_COMP_BYTES];
} PSP_PACKED;

struct cert_signature {
	uint32_t usage;
	uint32_t algo;
	union {
		struct ec_signature ec;
		uint8_t rsa[512];
	};
} PSP_PACKED;

/* PDH, PEK, OCA, CEK. What is signed is everything before sig[0]. */
struct sev_cert {
	uint32_t version;
	uint8_t api_major;
	uint8_t api_minor;
	uint16_t reserved;
	uint32_t pubkey_usage;
	uint32_t pubkey_algo;
	struct ec_pubkey pubkey;
	struct cert_signature sig[2];
} PSP_PACKED;

_Static_assert(sizeof(struct sev_cert) == 2084, "SEV certificate");

/* PDH_CERT_EXPORT's chain. */
struct cert_chain {
	struct sev_cert pek, oca, cek;
} PSP_PACKED;

/* ASK and ARK. What is signed is everything before sig. */
struct vendor_cert {
	uint32_t version;
	uint8_t key_id[16];
	uint8_t certifying_id[16];
	uint32_t usage;
	uint8_t reserved[16];
	uint32_t exponent_bits;
	uint32_t modulus_bits;
	uint8_t exponent[512];
	uint8_t modulus[512];
	uint8_t sig[512];
} PSP_PACKED;

_Static_assert(sizeof(struct vendor_cert) == 1600, "vendor certificate of 4096 bits");

struct vendor_chain {
	struct vendor_cert ask, ark;
} PSP_PACKED;

/* LAUNCH_START, SEND_START, RECEIVE_START: the transport keys, wrapped. */
struct session {
	uint8_t nonce[16];
	uint8_t wrapped[32]; /* TEK, TIK */
	uint8_t wrap_iv[16];
	uint8_t wrap_mac[32];
	uint8_t policy_mac[32];
} PSP_PACKED;

_Static_assert(sizeof(struct session) == 128, "session");

#define PACKET_COMPRESSED 1u

struct packet_header {
	uint32_t flags;
	uint8_t iv[16];
	uint8_t mac[32];
} PSP_PACKED;

_Static_assert(sizeof(struct packet_header) == 52, "packet header");

/* The first byte under a packet's and the measurement's MAC. */
enum mac_tag {
	MAC_LAUNCH_SECRET = 1,
	MAC_UPDATE_DATA = 2,
	MAC_UPDATE_VMSA = 3,
	MAC_LAUNCH_MEASURE = 4,
};

struct launch_measure {
	uint8_t mac[32];
	uint8_t mnonce[16];
} PSP_PACKED;

struct attestation_report {
	uint8_t mnonce[16];
	uint8_t launch_digest[32];
	uint32_t policy;
	/* what is signed ends here */
	uint32_t sig_usage;
	uint32_t sig_algo;
	uint32_t reserved;
	struct ec_signature sig;
} PSP_PACKED;

_Static_assert(sizeof(struct attestation_report) == 208, "attestation report");

#define CHIP_ID_BYTES 64
#define GET_ID_BYTES  (2 * CHIP_ID_BYTES) /* two sockets, the second one empty */

/* Command buffers. */

#define INIT_FLAG_ES 1u

struct cmd_init {
	uint32_t flags;
	uint32_t reserved;
	uint64_t tmr_addr;
	uint32_t tmr_len;
} PSP_PACKED;

struct cmd_init_ex {
	uint32_t length;
	uint32_t flags;
	uint64_t tmr_addr;
	uint32_t tmr_len;
	uint32_t reserved;
	uint64_t nv_addr;
	uint32_t nv_len;
} PSP_PACKED;

#define STATUS_FLAG_OWNED 0x001u
#define STATUS_FLAG_ES	  0x100u

struct cmd_platform_status {
	uint8_t api_major;
	uint8_t api_minor;
	uint8_t state;
	uint32_t flags;
	uint8_t build;
	uint32_t guest_count;
} PSP_PACKED;

/* PEK_CSR, GET_ID, DOWNLOAD_FIRMWARE */
struct cmd_buffer {
	uint64_t addr;
	uint32_t len;
} PSP_PACKED;

struct cmd_pek_cert_import {
	uint64_t pek_addr;
	uint32_t pek_len;
	uint32_t reserved;
	uint64_t oca_addr;
	uint32_t oca_len;
} PSP_PACKED;

struct cmd_pdh_cert_export {
	uint64_t pdh_addr;
	uint32_t pdh_len;
	uint32_t reserved;
	uint64_t chain_addr;
	uint32_t chain_len;
} PSP_PACKED;

/* DECOMMISSION, DEACTIVATE, LAUNCH_FINISH, SEND_FINISH, SEND_CANCEL, RECEIVE_FINISH */
struct cmd_handle {
	uint32_t handle;
} PSP_PACKED;

struct cmd_activate {
	uint32_t handle;
	uint32_t asid;
} PSP_PACKED;

struct cmd_guest_status {
	uint32_t handle;
	uint32_t policy;
	uint32_t asid;
	uint8_t state;
} PSP_PACKED;

/* LAUNCH_START and RECEIVE_START */
struct cmd_start {
	uint32_t handle;
	uint32_t policy;
	uint64_t dh_cert_addr;
	uint32_t dh_cert_len;
	uint32_t reserved;
	uint64_t session_addr;
	uint32_t session_len;
} PSP_PACKED;

/* LAUNCH_UPDATE_DATA, LAUNCH_MEASURE */
struct cmd_guest_buffer {
	uint32_t handle;
	uint32_t reserved;
	uint64_t addr;
	uint32_t len;
} PSP_PACKED;

/* LAUNCH_UPDATE_SECRET, SEND_UPDATE_DATA, RECEIVE_UPDATE_DATA */
struct cmd_packet {
	uint32_t handle;
	uint32_t reserved1;
	uint64_t hdr_addr;
	uint32_t hdr_len;
	uint32_t reserved2;
	uint64_t guest_addr;
	uint32_t guest_len;
	uint32_t reserved3;
	uint64_t trans_addr;
	uint32_t trans_len;
} PSP_PACKED;

struct cmd_attestation_report {
	uint32_t handle;
	uint32_t reserved;
	uint64_t addr;
	uint8_t mnonce[16];
	uint32_t len;
} PSP_PACKED;

struct cmd_send_start {
	uint32_t handle;
	uint32_t policy;
	uint64_t pdh_cert_addr;
	uint32_t pdh_cert_len;
	uint32_t reserved1;
	uint64_t plat_certs_addr;
	uint32_t plat_certs_len;
	uint32_t reserved2;
	uint64_t vendor_certs_addr;
	uint32_t vendor_certs_len;
	uint32_t reserved3;
	uint64_t session_addr;
	uint32_t session_len;
} PSP_PACKED;

struct cmd_dbg {
	uint32_t handle;
	uint32_t reserved;
	uint64_t src_addr;
	uint64_t dst_addr;
	uint32_t len;
} PSP_PACKED;

#endif
