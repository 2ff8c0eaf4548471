/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Launch a guest and run it: what it sees of itself, what exits KVM needs, and every command in the
 * wrong state.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tests/emulated/states.h"

#define SECRET "the secret of this guest is 4711"

static void test_steps(struct tap *tap, struct host *host, struct vm *vm)
{
	struct kvm_sev_launch_measure query = { 0 };
	uint8_t blob[SEV_MEASURE_BYTES] = { 0 }, zero[SEV_MEASURE_BYTES] = { 0 };
	struct sev_result result;

	tap_ok(tap, vm_create(host, vm, NULL), "a VM");
	tap_sev_errno(tap, vm_launch_update(vm), ENOTTY, "LAUNCH_UPDATE_DATA without SEV_INIT");
	tap_ok(tap, vm_pin(vm, true) == ENOTTY, "REG_REGION without SEV_INIT: ENOTTY");
	vm_load(vm, true, SECRET);
	tap_sev_good(tap, vm_launch_begin(vm, 0), "SEV_INIT, REG_REGION, LAUNCH_START");
	tap_ok(tap, vm_state(vm) == GSTATE_LUPDATE, "state LUPDATE");
	result = vm_sev(vm, KVM_SEV_INIT, NULL);
	/* EBUSY up to 6.1, EINVAL later */
	tap_ok(tap, result.errnum == EINVAL || result.errnum == EBUSY, "SEV_INIT twice: %s",
	       strerror(result.errnum));
	tap_sev_good(tap, vm_launch_update(vm), "LAUNCH_UPDATE_DATA");
	tap_ok(tap, memcmp(vm->mem + GPA_SECRET, SECRET, 16) != 0,
	       "the host sees ciphertext where the secret was");
	tap_sev_status(tap, vm_sev(vm, KVM_SEV_LAUNCH_MEASURE, &query), SEV_RET_INVALID_LEN,
		       "LAUNCH_MEASURE with length 0");
	tap_ok(tap, query.len == SEV_MEASURE_BYTES, "it tells the length: %u", query.len);
	tap_ok(tap, vm_state(vm) == GSTATE_LUPDATE, "and changes no state");
	tap_sev_good(tap, vm_launch_measure(vm, blob), "LAUNCH_MEASURE");
	tap_ok(tap, memcmp(blob, zero, 32) != 0 && memcmp(blob + 32, zero, 16) != 0,
	       "a measurement, a nonce");
	tap_ok(tap, vm_state(vm) == GSTATE_LSECRET, "state LSECRET");
	tap_sev_good(tap, vm_sev(vm, KVM_SEV_LAUNCH_FINISH, NULL), "LAUNCH_FINISH");
	tap_ok(tap, vm_state(vm) == GSTATE_RUNNING, "state RUNNING");
}

static void test_probe(struct tap *tap, struct vm *vm, bool sev)
{
	const char *kind = sev ? "SEV guest" : "plain guest";
	struct outcome out;

	vm_call(vm, 0, &(struct call){ .function = guest_probe, .rdi = GVA_MMIO, .rsi = sev },
		&out);
	if (!tap_ok(tap, out.reason == KVM_EXIT_HLT && out.nwords == 5,
		    "%s: MSR, CPUID, CR4 and MMIO exits end well", kind))
		return;
	if (sev) {
		tap_ok(tap, out.words[0] == 1, "%s: SEV_STATUS says SEV: %x", kind, out.words[0]);
		tap_ok(tap, out.words[1] & 2, "%s: CPUID 8000001F EAX has SEV: %x", kind,
		       out.words[1]);
		tap_ok(tap, (out.words[2] & 0x3f) == (uint32_t)vm->host->c_bit,
		       "%s: CPUID 8000001F EBX has the C-bit's place", kind);
	}
	tap_ok(tap, out.words[3] == 0x6a0, "%s: CR4 written and read: %x", kind, out.words[3]);
	tap_ok(tap, out.mmio_gpa == GUEST_MMIO_GPA + 0x10 && out.mmio_value == 0x12345678,
	       "%s: MMIO write arrives", kind);
	tap_ok(tap, out.words[4] == 0xcafe0001, "%s: MMIO read is answered", kind);
}

