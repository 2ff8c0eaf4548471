/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A launch in the guest owner's session. DIR has godh.cert and session.bin; the owner is outside
 * the host. Writes image.bin (what is launched), measure.bin and report.bin, then waits for
 * header.bin, secret.bin and the file 'go', injects the secret and runs.
 */
#include <string.h>
#include <unistd.h>

#include "tests/emulated/vm.h"

#define SECRET_GPA  (GPA_FREE + 256)
#define SECRET_MAX  256
#define POLICY	    (POLICY_NODBG | POLICY_NOKS)
#define WAIT_ROUNDS 1200 /* of 100 ms */

struct owner {
	const char *dir;
	uint8_t dh[SEV_CERT_BYTES];
	uint8_t session[SEV_SESSION_BYTES];
};

static long read_in(const char *dir, const char *name, void *buf, size_t max)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return file_read(path, buf, max);
}

static bool write_in(const char *dir, const char *name, const void *buf, size_t len)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return !file_write(path, buf, len);
}

static struct sev_result start_with(struct vm *vm, const uint8_t *dh, const uint8_t *session,
				    uint32_t policy)
{
	struct kvm_sev_launch_start start = {
		.policy = policy,
		.dh_uaddr = (uintptr_t)dh,
		.dh_len = SEV_CERT_BYTES,
		.session_uaddr = (uintptr_t)session,
		.session_len = SEV_SESSION_BYTES,
	};

	return vm_sev(vm, KVM_SEV_LAUNCH_START, &start);
}

static void test_bad_sessions(struct tap *tap, struct vm *vm, const struct owner *owner)
{
	static const struct {
		size_t offset;
		const char *what;
	} fields[] = {
		{ 0, "LAUNCH_START, nonce changed" },
		{ 16, "LAUNCH_START, wrapped TEK changed" },
		{ 40, "LAUNCH_START, wrapped TIK changed" },
		{ 50, "LAUNCH_START, wrap IV changed" },
		{ 64, "LAUNCH_START, wrap MAC changed" },
		{ 127, "LAUNCH_START, policy MAC changed" },
	};
	uint8_t session[SEV_SESSION_BYTES], dh[SEV_CERT_BYTES];

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		memcpy(session, owner->session, sizeof(session));
		session[fields[i].offset] ^= 0x80;
		tap_sev_status(tap, start_with(vm, owner->dh, session, POLICY),
			       SEV_RET_BAD_MEASUREMENT, fields[i].what);
	}
	tap_sev_status(tap, start_with(vm, owner->dh, owner->session, POLICY_NOKS),
		       SEV_RET_BAD_MEASUREMENT, "LAUNCH_START, another policy than the session's");
	memcpy(dh, owner->dh, sizeof(dh));
	dh[20] ^= 1;
	tap_sev_status(tap, start_with(vm, dh, owner->session, POLICY), SEV_RET_INVALID_CERTIFICATE,
		       "LAUNCH_START, a DH key that is not on the curve");
}

static void test_report(struct tap *tap, struct vm *vm, const char *dir)
{
	struct kvm_sev_attestation_report query = { 0 };
	uint8_t report[256] = { 0 };

	tap_sev_status(tap, vm_sev(vm, KVM_SEV_GET_ATTESTATION_REPORT, &query), SEV_RET_INVALID_LEN,
		       "GET_ATTESTATION_REPORT with length 0");
	tap_ok(tap, query.len == 208, "it tells the length: %u", query.len);
	query.uaddr = (uintptr_t)report;
	for (int i = 0; i < 16; i++)
		query.mnonce[i] = i + 1;
	tap_sev_good(tap, vm_sev(vm, KVM_SEV_GET_ATTESTATION_REPORT, &query),
		     "GET_ATTESTATION_REPORT");
	tap_ok(tap, !memcmp(report, query.mnonce, 16), "the report has the nonce");
	tap_ok(tap, write_in(dir, "report.bin", report, query.len), "for the owner outside");
}

static struct sev_result inject(struct vm *vm, const uint8_t *header, const uint8_t *secret,
				long len)
{
	struct kvm_sev_launch_secret params = {
		.hdr_uaddr = (uintptr_t)header,
		.hdr_len = SEV_HEADER_BYTES,
		.guest_uaddr = (uintptr_t)vm->mem + SECRET_GPA,
		.guest_len = len,
		.trans_uaddr = (uintptr_t)secret,
		.trans_len = len,
	};

	return vm_sev(vm, KVM_SEV_LAUNCH_SECRET, &params);
}

