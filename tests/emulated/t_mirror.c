/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mirror VM (KVM_CAP_VM_COPY_ENC_CONTEXT_FROM): what it sees, what others do not, and every
 * rule of the kernel's.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/emulated/canary.h"
#include "tests/emulated/vm.h"

#define SECRET "the primary's secret"
#define WORDS  512

static bool fill(struct vm *vm, uint64_t gva)
{
	return vm_do(vm, &(struct call){ .function = guest_fill,
					 .rdi = gva,
					 .rsi = canary_told.half_a,
					 .rdx = canary_told.half_b,
					 .rcx = WORDS });
}

static uint32_t count(struct vm *vm, uint64_t gva)
{
	return vm_ask(vm, &(struct call){ .function = guest_count,
					  .rdi = gva,
					  .rsi = canary_told.half_a,
					  .rdx = canary_told.half_b,
					  .rcx = WORDS });
}

static void test_reads(struct tap *tap, struct vm *primary, struct vm *mirror)
{
	uint8_t seen[64] = "";

	tap_ok(tap, fill(primary, GPA_PRIVATE), "the primary writes a private page");
	tap_ok(tap, canary_count(&canary_told, primary->mem + GPA_PRIVATE, PAGE_BYTES) == 0,
	       "the host sees ciphertext");
	tap_ok(tap, count(mirror, GPA_PRIVATE) == WORDS, "the mirror reads it in clear");
	tap_ok(tap,
	       vm_read(mirror, GPA_SECRET, seen, strlen(SECRET)) && !strcmp((char *)seen, SECRET),
	       "and the launch secret");
	tap_ok(tap, fill(mirror, GPA_FREE) && count(primary, GPA_FREE) == WORDS,
	       "what the mirror writes the primary reads");
	tap_ok(tap, canary_count(&canary_told, primary->mem + GPA_FREE, PAGE_BYTES) == 0,
	       "and the host sees as ciphertext");
}

/*
 * The mirror's own memslots: the same memory through a second mapping at another guest address,
 * read-only there.
 */
static void test_views(struct tap *tap, struct vm *primary)
{
	struct vm mirror;
	struct outcome out;

	if (!vm_create(primary->host, &mirror, primary))
		return;
	tap_ok(tap, !vm_mirror_of(&mirror, primary->fd), "a second mirror of the same primary");
	tap_ok(tap, !vm_slot(&mirror, 1, GUEST_WINDOW_GPA, primary->mem, 2 << 20, KVM_MEM_READONLY),
	       "with the memory once more at another address, read-only");
	tap_ok(tap, !vm_add_vcpu(&mirror), "and a vCPU");
	fill(primary, GPA_PRIVATE);
	vm_call(&mirror, 0,
		&(struct call){ .function = guest_copy,
				.rdi = GPA_SCRATCH,
				.rsi = GVA_WINDOW_PRIVATE + GPA_PRIVATE,
				.rcx = PAGE_BYTES },
		&out);
	tap_ok(tap, out.reason == KVM_EXIT_HLT && count(&mirror, GPA_SCRATCH) == WORDS,
	       "reads the primary's page there: the key goes by the host's address");
	mirror.quiet = true;
	vm_call(&mirror, 0,
		&(struct call){ .function = guest_fill,
				.rdi = GVA_WINDOW_PRIVATE + GPA_PRIVATE,
				.rsi = 1,
				.rcx = 1 },
		&out);
	tap_ok(tap, count(primary, GPA_PRIVATE) == WORDS, "and cannot write it (exit %d)",
	       out.reason);
	vm_destroy(&mirror);
}

