/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The encryption context of one KVM VM: what <sevmirror/sev.h> leaves to the library, mirrors and
 * migration through the firmware. Errors and limits are as there.
 */
#ifndef LIB_SEV_GUEST_H
#define LIB_SEV_GUEST_H

#include <sevmirror/sev.h>

#include "lib/sev/error.h"
#include "lib/sev/format.h"

/* KVM_SEV_SEND_START: the target platform's certificates. */
struct sev_send_target {
	const uint8_t *pdh; /* SEV_CERT_BYTES */
	const uint8_t *chain; /* SEV_CERT_CHAIN_BYTES: PEK, OCA, CEK */
	const uint8_t *vendor_chain; /* ASK, then ARK */
	size_t vendor_chain_bytes;
};

/*
 * KVM_CAP_VM_COPY_ENC_CONTEXT_FROM: make the VM a mirror of the SEV VM behind source_vm_fd (which
 * may belong to another process; it is not kept). Of the functions below a mirror may use status,
 * dbg_decrypt and dbg_encrypt. Create it after LAUNCH_START or RECEIVE_START, and when the source
 * has run RECEIVE_FINISH if it is a migration target.
 */
int sev_guest_create_mirror(struct sev_guest **guest, int vm_fd, int source_vm_fd, int sev_fd,
			    struct sev_error *error);

/* The context of a VM that somebody else made an SEV guest: no KVM_SEV_INIT. 0 or -ENOMEM. */
int sev_guest_attach(struct sev_guest **guest, int vm_fd, int sev_fd);

/*
 * How many commands KVM has given to the firmware for this guest since it was created here:
 * LAUNCH_START and RECEIVE_START count as two, as KVM activates the guest (ACTIVATE) after them
 * (Linux, arch/x86/kvm/svm/sev.c); what KVM refused by itself does not count.
 */
uint64_t sev_guest_commands(const struct sev_guest *guest);

/*
 * Sending: SEND_START (RUNNING to SUPDATE; vCPUs may keep running) verifies the target and
 * enforces the policy; SEND_UPDATE_DATA makes a packet of at most one page of private memory (hva
 * and bytes multiples of 16, not across a page; transport has room for bytes); SEND_FINISH (to
 * SENT) or SEND_CANCEL (back to RUNNING).
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
 * Receiving, on a fresh sev_guest_create(): RECEIVE_START takes the sender's PDH certificate and
 * session; RECEIVE_UPDATE_DATA opens a packet into private memory at hva, faulting it in (never
 * through a mapping armed with userfaultfd); RECEIVE_FINISH (to RUNNING).
 */
int sev_guest_receive_start(struct sev_guest *guest, uint32_t policy,
			    const uint8_t sender_pdh[SEV_CERT_BYTES],
			    const struct sev_session_blob *session, struct sev_error *error);
int sev_guest_receive_update_data(struct sev_guest *guest, const struct sev_packet_header *header,
				  const void *transport, uint32_t bytes, void *hva,
				  struct sev_error *error);
int sev_guest_receive_finish(struct sev_guest *guest, struct sev_error *error);

/*
 * DBG_DECRYPT, DBG_ENCRYPT: private guest memory (hva) to plaintext and back, under the guest's
 * key; refused by the firmware (POLICY_FAILURE) when the policy has NODBG.
 */
int sev_guest_dbg_decrypt(struct sev_guest *guest, const void *hva, void *plain, uint32_t bytes,
			  struct sev_error *error);
int sev_guest_dbg_encrypt(struct sev_guest *guest, const void *plain, void *hva, uint32_t bytes,
			  struct sev_error *error);

#endif