static bool wait_for_owner(const char *dir)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/go", dir);
	for (int i = 0; i < WAIT_ROUNDS; i++) {
		if (!access(path, F_OK))
			return true;
		usleep(100000);
	}
	return false;
}

static void test_secret(struct tap *tap, struct vm *vm, const char *dir)
{
	uint8_t header[SEV_HEADER_BYTES], secret[SECRET_MAX], before[SECRET_MAX];
	static const size_t header_fields[] = { 0, 4, 20 };
	static const char *const names[] = { "LAUNCH_SECRET, flags changed",
					     "LAUNCH_SECRET, IV changed",
					     "LAUNCH_SECRET, MAC changed" };
	long len;

	if (!tap_ok(tap, wait_for_owner(dir), "the owner outside answers"))
		return;
	len = read_in(dir, "secret.bin", secret, sizeof(secret));
	if (read_in(dir, "header.bin", header, sizeof(header)) != sizeof(header) || len < 16)
		return;
	memcpy(before, vm->mem + SECRET_GPA, sizeof(before));
	for (int i = 0; i < 3; i++) {
		header[header_fields[i]] ^= 2;
		tap_sev_status(tap, inject(vm, header, secret, len), SEV_RET_BAD_MEASUREMENT,
			       names[i]);
		header[header_fields[i]] ^= 2;
	}
	secret[0] ^= 1;
	tap_sev_status(tap, inject(vm, header, secret, len), SEV_RET_BAD_MEASUREMENT,
		       "LAUNCH_SECRET, payload changed");
	secret[0] ^= 1;
	tap_sev_status(tap, inject(vm, header, secret, len - 16), SEV_RET_BAD_MEASUREMENT,
		       "LAUNCH_SECRET, shortened");
	tap_ok(tap, !memcmp(before, vm->mem + SECRET_GPA, sizeof(before)),
	       "and the guest's memory is as before");
	tap_sev_good(tap, inject(vm, header, secret, len), "LAUNCH_SECRET");
}

static void run(struct tap *tap, struct host *host, const struct owner *owner)
{
	uint8_t blob[SEV_MEASURE_BYTES];
	struct outcome out;
	struct vm vm;

	if (!vm_create(host, &vm, NULL))
		return;
	vm_load(&vm, true, "launched in the owner's session");
	write_in(owner->dir, "image.bin", vm.mem + GPA_CODE, GPA_LAUNCH_END - GPA_CODE);
	tap_sev_good(tap, vm_sev(&vm, KVM_SEV_INIT, NULL), "SEV_INIT");
	vm_pin(&vm, true);
	test_bad_sessions(tap, &vm, owner);
	tap_sev_good(tap, start_with(&vm, owner->dh, owner->session, POLICY), "LAUNCH_START");
	tap_sev_good(tap, vm_launch_update(&vm), "LAUNCH_UPDATE_DATA");
	tap_sev_good(tap, vm_launch_measure(&vm, blob), "LAUNCH_MEASURE");
	tap_ok(tap, write_in(owner->dir, "measure.bin", blob, sizeof(blob)),
	       "for the owner outside");
	test_report(tap, &vm, owner->dir);
	write_in(owner->dir, "ready", "", 0);
	test_secret(tap, &vm, owner->dir);
	tap_sev_good(tap, vm_sev(&vm, KVM_SEV_LAUNCH_FINISH, NULL), "LAUNCH_FINISH");
	if (tap_ok(tap, !vm_add_vcpu(&vm), "a vCPU")) {
		vm_call(&vm, 0, &(struct call){ .function = guest_hello, .rsi = SECRET_GPA }, &out);
		write_in(owner->dir, "heard.bin", out.bytes, out.nbytes);
		tap_ok(tap, out.reason == KVM_EXIT_HLT && out.nbytes > 0,
		       "the guest says its secret");
	}
	vm_destroy(&vm);
}

int main(int argc, char **argv)
{
	struct tap tap = { .program = "owner" };
	struct owner owner = { .dir = argv[argc - 1] };
	struct host host;

	host_open(&host);
	if (tap_ok(&tap,
		   argc == 2 &&
			   read_in(owner.dir, "godh.cert", owner.dh, sizeof(owner.dh)) ==
				   sizeof(owner.dh) &&
			   read_in(owner.dir, "session.bin", owner.session,
				   sizeof(owner.session)) == sizeof(owner.session),
		   "the owner's certificate and session are in the directory given"))
		run(&tap, &host, &owner);
	host_close(&host);
	return tap_done(&tap);
}