static void test_run(struct tap *tap, struct vm *vm, bool sev)
{
	const char *kind = sev ? "SEV guest" : "plain guest";
	struct outcome out;

	vm_call(vm, 0, &(struct call){ .function = guest_hello, .rsi = GPA_SECRET }, &out);
	tap_ok(tap,
	       out.reason == KVM_EXIT_HLT && out.nbytes == strlen(SECRET) &&
		       !memcmp(out.bytes, SECRET, out.nbytes),
	       "%s: runs and reads its secret", kind);
	test_probe(tap, vm, sev);
	vm_call(vm, 0, &(struct call){ .function = guest_codegen, .rdi = GPA_SCRATCH }, &out);
	tap_ok(tap,
	       out.reason == KVM_EXIT_HLT && out.nwords == 2 && out.words[0] == 0x1111 &&
		       out.words[1] == 0x2222,
	       "%s: runs code that it wrote and then changed", kind);
	tap_ok(tap,
	       vm_do(vm, &(struct call){ .function = guest_sequence,
					 .rdi = 0x200000 - 20,
					 .rsi = 99,
					 .rcx = 0x8000 }) &&
		       vm_ask(vm, &(struct call){ .function = guest_sequence_count,
						  .rdi = 0x200000 - 20,
						  .rsi = 99,
						  .rcx = 0x8000 }) == 0x8000,
	       "%s: 256 KiB unaligned across small and large pages", kind);
}

/*
 * Instructions are always fetched as private: code in a page that is mapped shared is what the key
 * makes of it.
 */
static void test_shared_code(struct tap *tap, struct host *host)
{
	struct outcome out;
	struct vm vm;

	if (!vm_start(host, &vm, 0, "x"))
		return;
	vm.quiet = true;
	vm_do(&vm, &(struct call){
			   .function = guest_copy, .rdi = GPA_SHARED, .rsi = GPA_CODE, .rcx = 64 });
	tap_ok(tap, !memcmp(vm.mem + GPA_SHARED, guest_code, 64), "code is in the shared page");
	vm_call(&vm, 0,
		&(struct call){ .function = guest_code + (GPA_SHARED - GPA_CODE),
				.rsi = GPA_SECRET },
		&out);
	tap_ok(tap, out.reason != KVM_EXIT_HLT || out.nbytes == 0,
	       "but is not what runs from there: exit %d", out.reason);
	vm_destroy(&vm);
}

static void test_wrong_states(struct tap *tap, struct host *host)
{
	struct kvm_sev_launch_start again = { .policy = 0 };
	uint8_t blob[SEV_MEASURE_BYTES];
	struct vm vm;

	if (!vm_create(host, &vm, NULL))
		return;
	vm_load(&vm, true, SECRET);
	vm_launch_begin(&vm, 0);
	vm_launch_update(&vm);
	tap_wrong_state(tap, &vm, GSTATE_LUPDATE);
	vm_launch_measure(&vm, blob);
	tap_wrong_state(tap, &vm, GSTATE_LSECRET);
	vm_sev(&vm, KVM_SEV_LAUNCH_FINISH, NULL);
	tap_wrong_state(tap, &vm, GSTATE_RUNNING);
	tap_sev_status(tap, vm_sev(&vm, KVM_SEV_LAUNCH_START, &again), SEV_RET_ASID_OWNED,
		       "a second LAUNCH_START cannot have the ASID");
	tap_ok(tap, vm_state(&vm) == GSTATE_RUNNING && !vm_add_vcpu(&vm),
	       "the guest is still there");
	test_run(tap, &vm, true);
	vm_destroy(&vm);
}

/*
 * A handle that no guest has: KVM asks with 0 before LAUNCH_START. (It looks /dev/sev up as fd 0
 * then, so that is where it is.)
 */
