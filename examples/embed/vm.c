/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <sevmirror/helper.h>

#include "vm.h"

/*
 * Guest memory: code, then the counter, then the page tables that map all of it one to one, then
 * the working area.
 */
#define CODE_GPA   0x10000ULL
#define COUNT_GPA  0x11000ULL
#define PML4_GPA   0x12000ULL
#define PDPT_GPA   0x13000ULL
#define PD_GPA	   0x14000ULL
#define WORK_GPA   0x400000ULL
#define WORK_BYTES (4ULL << 20)

#define PTE_TABLE 0x07ULL /* present, writable, user */
#define PTE_LARGE 0x87ULL

#define CONFIG_MAGIC 0x31646562656d65ULL
#define COMPAT	     "embed/1"

struct vm {
	int kvm_fd, vm_fd, vcpu_fd, ram_fd, helper_fd;
	uint64_t ram_bytes;
	uint8_t *ram;
	struct sevmirror_helper_region region;
	void *helper; /* the region's memory: region.bytes */
	struct kvm_run *run;
	size_t run_bytes;
	pthread_t thread;
	bool running, gone;
	atomic_bool stop;
};

struct config {
	uint64_t magic, ram_bytes;
};

struct state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
};

/*
 * rbx counts; rdi: the counter in memory; rsi: the working area; rdx: its size less one. Some 50 us
 * between two stamps.
 */
extern const uint8_t guest_code[];
extern const uint64_t guest_code_bytes;
__asm__(".pushsection .rodata\n"
	"guest_code:\n"
	"1:	inc %rbx\n"
	"	mov %rbx, %rax\n"
	"	shl $12, %rax\n"
	"	and %rdx, %rax\n"
	"	mov %rbx, (%rsi, %rax)\n"
	"	mov %rbx, (%rdi)\n"
	"	mov $100000, %ecx\n"
	"2:	dec %ecx\n"
	"	jnz 2b\n"
	"	jmp 1b\n"
	".balign 8\n"
	"guest_code_bytes: .quad . - guest_code\n"
	".popsection\n");

/* ---- the VM ---- */

static void on_kick(int signal)
{
	(void)signal;
}

struct vm *vm_new(void)
{
	struct sigaction kick = { .sa_handler = on_kick };
	struct vm *vm = calloc(1, sizeof(*vm));

	sigaction(SIGUSR1, &kick, NULL);
	if (vm)
		vm->kvm_fd = vm->vm_fd = vm->vcpu_fd = vm->ram_fd = vm->helper_fd = -1;
	return vm;
}

static struct sevmirror_ram_range range_of(const struct vm *vm)
{
	return (struct sevmirror_ram_range){ .bytes = vm->ram_bytes,
					     .fd = vm->ram_fd,
					     .hva = vm->ram };
}

static int set_memslot(struct vm *vm, bool log)
{
	struct kvm_userspace_memory_region slot = {
		.flags = log ? KVM_MEM_LOG_DIRTY_PAGES : 0,
		.memory_size = vm->ram_bytes,
		.userspace_addr = (uintptr_t)vm->ram,
	};

	return ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) ? -errno : 0;
}

/* The Migration Helper's memory is a memfd of its own, which the VM never sees. */
static int make_helper_memory(struct vm *vm)
{
	struct sevmirror_ram_range range = range_of(vm);
	int err = sevmirror_helper_place(&vm->region, &range, 1, 0);

	if (err)
		return err;
	vm->helper_fd = memfd_create("helper", MFD_CLOEXEC);
	if (vm->helper_fd < 0 || ftruncate(vm->helper_fd, (off_t)vm->region.bytes))
		return -errno;
	vm->helper =
		mmap(NULL, vm->region.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->helper_fd, 0);
	if (vm->helper == MAP_FAILED) {
		vm->helper = NULL;
		return -errno;
	}
	return 0;
}

