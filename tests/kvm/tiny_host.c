/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kvm/tiny_host.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <sevmirror/pagemap.h>

#include "examples/embed/vm.h"
#include "helper/layout.h"
#include "lib/mirror/region.h"
#include "payloads/dirtier.h"

/* Below PAYLOAD_BASE, where the payload has nothing; above the page tables. */
#define TSS_GPA	   0x13000ULL /* three pages, with the I/O bitmap */
#define PARAMS_GPA 0x17000ULL
#define SHARED_GPA 0x18000ULL
#define WORK_GPA   (PAYLOAD_BASE + PAYLOAD_IMAGE_MAX)

_Static_assert(VM_TABLES_GPA + 0x3000 <= TSS_GPA, "the page tables have pages of their own");
_Static_assert(VM_VCPUS_MAX >= PAYLOAD_MAX_VCPUS, "each vCPU of a payload has its place");

struct tiny_host {
	struct vm vm; /* first: the library's opaque is both */
	const char *elf;
	struct tiny_config config;
	uint64_t entry;
	struct sev_pagemap *pagemap; /* NULL: all pages are private */
	atomic_bool pause_requested;
	int fail_state_load, fail_disks;
	int disk_file, disk; /* the file's descriptor, the one with the lock; -1: none */
	tiny_host_hook_fn hook;
	void *hook_arg;
};

/* ---- its guest: a payload ---- */

/* As a guest would tell by hypercalls (KVM_HC_MAP_GPA_RANGE). */
static int share_pages(struct tiny_host *h)
{
	uint64_t every = h->config.shared_every;
	int err = every ? sev_pagemap_create(&h->pagemap, h->config.ram_bytes >> 12) : 0;

	for (uint64_t gpa = WORK_GPA; every && !err && gpa < h->config.ram_bytes;
	     gpa += every << 12)
		if (sev_pagemap_hypercall(h->pagemap, (const uint64_t[3]){ gpa, 1, 0 }))
			err = -EINVAL;
	return err;
}

static int load_elf(struct tiny_host *h)
{
	uint8_t image[1 << 20];
	const Elf64_Ehdr *ehdr = (const void *)image;
	int fd = open(h->elf, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, image, sizeof(image));

	if (fd >= 0)
		close(fd);
	if (n < (ssize_t)sizeof(*ehdr) ||
	    ehdr->e_phoff + ehdr->e_phnum * sizeof(Elf64_Phdr) > (size_t)n)
		return -ENOEXEC;
	for (int i = 0; i < ehdr->e_phnum; i++) {
		const Elf64_Phdr *p = (const Elf64_Phdr *)(image + ehdr->e_phoff) + i;

		if (p->p_type != PT_LOAD)
			continue;
		if (p->p_offset + p->p_filesz > (size_t)n || p->p_paddr < PAYLOAD_BASE ||
		    p->p_paddr + p->p_memsz > PAYLOAD_BASE + PAYLOAD_IMAGE_MAX)
			return -ENOEXEC;
		memcpy(h->vm.ram + p->p_paddr, image + p->p_offset, p->p_filesz);
	}
	h->entry = ehdr->e_entry;
	return 0;
}

static uint64_t tsc_khz(const struct tiny_host *h)
{
	int khz = ioctl(h->vm.vcpu[0].fd, KVM_GET_TSC_KHZ, 0UL);

	return khz > 0 ? (uint64_t)khz : 0;
}

static int load(struct vm *vm)
{
	struct tiny_host *h = (struct tiny_host *)vm;
	struct payload_params *params = (void *)(vm->ram + PARAMS_GPA);
	uint16_t iomap = 0x100;
	int err = load_elf(h);

	if (err)
		return err;
	memcpy(vm->ram + TSS_GPA + 0x66, &iomap, sizeof(iomap));
	*params = (struct payload_params){
		.magic = PAYLOAD_PARAMS_MAGIC,
		.version = PAYLOAD_VERSION,
		.vcpus = vm->nvcpus,
		.shared_va = SHARED_GPA,
		.shared_bytes = 4096,
		.work_va = WORK_GPA,
		.work_bytes = vm->ram_bytes - WORK_GPA,
		.tsc_khz = tsc_khz(h),
	};
	memcpy(params->args, h->config.args, sizeof(params->args));
	tiny_host_shared(h)->magic = PAYLOAD_SHARED_MAGIC;
	tiny_host_shared(h)->version = PAYLOAD_VERSION;
	return 0;
}

/* With a TSS, whose bitmap opens the doorbell's port. */
static void enter(struct vm *vm, uint32_t index, struct kvm_regs *regs, struct kvm_sregs *sregs)
{
	regs->rip = ((struct tiny_host *)vm)->entry;
	regs->rdi = PARAMS_GPA;
	regs->rsi = index;
	sregs->tr = (struct kvm_segment){
		.base = TSS_GPA, .limit = 0x2fff, .selector = 0x40, .type = 11, .present = 1
	};
}