static void test_no_guest(struct tap *tap, struct host *host)
{
	struct kvm_sev_guest_status status;
	int saved = dup(0);
	struct vm vm, other;

	/* with no guest at all it would be INVALID_PLATFORM_STATE */
	if (!vm_start(host, &other, 0, "x") || !vm_create(host, &vm, NULL))
		return;
	tap_sev_good(tap, vm_sev(&vm, KVM_SEV_INIT, NULL), "SEV_INIT without LAUNCH_START");
	dup2(host->sev_fd, 0);
	tap_sev_status(tap, vm_sev(&vm, KVM_SEV_GUEST_STATUS, &status), SEV_RET_INVALID_GUEST,
		       "GUEST_STATUS");
	tap_sev_status(tap, vm_sev(&vm, KVM_SEV_LAUNCH_FINISH, NULL), SEV_RET_INVALID_GUEST,
		       "LAUNCH_FINISH");
	tap_sev_status(tap, vm_sev(&vm, KVM_SEV_SEND_FINISH, NULL), SEV_RET_INVALID_GUEST,
		       "SEND_FINISH");
	if (saved >= 0)
		dup2(saved, 0);
	else
		close(0);
	close(saved);
	vm_destroy(&vm);
	vm_destroy(&other);
}

static void test_bad_lengths(struct tap *tap, struct host *host)
{
	struct kvm_sev_launch_update_data update;
	struct kvm_sev_launch_start start = { .policy = 0 };
	static uint8_t junk[SEV_CERT_BYTES];
	struct vm vm;

	if (!vm_create(host, &vm, NULL))
		return;
	vm_sev(&vm, KVM_SEV_INIT, NULL);
	start.dh_uaddr = (uintptr_t)junk;
	start.dh_len = sizeof(junk);
	start.session_uaddr = (uintptr_t)junk;
	start.session_len = SEV_SESSION_BYTES;
	tap_sev_status(tap, vm_sev(&vm, KVM_SEV_LAUNCH_START, &start), SEV_RET_INVALID_CERTIFICATE,
		       "LAUNCH_START with zeros for a DH certificate");
	start.dh_len = 100;
	tap_sev_status(tap, vm_sev(&vm, KVM_SEV_LAUNCH_START, &start), SEV_RET_INVALID_LEN,
		       "LAUNCH_START with a DH certificate of 100 bytes");
	memset(&start, 0, sizeof(start));
	start.policy = 25u << 24;
	tap_sev_status(tap, vm_sev(&vm, KVM_SEV_LAUNCH_START, &start), SEV_RET_POLICY_FAILURE,
		       "LAUNCH_START with a policy that asks for API 0.25");
	start.policy = POLICY_ES;
	tap_ok(tap, vm_sev(&vm, KVM_SEV_LAUNCH_START, &start).errnum == EIO,
	       "LAUNCH_START with a policy that asks for SEV-ES is refused");
	start.policy = 0;
	tap_sev_good(tap, vm_sev(&vm, KVM_SEV_LAUNCH_START, &start), "LAUNCH_START");
	update.uaddr = (uintptr_t)vm.mem + GPA_CODE;
	update.len = 24;
	tap_sev_status(tap, vm_sev(&vm, KVM_SEV_LAUNCH_UPDATE_DATA, &update), SEV_RET_INVALID_LEN,
		       "LAUNCH_UPDATE_DATA of 24 bytes");
	update.uaddr += 8;
	update.len = 16;
	tap_sev_status(tap, vm_sev(&vm, KVM_SEV_LAUNCH_UPDATE_DATA, &update),
		       SEV_RET_INVALID_ADDRESS, "LAUNCH_UPDATE_DATA at an odd address");
	vm_destroy(&vm);
}

int main(void)
{
	struct tap tap = { .program = "launch" };
	struct host host;
	struct vm vm;

	host_open(&host);
	test_steps(&tap, &host, &vm);
	if (tap_ok(&tap, !vm_add_vcpu(&vm), "a vCPU"))
		test_run(&tap, &vm, true);
	vm_destroy(&vm);
	if (tap_ok(&tap, vm_start(&host, &vm, VM_PLAIN, SECRET), "a plain VM on the same host"))
		test_run(&tap, &vm, false);
	vm_destroy(&vm);
	test_shared_code(&tap, &host);
	test_wrong_states(&tap, &host);
	test_no_guest(&tap, &host);
	test_bad_lengths(&tap, &host);
	host_close(&host);
	return tap_done(&tap);
}
