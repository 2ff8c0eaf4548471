/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source of a migration by the firmware. DIR has the target's pdh.cert and chain.cert and the
 * vendor's vendor.cert. Writes a file for each transfer that succeeds: open.bin (policy 0), sev.bin
 * (POLICY_SEV and more) and, called with 'same-owner', domain.bin and domain-only.bin
 * (POLICY_DOMAIN with and without POLICY_SEV); without that word DOMAIN must be refused.
 */
#include <errno.h>
#include <string.h>

#include "tests/emulated/states.h"
#include "tests/emulated/transfer.h"

#define WORDS	     512
#define VENDOR_MAX   8192
#define PUBKEY_AT    20 /* a certificate's public key: qx */
#define SIGNATURE_AT 1052 /* and its first signature's value */

struct target {
	uint8_t pdh[SEV_CERT_BYTES];
	uint8_t chain[SEV_CHAIN_BYTES];
	uint8_t vendor[VENDOR_MAX];
	uint32_t vendor_len;
};

static bool load(const char *dir, const char *name, void *buf, size_t max, long *len)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	*len = file_read(path, buf, max);
	return *len > 0;
}

static bool load_target(const char *dir, struct target *target)
{
	long pdh, chain, vendor;

	if (!load(dir, "pdh.cert", target->pdh, sizeof(target->pdh), &pdh) ||
	    !load(dir, "chain.cert", target->chain, sizeof(target->chain), &chain) ||
	    !load(dir, "vendor.cert", target->vendor, sizeof(target->vendor), &vendor))
		return false;
	target->vendor_len = vendor;
	return pdh == SEV_CERT_BYTES && chain == SEV_CHAIN_BYTES;
}

/* SEND_START to this target. */
static struct sev_result send_start(struct vm *vm, const struct target *target, uint8_t *session)
{
	struct kvm_sev_send_start start = {
		.pdh_cert_uaddr = (uintptr_t)target->pdh,
		.pdh_cert_len = SEV_CERT_BYTES,
		.plat_certs_uaddr = (uintptr_t)target->chain,
		.plat_certs_len = SEV_CHAIN_BYTES,
		.amd_certs_uaddr = (uintptr_t)target->vendor,
		.amd_certs_len = target->vendor_len,
		.session_uaddr = (uintptr_t)session,
		.session_len = SEV_SESSION_BYTES,
	};

	return vm_sev(vm, KVM_SEV_SEND_START, &start);
}

static struct sev_result send_page(struct vm *vm, uint64_t gpa, struct packet *packet, uint32_t len)
{
	struct kvm_sev_send_update_data params = {
		.hdr_uaddr = (uintptr_t)packet->header,
		.hdr_len = SEV_HEADER_BYTES,
		.guest_uaddr = (uintptr_t)vm->mem + gpa,
		.guest_len = len,
		.trans_uaddr = (uintptr_t)packet->payload,
		.trans_len = len,
	};

	packet->gpa = gpa;
	return vm_sev(vm, KVM_SEV_SEND_UPDATE_DATA, &params);
}

static bool start_guest(struct tap *tap, struct host *host, struct vm *vm, uint32_t policy)
{
	bool good = vm_start(host, vm, policy, TRANSFER_SECRET);

	good = good && vm_do(vm, &(struct call){ .function = guest_sequence,
						 .rdi = GPA_PRIVATE,
						 .rsi = TRANSFER_SEED,
						 .rcx = WORDS });
	good = good && vm_do(vm, &(struct call){ .function = guest_sequence,
						 .rdi = GPA_FREE,
						 .rsi = TRANSFER_SEED,
						 .rcx = TRANSFER_FREE_PAGES * WORDS });
	return tap_ok(tap, good, "a guest with policy %x", policy);
}

static bool still_runs(struct vm *vm)
{
	return vm_ask(vm, &(struct call){ .function = guest_sequence_count,
					  .rdi = GPA_PRIVATE,
					  .rsi = TRANSFER_SEED,
					  .rcx = WORDS }) == WORDS;
}

