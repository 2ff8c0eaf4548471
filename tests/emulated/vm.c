/* SPDX-License-Identifier: Apache-2.0 */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/emulated/vm.h"

#define MAX_CPUID_ENTRIES 256

/* Page-table entry bits: present, writable, user; and a 2 MiB leaf. */
#define PTE_TABLE 0x7ull
#define PTE_LARGE 0x87ull

void host_open(struct host *host)
{
	unsigned int eax, ebx, ecx, edx;

	host->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	host->sev_fd = open("/dev/sev", O_RDWR | O_CLOEXEC);
	if (host->kvm_fd < 0 || host->sev_fd < 0) {
		fprintf(stderr, "no /dev/kvm or /dev/sev: this test runs on an SEV host\n");
		exit(2);
	}
	if (!__get_cpuid_count(0x8000001f, 0, &eax, &ebx, &ecx, &edx) || !(eax & 2)) {
		fprintf(stderr, "CPUID 8000001F has no SEV\n");
		exit(2);
	}
	host->c_bit = ebx & 0x3f;
}

void host_close(struct host *host)
{
	close(host->sev_fd);
	close(host->kvm_fd);
}

bool vm_create(struct host *host, struct vm *vm, const struct vm *share)
{
	memset(vm, 0, sizeof(*vm));
	vm->host = host;
	vm->mem = MAP_FAILED;
	vm->mem_fd = share ? dup(share->mem_fd) : memfd_create("guest", MFD_CLOEXEC);
	vm->fd = ioctl(host->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->fd < 0 || vm->mem_fd < 0 || (!share && ftruncate(vm->mem_fd, GUEST_BYTES))) {
		perror("creating a VM");
		return false;
	}
	vm->mem = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		       vm->mem_fd, 0);
	if (vm->mem == MAP_FAILED) {
		perror("guest memory");
		return false;
	}
	if (share)
		vm->c_mask = share->c_mask;
	return !vm_slot(vm, 0, 0, vm->mem, GUEST_BYTES, 0);
}

void vm_close(struct vm *vm)
{
	for (int i = 0; i < vm->nvcpus; i++) {
		munmap(vm->vcpus[i].run, vm->vcpus[i].run_bytes);
		close(vm->vcpus[i].fd);
	}
	vm->nvcpus = 0;
	if (vm->fd >= 0)
		close(vm->fd);
	vm->fd = -1;
}

void vm_destroy(struct vm *vm)
{
	vm_close(vm);
	if (vm->mem != MAP_FAILED)
		munmap(vm->mem, GUEST_BYTES);
	vm->mem = MAP_FAILED;
	if (vm->mem_fd >= 0)
		close(vm->mem_fd);
	vm->mem_fd = -1;
}

static void make_tables(struct vm *vm)
{
	uint64_t *pml4 = (uint64_t *)(vm->mem + GPA_TABLES);
	uint64_t *pdpt = pml4 + 512, *pd = pdpt + 512, *pt = pd + 512;
	uint64_t c = vm->c_mask;

	pml4[0] = (GPA_TABLES + PAGE_BYTES) | PTE_TABLE | c;
	pdpt[0] = (GPA_TABLES + 2 * PAGE_BYTES) | PTE_TABLE | c;
	pd[0] = GPA_PT | PTE_TABLE | c;
	for (uint64_t i = 0; i < 512; i++)
		pt[i] = i * PAGE_BYTES | PTE_TABLE | (i * PAGE_BYTES == GPA_SHARED ? 0 : c);
	pd[1] = 0x200000 | PTE_LARGE | c;
	pd[GVA_MMIO >> 21] = GUEST_MMIO_GPA | PTE_LARGE;
	pd[GVA_LOW_SHARED >> 21] = PTE_LARGE;
	pd[GVA_WINDOW_PRIVATE >> 21] = GUEST_WINDOW_GPA | PTE_LARGE | c;
	pd[GVA_WINDOW_SHARED >> 21] = GUEST_WINDOW_GPA | PTE_LARGE;
}

void vm_load(struct vm *vm, bool sev, const char *secret)
{
	vm->c_mask = sev ? 1ull << vm->host->c_bit : 0;
	memcpy(vm->mem + GPA_CODE, guest_code, guest_code_end - guest_code);
	make_tables(vm);
	snprintf((char *)vm->mem + GPA_SECRET, PAGE_BYTES, "%s", secret);
}

struct sev_result vm_sev(struct vm *vm, uint32_t id, void *data)
{
	return sev_vm_cmd(vm->fd, vm->host->sev_fd, id, data);
}