static void test_strangers(struct tap *tap, struct vm *primary)
{
	static const uint32_t policies[] = { 0, VM_PLAIN };
	static const char *const names[] = { "another SEV VM", "a plain VM" };

	fill(primary, GPA_PRIVATE);
	for (int i = 0; i < 2; i++) {
		struct vm vm;

		if (!vm_start(primary->host, &vm, policies[i], "x"))
			continue;
		vm_slot(&vm, 1, GUEST_WINDOW_GPA, primary->mem, 2 << 20, 0);
		tap_ok(tap, fill(&vm, GPA_PRIVATE) && count(&vm, GPA_PRIVATE) == WORDS,
		       "%s reads its own page", names[i]);
		tap_ok(tap, count(&vm, GVA_WINDOW_PRIVATE + GPA_PRIVATE) == 0,
		       "%s does not read the primary's, privately", names[i]);
		tap_ok(tap, count(&vm, GVA_WINDOW_SHARED + GPA_PRIVATE) == 0,
		       "%s does not read the primary's, shared", names[i]);
		vm_destroy(&vm);
		/* guest_count XORs every word twice, under the wrong key: that is the identity */
		tap_ok(tap, count(primary, GPA_PRIVATE) == WORDS, "the primary still does");
	}
}

static void test_commands(struct tap *tap, struct vm *mirror)
{
	static uint8_t page[PAGE_BYTES];
	uintptr_t p = (uintptr_t)page, g = (uintptr_t)mirror->mem;
	struct kvm_sev_launch_start start = { 0 };
	struct kvm_sev_launch_update_data update = { g, 4096 };
	struct kvm_sev_launch_measure measure = { p, SEV_MEASURE_BYTES };
	struct kvm_sev_launch_secret secret = { p, SEV_HEADER_BYTES, g, 16, p, 16 };
	struct kvm_sev_attestation_report report = { .uaddr = p, .len = 4096 };
	struct kvm_sev_send_start send_start = { 0 };
	struct kvm_sev_send_update_data send = { p, SEV_HEADER_BYTES, g, 16, p + 64, 16 };
	struct kvm_sev_receive_start receive_start = { 0, 0, p, SEV_CERT_BYTES, p, 128 };
	struct kvm_sev_receive_update_data receive = { p, SEV_HEADER_BYTES, g, 16, p, 16 };
	const struct {
		uint32_t id;
		void *data;
		const char *name;
	} refused[] = {
		{ KVM_SEV_INIT, NULL, "mirror: SEV_INIT" },
		{ KVM_SEV_ES_INIT, NULL, "mirror: SEV_ES_INIT" },
		{ KVM_SEV_LAUNCH_START, &start, "mirror: LAUNCH_START" },
		{ KVM_SEV_LAUNCH_UPDATE_DATA, &update, "mirror: LAUNCH_UPDATE_DATA" },
		{ KVM_SEV_LAUNCH_MEASURE, &measure, "mirror: LAUNCH_MEASURE" },
		{ KVM_SEV_LAUNCH_SECRET, &secret, "mirror: LAUNCH_SECRET" },
		{ KVM_SEV_LAUNCH_FINISH, NULL, "mirror: LAUNCH_FINISH" },
		{ KVM_SEV_GET_ATTESTATION_REPORT, &report, "mirror: GET_ATTESTATION_REPORT" },
		{ KVM_SEV_SEND_START, &send_start, "mirror: SEND_START" },
		{ KVM_SEV_SEND_UPDATE_DATA, &send, "mirror: SEND_UPDATE_DATA" },
		{ KVM_SEV_SEND_FINISH, NULL, "mirror: SEND_FINISH" },
		{ KVM_SEV_SEND_CANCEL, NULL, "mirror: SEND_CANCEL" },
		{ KVM_SEV_RECEIVE_START, &receive_start, "mirror: RECEIVE_START" },
		{ KVM_SEV_RECEIVE_UPDATE_DATA, &receive, "mirror: RECEIVE_UPDATE_DATA" },
		{ KVM_SEV_RECEIVE_FINISH, NULL, "mirror: RECEIVE_FINISH" },
	};
	struct kvm_sev_dbg dbg = { g + GPA_SECRET, p, 32 };
	struct sev_result result;

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		tap_sev_errno(tap, vm_sev(mirror, refused[i].id, refused[i].data), EINVAL,
			      refused[i].name);
	tap_ok(tap, vm_pin(mirror, true) == EINVAL, "mirror: REG_REGION: EINVAL");
	tap_ok(tap, vm_pin(mirror, false) == EINVAL, "mirror: UNREG_REGION: EINVAL");
	tap_ok(tap, vm_state(mirror) == GSTATE_RUNNING, "mirror: GUEST_STATUS works");
	tap_sev_good(tap, vm_sev(mirror, KVM_SEV_DBG_DECRYPT, &dbg), "mirror: DBG_DECRYPT works");
	tap_ok(tap, !strcmp((char *)page, SECRET), "and decrypts");
	dbg = (struct kvm_sev_dbg){ p, g + GPA_SCRATCH, 32 };
	tap_sev_good(tap, vm_sev(mirror, KVM_SEV_DBG_ENCRYPT, &dbg), "mirror: DBG_ENCRYPT works");
	/*
	 * on to KVM's own checks (no SEV-ES guest), not stopped as a mirror's: ENOTTY, not EINVAL
	 */
	result = vm_sev(mirror, KVM_SEV_LAUNCH_UPDATE_VMSA, NULL);
	tap_ok(tap, result.errnum == ENOTTY,
	       "mirror: LAUNCH_UPDATE_VMSA passes the mirror check: %s", strerror(result.errnum));
}