static void test_lengths(struct tap *tap, struct vm *vm, const struct target *target)
{
	struct kvm_sev_send_start query = { 0 };
	struct kvm_sev_send_start start = {
		.pdh_cert_uaddr = (uintptr_t)target->pdh,
		.pdh_cert_len = SEV_CERT_BYTES - 4,
		.plat_certs_uaddr = (uintptr_t)target->chain,
		.plat_certs_len = SEV_CHAIN_BYTES,
		.amd_certs_uaddr = (uintptr_t)target->vendor,
		.amd_certs_len = target->vendor_len,
	};
	uint8_t session[SEV_SESSION_BYTES];

	tap_sev_status(tap, vm_sev(vm, KVM_SEV_SEND_START, &query), SEV_RET_INVALID_LEN,
		       "SEND_START with session length 0");
	tap_ok(tap, query.session_len == SEV_SESSION_BYTES, "it tells the length: %u",
	       query.session_len);
	start.session_uaddr = (uintptr_t)session;
	start.session_len = SEV_SESSION_BYTES;
	tap_sev_status(tap, vm_sev(vm, KVM_SEV_SEND_START, &start), SEV_RET_INVALID_LEN,
		       "SEND_START, PDH certificate too short");
	start.pdh_cert_len = SEV_CERT_BYTES;
	start.plat_certs_len = SEV_CERT_BYTES;
	tap_sev_status(tap, vm_sev(vm, KVM_SEV_SEND_START, &start), SEV_RET_INVALID_LEN,
		       "SEND_START, platform chain too short");
	start.plat_certs_len = SEV_CHAIN_BYTES;
	start.amd_certs_len = 100;
	tap_sev_status(tap, vm_sev(vm, KVM_SEV_SEND_START, &start), SEV_RET_INVALID_LEN,
		       "SEND_START, vendor chain too short");
	start.amd_certs_len = target->vendor_len;
	start.session_len = 64;
	tap_sev_status(tap, vm_sev(vm, KVM_SEV_SEND_START, &start), SEV_RET_INVALID_LEN,
		       "SEND_START, session buffer too short");
}

/* Each certificate of the target changed in its key and in its signature: no session for it. */
static void test_bad_chain(struct tap *tap, struct vm *vm, const struct target *target)
{
	uint32_t ask = 0, ark = target->vendor_len / 2;
	const struct {
		size_t base, offset; /* base: 0 PDH, 1 chain, 2 vendor */
		const char *what;
	} changes[] = {
		{ 0, PUBKEY_AT, "SEND_START, PDH's key changed" },
		{ 0, SIGNATURE_AT, "SEND_START, PDH's signature changed" },
		{ 1, PUBKEY_AT, "SEND_START, PEK's key changed" },
		{ 1, 2 * SEV_CERT_BYTES + PUBKEY_AT, "SEND_START, CEK's key changed" },
		{ 1, 2 * SEV_CERT_BYTES + SIGNATURE_AT, "SEND_START, CEK's signature changed" },
		{ 2, ask + 64 + 512, "SEND_START, ASK's modulus changed" },
		{ 2, ask + 64 + 1024, "SEND_START, ASK's signature changed" },
		{ 2, ark + 64 + 512, "SEND_START, ARK's modulus changed" },
		{ 2, ark + 64 + 1024, "SEND_START, ARK's signature changed" },
	};
	uint8_t session[SEV_SESSION_BYTES];

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct target bad = *target;
		uint8_t *base = changes[i].base == 0 ? bad.pdh :
				changes[i].base == 1 ? bad.chain :
						       bad.vendor;
		struct sev_result result;

		base[changes[i].offset] ^= 1;
		result = send_start(vm, &bad, session);
		tap_ok(tap,
		       result.errnum == EIO && (result.fw == SEV_RET_INVALID_CERTIFICATE ||
						result.fw == SEV_RET_BAD_SIGNATURE),
		       "%s: %s", changes[i].what, sev_status_name(result.fw));
	}
	tap_ok(tap, vm_state(vm) == GSTATE_RUNNING, "still in RUNNING");
}

/*
 * With neither SEV nor DOMAIN in the policy only the PDH is looked at: any chain will do, and so
 * does a PDH that nobody signed.
 */
static void test_unchecked(struct tap *tap, struct vm *vm, const struct target *target)
{
	struct target bad = *target;
	uint8_t session[SEV_SESSION_BYTES];

	memset(bad.chain, 0xff, sizeof(bad.chain));
	memset(bad.vendor, 0xff, sizeof(bad.vendor));
	bad.pdh[SIGNATURE_AT] ^= 1;
	tap_sev_good(tap, send_start(vm, &bad, session),
		     "SEND_START, policy 0: a PDH without a chain");
	tap_sev_good(tap, vm_sev(vm, KVM_SEV_SEND_CANCEL, NULL), "SEND_CANCEL");
	bad.pdh[PUBKEY_AT] ^= 1;
	tap_sev_status(tap, send_start(vm, &bad, session), SEV_RET_INVALID_CERTIFICATE,
		       "SEND_START, policy 0: a PDH that is not on the curve");
}

/*
 * DOMAIN wants the owner's certificate byte for byte: the second signature's bytes, which nobody
 * uses, count too. It does not ask for a genuine chip.
 */
