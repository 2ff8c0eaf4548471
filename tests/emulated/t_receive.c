/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target of a migration by the firmware: takes the files of t_send. With the first one every
 * kind of tampering is tried before the genuine bytes; each guest then runs and reads what it wrote
 * on the other machine. '--stale FILE': the platform's PDH has changed since, and refuses it.
 */
#include <errno.h>
#include <string.h>

#include "tests/emulated/states.h"
#include "tests/emulated/transfer.h"

#define WORDS 512

static struct sev_result receive_start(struct vm *vm, const struct transfer *transfer)
{
	struct kvm_sev_receive_start start = { .policy = transfer->policy,
					       .pdh_uaddr = (uintptr_t)transfer->pdh,
					       .pdh_len = SEV_CERT_BYTES,
					       .session_uaddr = (uintptr_t)transfer->session,
					       .session_len = SEV_SESSION_BYTES };

	return vm_sev(vm, KVM_SEV_RECEIVE_START, &start);
}

static struct sev_result receive(struct vm *vm, const struct packet *packet, uint32_t guest_len,
				 uint32_t trans_len)
{
	struct kvm_sev_receive_update_data params = {
		.hdr_uaddr = (uintptr_t)packet->header,
		.hdr_len = SEV_HEADER_BYTES,
		.guest_uaddr = (uintptr_t)vm->mem + packet->gpa,
		.guest_len = guest_len,
		.trans_uaddr = (uintptr_t)packet->payload,
		.trans_len = trans_len,
	};

	return vm_sev(vm, KVM_SEV_RECEIVE_UPDATE_DATA, &params);
}

static void test_bad_sessions(struct tap *tap, struct vm *vm, const struct transfer *transfer)
{
	static const struct {
		size_t offset;
		const char *what;
	} fields[] = {
		{ 0, "RECEIVE_START, nonce changed" },
		{ 16, "RECEIVE_START, wrapped TEK changed" },
		{ 40, "RECEIVE_START, wrapped TIK changed" },
		{ 50, "RECEIVE_START, wrap IV changed" },
		{ 64, "RECEIVE_START, wrap MAC changed" },
		{ 127, "RECEIVE_START, policy MAC changed" },
	};
	static struct transfer bad;
	struct kvm_sev_receive_start start = { .policy = transfer->policy,
					       .pdh_uaddr = (uintptr_t)transfer->pdh,
					       .pdh_len = 100,
					       .session_uaddr = (uintptr_t)transfer->session,
					       .session_len = SEV_SESSION_BYTES };

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		bad = *transfer;
		bad.session[fields[i].offset] ^= 0x80;
		tap_sev_status(tap, receive_start(vm, &bad), SEV_RET_BAD_MEASUREMENT,
			       fields[i].what);
	}
	bad = *transfer;
	bad.policy ^= POLICY_NODBG;
	tap_sev_status(tap, receive_start(vm, &bad), SEV_RET_BAD_MEASUREMENT,
		       "RECEIVE_START, another policy");
	bad = *transfer;
	bad.pdh[20] ^= 1;
	tap_sev_status(tap, receive_start(vm, &bad), SEV_RET_INVALID_CERTIFICATE,
		       "RECEIVE_START, the source's PDH is not on the curve");
	tap_sev_status(tap, vm_sev(vm, KVM_SEV_RECEIVE_START, &start), SEV_RET_INVALID_LEN,
		       "RECEIVE_START, PDH certificate too short");
	start.pdh_len = SEV_CERT_BYTES;
	start.session_len = 64;
	tap_sev_status(tap, vm_sev(vm, KVM_SEV_RECEIVE_START, &start), SEV_RET_INVALID_LEN,
		       "RECEIVE_START, session too short");
}

