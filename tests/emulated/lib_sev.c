/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib/sev on a real kernel: every call of guest.h and platform.h on /dev/sev and KVM, the guest's
 * owner in the same program. Runs in the emulated host. What guests do when they run is tested
 * elsewhere; none runs here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/capability.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "emulator/psp/vendor.h"
#include "lib/sev/chain.h"
#include "lib/sev/guest.h"
#include "lib/sev/measurement.h"
#include "lib/sev/platform.h"
#include "lib/sev/policy.h"
#include "lib/sev/secret.h"
#include "lib/sev/owner_session.h"
#include "tests/emulated/tap.h"

#define BYTES		    (2UL << 20)
#define DEBUGGABLE	    (SEV_POLICY_NOKS | SEV_POLICY_SEV)
#define POLICY_FAILURE	    7
#define INVALID_CERTIFICATE 6
#define BAD_SIGNATURE	    10
#define BAD_MEASUREMENT	    11
#define INVALID_GUEST_STATE 2

struct host {
	struct tap tap;
	int kvm, sev;
	struct sev_cert pdh, chain[3];
	struct sev_platform_status status;
};

struct vm {
	int fd;
	uint8_t *memory; /* BYTES, slot 0 */
	struct sev_guest *guest;
};

static int vm_fd(struct host *host, void *memory)
{
	struct kvm_userspace_memory_region slot = {
		.memory_size = BYTES,
		.userspace_addr = (uint64_t)(uintptr_t)memory,
	};
	int fd = ioctl(host->kvm, KVM_CREATE_VM, 0UL);

	if (fd >= 0 && ioctl(fd, KVM_SET_USER_MEMORY_REGION, &slot)) {
		close(fd);
		return -1;
	}
	return fd;
}

/*
 * A VM of its own memory with its context initialised and its memory pinned; false when any of that
 * fails.
 */
static bool vm_up(struct host *host, struct vm *vm, struct sev_error *error)
{
	memset(error, 0, sizeof(*error));
	vm->guest = NULL;
	vm->memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	vm->fd = vm_fd(host, vm->memory);
	return vm->fd >= 0 && !sev_guest_create(&vm->guest, vm->fd, host->sev, error) &&
	       !sev_guest_register_memory(vm->guest, vm->memory, BYTES, error);
}

static void vm_down(struct vm *vm)
{
	sev_guest_destroy(vm->guest);
	close(vm->fd);
	munmap(vm->memory, BYTES);
}

static bool named(const struct sev_error *error, int err, uint32_t fw)
{
	return error->err == err && error->fw == fw &&
	       strstr(error->message, sev_fw_error_name(fw)) != NULL;
}

/* With what the library said, so that one can see whether it helps. */
static bool checked(struct host *host, const char *what, bool good, struct sev_error *error)
{
	if (error->message[0])
		tap_ok(&host->tap, good, "%s [%s]", what, error->message);
	else
		tap_ok(&host->tap, good, "%s", what);
	memset(error, 0, sizeof(*error));
	return good;
}

#define CHECK(what, condition) checked(host, what, condition, &error)

static bool platform(struct host *host)
{
	struct sev_error error = { 0 };
	struct sev_chain chain;
	struct sev_root root;
	uint8_t id[128];
	uint32_t bytes = sizeof(id), few = 1;

	host->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	host->sev = sev_device_open(&error);
	CHECK("status", !sev_platform_status(host->sev, &host->status, &error) &&
				host->status.api_minor >= 24);
	CHECK("get_id", !sev_platform_get_id(host->sev, id, &bytes, &error) && bytes >= 64);
	CHECK("get_id with too little room says how much it needs",
	      sev_platform_get_id(host->sev, id, &few, &error) == -ENOSPC && few == bytes);
	CHECK("export of the certificates",
	      !sev_platform_export_certs(host->sev, (uint8_t *)&host->pdh, (uint8_t *)host->chain,
					 &error));
	sev_chain_init(&chain);
	return CHECK("they lead to the root",
		     !sev_chain_add(&chain, &host->pdh, SEV_CERT_BYTES, "pdh", &error) &&
			     !sev_chain_add(&chain, host->chain, SEV_CERT_CHAIN_BYTES, "chain",
					    &error) &&
			     !sev_chain_add(&chain, psp_vendor_ask_ark, PSP_VENDOR_CERTS_BYTES,
					    "vendor", &error) &&
			     !sev_root_from_file_bytes(&root, psp_vendor_ask_ark,
						       PSP_VENDOR_CERTS_BYTES, &error) &&
			     !sev_chain_verify(&chain, &root, &error));
}