/* Guest RAM must be a memfd: the library maps it a second time for the mirror VM. */
static int make_memory(struct vm *vm, uint64_t ram_bytes)
{
	if (ram_bytes % (2 << 20) || ram_bytes < 16 << 20 || ram_bytes > 1 << 30)
		return -EINVAL;
	vm->ram_bytes = ram_bytes;
	vm->ram_fd = memfd_create("guest-ram", MFD_CLOEXEC);
	if (vm->ram_fd < 0 || ftruncate(vm->ram_fd, (off_t)ram_bytes))
		return -errno;
	vm->ram = mmap(NULL, ram_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->ram_fd, 0);
	if (vm->ram == MAP_FAILED) {
		vm->ram = NULL;
		return -errno;
	}
	return make_helper_memory(vm);
}

/* The VM and its vCPU, which does not run yet. */
static int make_vm(struct vm *vm, uint64_t ram_bytes)
{
	int bytes, err = make_memory(vm, ram_bytes);

	if (err)
		return err;
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	vm->vm_fd = vm->kvm_fd < 0 ? -1 : ioctl(vm->kvm_fd, KVM_CREATE_VM, 0UL);
	if (vm->vm_fd < 0)
		return -errno;
	err = set_memslot(vm, false);
	if (err)
		return err;
	vm->vcpu_fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, 0UL);
	bytes = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0UL);
	if (vm->vcpu_fd < 0 || bytes < 0)
		return -errno;
	vm->run_bytes = (size_t)bytes;
	vm->run = mmap(NULL, vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
	if (vm->run == MAP_FAILED) {
		vm->run = NULL;
		return -errno;
	}
	return 0;
}

static void fill_memory(struct vm *vm)
{
	uint64_t *pd = (void *)(vm->ram + PD_GPA);

	memcpy(vm->ram + CODE_GPA, guest_code, guest_code_bytes);
	*(uint64_t *)(vm->ram + PML4_GPA) = PDPT_GPA | PTE_TABLE;
	*(uint64_t *)(vm->ram + PDPT_GPA) = PD_GPA | PTE_TABLE;
	for (uint64_t i = 0; i < vm->ram_bytes >> 21; i++)
		pd[i] = i << 21 | PTE_LARGE;
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool code)
{
	return (struct kvm_segment){ .limit = 0xffffffff,
				     .selector = selector,
				     .type = type,
				     .present = 1,
				     .dpl = 3,
				     .s = 1,
				     .l = code,
				     .db = !code,
				     .g = 1 };
}

/* 64-bit mode, ring 3, at the code's first instruction. */
static int set_registers(struct vm *vm)
{
	struct kvm_regs regs = { .rip = CODE_GPA,
				 .rdi = COUNT_GPA,
				 .rsi = WORK_GPA,
				 .rdx = WORK_BYTES - 1,
				 .rflags = 2 };
	struct kvm_sregs s;

	if (ioctl(vm->vcpu_fd, KVM_GET_SREGS, &s))
		return -errno;
	s.cs = segment(0x33, 11, true);
	s.ss = s.ds = s.es = s.fs = s.gs = segment(0x2b, 3, false);
	s.cr0 = 0x80050033;
	s.cr3 = PML4_GPA;
	s.cr4 = 0x620;
	s.efer = 0xd01;
	return ioctl(vm->vcpu_fd, KVM_SET_SREGS, &s) || ioctl(vm->vcpu_fd, KVM_SET_REGS, &regs) ?
		       -errno :
		       0;
}

int vm_launch(struct vm *vm, uint64_t ram_bytes)
{
	struct sevmirror_ram_range range;
	int err = make_vm(vm, ram_bytes);

	if (err)
		return err;
	fill_memory(vm);
	range = range_of(vm);
	err = sevmirror_helper_build(&range, 1, 0, vm->helper, vm->region.core_bytes);
	if (!err)
		err = set_registers(vm);
	return err ? err : vm_ops.resume(vm);
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	vm_ops.pause(vm);
	if (vm->run)
		munmap(vm->run, vm->run_bytes);
	if (vm->ram)
		munmap(vm->ram, vm->ram_bytes);
	if (vm->helper)
		munmap(vm->helper, vm->region.bytes);
	close(vm->helper_fd);
	close(vm->vcpu_fd);
	close(vm->vm_fd);
	close(vm->kvm_fd);
	close(vm->ram_fd);
	free(vm);
}