/* KVM_ENABLE_CAP on a fresh VM with this source fd must give errnum. */
static void copy_refused(struct tap *tap, struct host *host, int source, int errnum,
			 const char *what)
{
	struct vm vm;
	int got;

	if (!vm_create(host, &vm, NULL))
		return;
	got = vm_mirror_of(&vm, source);
	tap_ok(tap, got == errnum, "source is %s: %s [%s]", what, strerror(errnum), strerror(got));
	vm_destroy(&vm);
}

static void test_rules(struct tap *tap, struct vm *primary, struct vm *mirror)
{
	struct host *host = primary->host;
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC), pipe_fd[2];
	struct vm vm, plain;

	copy_refused(tap, host, 9999, EBADF, "no open file");
	copy_refused(tap, host, -1, EBADF, "-1");
	copy_refused(tap, host, null_fd, EBADF, "/dev/null");
	copy_refused(tap, host, host->kvm_fd, EBADF, "/dev/kvm itself");
	copy_refused(tap, host, host->sev_fd, EBADF, "/dev/sev");
	copy_refused(tap, host, primary->vcpus[0].fd, EBADF, "a vCPU");
	if (!pipe(pipe_fd)) {
		copy_refused(tap, host, pipe_fd[0], EBADF, "a pipe");
		close(pipe_fd[0]);
		close(pipe_fd[1]);
	}
	close(null_fd);
	copy_refused(tap, host, mirror->fd, EINVAL, "itself a mirror");
	if (vm_create(host, &plain, NULL)) {
		copy_refused(tap, host, plain.fd, EINVAL, "not an SEV VM");
		tap_ok(tap, vm_mirror_of(&plain, plain.fd) == EINVAL,
		       "source is the VM itself: EINVAL");
		tap_ok(tap, !vm_add_vcpu(&plain) && vm_mirror_of(&plain, primary->fd) == EINVAL,
		       "the new VM has a vCPU: EINVAL");
		vm_destroy(&plain);
	}
	if (vm_create(host, &vm, NULL)) {
		vm_sev(&vm, KVM_SEV_INIT, NULL);
		tap_ok(tap, vm_mirror_of(&vm, primary->fd) == EINVAL, "the new VM is SEV: EINVAL");
		vm_destroy(&vm);
	}
	tap_ok(tap, vm_mirror_of(primary, primary->fd) == EINVAL, "a primary of itself: EINVAL");
	tap_ok(tap, vm_mirror_of(mirror, primary->fd) == EINVAL, "a mirror once more: EINVAL");
	tap_ok(tap, ioctl(host->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_VM_COPY_ENC_CONTEXT_FROM) == 1,
	       "the capability is announced");
	tap_ok(tap, count(primary, GPA_PRIVATE) == WORDS, "the primary is as it was");
}