static void fill(uint8_t *memory, uint8_t seed)
{
	for (size_t i = 0; i < 4 * 4096; i++)
		memory[i] = (uint8_t)(i * 31 + seed);
}

static int digest_of(const void *bytes, size_t len, uint8_t digest[SEV_DIGEST_BYTES])
{
	struct sev_digest *d;

	if (sev_digest_create(&d) || sev_digest_update(d, bytes, len) ||
	    sev_digest_final(d, digest))
		abort();
	sev_digest_destroy(d);
	return 0;
}

static void owned_launch(struct host *host)
{
	static const char text[] = "only for the guest";
	uint8_t image[4 * 4096], m[SEV_MEASUREMENT_BYTES], payload[32], plain[32], report[4096];
	struct sev_measured expected = { host->status.api_major,
					 host->status.api_minor,
					 host->status.build,
					 DEBUGGABLE,
					 { 0 } };
	struct sev_owner_session session;
	struct sev_packet_header header;
	struct sev_guest_status status;
	uint32_t few = 8, len = sizeof(report);
	struct sev_error error;
	struct vm vm;

	if (!CHECK("a VM with pinned memory", vm_up(host, &vm, &error)))
		return;
	fill(vm.memory, 1);
	memcpy(image, vm.memory, sizeof(image));
	digest_of(image, sizeof(image), expected.digest);
	sev_owner_session_create(&session, &host->pdh, DEBUGGABLE, &error);
	CHECK("LAUNCH_START with the owner's session",
	      !sev_guest_launch_start(vm.guest, DEBUGGABLE, &session.start, &error));
	CHECK("LAUNCH_FINISH before LAUNCH_MEASURE is INVALID_GUEST_STATE",
	      sev_guest_launch_finish(vm.guest, &error) &&
		      named(&error, -EIO, INVALID_GUEST_STATE));
	CHECK("LAUNCH_UPDATE_DATA",
	      !sev_guest_launch_update_data(vm.guest, vm.memory, sizeof(image), &error) &&
		      memcmp(image, vm.memory, sizeof(image)) != 0);
	CHECK("LAUNCH_UPDATE_DATA of 8 bytes is refused",
	      sev_guest_launch_update_data(vm.guest, vm.memory, 8, &error) == -EINVAL);
	CHECK("the measurement is the owner's",
	      !sev_guest_launch_measure(vm.guest, m, &error) &&
		      !sev_measurement_verify(&expected, session.tik, m, &error));
	sev_secret_seal(session.tek, session.tik, m, text, sizeof(text), &header, payload, &error);
	payload[0] ^= 1;
	CHECK("a changed secret is BAD_MEASUREMENT",
	      sev_guest_launch_secret(vm.guest, &header, payload, 32, vm.memory + 0x8000, &error) &&
		      named(&error, -EIO, BAD_MEASUREMENT));
	payload[0] ^= 1;
	CHECK("the secret is taken",
	      !sev_guest_launch_secret(vm.guest, &header, payload, 32, vm.memory + 0x8000, &error));
	CHECK("LAUNCH_FINISH", !sev_guest_launch_finish(vm.guest, &error));
	CHECK("status", !sev_guest_status(vm.guest, &status, &error) &&
				status.state == SEV_GUEST_RUNNING && status.policy == DEBUGGABLE);
	CHECK("DBG_DECRYPT: the secret is in the guest",
	      !sev_guest_dbg_decrypt(vm.guest, vm.memory + 0x8000, plain, 32, &error) &&
		      !memcmp(plain, text, sizeof(text)));
	memset(plain, 'x', sizeof(plain));
	CHECK("DBG_ENCRYPT and back",
	      !sev_guest_dbg_encrypt(vm.guest, plain, vm.memory, 32, &error) &&
		      memcmp(vm.memory, plain, 32) != 0 &&
		      !sev_guest_dbg_decrypt(vm.guest, vm.memory, plain, 32, &error) &&
		      plain[31] == 'x');
	CHECK("an attestation report needs room",
	      sev_guest_attestation_report(vm.guest, m + 32, report, &few, &error) == -ENOSPC &&
		      few > 8);
	CHECK("an attestation report with the launch digest",
	      !sev_guest_attestation_report(vm.guest, m + 32, report, &len, &error) && len == few &&
		      !memcmp(report, m + 32, 16) && !memcmp(report + 16, expected.digest, 32));
	CHECK("memory is unpinned",
	      !sev_guest_unregister_memory(vm.guest, vm.memory, BYTES, &error));
	CHECK("but not twice",
	      sev_guest_unregister_memory(vm.guest, vm.memory, BYTES, &error) == -EINVAL);
	vm_down(&vm);
}

