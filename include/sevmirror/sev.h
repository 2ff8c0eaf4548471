/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * SEV as a VMM needs it: launch and attestation of a guest, the platform's certificates. A thin
 * layer over KVM_MEMORY_ENCRYPT_OP (Linux Documentation/virt/kvm/x86/amd-memory-encryption.rst) and
 * /dev/sev that knows sizes, keeps the order of calls and turns failures into sentences.
 *
 * All functions return 0 or a negative errno and, on failure, fill *error (may be NULL). A firmware
 * refusal is -EIO with the code in error->fw. Calls on one guest are not to overlap. No vCPU may
 * exist before sev_guest_create().
 */
#ifndef SEVMIRROR_SEV_H
#define SEVMIRROR_SEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Sizes and constants of the structures that the SEV firmware, the guest owner and migration hand
 * to each other: AMD publication 55766 "Secure Encrypted Virtualization API", version 0.24. All
 * integers in them are little-endian.
 */
#define SEV_CERT_BYTES 2084 /* PDH, PEK, OCA, CEK and the guest owner's DH certificate */
/* PEK, OCA, CEK as PDH_CERT_EXPORT gives them */
#define SEV_CERT_CHAIN_BYTES (3 * SEV_CERT_BYTES)
#define SEV_KEY_BYTES	     16 /* TEK, TIK, KEK, KIK */
#define SEV_NONCE_BYTES	     16
#define SEV_DIGEST_BYTES     32
/* LAUNCH_MEASURE: the measurement's HMAC, 32 bytes, and the firmware's nonce, 16 */
#define SEV_MEASUREMENT_BYTES 48
#define SEV_SECRET_BYTES_MAX  (16 * 1024) /* LAUNCH_SECRET: the largest payload of one packet */

/* API 0.24, LAUNCH_START "Session" buffer. */
struct sev_session_blob {
	uint8_t nonce[SEV_NONCE_BYTES];
	uint8_t wrapped[2 * SEV_KEY_BYTES]; /* TEK, then TIK, under KEK */
	uint8_t wrap_iv[16];
	uint8_t wrap_mac[32];
	uint8_t policy_mac[32];
};

/*
 * API 0.24, header of a packet of LAUNCH_UPDATE_SECRET, SEND_UPDATE_DATA and RECEIVE_UPDATE_DATA.
 */
struct sev_packet_header {
	uint8_t flags[4]; /* little-endian; bit 0: payload is compressed */
	uint8_t iv[16];
	uint8_t mac[32];
};

_Static_assert(sizeof(struct sev_session_blob) == 128, "session layout");
_Static_assert(sizeof(struct sev_packet_header) == 52, "packet header layout");

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

/*
 * The firmware was not asked, or its answer is unknown (SEV_RET_NO_FW_CALL of <linux/psp-sev.h>).
 */
#define SEV_FW_NO_CALL UINT32_MAX

#define SEV_ERROR_MESSAGE_BYTES 512

struct sev_error {
	int err; /* negative errno, 0: no error was recorded */
	uint32_t fw; /* SEV_RET_* code of the firmware, or SEV_FW_NO_CALL */
	char message[SEV_ERROR_MESSAGE_BYTES]; /* one line without newline, NUL-terminated */
};

/*
 * The specification's name of a firmware status ("POLICY_FAILURE"), and one sentence on what it
 * usually means and what to do. Never NULL: unknown codes have a name and hint that say so.
 */
const char *sev_fw_error_name(uint32_t fw);
const char *sev_fw_error_hint(uint32_t fw);

struct sev_guest;

/* The guest owner's part of LAUNCH_START, both or none. */
struct sev_owner_start {
	uint8_t dh_cert[SEV_CERT_BYTES];
	struct sev_session_blob session;
};

struct sev_guest_status {
	uint32_t handle;
	uint32_t policy;
	uint32_t state; /* enum sev_guest_state */
};