static void test_bad_packets(struct tap *tap, struct vm *vm, const struct packet *packet)
{
	static const struct {
		size_t offset; /* in header and payload, which follow each other in struct packet */
		uint32_t status;
		const char *what;
	} changes[] = {
		{ 0, SEV_RET_UNSUPPORTED, "RECEIVE_UPDATE_DATA, compressed flag set" },
		{ 1, SEV_RET_BAD_MEASUREMENT, "RECEIVE_UPDATE_DATA, reserved flag set" },
		{ 4, SEV_RET_BAD_MEASUREMENT, "RECEIVE_UPDATE_DATA, IV changed" },
		{ 20, SEV_RET_BAD_MEASUREMENT, "RECEIVE_UPDATE_DATA, MAC changed" },
		{ 51, SEV_RET_BAD_MEASUREMENT, "RECEIVE_UPDATE_DATA, MAC's last byte changed" },
		{ 52, SEV_RET_BAD_MEASUREMENT, "RECEIVE_UPDATE_DATA, payload changed" },
		{ 52 + 4095, SEV_RET_BAD_MEASUREMENT,
		  "RECEIVE_UPDATE_DATA, its last byte changed" },
	};
	uint8_t before[PAGE_BYTES];
	struct packet bad;

	memcpy(before, vm->mem + packet->gpa, PAGE_BYTES);
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		bad = *packet;
		((uint8_t *)&bad)[offsetof(struct packet, header) + changes[i].offset] ^= 1;
		tap_sev_status(tap, receive(vm, &bad, 4096, 4096), changes[i].status,
			       changes[i].what);
	}
	tap_sev_status(tap, receive(vm, packet, 4080, 4080), SEV_RET_BAD_MEASUREMENT,
		       "RECEIVE_UPDATE_DATA, both lengths short");
	tap_sev_status(tap, receive(vm, packet, 4080, 4096), SEV_RET_INVALID_LEN,
		       "RECEIVE_UPDATE_DATA, guest length short");
	tap_sev_status(tap, receive(vm, packet, 4096, 4080), SEV_RET_INVALID_LEN,
		       "RECEIVE_UPDATE_DATA, transport length short");
	tap_sev_status(tap, receive(vm, packet, 24, 24), SEV_RET_INVALID_LEN,
		       "RECEIVE_UPDATE_DATA of 24 bytes");
	tap_ok(tap, !memcmp(before, vm->mem + packet->gpa, PAGE_BYTES),
	       "the guest's page is as it was");
}

static void test_runs(struct tap *tap, struct vm *vm)
{
	struct outcome out;

	if (!tap_ok(tap, !vm_add_vcpu(vm), "a vCPU"))
		return;
	vm_call(vm, 0, &(struct call){ .function = guest_hello, .rsi = GPA_SECRET }, &out);
	tap_ok(tap,
	       out.reason == KVM_EXIT_HLT && out.nbytes == strlen(TRANSFER_SECRET) &&
		       !memcmp(out.bytes, TRANSFER_SECRET, out.nbytes),
	       "the guest runs here and says its secret");
	tap_ok(tap,
	       vm_ask(vm, &(struct call){ .function = guest_sequence_count,
					  .rdi = GPA_PRIVATE,
					  .rsi = TRANSFER_SEED,
					  .rcx = WORDS }) == WORDS &&
		       vm_ask(vm, &(struct call){ .function = guest_sequence_count,
						  .rdi = GPA_FREE,
						  .rsi = TRANSFER_SEED,
						  .rcx = TRANSFER_FREE_PAGES * WORDS }) ==
			       TRANSFER_FREE_PAGES * WORDS,
	       "and reads all that it wrote there");
}

/* A second guest from the session that the first one came with, while that one runs. */
static void test_again(struct tap *tap, struct host *host, const struct transfer *transfer)
{
	int received = 0;
	struct vm vm;

	if (!tap_ok(tap, vm_create(host, &vm, NULL), "the same session once more: a VM"))
		return;
	vm.c_mask = 1ull << host->c_bit;
	tap_sev_good(tap, vm_sev(&vm, KVM_SEV_INIT, NULL), "SEV_INIT");
	vm_pin(&vm, true);
	tap_sev_good(tap, receive_start(&vm, transfer), "RECEIVE_START, the same session");
	for (int i = 0; i < TRANSFER_PAGES; i++)
		received += !receive(&vm, &transfer->packets[i], 4096, 4096).errnum;
	tap_ok(tap, received == TRANSFER_PAGES, "RECEIVE_UPDATE_DATA of the same %d pages",
	       received);
	tap_sev_good(tap, vm_sev(&vm, KVM_SEV_RECEIVE_FINISH, NULL), "RECEIVE_FINISH");
	test_runs(tap, &vm);
	vm_destroy(&vm);
}