static void refused_sessions(struct host *host)
{
	struct sev_owner_session session;
	struct sev_error error;
	struct vm vm;

	if (!CHECK("another VM", vm_up(host, &vm, &error)))
		return;
	sev_owner_session_create(&session, &host->pdh, DEBUGGABLE, &error);
	CHECK("a session for another policy is BAD_MEASUREMENT",
	      sev_guest_launch_start(vm.guest, SEV_POLICY_DEFAULT, &session.start, &error) &&
		      named(&error, -EIO, BAD_MEASUREMENT));
	session.start.session.wrapped[5] ^= 1;
	CHECK("a changed session is BAD_MEASUREMENT",
	      sev_guest_launch_start(vm.guest, DEBUGGABLE, &session.start, &error) &&
		      named(&error, -EIO, BAD_MEASUREMENT));
	CHECK("a policy that demands newer firmware is POLICY_FAILURE",
	      sev_guest_launch_start(vm.guest, DEBUGGABLE | 99U << SEV_POLICY_API_MINOR_SHIFT, NULL,
				     &error) &&
		      named(&error, -EIO, POLICY_FAILURE));
	vm_down(&vm);
}

static bool launch(struct host *host, struct vm *vm, uint32_t policy, struct sev_error *error)
{
	uint8_t m[SEV_MEASUREMENT_BYTES];

	if (!vm_up(host, vm, error))
		return false;
	fill(vm->memory, 2);
	return !sev_guest_launch_start(vm->guest, policy, NULL, error) &&
	       !sev_guest_launch_update_data(vm->guest, vm->memory, 4 * 4096UL, error) &&
	       !sev_guest_launch_measure(vm->guest, m, error) &&
	       !sev_guest_launch_finish(vm->guest, error);
}

static void mirrors(struct host *host)
{
	struct sev_guest *mirror, *other;
	struct sev_guest_status status;
	struct sev_error error;
	uint8_t plain[16];
	struct vm vm;
	int fd, fd2;

	if (!CHECK("a guest to mirror", launch(host, &vm, DEBUGGABLE, &error)))
		return;
	fd = vm_fd(host, vm.memory);
	fd2 = vm_fd(host, vm.memory);
	CHECK("a file is no VM",
	      sev_guest_create_mirror(&other, fd2, host->sev, host->sev, &error) &&
		      strstr(error.message, "not a KVM VM"));
	CHECK("a mirror", !sev_guest_create_mirror(&mirror, fd, vm.fd, host->sev, &error));
	CHECK("a mirror of a mirror is refused",
	      sev_guest_create_mirror(&other, fd2, fd, host->sev, &error) == -EINVAL &&
		      strstr(error.message, "is a mirror itself"));
	CHECK("the mirror's status",
	      !sev_guest_status(mirror, &status, &error) && status.state == SEV_GUEST_RUNNING);
	CHECK("the mirror reads the primary's page",
	      !sev_guest_dbg_decrypt(mirror, vm.memory + 4096, plain, 16, &error) &&
		      plain[1] == (uint8_t)(4097 * 31 + 2));
	CHECK("the mirror may not pin",
	      sev_guest_register_memory(mirror, vm.memory, BYTES, &error) == -EINVAL);
	CHECK("the mirror may not send", sev_guest_send_cancel(mirror, &error) == -EINVAL);
	sev_guest_destroy(mirror);
	close(fd);
	close(fd2);
	vm_down(&vm);
}