static void test_domain(struct tap *tap, struct vm *vm, const struct target *target)
{
	struct target bad = *target;
	uint8_t session[SEV_SESSION_BYTES];

	bad.chain[2 * SEV_CERT_BYTES - 1] ^= 1;
	tap_sev_status(tap, send_start(vm, &bad, session), SEV_RET_POLICY_FAILURE,
		       "SEND_START, policy DOMAIN: the OCA's certificate differs in its last byte");
	bad = *target;
	bad.chain[SEV_CERT_BYTES + SIGNATURE_AT] ^= 1;
	tap_sev_status(tap, send_start(vm, &bad, session), SEV_RET_BAD_SIGNATURE,
		       "SEND_START, policy DOMAIN: the OCA's signature changed");
	bad = *target;
	memset(bad.chain + 2 * SEV_CERT_BYTES, 0xff, SEV_CERT_BYTES);
	memset(bad.vendor, 0xff, sizeof(bad.vendor));
	tap_sev_good(tap, send_start(vm, &bad, session),
		     "SEND_START, policy DOMAIN: without a vendor's chain");
	tap_sev_good(tap, vm_sev(vm, KVM_SEV_SEND_CANCEL, NULL), "SEND_CANCEL");
}

/* After the last page the source still says what it launched. */
static void test_report_when_sent(struct tap *tap, struct vm *vm, uint32_t policy)
{
	static const uint8_t zeros[REPORT_DIGEST_BYTES];
	uint8_t report[SEV_REPORT_BYTES];

	tap_sev_good(tap, vm_report(vm, 0x5a, report), "ATTESTATION_REPORT in SENT");
	tap_ok(tap,
	       report[0] == 0x5a && !memcmp(report + 48, &policy, 4) &&
		       memcmp(report + REPORT_DIGEST_AT, zeros, sizeof(zeros)) != 0,
	       "it has nonce, policy and launch digest");
}

static void test_cancel(struct tap *tap, struct vm *vm, const struct target *target)
{
	uint8_t session[SEV_SESSION_BYTES];
	struct packet packet;

	tap_sev_good(tap, send_start(vm, target, session), "SEND_START");
	tap_ok(tap, vm_state(vm) == GSTATE_SUPDATE, "state SUPDATE");
	tap_sev_good(tap, send_page(vm, GPA_PRIVATE, &packet, 4096), "SEND_UPDATE_DATA");
	tap_ok(tap, still_runs(vm), "the guest runs in SUPDATE");
	tap_wrong_state(tap, vm, GSTATE_SUPDATE);
	tap_sev_good(tap, vm_sev(vm, KVM_SEV_SEND_CANCEL, NULL), "SEND_CANCEL");
	tap_ok(tap, vm_state(vm) == GSTATE_RUNNING && still_runs(vm), "state RUNNING; it runs");
}

static void test_packets(struct tap *tap, struct vm *vm)
{
	struct kvm_sev_send_update_data query = { 0 };
	struct packet one = { 0 }, two = { 0 };

	tap_sev_status(tap, vm_sev(vm, KVM_SEV_SEND_UPDATE_DATA, &query), SEV_RET_INVALID_LEN,
		       "SEND_UPDATE_DATA with lengths 0");
	tap_ok(tap, query.hdr_len == SEV_HEADER_BYTES, "it tells the header's length: %u",
	       query.hdr_len);
	tap_sev_errno(tap, send_page(vm, GPA_PRIVATE + 16, &one, 4096), EINVAL,
		      "SEND_UPDATE_DATA across a page");
	tap_sev_status(tap, send_page(vm, GPA_PRIVATE, &one, 24), SEV_RET_INVALID_LEN,
		       "SEND_UPDATE_DATA of 24 bytes");
	tap_sev_good(tap, send_page(vm, GPA_PRIVATE, &one, 4096), "SEND_UPDATE_DATA of a page");
	tap_sev_good(tap, send_page(vm, GPA_PRIVATE, &two, 4096), "and again");
	tap_ok(tap,
	       memcmp(one.header + 4, two.header + 4, 16) != 0 &&
		       memcmp(one.payload, two.payload, PAGE_BYTES) != 0,
	       "another IV, another ciphertext");
}

static bool transfer_all(struct tap *tap, struct vm *vm, const struct target *target,
			 struct transfer *transfer)
{
	int sent = 0;

	if (!tap_sev_good(tap, send_start(vm, target, transfer->session), "SEND_START"))
		return false;
	for (int i = 0; i < TRANSFER_PAGES; i++)
		sent += !send_page(vm, transfer_gpa(i), &transfer->packets[i], 4096).errnum;
	return tap_ok(tap, sent == TRANSFER_PAGES, "SEND_UPDATE_DATA of %d pages", sent);
}

