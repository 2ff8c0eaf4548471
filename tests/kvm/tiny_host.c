/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kvm/tiny_host.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sevmirror/pagemap.h>

#include "helper/layout.h"
#include "lib/mirror/region.h"
#include "payloads/dirtier.h"
#include "tests/kvm/tiny_vcpu.h"

/* Below PAYLOAD_BASE, where the payload has nothing. */
#define PML4_GPA   0x10000ULL
#define PDPT_GPA   0x11000ULL
#define PD_GPA	   0x12000ULL
#define TSS_GPA	   0x13000ULL /* three pages, with the I/O bitmap */
#define PARAMS_GPA 0x17000ULL
#define SHARED_GPA 0x18000ULL
#define WORK_GPA   (PAYLOAD_BASE + PAYLOAD_IMAGE_MAX)

#define PTE_TABLE 0x07ULL /* present, writable, user */
#define PTE_LARGE 0x87ULL

#define STATE_MAGIC 0x31796e6974ULL

struct tiny_host {
	const char *elf;
	struct tiny_config config;
	int kvm_fd, vm_fd, ram_fd;
	uint8_t *ram;
	uint64_t entry;
	struct region_plan plan;
	struct region_memory region;
	struct tiny_vcpu *vcpu[PAYLOAD_MAX_VCPUS];
	struct sev_pagemap *pagemap; /* NULL: all pages are private */
	bool running, handed_over;
	atomic_bool pause_requested;
	int fail_state_load, fail_disks;
	int disk_file, disk; /* the file's descriptor, the one with the lock; -1: none */
	tiny_host_hook_fn hook;
	void *hook_arg;
};

struct tiny_host *tiny_host_create(const char *elf)
{
	struct tiny_host *h = calloc(1, sizeof(*h));

	if (h) {
		h->elf = elf;
		h->kvm_fd = h->vm_fd = h->ram_fd = -1;
		h->disk_file = h->disk = -1;
		h->region = (struct region_memory)REGION_MEMORY_NONE;
	}
	return h;
}

static void drop_vm(struct tiny_host *h)
{
	for (unsigned int i = 0; i < PAYLOAD_MAX_VCPUS; i++) {
		tiny_vcpu_destroy(h->vcpu[i]);
		h->vcpu[i] = NULL;
	}
	if (h->vm_fd >= 0)
		close(h->vm_fd);
	if (h->kvm_fd >= 0)
		close(h->kvm_fd);
	if (h->ram)
		munmap(h->ram, h->config.ram_bytes);
	if (h->ram_fd >= 0)
		close(h->ram_fd);
	region_memory_destroy(&h->region);
	sev_pagemap_destroy(h->pagemap);
	h->pagemap = NULL;
	h->kvm_fd = h->vm_fd = h->ram_fd = -1;
	h->ram = NULL;
	h->running = false;
}

void tiny_host_destroy(struct tiny_host *h)
{
	if (!h)
		return;
	drop_vm(h);
	if (h->disk >= 0)
		close(h->disk);
	free(h);
}

static int set_memslot(struct tiny_host *h, bool log)
{
	struct kvm_userspace_memory_region slot = {
		.flags = log ? KVM_MEM_LOG_DIRTY_PAGES : 0,
		.memory_size = h->config.ram_bytes,
		.userspace_addr = (uintptr_t)h->ram,
	};

	return ioctl(h->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) ? -errno : 0;
}

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

/* The VM with its memory, zeroed, and vCPUs that do not run. */
static int make_vm(struct tiny_host *h, const struct tiny_config *config)
{
	struct mirror_ram ram = { .bytes = config->ram_bytes, .fd = -1 };
	int err;

	if (config->ram_bytes % (2 << 20) || config->ram_bytes < 16 << 20 ||
	    config->ram_bytes > 1 << 30 || config->nvcpus == 0 ||
	    config->nvcpus > PAYLOAD_MAX_VCPUS)
		return -EINVAL;
	h->config = *config;
	h->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	h->vm_fd = h->kvm_fd < 0 ? -1 : ioctl(h->kvm_fd, KVM_CREATE_VM, 0);
	h->ram_fd = memfd_create("tiny-ram", MFD_CLOEXEC);
	if (h->vm_fd < 0 || h->ram_fd < 0 || ftruncate(h->ram_fd, (off_t)config->ram_bytes))
		return -errno;
	h->ram = mmap(NULL, config->ram_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, h->ram_fd, 0);
	if (h->ram == MAP_FAILED) {
		h->ram = NULL;
		return -errno;
	}
	err = set_memslot(h, false);
	if (!err)
		err = region_plan(&h->plan, &ram, 1, 0);
	if (!err)
		err = region_memory_create(&h->region, &h->plan);
	if (!err)
		err = share_pages(h);
	for (uint32_t i = 0; i < config->nvcpus && !err; i++)
		err = tiny_vcpu_create(&h->vcpu[i], h->kvm_fd, h->vm_fd, i);
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
		memcpy(h->ram + p->p_paddr, image + p->p_offset, p->p_filesz);
	}
	h->entry = ehdr->e_entry;
	return 0;
}