/* One host is both ends: what the two firmwares of two hosts say is tested with two hosts. */
static void send_and_receive(struct host *host)
{
	struct sev_send_target target = { (uint8_t *)&host->pdh, (uint8_t *)host->chain,
					  psp_vendor_ask_ark, PSP_VENDOR_CERTS_BYTES };
	struct sev_packet_header header;
	struct sev_session_blob session;
	struct sev_guest_status status;
	uint8_t page[4096], plain[4096], bad_chain[SEV_CERT_CHAIN_BYTES];
	struct sev_error error;
	struct vm from, to;
	uint32_t policy;

	if (!CHECK("a guest to send", launch(host, &from, DEBUGGABLE, &error)))
		return;
	memcpy(bad_chain, host->chain, sizeof(bad_chain));
	bad_chain[100] ^= 1;
	target.chain = bad_chain;
	CHECK("a changed chain is refused by name",
	      sev_guest_send_start(from.guest, &target, &policy, &session, &error) &&
		      (named(&error, -EIO, INVALID_CERTIFICATE) ||
		       named(&error, -EIO, BAD_SIGNATURE)));
	target.chain = (uint8_t *)host->chain;
	CHECK("SEND_START", !sev_guest_send_start(from.guest, &target, &policy, &session, &error) &&
				    policy == DEBUGGABLE);
	CHECK("SEND_CANCEL", !sev_guest_send_cancel(from.guest, &error) &&
				     !sev_guest_status(from.guest, &status, &error) &&
				     status.state == SEV_GUEST_RUNNING);
	CHECK("SEND_START again",
	      !sev_guest_send_start(from.guest, &target, &policy, &session, &error));
	CHECK("SEND_UPDATE_DATA of a page",
	      !sev_guest_send_update_data(from.guest, from.memory + 4096, 4096, &header, page,
					  &error));
	if (CHECK("a VM to receive in", vm_up(host, &to, &error))) {
		CHECK("RECEIVE_START",
		      !sev_guest_receive_start(to.guest, policy, (uint8_t *)&host->pdh, &session,
					       &error));
		page[7] ^= 1;
		CHECK("a changed packet is BAD_MEASUREMENT",
		      sev_guest_receive_update_data(to.guest, &header, page, 4096, to.memory,
						    &error) &&
			      named(&error, -EIO, BAD_MEASUREMENT));
		page[7] ^= 1;
		CHECK("RECEIVE_UPDATE_DATA",
		      !sev_guest_receive_update_data(to.guest, &header, page, 4096, to.memory,
						     &error));
		CHECK("RECEIVE_FINISH", !sev_guest_receive_finish(to.guest, &error));
		fill(from.memory, 2);
		CHECK("the page has arrived",
		      !sev_guest_dbg_decrypt(to.guest, to.memory, plain, 4096, &error) &&
			      !memcmp(plain, from.memory + 4096, 4096));
		vm_down(&to);
	}
	CHECK("SEND_FINISH", !sev_guest_send_finish(from.guest, &error));
	vm_down(&from);
}

static void policies(struct host *host)
{
	struct sev_send_target target = { (uint8_t *)&host->pdh, (uint8_t *)host->chain,
					  psp_vendor_ask_ark, PSP_VENDOR_CERTS_BYTES };
	struct sev_session_blob session;
	struct sev_error error;
	uint8_t plain[16];
	uint32_t policy;
	struct vm vm;

	if (!CHECK("a guest that forbids",
		   launch(host, &vm, SEV_POLICY_DEFAULT | SEV_POLICY_NOSEND, &error)))
		return;
	CHECK("NODBG: DBG_DECRYPT is POLICY_FAILURE",
	      sev_guest_dbg_decrypt(vm.guest, vm.memory, plain, 16, &error) &&
		      named(&error, -EIO, POLICY_FAILURE));
	CHECK("NOSEND: SEND_START is POLICY_FAILURE",
	      sev_guest_send_start(vm.guest, &target, &policy, &session, &error) &&
		      named(&error, -EIO, POLICY_FAILURE));
	vm_down(&vm);
}

#define MANY 64

static void every_asid_in_use(struct host *host)
{
	struct vm vms[MANY];
	struct sev_error error;
	int n = 0;

	while (n < MANY && vm_up(host, &vms[n], &error))
		n++;
	CHECK("when no ASID is left, the error says so", n < MANY && strstr(error.message, "ASID"));
	for (int i = 0; i < n + (n < MANY); i++)
		vm_down(&vms[i]);
	CHECK("and they come back", vm_up(host, &vms[0], &error));
	vm_down(&vms[0]);
}

static void drop_ipc_lock(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data))
		abort();
	data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective &= ~CAP_TO_MASK(CAP_IPC_LOCK);
	if (syscall(SYS_capset, &header, data))
		abort();
}

/* Last: the limit stays. */
static void too_little_memlock(struct host *host)
{
	struct rlimit limit = { 64 << 10, 64 << 10 };
	struct sev_error error;
	struct vm vm;

	drop_ipc_lock();
	setrlimit(RLIMIT_MEMLOCK, &limit);
	CHECK("too little memlock is explained",
	      !vm_up(host, &vm, &error) && error.err == -ENOMEM && strstr(error.message, "64 KiB"));
	vm_down(&vm);
}

int main(void)
{
	struct host host = { .tap.program = "lib_sev" };

	if (platform(&host)) {
		owned_launch(&host);
		refused_sessions(&host);
		mirrors(&host);
		send_and_receive(&host);
		policies(&host);
		every_asid_in_use(&host);
		too_little_memlock(&host);
	}
	return tap_done(&host.tap);
}