/* A whole transfer into a file. */
static void transfer_to(struct tap *tap, struct host *host, const struct target *target,
			uint32_t policy, const char *dir, const char *name)
{
	static struct transfer transfer;
	uint8_t chain[SEV_CHAIN_BYTES];
	char path[256];
	struct vm vm;

	if (!start_guest(tap, host, &vm, policy))
		return;
	transfer.policy = policy;
	sev_export(host->sev_fd, transfer.pdh, chain);
	if (policy & POLICY_SEV && !(policy & POLICY_DOMAIN)) {
		test_lengths(tap, &vm, target);
		test_bad_chain(tap, &vm, target);
		test_cancel(tap, &vm, target);
	}
	if (!policy)
		test_unchecked(tap, &vm, target);
	if (policy == POLICY_DOMAIN)
		test_domain(tap, &vm, target);
	if (transfer_all(tap, &vm, target, &transfer)) {
		if (!policy)
			test_packets(tap, &vm);
		tap_sev_good(tap, vm_sev(&vm, KVM_SEV_SEND_FINISH, NULL), "SEND_FINISH");
		tap_ok(tap, vm_state(&vm) == GSTATE_SENT, "state SENT");
		tap_wrong_state(tap, &vm, GSTATE_SENT);
		test_report_when_sent(tap, &vm, policy);
		snprintf(path, sizeof(path), "%s/%s", dir, name);
		tap_ok(tap, !file_write(path, &transfer, sizeof(transfer)), "%s written", name);
	}
	vm_destroy(&vm);
}

static void test_refused(struct tap *tap, struct host *host, const struct target *target,
			 uint32_t policy, const char *what)
{
	uint8_t session[SEV_SESSION_BYTES];
	struct vm vm;

	if (!start_guest(tap, host, &vm, policy))
		return;
	tap_sev_status(tap, send_start(&vm, target, session), SEV_RET_POLICY_FAILURE, what);
	tap_ok(tap, vm_state(&vm) == GSTATE_RUNNING && still_runs(&vm), "the guest runs on");
	vm_destroy(&vm);
}

/* What was sealed for another platform this one cannot receive. */
static void test_not_for_us(struct tap *tap, struct host *host, const char *dir)
{
	static struct transfer transfer;
	struct kvm_sev_receive_start start = { .policy = 0,
					       .pdh_uaddr = (uintptr_t)transfer.pdh,
					       .pdh_len = SEV_CERT_BYTES,
					       .session_uaddr = (uintptr_t)transfer.session,
					       .session_len = SEV_SESSION_BYTES };
	struct vm vm;
	long len;

	if (!load(dir, "open.bin", &transfer, sizeof(transfer), &len) ||
	    !vm_create(host, &vm, NULL))
		return;
	vm_sev(&vm, KVM_SEV_INIT, NULL);
	tap_sev_status(tap, vm_sev(&vm, KVM_SEV_RECEIVE_START, &start), SEV_RET_BAD_MEASUREMENT,
		       "RECEIVE_START on another host than the target");
	vm_destroy(&vm);
}

int main(int argc, char **argv)
{
	struct tap tap = { .program = "send" };
	bool same_owner = argc == 3 && !strcmp(argv[2], "same-owner");
	static struct target target;
	struct host host;

	host_open(&host);
	if (tap_ok(&tap, argc >= 2 && load_target(argv[1], &target), "the target's certificates")) {
		if (same_owner) {
			transfer_to(&tap, &host, &target, POLICY_DOMAIN, argv[1],
				    "domain-only.bin");
			transfer_to(&tap, &host, &target, POLICY_DOMAIN | POLICY_SEV, argv[1],
				    "domain.bin");
		} else {
			test_refused(&tap, &host, &target, POLICY_NOSEND, "policy NOSEND");
			test_refused(&tap, &host, &target, POLICY_DOMAIN | POLICY_SEV,
				     "policy DOMAIN, the target has another owner");
			test_refused(&tap, &host, &target, POLICY_DOMAIN,
				     "policy DOMAIN without SEV, the target has another owner");
			transfer_to(&tap, &host, &target, 0, argv[1], "open.bin");
			transfer_to(&tap, &host, &target, POLICY_SEV | POLICY_NODBG | POLICY_NOKS,
				    argv[1], "sev.bin");
			test_not_for_us(&tap, &host, argv[1]);
		}
	}
	host_close(&host);
	return tap_done(&tap);
}