static void fill_memory(struct tiny_host *h)
{
	struct payload_params *params = (void *)(h->ram + PARAMS_GPA);
	uint64_t *pd = (void *)(h->ram + PD_GPA);
	uint16_t iomap = 0x100;

	*(uint64_t *)(h->ram + PML4_GPA) = PDPT_GPA | PTE_TABLE;
	*(uint64_t *)(h->ram + PDPT_GPA) = PD_GPA | PTE_TABLE;
	for (uint64_t i = 0; i < h->config.ram_bytes >> 21; i++)
		pd[i] = i << 21 | PTE_LARGE;
	memcpy(h->ram + TSS_GPA + 0x66, &iomap, sizeof(iomap));
	*params = (struct payload_params){
		.magic = PAYLOAD_PARAMS_MAGIC,
		.version = PAYLOAD_VERSION,
		.vcpus = h->config.nvcpus,
		.shared_va = SHARED_GPA,
		.shared_bytes = 4096,
		.work_va = WORK_GPA,
		.work_bytes = h->config.ram_bytes - WORK_GPA,
		.tsc_khz = tiny_vcpu_tsc_khz(h->vcpu[0]),
	};
	memcpy(params->args, h->config.args, sizeof(params->args));
	tiny_host_shared(h)->magic = PAYLOAD_SHARED_MAGIC;
	tiny_host_shared(h)->version = PAYLOAD_VERSION;
}

int tiny_host_launch(struct tiny_host *h, const struct tiny_config *config)
{
	char why[64];
	struct tiny_entry entry = { .cr3 = PML4_GPA, .tss = TSS_GPA, .params = PARAMS_GPA };
	int err = make_vm(h, config);

	if (!err)
		err = load_elf(h);
	if (err)
		return err;
	fill_memory(h);
	err = region_build(&h->plan, h->region.hva, h->plan.core_bytes);
	entry.rip = h->entry;
	for (uint32_t i = 0; i < config->nvcpus && !err; i++)
		err = tiny_vcpu_enter(h->vcpu[i], &entry);
	if (!err)
		err = tiny_host_ops.disks_acquire(h, why, sizeof(why));
	return err ? err : tiny_host_ops.resume(h);
}

struct payload_shared *tiny_host_shared(struct tiny_host *h)
{
	return h->ram ? (void *)(h->ram + SHARED_GPA) : NULL;
}

void *tiny_host_ram(struct tiny_host *h)
{
	return h->ram;
}

uint64_t tiny_host_ram_bytes(struct tiny_host *h)
{
	return h->config.ram_bytes;
}

uint64_t tiny_host_work_gpa(struct tiny_host *h)
{
	return WORK_GPA;
}

const void *tiny_host_region(struct tiny_host *h)
{
	return h->region.hva;
}

bool tiny_host_finish(struct tiny_host *h)
{
	struct payload_shared *shared = tiny_host_shared(h);

	__atomic_store_n(&shared->command, PAYLOAD_CMD_STOP, __ATOMIC_SEQ_CST);
	for (uint32_t i = 0; i < h->config.nvcpus; i++)
		tiny_vcpu_join(h->vcpu[i]);
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

	for (uint32_t i = 0; i < h->config.nvcpus; i++)
		writes += __atomic_load_n(&shared->vcpu[i].counters[DIRTIER_COUNT_WRITES],
					  __ATOMIC_RELAXED);
	return writes;
}

bool tiny_host_running(struct tiny_host *h)
{
	return h->running;
}

bool tiny_host_handed_over(struct tiny_host *h)
{
	return h->handed_over;
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
	uint8_t *region = h->region.hva;
	uint8_t *code = region + HELPER_CORE_IMAGE * SEVMIRROR_PAGE_BYTES;
	size_t bytes = h->plan.core_bytes - HELPER_CORE_IMAGE * SEVMIRROR_PAGE_BYTES;
	uint32_t *epochs = (uint32_t *)(region + h->plan.epoch_offset);

	switch (how) {
	case TINY_HELPER_DIES:
		memset(code, 0xcc, bytes);
		break;
	case TINY_HELPER_LIES:
		for (size_t i = 0; i < h->config.ram_bytes / SEVMIRROR_PAGE_BYTES; i++)
			epochs[i]++;
		break;
	}
}

/* ---- the table ---- */

static int op_describe(void *opaque, struct sevmirror_vm *vm)
{
	struct tiny_host *h = opaque;

	*vm = (struct sevmirror_vm){
		.name = "tiny",
		.kvm_fd = h->kvm_fd,
		.vm_fd = h->vm_fd,
		.sev_fd = -1,
		.pagemap = h->pagemap,
		.helper = { .fd = h->region.fd, .hva = h->region.hva },
		.nranges = 1,
		.ranges = { { .bytes = h->config.ram_bytes, .fd = h->ram_fd, .hva = h->ram } },
	};
	return 0;
}