int vm_pin(struct vm *vm, bool pinned)
{
	struct kvm_enc_region region = { .addr = (uintptr_t)vm->mem, .size = GUEST_BYTES };
	unsigned long request =
		pinned ? KVM_MEMORY_ENCRYPT_REG_REGION : KVM_MEMORY_ENCRYPT_UNREG_REGION;

	return ioctl(vm->fd, request, &region) ? errno : 0;
}

struct sev_result vm_launch_begin(struct vm *vm, uint32_t policy)
{
	struct kvm_sev_launch_start start = { .policy = policy };
	struct sev_result result = vm_sev(vm, KVM_SEV_INIT, NULL);

	if (result.errnum)
		return result;
	result.errnum = vm_pin(vm, true);
	if (result.errnum)
		return result;
	return vm_sev(vm, KVM_SEV_LAUNCH_START, &start);
}

struct sev_result vm_launch_update(struct vm *vm)
{
	struct kvm_sev_launch_update_data update = {
		.uaddr = (uintptr_t)vm->mem + GPA_CODE,
		.len = GPA_LAUNCH_END - GPA_CODE,
	};

	return vm_sev(vm, KVM_SEV_LAUNCH_UPDATE_DATA, &update);
}

struct sev_result vm_launch_measure(struct vm *vm, uint8_t blob[SEV_MEASURE_BYTES])
{
	struct kvm_sev_launch_measure measure = {
		.uaddr = (uintptr_t)blob,
		.len = SEV_MEASURE_BYTES,
	};

	return vm_sev(vm, KVM_SEV_LAUNCH_MEASURE, &measure);
}

struct sev_result vm_launch(struct vm *vm, uint32_t policy)
{
	uint8_t blob[SEV_MEASURE_BYTES];
	struct sev_result result = vm_launch_begin(vm, policy);

	if (!result.errnum)
		result = vm_launch_update(vm);
	if (!result.errnum)
		result = vm_launch_measure(vm, blob);
	if (!result.errnum)
		result = vm_sev(vm, KVM_SEV_LAUNCH_FINISH, NULL);
	return result;
}

int vm_slot(struct vm *vm, int slot, uint64_t gpa, void *mem, size_t bytes, uint32_t flags)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)mem,
	};

	return ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) ? errno : 0;
}

static int take_context(struct vm *vm, uint32_t cap, int source_fd)
{
	struct kvm_enable_cap enable = { .cap = cap, .args = { (uint32_t)source_fd } };

	return ioctl(vm->fd, KVM_ENABLE_CAP, &enable) ? errno : 0;
}

int vm_mirror_of(struct vm *mirror, int source_fd)
{
	return take_context(mirror, KVM_CAP_VM_COPY_ENC_CONTEXT_FROM, source_fd);
}

int vm_move_from(struct vm *vm, int source_fd)
{
	return take_context(vm, KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM, source_fd);
}

static int set_cpuid(struct host *host, int vcpu_fd)
{
	struct kvm_cpuid2 *cpuid;
	int rc;

	cpuid = calloc(1, sizeof(*cpuid) + MAX_CPUID_ENTRIES * sizeof(cpuid->entries[0]));
	if (!cpuid)
		return -1;
	cpuid->nent = MAX_CPUID_ENTRIES;
	rc = ioctl(host->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid);
	if (!rc)
		rc = ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid);
	free(cpuid);
	return rc;
}

/* 64-bit ring 0, paging on, flat segments, no IDT. */
static int set_long_mode(const struct vm *vm, int vcpu_fd)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = 8, .present = 1, .type = 11, .s = 1, .l = 1, .g = 1
	};
	struct kvm_segment data = { .limit = 0xffffffff,
				    .selector = 16,
				    .present = 1,
				    .type = 3,
				    .s = 1,
				    .db = 1,
				    .g = 1 };
	struct kvm_sregs sregs;

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs))
		return -1;
	sregs.cr0 = 0x80050033;
	sregs.cr3 = GPA_TABLES | vm->c_mask;
	sregs.cr4 = 0x620; /* PAE, OSFXSR, OSXMMEXCPT */
	sregs.efer = 0x500;
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	return ioctl(vcpu_fd, KVM_SET_SREGS, &sregs);
}

int vm_add_vcpu(struct vm *vm)
{
	struct vcpu *vcpu = &vm->vcpus[vm->nvcpus];

	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, vm->nvcpus);
	if (vcpu->fd < 0)
		return errno;
	vcpu->run_bytes = ioctl(vm->host->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	vcpu->run = mmap(NULL, vcpu->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED || set_cpuid(vm->host, vcpu->fd) ||
	    set_long_mode(vm, vcpu->fd)) {
		int errnum = errno;

		close(vcpu->fd);
		return errnum;
	}
	vm->nvcpus++;
	return 0;
}

