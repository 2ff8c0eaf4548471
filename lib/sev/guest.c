/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/sev/guest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sys/ioctl.h>
#include <sys/resource.h>

#include <linux/kvm.h>

struct sev_guest {
	int vm_fd;
	int sev_fd;
	bool mirror;
	uint64_t commands; /* that the firmware was given */
};

static uint64_t addr(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

/*
 * One KVM_MEMORY_ENCRYPT_OP. Failures are recorded under the command's name in the specification.
 */
static int sev_op(struct sev_guest *guest, uint32_t id, const char *name, void *data,
		  struct sev_error *error)
{
	struct kvm_sev_cmd cmd;

	memset(&cmd, 0, sizeof(cmd));
	cmd.id = id;
	cmd.data = addr(data);
	cmd.sev_fd = (uint32_t)guest->sev_fd;
	if (ioctl(guest->vm_fd, KVM_MEMORY_ENCRYPT_OP, &cmd) == 0) {
		guest->commands +=
			id == KVM_SEV_LAUNCH_START || id == KVM_SEV_RECEIVE_START ? 2 : 1;
		return 0;
	}
	/* 0: an older kernel that did not ask the firmware */
	if (cmd.error && cmd.error != SEV_FW_NO_CALL)
		guest->commands++;
	return sev_error_firmware(error, -errno, cmd.error, "%s", name);
}

uint64_t sev_guest_commands(const struct sev_guest *guest)
{
	return guest->commands;
}

static struct sev_guest *guest_alloc(int vm_fd, int sev_fd, bool mirror)
{
	struct sev_guest *guest = calloc(1, sizeof(*guest));

	if (guest)
		*guest = (struct sev_guest){ .vm_fd = vm_fd, .sev_fd = sev_fd, .mirror = mirror };
	return guest;
}

static int explain_init(struct sev_error *error, int err)
{
	switch (err) {
	case -EBUSY:
		return sev_error_set(
			error, err,
			"KVM_SEV_INIT: every ASID for SEV guests is in use: stop another "
			"SEV guest, or give SEV more ASIDs in the BIOS setup");
	case -ENOTTY:
	case -EINVAL:
		return sev_error_set(
			error, err,
			"KVM_SEV_INIT: KVM has no SEV here (or the VM has vCPUs already): is "
			"kvm_amd loaded with sev=1? 'sevmirror doctor' checks this host");
	default:
		return err;
	}
}

int sev_guest_create(struct sev_guest **out, int vm_fd, int sev_fd, struct sev_error *error)
{
	struct sev_guest *guest = guest_alloc(vm_fd, sev_fd, false);
	int err;

	if (!guest)
		return sev_error_set(error, -ENOMEM, "KVM_SEV_INIT: out of memory");
	err = sev_op(guest, KVM_SEV_INIT, "KVM_SEV_INIT", NULL, error);
	if (err) {
		free(guest);
		return explain_init(error, err);
	}
	*out = guest;
	return 0;
}

int sev_guest_attach(struct sev_guest **out, int vm_fd, int sev_fd)
{
	*out = guest_alloc(vm_fd, sev_fd, false);
	return *out ? 0 : -ENOMEM;
}

/* Linux, arch/x86/kvm/svm/sev.c, sev_vm_copy_enc_context_from(). */
static int explain_copy(struct sev_error *error, int err)
{
	switch (err) {
	case -EBADF:
		return sev_error_set(error, err,
				     "mirror: the source's file descriptor is not a KVM VM");
	case -EINVAL:
		return sev_error_set(
			error, err,
			"mirror: the source is not an SEV guest or is a mirror itself, or the new "
			"VM already has vCPUs or a context of its own; or this kernel has no "
			"KVM_CAP_VM_COPY_ENC_CONTEXT_FROM (Linux 5.13)");
	case -EBUSY:
		return sev_error_set(
			error, err,
			"mirror: the source's context is being copied or moved at this moment");
	default:
		return sev_error_set(error, err,
				     "mirror: KVM does not share the encryption context "
				     "(KVM_CAP_VM_COPY_ENC_CONTEXT_FROM): %s",
				     strerror(-err));
	}
}

int sev_guest_create_mirror(struct sev_guest **out, int vm_fd, int source_vm_fd, int sev_fd,
			    struct sev_error *error)
{
	struct sev_guest *guest = guest_alloc(vm_fd, sev_fd, true);
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_VM_COPY_ENC_CONTEXT_FROM,
		.args = { (uint64_t)source_vm_fd },
	};

	if (!guest)
		return sev_error_set(error, -ENOMEM, "out of memory for the mirror");
	if (ioctl(vm_fd, KVM_ENABLE_CAP, &cap)) {
		int err = -errno;

		free(guest);
		return explain_copy(error, err);
	}
	*out = guest;
	return 0;
}

void sev_guest_destroy(struct sev_guest *guest)
{
	free(guest);
}