/* The launch digest does not travel. */
static void test_report(struct tap *tap, struct vm *vm, uint32_t policy)
{
	static const uint8_t zeros[REPORT_DIGEST_BYTES];
	uint8_t report[SEV_REPORT_BYTES];

	tap_sev_good(tap, vm_report(vm, 0xa5, report), "ATTESTATION_REPORT of a received guest");
	tap_ok(tap,
	       report[0] == 0xa5 && !memcmp(report + 48, &policy, 4) &&
		       !memcmp(report + REPORT_DIGEST_AT, zeros, sizeof(zeros)),
	       "it has nonce and policy, and zeros for the digest");
}

/* Sealed for a PDH that this platform has no more. */
static void test_stale(struct tap *tap, struct host *host, const char *path)
{
	static struct transfer transfer;
	struct vm vm;

	if (!tap_ok(tap, file_read(path, &transfer, sizeof(transfer)) == sizeof(transfer), "%s",
		    path) ||
	    !vm_create(host, &vm, NULL))
		return;
	tap_sev_good(tap, vm_sev(&vm, KVM_SEV_INIT, NULL), "SEV_INIT");
	tap_sev_status(tap, receive_start(&vm, &transfer), SEV_RET_BAD_MEASUREMENT,
		       "RECEIVE_START for an earlier PDH");
	vm_destroy(&vm);
}

static void receive_file(struct tap *tap, struct host *host, const char *path, bool tamper)
{
	static struct transfer transfer;
	int received = 0;
	struct vm vm;

	if (!tap_ok(tap, file_read(path, &transfer, sizeof(transfer)) == sizeof(transfer), "%s",
		    path) ||
	    !vm_create(host, &vm, NULL))
		return;
	vm.c_mask = 1ull << host->c_bit;
	tap_sev_good(tap, vm_sev(&vm, KVM_SEV_INIT, NULL), "SEV_INIT");
	vm_pin(&vm, true);
	if (tamper)
		test_bad_sessions(tap, &vm, &transfer);
	tap_sev_good(tap, receive_start(&vm, &transfer), "RECEIVE_START");
	tap_ok(tap, vm_state(&vm) == GSTATE_RUPDATE, "state RUPDATE");
	if (tamper) {
		tap_wrong_state(tap, &vm, GSTATE_RUPDATE);
		test_bad_packets(tap, &vm, &transfer.packets[TRANSFER_LOW_PAGES]);
	}
	for (int i = 0; i < TRANSFER_PAGES; i++)
		received += !receive(&vm, &transfer.packets[i], 4096, 4096).errnum;
	tap_ok(tap, received == TRANSFER_PAGES, "RECEIVE_UPDATE_DATA of %d pages", received);
	tap_ok(tap, memcmp(vm.mem + GPA_SECRET, TRANSFER_SECRET, 16) != 0,
	       "the host sees ciphertext");
	tap_sev_good(tap, vm_sev(&vm, KVM_SEV_RECEIVE_FINISH, NULL), "RECEIVE_FINISH");
	tap_ok(tap, vm_state(&vm) == GSTATE_RUNNING, "state RUNNING");
	test_runs(tap, &vm);
	test_report(tap, &vm, transfer.policy);
	if (tamper)
		test_again(tap, host, &transfer);
	vm_destroy(&vm);
}

int main(int argc, char **argv)
{
	struct tap tap = { .program = "receive" };
	struct host host;

	host_open(&host);
	if (argc == 3 && !strcmp(argv[1], "--stale"))
		test_stale(&tap, &host, argv[2]);
	else
		for (int i = 1; i < argc; i++)
			receive_file(&tap, &host, argv[i], i == 1);
	host_close(&host);
	return tap_done(&tap);
}