static ssize_t op_config_save(void *opaque, void *buf, size_t max)
{
	struct tiny_host *h = opaque;

	if (max < sizeof(h->config))
		return -ENOSPC;
	memcpy(buf, &h->config, sizeof(h->config));
	return sizeof(h->config);
}

static int op_config_load(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	struct tiny_config config;
	int err;

	if (len != sizeof(config)) {
		snprintf(why, max, "a configuration of %zu bytes", len);
		return -EINVAL;
	}
	memcpy(&config, buf, sizeof(config));
	err = make_vm(opaque, &config);
	if (err)
		snprintf(why, max, "building the VM: %s", strerror(-err));
	return err;
}

static ssize_t op_compat_save(void *opaque, void *buf, size_t max)
{
	memcpy(buf, "tiny/1", 6);
	return 6;
}

static int op_compat_check(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	if (len == 6 && memcmp(buf, "tiny/1", 6) == 0)
		return 0;
	snprintf(why, max, "it is no tiny VM");
	return -ENOTSUP;
}

static int op_dirty_start(void *opaque)
{
	return set_memslot(opaque, true);
}

static int op_dirty_fetch(void *opaque, uint64_t *bitmap, size_t npages)
{
	struct tiny_host *h = opaque;
	uint64_t *log = calloc(npages / 64, sizeof(*log));
	struct kvm_dirty_log arg = { .dirty_bitmap = log };
	int err;

	if (!log)
		return -ENOMEM;
	err = ioctl(h->vm_fd, KVM_GET_DIRTY_LOG, &arg) == 0 ? 0 : -errno;
	for (size_t i = 0; i < npages / 64 && !err; i++)
		bitmap[i] |= log[i];
	/* What this program wrote itself: the command word. */
	bitmap[SHARED_GPA >> 12 >> 6] |= 1ULL << (SHARED_GPA >> 12 & 63);
	free(log);
	return err;
}

static void op_dirty_stop(void *opaque)
{
	(void)set_memslot(opaque, false);
}

static int op_pause(void *opaque)
{
	struct tiny_host *h = opaque;

	for (uint32_t i = 0; i < h->config.nvcpus; i++)
		tiny_vcpu_stop(h->vcpu[i]);
	h->running = false;
	return 0;
}

static int op_resume(void *opaque)
{
	struct tiny_host *h = opaque;
	int err = h->disk_file >= 0 && h->disk < 0 ? -ENODEV : 0;

	for (uint32_t i = 0; i < h->config.nvcpus && !err; i++)
		err = tiny_vcpu_start(h->vcpu[i]);
	h->running = !err;
	return err;
}

static void op_request_pause(void *opaque)
{
	struct tiny_host *h = opaque;

	for (uint32_t i = 0; i < h->config.nvcpus; i++)
		tiny_vcpu_request_stop(h->vcpu[i]);
	atomic_store(&h->pause_requested, true);
}

static void op_throttle(void *opaque, unsigned int percent)
{
	struct tiny_host *h = opaque;

	for (uint32_t i = 0; i < h->config.nvcpus; i++)
		tiny_vcpu_throttle(h->vcpu[i], percent);
}

static ssize_t op_state_save(void *opaque, void *buf, size_t max)
{
	struct tiny_host *h = opaque;
	struct tiny_vcpu_state *states = (void *)((uint64_t *)buf + 1);
	size_t bytes = sizeof(uint64_t) + h->config.nvcpus * sizeof(*states);

	if (max < bytes)
		return -ENOSPC;
	*(uint64_t *)buf = STATE_MAGIC;
	for (uint32_t i = 0; i < h->config.nvcpus; i++) {
		int err = tiny_vcpu_save(h->vcpu[i], &states[i]);

		if (err)
			return err;
	}
	return (ssize_t)bytes;
}

static int op_state_load(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	struct tiny_host *h = opaque;
	const struct tiny_vcpu_state *states = (const void *)((const uint64_t *)buf + 1);
	int err = h->fail_state_load;

	if (err) {
		snprintf(why, max, "told to fail");
		return err;
	}
	if (len != sizeof(uint64_t) + h->config.nvcpus * sizeof(*states) ||
	    *(const uint64_t *)buf != STATE_MAGIC) {
		snprintf(why, max, "no state of a tiny VM");
		return -EINVAL;
	}
	for (uint32_t i = 0; i < h->config.nvcpus && !err; i++)
		err = tiny_vcpu_load(h->vcpu[i], &states[i]);
	return err;
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

static void op_handed_over(void *opaque)
{
	struct tiny_host *h = opaque;

	h->handed_over = true;
}

static void op_progress(void *opaque, const struct sevmirror_progress *progress)
{
	happens(opaque, progress->phase, progress->round);
}

const struct sevmirror_host_ops tiny_host_ops = {
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
	.progress = op_progress,
};