/* The context lives as long as a mirror: the primary's fds are closed, its ASID stays. */
static void test_survives(struct tap *tap, struct host *host)
{
	struct sev_user_data_status status;
	struct vm primary, mirror;

	if (!tap_ok(tap, vm_start(host, &primary, 0, SECRET) && vm_start_mirror(&mirror, &primary),
		    "another primary and its mirror"))
		return;
	fill(&primary, GPA_PRIVATE);
	vm_close(&primary);
	tap_ok(tap, count(&mirror, GPA_PRIVATE) == WORDS,
	       "the primary's fd closed, the mirror still reads its page");
	tap_ok(tap, vm_state(&mirror) == GSTATE_RUNNING, "GUEST_STATUS by the mirror: RUNNING");
	sev_platform_cmd(host->sev_fd, SEV_PLATFORM_STATUS, &status);
	tap_ok(tap, status.guest_count >= 1, "the firmware still has the guest");
	vm_destroy(&mirror);
	vm_destroy(&primary);
	sev_platform_cmd(host->sev_fd, SEV_PLATFORM_STATUS, &status);
	tap_ok(tap, status.guest_count == 0, "and has it no more when the mirror is closed: %u",
	       status.guest_count);
}

/*
 * A mirror in another process, which inherits the VM's and the memory's fds; and its death disturbs
 * nobody.
 */
static void test_process(struct tap *tap, struct vm *primary)
{
	int status = -1;
	pid_t pid;

	fill(primary, GPA_PRIVATE);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		struct vm mirror;
		bool good =
			vm_start_mirror(&mirror, primary) && count(&mirror, GPA_PRIVATE) == WORDS;

		_exit(good ? 17 : 1);
	}
	waitpid(pid, &status, 0);
	tap_ok(tap, WIFEXITED(status) && WEXITSTATUS(status) == 17,
	       "a mirror in another process reads the primary's page");
	tap_ok(tap, count(primary, GPA_PRIVATE) == WORDS, "the primary outlives it");
}

/* A mirror that crashes is its own end only. */
static void test_crash(struct tap *tap, struct vm *primary)
{
	struct vm mirror;
	struct outcome out;

	if (!vm_start_mirror(&mirror, primary))
		return;
	mirror.quiet = true;
	vm_call(&mirror, 0, &(struct call){ .function = guest_hello, .rsi = 1ull << 40 }, &out);
	tap_ok(tap, out.reason == KVM_EXIT_SHUTDOWN,
	       "a mirror's triple fault is a shutdown: exit %d", out.reason);
	vm_destroy(&mirror);
	tap_ok(tap, count(primary, GPA_PRIVATE) == WORDS, "the primary does not");
}

int main(void)
{
	struct tap tap = { .program = "mirror" };
	struct vm primary, mirror;
	struct host host;

	host_open(&host);
	if (tap_ok(&tap, vm_start(&host, &primary, 0, SECRET), "a primary") &&
	    tap_ok(&tap, vm_start_mirror(&mirror, &primary), "a mirror of it")) {
		test_reads(&tap, &primary, &mirror);
		test_views(&tap, &primary);
		test_strangers(&tap, &primary);
		test_commands(&tap, &mirror);
		test_rules(&tap, &primary, &mirror);
		test_process(&tap, &primary);
		test_crash(&tap, &primary);
		vm_destroy(&mirror);
		vm_destroy(&primary);
	}
	test_survives(&tap, &host);
	host_close(&host);
	return tap_done(&tap);
}