static int explain_register(struct sev_error *error, int err, uint64_t bytes)
{
	struct rlimit limit;

	if (err != -ENOMEM || getrlimit(RLIMIT_MEMLOCK, &limit) ||
	    limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= bytes)
		return sev_error_set(error, err, "cannot pin %llu MiB of guest memory: %s",
				     (unsigned long long)(bytes >> 20), strerror(-err));
	return sev_error_set(
		error, err,
		"cannot pin %llu MiB of guest memory: the limit of locked memory is %llu KiB; "
		"raise it (ulimit -l, LimitMEMLOCK= in a systemd unit) or run with CAP_IPC_LOCK",
		(unsigned long long)(bytes >> 20), (unsigned long long)(limit.rlim_cur >> 10));
}

int sev_guest_register_memory(struct sev_guest *guest, void *hva, uint64_t bytes,
			      struct sev_error *error)
{
	struct kvm_enc_region region = { .addr = addr(hva), .size = bytes };

	if (ioctl(guest->vm_fd, KVM_MEMORY_ENCRYPT_REG_REGION, &region))
		return explain_register(error, -errno, bytes);
	return 0;
}

int sev_guest_unregister_memory(struct sev_guest *guest, void *hva, uint64_t bytes,
				struct sev_error *error)
{
	struct kvm_enc_region region = { .addr = addr(hva), .size = bytes };

	if (ioctl(guest->vm_fd, KVM_MEMORY_ENCRYPT_UNREG_REGION, &region))
		return sev_error_set(error, -errno, "cannot unpin guest memory: %s",
				     strerror(errno));
	return 0;
}

int sev_guest_launch_start(struct sev_guest *guest, uint32_t policy,
			   const struct sev_owner_start *owner, struct sev_error *error)
{
	struct kvm_sev_launch_start start = { .policy = policy };

	if (owner) {
		start.dh_uaddr = addr(owner->dh_cert);
		start.dh_len = sizeof(owner->dh_cert);
		start.session_uaddr = addr(&owner->session);
		start.session_len = sizeof(owner->session);
	}
	return sev_op(guest, KVM_SEV_LAUNCH_START, "LAUNCH_START", &start, error);
}

#define UPDATE_CHUNK (1U << 30) /* the length field has 32 bits; a multiple of every page size */

int sev_guest_launch_update_data(struct sev_guest *guest, void *hva, uint64_t bytes,
				 struct sev_error *error)
{
	char *at = hva;

	if (addr(hva) % 16 || bytes % 16)
		return sev_error_set(
			error, -EINVAL,
			"LAUNCH_UPDATE_DATA: address and length must be multiples of 16");
	while (bytes) {
		uint32_t n = bytes < UPDATE_CHUNK ? (uint32_t)bytes : UPDATE_CHUNK;
		struct kvm_sev_launch_update_data update = { .uaddr = addr(at), .len = n };
		int err = sev_op(guest, KVM_SEV_LAUNCH_UPDATE_DATA, "LAUNCH_UPDATE_DATA", &update,
				 error);

		if (err)
			return err;
		at += n;
		bytes -= n;
	}
	return 0;
}

int sev_guest_launch_measure(struct sev_guest *guest, uint8_t measurement[SEV_MEASUREMENT_BYTES],
			     struct sev_error *error)
{
	struct kvm_sev_launch_measure measure = {
		.uaddr = addr(measurement),
		.len = SEV_MEASUREMENT_BYTES,
	};

	return sev_op(guest, KVM_SEV_LAUNCH_MEASURE, "LAUNCH_MEASURE", &measure, error);
}

int sev_guest_launch_secret(struct sev_guest *guest, const struct sev_packet_header *header,
			    const void *payload, uint32_t bytes, void *hva, struct sev_error *error)
{
	struct kvm_sev_launch_secret secret = {
		.hdr_uaddr = addr(header),
		.hdr_len = sizeof(*header),
		.guest_uaddr = addr(hva),
		.guest_len = bytes,
		.trans_uaddr = addr(payload),
		.trans_len = bytes,
	};

	return sev_op(guest, KVM_SEV_LAUNCH_SECRET, "LAUNCH_UPDATE_SECRET", &secret, error);
}

int sev_guest_launch_finish(struct sev_guest *guest, struct sev_error *error)
{
	return sev_op(guest, KVM_SEV_LAUNCH_FINISH, "LAUNCH_FINISH", NULL, error);
}

int sev_guest_status(struct sev_guest *guest, struct sev_guest_status *status,
		     struct sev_error *error)
{
	struct kvm_sev_guest_status out = { 0 };
	int err = sev_op(guest, KVM_SEV_GUEST_STATUS, "GUEST_STATUS", &out, error);

	if (!err)
		*status = (struct sev_guest_status){
			.handle = out.handle,
			.policy = out.policy,
			.state = out.state,
		};
	return err;
}

/* KVM tells the size only when it is asked with a size of 0, and then the command fails. */
static uint32_t report_bytes(struct sev_guest *guest)
{
	struct kvm_sev_attestation_report args = { 0 };

	sev_op(guest, KVM_SEV_GET_ATTESTATION_REPORT, "GET_ATTESTATION_REPORT", &args, NULL);
	return args.len;
}

