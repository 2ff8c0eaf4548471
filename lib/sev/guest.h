/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encryption context of one KVM VM: launch, attestation, secrets, migration through the firmware. A thin layer over
 * KVM_MEMORY_ENCRYPT_OP (Linux Documentation/virt/kvm/x86/amd-memory-encryption.rst) that knows sizes, keeps the order
 * of calls and turns failures into sentences.
 *
 * All functions return 0 or a negative errno and, on failure, fill *error (may be NULL). A firmware refusal is -EIO
 * with the code in error->fw. Calls on one guest are not to overlap. No vCPU may exist before sev_guest_create() or
 * sev_guest_create_mirror().
 */
#ifndef LIB_SEV_GUEST_H
#define LIB_SEV_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/sev/error.h"
#include "lib/sev/format.h"

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

/* KVM_SEV_SEND_START: the target platform's certificates. */
struct sev_send_target {
	const uint8_t *pdh; /* SEV_CERT_BYTES */
	const uint8_t *chain; /* SEV_CERT_CHAIN_BYTES: PEK, OCA, CEK */
	const uint8_t *vendor_chain; /* ASK, then ARK */
	size_t vendor_chain_bytes;
};

/*
 * KVM_SEV_INIT: make the VM an SEV guest. Both fds are borrowed and must stay open, at the same numbers, until
 * sev_guest_destroy(): KVM looks sev_fd (/dev/sev, sev_device_open()) up in the calling process by number.
 * sev_guest_destroy() unregisters nothing: memory stays pinned and the context alive until the VM fd (and any mirror's) closes.
 */
int sev_guest_create(struct sev_guest **guest, int vm_fd, int sev_fd, struct sev_error *error);

/*
 * KVM_CAP_VM_COPY_ENC_CONTEXT_FROM: make the VM a mirror of the SEV VM behind source_vm_fd (which may belong to another process;
 * it is not kept). Of the functions below a mirror may use status, dbg_decrypt and dbg_encrypt. Create it after LAUNCH_START or
 * RECEIVE_START, and when the source has run RECEIVE_FINISH if it is a migration target.
 */
int sev_guest_create_mirror(struct sev_guest **guest, int vm_fd, int source_vm_fd, int sev_fd,
			    struct sev_error *error);
void sev_guest_destroy(struct sev_guest *guest);

/*
 * KVM_MEMORY_ENCRYPT_REG_REGION: populate and pin host memory that holds private pages. Before any LAUNCH_UPDATE_DATA on it and
 * before guest code runs; hva and bytes page-aligned. A too small RLIMIT_MEMLOCK is explained in the error.
 */
int sev_guest_register_memory(struct sev_guest *guest, void *hva, uint64_t bytes,
			      struct sev_error *error);
int sev_guest_unregister_memory(struct sev_guest *guest, void *hva, uint64_t bytes,
				struct sev_error *error);

/* owner may be NULL: the firmware then makes its own transport keys and nobody but it can check the measurement. */
int sev_guest_launch_start(struct sev_guest *guest, uint32_t policy,
			   const struct sev_owner_start *owner, struct sev_error *error);

/* Encrypt [hva, hva + bytes) in place and extend the launch digest by it; both multiples of 16. */
int sev_guest_launch_update_data(struct sev_guest *guest, void *hva, uint64_t bytes,
				 struct sev_error *error);

int sev_guest_launch_measure(struct sev_guest *guest, uint8_t measurement[SEV_MEASUREMENT_BYTES],
			     struct sev_error *error);

/*
 * Decrypt the owner's packet into private guest memory at hva (16-byte aligned, within one page for bytes; bytes a
 * multiple of 16). Between LAUNCH_MEASURE and LAUNCH_FINISH.
 */
int sev_guest_launch_secret(struct sev_guest *guest, const struct sev_packet_header *header,
			    const void *payload, uint32_t bytes, void *hva,
			    struct sev_error *error);

int sev_guest_launch_finish(struct sev_guest *guest, struct sev_error *error);

int sev_guest_status(struct sev_guest *guest, struct sev_guest_status *status,
		     struct sev_error *error);

/*
 * GET_ATTESTATION_REPORT: signed by the PEK. *bytes is the size of report on entry, of what was written on return;
 * -ENOSPC when it is too small, with *bytes what is needed.
 */
int sev_guest_attestation_report(struct sev_guest *guest, const uint8_t nonce[SEV_NONCE_BYTES],
				 void *report, uint32_t *bytes, struct sev_error *error);

/*
 * Sending: SEND_START (RUNNING to SUPDATE; vCPUs may go on running) verifies the target and enforces the policy;
 * SEND_UPDATE_DATA makes a packet of at most one page of private memory (hva and bytes multiples of 16, not across a
 * page; transport has room for bytes); SEND_FINISH (to SENT) or SEND_CANCEL (back to RUNNING).
 */
int sev_guest_send_start(struct sev_guest *guest, const struct sev_send_target *target,
			 uint32_t *policy, struct sev_session_blob *session,
			 struct sev_error *error);
int sev_guest_send_update_data(struct sev_guest *guest, const void *hva, uint32_t bytes,
			       struct sev_packet_header *header, void *transport,
			       struct sev_error *error);
int sev_guest_send_finish(struct sev_guest *guest, struct sev_error *error);
int sev_guest_send_cancel(struct sev_guest *guest, struct sev_error *error);

/*
 * Receiving, on a fresh sev_guest_create(): RECEIVE_START takes the sender's PDH certificate and session;
 * RECEIVE_UPDATE_DATA opens a packet into private memory at hva, faulting it in (never through a mapping armed with
 * userfaultfd); RECEIVE_FINISH (to RUNNING).
 */
int sev_guest_receive_start(struct sev_guest *guest, uint32_t policy,
			    const uint8_t sender_pdh[SEV_CERT_BYTES],
			    const struct sev_session_blob *session, struct sev_error *error);
int sev_guest_receive_update_data(struct sev_guest *guest, const struct sev_packet_header *header,
				  const void *transport, uint32_t bytes, void *hva,
				  struct sev_error *error);
int sev_guest_receive_finish(struct sev_guest *guest, struct sev_error *error);

/*
 * DBG_DECRYPT, DBG_ENCRYPT: private guest memory (hva) to plaintext and back, under the guest's key; refused by the firmware
 * (POLICY_FAILURE) when the policy has NODBG.
 */
int sev_guest_dbg_decrypt(struct sev_guest *guest, const void *hva, void *plain, uint32_t bytes,
			  struct sev_error *error);
int sev_guest_dbg_encrypt(struct sev_guest *guest, const void *plain, void *hva, uint32_t bytes,
			  struct sev_error *error);

#endif