uint64_t vm_count(const struct vm *vm)
{
	return vm->ram ? __atomic_load_n((uint64_t *)(vm->ram + COUNT_GPA), __ATOMIC_RELAXED) : 0;
}

bool vm_gone(const struct vm *vm)
{
	return vm->gone;
}

/*
 * The page that count n stamps is n modulo the number of pages; a stamp comes before the count in
 * memory.
 */
bool vm_check(struct vm *vm)
{
	uint64_t npages = WORK_BYTES / SEVMIRROR_PAGE_BYTES, count;

	vm_ops.pause(vm);
	count = vm_count(vm);
	for (uint64_t i = 0; i < npages; i++) {
		uint64_t stamp = *(uint64_t *)(vm->ram + WORK_GPA + i * SEVMIRROR_PAGE_BYTES);

		if (!stamp && count < npages)
			continue;
		if (stamp % npages != i || stamp > count + 1 || stamp + npages < count) {
			fprintf(stderr, "page %llu has %llu, the count is %llu\n",
				(unsigned long long)i, (unsigned long long)stamp,
				(unsigned long long)count);
			return false;
		}
	}
	return true;
}

/* ---- what the library calls ---- */

static int op_describe(void *opaque, struct sevmirror_vm *out)
{
	struct vm *vm = opaque;

	*out = (struct sevmirror_vm){ .name = "embed",
				      .kvm_fd = vm->kvm_fd,
				      .vm_fd = vm->vm_fd,
				      .sev_fd = -1,
				      .helper = { .fd = vm->helper_fd, .hva = vm->helper },
				      .nranges = 1,
				      .ranges = { range_of(vm) } };
	return 0;
}

static ssize_t op_config_save(void *opaque, void *buf, size_t max)
{
	struct vm *vm = opaque;
	struct config config = { CONFIG_MAGIC, vm->ram_bytes };

	if (max < sizeof(config))
		return -ENOSPC;
	memcpy(buf, &config, sizeof(config));
	return sizeof(config);
}

static int op_config_load(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	struct config config;
	int err;

	if (len != sizeof(config)) {
		snprintf(why, max, "a configuration has %zu bytes, not %zu", sizeof(config), len);
		return -EINVAL;
	}
	memcpy(&config, buf, sizeof(config));
	err = config.magic == CONFIG_MAGIC ? make_vm(opaque, config.ram_bytes) : -EINVAL;
	if (err)
		snprintf(why, max, "the VM cannot be built: %s", strerror(-err));
	return err;
}

/* A VMM whose guests see CPUID, a TSC or devices compares them here. */
static ssize_t op_compat_save(void *opaque, void *buf, size_t max)
{
	(void)opaque;
	if (max < sizeof(COMPAT))
		return -ENOSPC;
	memcpy(buf, COMPAT, sizeof(COMPAT));
	return sizeof(COMPAT);
}

static int op_compat_check(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	(void)opaque;
	if (len == sizeof(COMPAT) && !memcmp(buf, COMPAT, len))
		return 0;
	snprintf(why, max, "the other side is not " COMPAT);
	return -ENOTSUP;
}

static int op_dirty_start(void *opaque)
{
	return set_memslot(opaque, true);
}

static int op_dirty_fetch(void *opaque, uint64_t *bitmap, size_t npages)
{
	struct vm *vm = opaque;
	size_t words = (npages + 63) / 64;
	uint64_t *log = calloc(words, sizeof(*log));
	struct kvm_dirty_log arg = { .dirty_bitmap = log };
	int err;

	if (!log)
		return -ENOMEM;
	err = ioctl(vm->vm_fd, KVM_GET_DIRTY_LOG, &arg) ? -errno : 0;
	for (size_t i = 0; i < words && !err; i++)
		bitmap[i] |= log[i];
	free(log);
	return err;
}

static void op_dirty_stop(void *opaque)
{
	(void)set_memslot(opaque, false);
}