/* The payload rang. False when it has finished on this vCPU. */
static bool answer_bell(struct vcpu *vcpu)
{
	uint32_t bell = *(uint32_t *)((char *)vcpu->run + vcpu->run->io.data_offset);
	struct kvm_regs regs;

	if (bell == PAYLOAD_BELL_EXIT)
		return false;
	if (bell == PAYLOAD_BELL_SLEEP && ioctl(vcpu->fd, KVM_GET_REGS, &regs) == 0 &&
	    !atomic_load(&vcpu->stop))
		vcpu_sleep((regs.rdi < 10000 ? regs.rdi : 10000) * 1000);
	return true;
}

static bool guest_exit(struct vcpu *vcpu)
{
	if (vcpu->run->exit_reason == KVM_EXIT_IO && vcpu->run->io.port == PAYLOAD_DOORBELL_PORT)
		return answer_bell(vcpu);
	fprintf(stderr, "vCPU %u: exit reason %u\n", vcpu->index, vcpu->run->exit_reason);
	return false;
}

static const struct vm_guest payload_guest = { .name = "tiny",
					       .load = load,
					       .enter = enter,
					       .exit = guest_exit };

/* ---- what tests do with it ---- */

struct tiny_host *tiny_host_create(const char *elf)
{
	struct tiny_host *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	vm_init(&h->vm, &payload_guest);
	h->elf = elf;
	h->disk_file = h->disk = -1;
	return h;
}

void tiny_host_destroy(struct tiny_host *h)
{
	if (!h)
		return;
	vm_destroy(&h->vm);
	sev_pagemap_destroy(h->pagemap);
	if (h->disk >= 0)
		close(h->disk);
	free(h);
}

int tiny_host_launch(struct tiny_host *h, const struct tiny_config *config)
{
	char why[64];
	int err;

	h->config = *config;
	err = share_pages(h);
	if (!err)
		err = tiny_host_ops().disks_acquire(h, why, sizeof(why));
	return err ? err : vm_launch(&h->vm, config->ram_bytes, config->nvcpus);
}

struct payload_shared *tiny_host_shared(struct tiny_host *h)
{
	return h->vm.ram ? (void *)(h->vm.ram + SHARED_GPA) : NULL;
}

void *tiny_host_ram(struct tiny_host *h)
{
	return h->vm.ram;
}

uint64_t tiny_host_ram_bytes(struct tiny_host *h)
{
	return h->vm.ram_bytes;
}

uint64_t tiny_host_work_gpa(struct tiny_host *h)
{
	return WORK_GPA;
}

const void *tiny_host_region(struct tiny_host *h)
{
	return h->vm.helper.hva;
}

bool tiny_host_finish(struct tiny_host *h)
{
	struct payload_shared *shared = tiny_host_shared(h);

	__atomic_store_n(&shared->command, PAYLOAD_CMD_STOP, __ATOMIC_SEQ_CST);
	for (uint32_t i = 0; i < h->vm.nvcpus; i++)
		vcpu_join(&h->vm.vcpu[i]);
	if (shared->state != PAYLOAD_DONE)
		fprintf(stderr, "payload: state %u, error %u (%#llx %#llx %#llx %#llx)\n",
			shared->state, shared->error, (unsigned long long)shared->error_info[0],
			(unsigned long long)shared->error_info[1],
			(unsigned long long)shared->error_info[2],
			(unsigned long long)shared->error_info[3]);
	return shared->state == PAYLOAD_DONE && shared->error == 0;
}

bool tiny_host_pause_requested(struct tiny_host *h)
{
	return atomic_load(&h->pause_requested);
}

uint64_t tiny_host_writes(struct tiny_host *h)
{
	const struct payload_shared *shared = tiny_host_shared(h);
	uint64_t writes = 0;

	for (uint32_t i = 0; i < h->vm.nvcpus; i++)
		writes += __atomic_load_n(&shared->vcpu[i].counters[DIRTIER_COUNT_WRITES],
					  __ATOMIC_RELAXED);
	return writes;
}

bool tiny_host_running(struct tiny_host *h)
{
	return h->vm.running;
}

bool tiny_host_handed_over(struct tiny_host *h)
{
	return h->vm.gone;
}

void tiny_host_set_disk(struct tiny_host *h, int fd)
{
	h->disk_file = fd;
}

bool tiny_host_has_disk(const struct tiny_host *h)
{
	return h->disk >= 0;
}

void tiny_host_fail(struct tiny_host *h, int state_load, int disks_acquire)
{
	h->fail_state_load = state_load;
	h->fail_disks = disks_acquire;
}

void tiny_host_hook(struct tiny_host *h, tiny_host_hook_fn hook, void *arg)
{
	h->hook = hook;
	h->hook_arg = arg;
}

static void happens(struct tiny_host *h, enum sevmirror_phase phase, unsigned int round)
{
	if (h->hook)
		h->hook(h, h->hook_arg, phase, round);
}