/*
 * KVM_SEV_INIT: make the VM an SEV guest. Both fds are borrowed and must stay open, at the same
 * numbers, until sev_guest_destroy(): KVM looks sev_fd (/dev/sev, sev_device_open()) up in the
 * calling process by number. sev_guest_destroy() unregisters nothing: memory stays pinned and the
 * context alive until the VM fd (and any mirror's) closes.
 */
int sev_guest_create(struct sev_guest **guest, int vm_fd, int sev_fd, struct sev_error *error);
void sev_guest_destroy(struct sev_guest *guest);

/*
 * KVM_MEMORY_ENCRYPT_REG_REGION: populate and pin host memory that holds private pages. Before any
 * LAUNCH_UPDATE_DATA on it and before guest code runs; hva and bytes page-aligned. A too small
 * RLIMIT_MEMLOCK is explained in the error.
 */
int sev_guest_register_memory(struct sev_guest *guest, void *hva, uint64_t bytes,
			      struct sev_error *error);
int sev_guest_unregister_memory(struct sev_guest *guest, void *hva, uint64_t bytes,
				struct sev_error *error);

/*
 * owner may be NULL: the firmware then makes its own transport keys and nobody but it can check the
 * measurement.
 */
int sev_guest_launch_start(struct sev_guest *guest, uint32_t policy,
			   const struct sev_owner_start *owner, struct sev_error *error);

/* Encrypt [hva, hva + bytes) in place and extend the launch digest by it; both multiples of 16. */
int sev_guest_launch_update_data(struct sev_guest *guest, void *hva, uint64_t bytes,
				 struct sev_error *error);

int sev_guest_launch_measure(struct sev_guest *guest, uint8_t measurement[SEV_MEASUREMENT_BYTES],
			     struct sev_error *error);

/*
 * Decrypt the owner's packet into private guest memory at hva (16-byte aligned, within one page for
 * bytes; bytes a multiple of 16). Between LAUNCH_MEASURE and LAUNCH_FINISH.
 */
int sev_guest_launch_secret(struct sev_guest *guest, const struct sev_packet_header *header,
			    const void *payload, uint32_t bytes, void *hva,
			    struct sev_error *error);

int sev_guest_launch_finish(struct sev_guest *guest, struct sev_error *error);

int sev_guest_status(struct sev_guest *guest, struct sev_guest_status *status,
		     struct sev_error *error);

/*
 * GET_ATTESTATION_REPORT: signed by the PEK. *bytes is the size of report on entry, of what was
 * written on return. When it is too small: -ENOSPC, and *bytes is the size that is needed.
 */
int sev_guest_attestation_report(struct sev_guest *guest, const uint8_t nonce[SEV_NONCE_BYTES],
				 void *report, uint32_t *bytes, struct sev_error *error);

#define SEV_DEVICE "/dev/sev"

enum sev_platform_state {
	SEV_PLATFORM_UNINIT = 0,
	SEV_PLATFORM_INIT = 1,
	SEV_PLATFORM_WORKING = 2,
};

struct sev_platform_status {
	uint8_t api_major;
	uint8_t api_minor;
	uint8_t build;
	uint8_t state; /* enum sev_platform_state */
	bool owned; /* an external owner signed the PEK */
	bool es; /* configured for SEV-ES */
	uint32_t guests;
};

/* Open /dev/sev close-on-exec. Returns the fd, or a negative errno with what to do about it. */
int sev_device_open(struct sev_error *error);

int sev_platform_status(int sev_fd, struct sev_platform_status *status, struct sev_error *error);

/*
 * GET_ID: the chip's identity, what AMD's key server is asked for the CEK with. *bytes is room on
 * entry, length on return. -ENOSPC when the room is too small.
 */
int sev_platform_get_id(int sev_fd, uint8_t *id, uint32_t *bytes, struct sev_error *error);

/*
 * PDH_CERT_EXPORT: the PDH certificate, and PEK, OCA, CEK. Initialises the platform when it is not.
 */
int sev_platform_export_certs(int sev_fd, uint8_t pdh[SEV_CERT_BYTES],
			      uint8_t chain[SEV_CERT_CHAIN_BYTES], struct sev_error *error);

#endif