int sev_guest_attestation_report(struct sev_guest *guest, const uint8_t nonce[SEV_NONCE_BYTES],
				 void *report, uint32_t *bytes, struct sev_error *error)
{
	struct kvm_sev_attestation_report args = { .uaddr = addr(report), .len = *bytes };
	uint32_t needed = report_bytes(guest);
	int err;

	if (needed > *bytes) {
		*bytes = needed;
		return sev_error_set(error, -ENOSPC,
				     "GET_ATTESTATION_REPORT: the report has %u bytes", needed);
	}
	memcpy(args.mnonce, nonce, SEV_NONCE_BYTES);
	err = sev_op(guest, KVM_SEV_GET_ATTESTATION_REPORT, "GET_ATTESTATION_REPORT", &args, error);
	if (!err)
		*bytes = needed;
	return err;
}

int sev_guest_dbg_decrypt(struct sev_guest *guest, const void *hva, void *plain, uint32_t bytes,
			  struct sev_error *error)
{
	struct kvm_sev_dbg dbg = { .src_uaddr = addr(hva), .dst_uaddr = addr(plain), .len = bytes };

	return sev_op(guest, KVM_SEV_DBG_DECRYPT, "DBG_DECRYPT", &dbg, error);
}

int sev_guest_dbg_encrypt(struct sev_guest *guest, const void *plain, void *hva, uint32_t bytes,
			  struct sev_error *error)
{
	struct kvm_sev_dbg dbg = { .src_uaddr = addr(plain), .dst_uaddr = addr(hva), .len = bytes };

	return sev_op(guest, KVM_SEV_DBG_ENCRYPT, "DBG_ENCRYPT", &dbg, error);
}

int sev_guest_send_start(struct sev_guest *guest, const struct sev_send_target *target,
			 uint32_t *policy, struct sev_session_blob *session,
			 struct sev_error *error)
{
	struct kvm_sev_send_start start = {
		.pdh_cert_uaddr = addr(target->pdh),
		.pdh_cert_len = SEV_CERT_BYTES,
		.plat_certs_uaddr = addr(target->chain),
		.plat_certs_len = SEV_CERT_CHAIN_BYTES,
		.amd_certs_uaddr = addr(target->vendor_chain),
		.amd_certs_len = (uint32_t)target->vendor_chain_bytes,
		.session_uaddr = addr(session),
		.session_len = sizeof(*session),
	};
	int err = sev_op(guest, KVM_SEV_SEND_START, "SEND_START", &start, error);

	if (!err)
		*policy = start.policy;
	return err;
}

int sev_guest_send_update_data(struct sev_guest *guest, const void *hva, uint32_t bytes,
			       struct sev_packet_header *header, void *transport,
			       struct sev_error *error)
{
	struct kvm_sev_send_update_data update = {
		.hdr_uaddr = addr(header),
		.hdr_len = sizeof(*header),
		.guest_uaddr = addr(hva),
		.guest_len = bytes,
		.trans_uaddr = addr(transport),
		.trans_len = bytes,
	};

	return sev_op(guest, KVM_SEV_SEND_UPDATE_DATA, "SEND_UPDATE_DATA", &update, error);
}

int sev_guest_send_finish(struct sev_guest *guest, struct sev_error *error)
{
	return sev_op(guest, KVM_SEV_SEND_FINISH, "SEND_FINISH", NULL, error);
}

int sev_guest_send_cancel(struct sev_guest *guest, struct sev_error *error)
{
	return sev_op(guest, KVM_SEV_SEND_CANCEL, "SEND_CANCEL", NULL, error);
}

int sev_guest_receive_start(struct sev_guest *guest, uint32_t policy,
			    const uint8_t sender_pdh[SEV_CERT_BYTES],
			    const struct sev_session_blob *session, struct sev_error *error)
{
	struct kvm_sev_receive_start start = {
		.policy = policy,
		.pdh_uaddr = addr(sender_pdh),
		.pdh_len = SEV_CERT_BYTES,
		.session_uaddr = addr(session),
		.session_len = sizeof(*session),
	};

	return sev_op(guest, KVM_SEV_RECEIVE_START, "RECEIVE_START", &start, error);
}

int sev_guest_receive_update_data(struct sev_guest *guest, const struct sev_packet_header *header,
				  const void *transport, uint32_t bytes, void *hva,
				  struct sev_error *error)
{
	struct kvm_sev_receive_update_data update = {
		.hdr_uaddr = addr(header),
		.hdr_len = sizeof(*header),
		.guest_uaddr = addr(hva),
		.guest_len = bytes,
		.trans_uaddr = addr(transport),
		.trans_len = bytes,
	};

	return sev_op(guest, KVM_SEV_RECEIVE_UPDATE_DATA, "RECEIVE_UPDATE_DATA", &update, error);
}

int sev_guest_receive_finish(struct sev_guest *guest, struct sev_error *error)
{
	return sev_op(guest, KVM_SEV_RECEIVE_FINISH, "RECEIVE_FINISH", NULL, error);
}