bool vm_start(struct host *host, struct vm *vm, uint32_t policy, const char *secret)
{
	struct sev_result result = { 0 };

	if (!vm_create(host, vm, NULL))
		return false;
	vm_load(vm, policy != VM_PLAIN, secret);
	if (policy != VM_PLAIN)
		result = vm_launch(vm, policy);
	if (result.errnum) {
		fprintf(stderr, "launch: %s, firmware %s\n", strerror(result.errnum),
			sev_status_name(result.fw));
		return false;
	}
	return !vm_add_vcpu(vm);
}

bool vm_start_mirror(struct vm *mirror, const struct vm *primary)
{
	return vm_create(primary->host, mirror, primary) && !vm_mirror_of(mirror, primary->fd) &&
	       !vm_add_vcpu(mirror);
}

static void handle_io(struct kvm_run *run, struct outcome *outcome)
{
	const uint8_t *data = (const uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.port == GUEST_PORT_BYTE && outcome->nbytes < sizeof(outcome->bytes))
			outcome->bytes[outcome->nbytes++] = *data;
		else if (run->io.port == GUEST_PORT_WORD && outcome->nwords < 16)
			memcpy(&outcome->words[outcome->nwords++], data, 4);
	}
}

static void handle_mmio(struct kvm_run *run, struct outcome *outcome)
{
	const uint32_t answer = 0xcafe0001;

	if (run->mmio.is_write) {
		outcome->mmio_gpa = run->mmio.phys_addr;
		memcpy(&outcome->mmio_value, run->mmio.data, 4);
	} else {
		memcpy(run->mmio.data, &answer, sizeof(answer));
	}
}

void vm_call(struct vm *vm, int index, const struct call *call, struct outcome *outcome)
{
	struct vcpu *vcpu = &vm->vcpus[index];
	struct kvm_regs regs = {
		.rip = GPA_CODE + (call->function - guest_code),
		.rflags = 2,
		.rsp = GPA_STACKS + 512ull * (index + 1),
		.rdi = call->rdi,
		.rsi = call->rsi,
		.rdx = call->rdx,
		.rcx = call->rcx,
		.r8 = call->r8,
	};

	memset(outcome, 0, sizeof(*outcome));
	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs)) {
		outcome->reason = -errno;
		return;
	}
	for (;;) {
		if (ioctl(vcpu->fd, KVM_RUN, 0)) {
			if (errno == EINTR)
				continue;
			outcome->reason = -errno;
			break;
		}
		outcome->reason = (int)vcpu->run->exit_reason;
		if (outcome->reason == KVM_EXIT_IO)
			handle_io(vcpu->run, outcome);
		else if (outcome->reason == KVM_EXIT_MMIO)
			handle_mmio(vcpu->run, outcome);
		else
			break;
	}
	if (outcome->reason != KVM_EXIT_HLT && !vm->quiet)
		fprintf(stderr, "vCPU %d: exit %d suberror %u\n", index, outcome->reason,
			vcpu->run->internal.suberror);
}

bool vm_do(struct vm *vm, const struct call *call)
{
	struct outcome outcome;

	vm_call(vm, 0, call, &outcome);
	return outcome.reason == KVM_EXIT_HLT;
}

bool vm_read(struct vm *vm, uint64_t gva, void *buf, size_t bytes)
{
	struct outcome outcome;

	vm_call(vm, 0, &(struct call){ .function = guest_dump, .rsi = gva, .rcx = bytes },
		&outcome);
	if (outcome.reason != KVM_EXIT_HLT || outcome.nbytes != bytes)
		return false;
	memcpy(buf, outcome.bytes, bytes);
	return true;
}

uint32_t vm_ask(struct vm *vm, const struct call *call)
{
	struct outcome outcome;

	vm_call(vm, 0, call, &outcome);
	return outcome.reason == KVM_EXIT_HLT && outcome.nwords == 1 ? outcome.words[0] :
								       UINT32_MAX;
}

enum guest_state vm_state(struct vm *vm)
{
	struct kvm_sev_guest_status status = { .state = UINT32_MAX };

	vm_sev(vm, KVM_SEV_GUEST_STATUS, &status);
	return (enum guest_state)status.state;
}

struct sev_result vm_report(struct vm *vm, uint8_t nonce, uint8_t report[SEV_REPORT_BYTES])
{
	struct kvm_sev_attestation_report params = { .uaddr = (uintptr_t)report,
						     .len = SEV_REPORT_BYTES };

	memset(params.mnonce, nonce, sizeof(params.mnonce));
	return vm_sev(vm, KVM_SEV_GET_ATTESTATION_REPORT, &params);
}
