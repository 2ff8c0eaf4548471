/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vm.h"

/* Of VM_TABLES_GPA's pages. */
#define PML4_GPA  VM_TABLES_GPA
#define PDPT_GPA  (VM_TABLES_GPA + 0x1000)
#define PD_GPA	  (VM_TABLES_GPA + 0x2000)
#define PTE_TABLE 0x07ULL /* present, writable, user */
#define PTE_LARGE 0x87ULL

#define CONFIG_MAGIC 0x31646562656d65ULL

/* What the target must know to build the same VM. */
struct config {
	uint64_t magic, ram_bytes, nvcpus;
};

/* ---- the VM ---- */

void vm_init(struct vm *vm, const struct vm_guest *guest)
{
	*vm = (struct vm){
		.guest = guest, .kvm_fd = -1, .vm_fd = -1, .ram_fd = -1, .helper.fd = -1
	};
	for (unsigned int i = 0; i < VM_VCPUS_MAX; i++)
		vm->vcpu[i].fd = -1;
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

/*
 * Guest RAM must be a memfd: the library maps it a second time for the mirror VM. The Migration
 * Helper's memory is one of its own, which this VM never sees.
 */
static int make_memory(struct vm *vm, uint64_t ram_bytes)
{
	struct sevmirror_ram_range range;
	int err;

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
	range = range_of(vm);
	err = sevmirror_helper_place(&vm->region, &range, 1, 0);
	return err ? err : sevmirror_helper_memory_create(&vm->helper, &vm->region);
}

/* The VM, its memory and vCPUs that do not run yet. */
static int make_vm(struct vm *vm, uint64_t ram_bytes, uint64_t nvcpus)
{
	int err;

	if (nvcpus < 1 || nvcpus > VM_VCPUS_MAX)
		return -EINVAL;
	err = make_memory(vm, ram_bytes);
	if (err)
		return err;
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	vm->vm_fd = vm->kvm_fd < 0 ? -1 : ioctl(vm->kvm_fd, KVM_CREATE_VM, 0UL);
	if (vm->vm_fd < 0)
		return -errno;
	err = set_memslot(vm, false);
	for (uint32_t i = 0; i < nvcpus && !err; i++) {
		vm->nvcpus = i + 1;
		err = vcpu_create(&vm->vcpu[i], vm->kvm_fd, vm->vm_fd, i, vm->guest->exit);
	}
	return err;
}

static void map_memory(struct vm *vm)
{
	uint64_t *pd = (void *)(vm->ram + PD_GPA);

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

/* 64-bit mode, ring 3, at the guest's first instruction. */
static int enter(struct vm *vm, uint32_t index)
{
	struct kvm_regs regs = { .rflags = 2 };
	int fd = vm->vcpu[index].fd;
	struct kvm_sregs s;

	if (ioctl(fd, KVM_GET_SREGS, &s))
		return -errno;
	s.cs = segment(0x33, 11, true);
	s.ss = s.ds = s.es = s.fs = s.gs = segment(0x2b, 3, false);
	s.cr0 = 0x80050033;
	s.cr3 = PML4_GPA;
	s.cr4 = 0x620;
	s.efer = 0xd01;
	vm->guest->enter(vm, index, &regs, &s);
	return ioctl(fd, KVM_SET_SREGS, &s) || ioctl(fd, KVM_SET_REGS, &regs) ? -errno : 0;
}

int vm_launch(struct vm *vm, uint64_t ram_bytes, uint32_t nvcpus)
{
	struct sevmirror_ram_range range;
	int err = make_vm(vm, ram_bytes, nvcpus);

	if (err)
		return err;
	map_memory(vm);
	err = vm->guest->load(vm);
	if (err)
		return err;
	range = range_of(vm);
	err = sevmirror_helper_build(&range, 1, 0, vm->helper.hva, vm->region.core_bytes);
	for (uint32_t i = 0; i < nvcpus && !err; i++)
		err = enter(vm, i);
	return err ? err : vm_ops.resume(vm);
}

void vm_destroy(struct vm *vm)
{
	for (uint32_t i = 0; i < vm->nvcpus; i++)
		vcpu_destroy(&vm->vcpu[i]);
	if (vm->ram)
		munmap(vm->ram, vm->ram_bytes);
	close(vm->vm_fd);
	close(vm->kvm_fd);
	close(vm->ram_fd);
	sevmirror_helper_memory_destroy(&vm->helper, &vm->region);
	vm_init(vm, vm->guest);
}

/* ---- what the library calls ---- */

static int op_describe(void *opaque, struct sevmirror_vm *out)
{
	struct vm *vm = opaque;

	*out = (struct sevmirror_vm){ .name = vm->guest->name,
				      .kvm_fd = vm->kvm_fd,
				      .vm_fd = vm->vm_fd,
				      .sev_fd = -1,
				      .helper = vm->helper,
				      .nranges = 1,
				      .ranges = { range_of(vm) } };
	return 0;
}

static ssize_t op_config_save(void *opaque, void *buf, size_t max)
{
	struct vm *vm = opaque;
	struct config config = { CONFIG_MAGIC, vm->ram_bytes, vm->nvcpus };

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
	err = config.magic == CONFIG_MAGIC ? make_vm(opaque, config.ram_bytes, config.nvcpus) :
					     -EINVAL;
	if (err)
		snprintf(why, max, "the VM cannot be built: %s", strerror(-err));
	return err;
}

/* A VMM whose guests see CPUID, a TSC or devices compares them here. */
static ssize_t op_compat_save(void *opaque, void *buf, size_t max)
{
	const char *name = ((struct vm *)opaque)->guest->name;
	size_t len = strlen(name);

	if (max < len)
		return -ENOSPC;
	memcpy(buf, name, len);
	return (ssize_t)len;
}

static int op_compat_check(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	const char *name = ((struct vm *)opaque)->guest->name;

	if (len == strlen(name) && !memcmp(buf, name, len))
		return 0;
	snprintf(why, max, "the source has another guest than '%s'", name);
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

static int op_pause(void *opaque)
{
	struct vm *vm = opaque;

	for (uint32_t i = 0; i < vm->nvcpus; i++)
		vcpu_stop(&vm->vcpu[i]);
	vm->running = false;
	return 0;
}

static int op_resume(void *opaque)
{
	struct vm *vm = opaque;
	int err = 0;

	for (uint32_t i = 0; i < vm->nvcpus && !err; i++)
		err = vcpu_start(&vm->vcpu[i]);
	/* The other host takes the guest back: no vCPU may run here. */
	for (uint32_t i = 0; i < vm->nvcpus && err; i++)
		vcpu_stop(&vm->vcpu[i]);
	vm->running = !err;
	return err;
}

static void op_request_pause(void *opaque)
{
	struct vm *vm = opaque;

	for (uint32_t i = 0; i < vm->nvcpus; i++)
		vcpu_request_stop(&vm->vcpu[i]);
}

static void op_throttle(void *opaque, unsigned int percent)
{
	struct vm *vm = opaque;

	for (uint32_t i = 0; i < vm->nvcpus; i++)
		vcpu_throttle(&vm->vcpu[i], percent);
}

static ssize_t op_state_save(void *opaque, void *buf, size_t max)
{
	struct vm *vm = opaque;
	struct vcpu_state state;

	if (max < vm->nvcpus * sizeof(state))
		return -ENOSPC;
	for (uint32_t i = 0; i < vm->nvcpus; i++) {
		int err = vcpu_save(&vm->vcpu[i], &state);

		if (err)
			return err;
		memcpy((uint8_t *)buf + i * sizeof(state), &state, sizeof(state));
	}
	return (ssize_t)(vm->nvcpus * sizeof(state));
}

static int op_state_load(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	struct vm *vm = opaque;
	struct vcpu_state state;
	int err = 0;

	if (len != vm->nvcpus * sizeof(state)) {
		snprintf(why, max, "a state has %zu bytes, not %zu", vm->nvcpus * sizeof(state),
			 len);
		return -EINVAL;
	}
	for (uint32_t i = 0; i < vm->nvcpus && !err; i++) {
		memcpy(&state, (const uint8_t *)buf + i * sizeof(state), sizeof(state));
		err = vcpu_load(&vm->vcpu[i], &state);
	}
	if (err)
		snprintf(why, max, "the vCPUs' registers: %s", strerror(-err));
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
	.request_pause = op_request_pause,
	.throttle = op_throttle,
	.state_save = op_state_save,
	.state_load = op_state_load,
	.disks_release = op_disks_release,
	.disks_acquire = op_disks_acquire,
	.handed_over = op_handed_over,
};