static void *run_vcpu(void *opaque)
{
	struct vm *vm = opaque;

	while (!atomic_load(&vm->stop)) {
		if (ioctl(vm->vcpu_fd, KVM_RUN, 0UL) < 0 && errno != EINTR && errno != EAGAIN) {
			perror("KVM_RUN");
			break;
		}
		/* This guest has no reason to leave; only the kick interrupts it. */
		if (vm->run->exit_reason != KVM_EXIT_INTR && !vm->run->immediate_exit) {
			fprintf(stderr, "the guest left: reason %u\n", vm->run->exit_reason);
			break;
		}
	}
	return NULL;
}

static int op_pause(void *opaque)
{
	struct vm *vm = opaque;
	struct timespec soon;

	if (!vm->running)
		return 0;
	atomic_store(&vm->stop, true);
	vm->run->immediate_exit = 1; /* for a kick that comes just before KVM_RUN */
	do {
		pthread_kill(vm->thread, SIGUSR1);
		clock_gettime(CLOCK_REALTIME, &soon);
		soon.tv_nsec += 1000000;
		if (soon.tv_nsec >= 1000000000) {
			soon.tv_sec++;
			soon.tv_nsec -= 1000000000;
		}
	} while (pthread_timedjoin_np(vm->thread, NULL, &soon) == ETIMEDOUT);
	vm->running = false;
	return 0;
}

static int op_resume(void *opaque)
{
	struct vm *vm = opaque;
	int err;

	if (vm->running)
		return 0;
	atomic_store(&vm->stop, false);
	vm->run->immediate_exit = 0;
	err = -pthread_create(&vm->thread, NULL, run_vcpu, vm);
	vm->running = !err;
	return err;
}

/* Asked for only with sevmirror_source_options.throttle, which this program does not set. */
static void op_throttle(void *opaque, unsigned int percent)
{
	(void)opaque;
	(void)percent;
}

/*
 * All that this guest uses of its vCPU; a VMM for real guests has XSAVE, MSRs, the local APIC,
 * events, the clock to add.
 */
static ssize_t op_state_save(void *opaque, void *buf, size_t max)
{
	struct vm *vm = opaque;
	struct state state;

	if (max < sizeof(state))
		return -ENOSPC;
	if (ioctl(vm->vcpu_fd, KVM_GET_REGS, &state.regs) ||
	    ioctl(vm->vcpu_fd, KVM_GET_SREGS, &state.sregs))
		return -errno;
	memcpy(buf, &state, sizeof(state));
	return sizeof(state);
}

static int op_state_load(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	struct vm *vm = opaque;
	struct state state;
	int err = 0;

	if (len != sizeof(state)) {
		snprintf(why, max, "a state has %zu bytes, not %zu", sizeof(state), len);
		return -EINVAL;
	}
	memcpy(&state, buf, sizeof(state));
	if (ioctl(vm->vcpu_fd, KVM_SET_SREGS, &state.sregs) ||
	    ioctl(vm->vcpu_fd, KVM_SET_REGS, &state.regs)) {
		err = -errno;
		snprintf(why, max, "the vCPU's registers: %s", strerror(-err));
	}
	return err;
}

/* There are no disks to flush, to lock or to open. */
static int op_disks_release(void *opaque)
{
	(void)opaque;
	return 0;
}

static int op_disks_acquire(void *opaque, char *why, size_t max)
{
	(void)opaque;
	(void)why;
	(void)max;
	return 0;
}

static void op_handed_over(void *opaque)
{
	struct vm *vm = opaque;

	vm->gone = true;
}

const struct sevmirror_host_ops vm_ops = {
	.describe = op_describe,
	.config_save = op_config_save,
	.config_load = op_config_load,
	.compat_save = op_compat_save,
	.compat_check = op_compat_check,
	.dirty_start = op_dirty_start,
	.dirty_fetch = op_dirty_fetch,
	.dirty_stop = op_dirty_stop,
	.pause = op_pause,
	.resume = op_resume,
	.throttle = op_throttle,
	.state_save = op_state_save,
	.state_load = op_state_load,
	.disks_release = op_disks_release,
	.disks_acquire = op_disks_acquire,
	.handed_over = op_handed_over,
};