void tiny_host_spoil_helper(struct tiny_host *h, enum tiny_spoil how)
{
	const struct sevmirror_ram_range ram = { .bytes = h->vm.ram_bytes, .fd = -1 };
	uint8_t *region = h->vm.helper.hva;
	uint8_t *code = region + HELPER_CORE_IMAGE * SEVMIRROR_PAGE_BYTES;
	size_t bytes = h->vm.region.core_bytes - HELPER_CORE_IMAGE * SEVMIRROR_PAGE_BYTES;
	struct region_plan plan;
	uint32_t *epochs;

	if (region_plan(&plan, &ram, 1, 0))
		abort();
	epochs = (uint32_t *)(region + plan.epoch_offset);
	switch (how) {
	case TINY_HELPER_DIES:
		memset(code, 0xcc, bytes);
		break;
	case TINY_HELPER_LIES:
		for (size_t i = 0; i < h->vm.ram_bytes / SEVMIRROR_PAGE_BYTES; i++)
			epochs[i]++;
		break;
	}
}

/* ---- what the library calls ---- */

static int op_describe(void *opaque, struct sevmirror_vm *vm)
{
	struct tiny_host *h = opaque;
	int err = vm_ops.describe(opaque, vm);

	vm->pagemap = h->pagemap;
	return err;
}

/* Its own part comes before the VM's. */
static ssize_t op_config_save(void *opaque, void *buf, size_t max)
{
	struct tiny_host *h = opaque;
	size_t own = sizeof(h->config);
	ssize_t n;

	if (max < own)
		return -ENOSPC;
	memcpy(buf, &h->config, own);
	n = vm_ops.config_save(opaque, (uint8_t *)buf + own, max - own);
	return n < 0 ? n : n + (ssize_t)own;
}

static int op_config_load(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	struct tiny_host *h = opaque;
	size_t own = sizeof(h->config);
	int err;

	if (len < own) {
		snprintf(why, max, "a configuration of %zu bytes", len);
		return -EINVAL;
	}
	memcpy(&h->config, buf, own);
	err = vm_ops.config_load(opaque, (const uint8_t *)buf + own, len - own, why, max);
	if (err)
		return err;
	err = share_pages(h);
	if (err)
		snprintf(why, max, "the map of shared pages: %s", strerror(-err));
	return err;
}

static int op_dirty_fetch(void *opaque, uint64_t *bitmap, size_t npages)
{
	/* What this program wrote itself: the command word. */
	bitmap[SHARED_GPA >> 12 >> 6] |= 1ULL << (SHARED_GPA >> 12 & 63);
	return vm_ops.dirty_fetch(opaque, bitmap, npages);
}

static int op_resume(void *opaque)
{
	struct tiny_host *h = opaque;

	return h->disk_file >= 0 && h->disk < 0 ? -ENODEV : vm_ops.resume(opaque);
}

static void op_request_pause(void *opaque)
{
	struct tiny_host *h = opaque;

	vm_ops.request_pause(opaque);
	atomic_store(&h->pause_requested, true);
}

static int op_state_load(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	struct tiny_host *h = opaque;

	if (!h->fail_state_load)
		return vm_ops.state_load(opaque, buf, len, why, max);
	snprintf(why, max, "told to fail");
	return h->fail_state_load;
}

static int op_disks_release(void *opaque)
{
	struct tiny_host *h = opaque;

	if (h->disk >= 0)
		close(h->disk);
	h->disk = -1;
	happens(h, TINY_HOST_DISKS, 0);
	return 0;
}

static int take_disk(struct tiny_host *h)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char path[64];

	if (h->disk_file < 0 || h->disk >= 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", h->disk_file);
	h->disk = open(path, O_RDWR | O_CLOEXEC);
	if (h->disk >= 0 && !fcntl(h->disk, F_OFD_SETLK, &lock))
		return 0;
	if (h->disk >= 0)
		close(h->disk);
	h->disk = -1;
	return -EAGAIN;
}

static int op_disks_acquire(void *opaque, char *why, size_t max)
{
	struct tiny_host *h = opaque;

	if (h->fail_disks)
		snprintf(why, max, "told to fail");
	else if (take_disk(h))
		snprintf(why, max, "somebody else has the lock");
	else
		return 0;
	return h->fail_disks ? h->fail_disks : -EAGAIN;
}

static void op_progress(void *opaque, const struct sevmirror_progress *progress)
{
	happens(opaque, progress->phase, progress->round);
}

struct sevmirror_host_ops tiny_host_ops(void)
{
	struct sevmirror_host_ops ops = vm_ops;

	ops.describe = op_describe;
	ops.config_save = op_config_save;
	ops.config_load = op_config_load;
	ops.dirty_fetch = op_dirty_fetch;
	ops.resume = op_resume;
	ops.request_pause = op_request_pause;
	ops.state_load = op_state_load;
	ops.disks_release = op_disks_release;
	ops.disks_acquire = op_disks_acquire;
	ops.progress = op_progress;
	return ops;
}
