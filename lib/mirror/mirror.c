/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/mirror/mirror.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/mirror/mirror_vcpu.h"
#include "lib/sev/guest.h"
#include "lib/util/map.h"
#include "lib/util/page.h"

#define MIB2	  0x200000ULL
#define SLOTS_MAX (REGION_RAM_MAX + 2) /* memslots of RAM: one part may be cut in three */
#define WINDOW_ID SLOTS_MAX /* memslot numbers; RAM's are below */
#define REGION_ID (SLOTS_MAX + 1)

struct mirror_slot {
	struct sevmirror_ram_range ram;
	uint8_t *hva;
	bool writable;
	bool mapped; /* by the mirror */
};

struct mirror {
	int kvm_fd, vm_fd, window_fd;
	struct sev_guest *sev; /* shares the primary's context; NULL with --sev=off */
	bool own_kvm_fd;
	bool log_dirty;
	void (*thread_begins)(void *opaque);
	void *thread_opaque;
	struct mirror_slot slot[SLOTS_MAX];
	unsigned int nslots;
	uint8_t *window;
	uint64_t window_gpa, window_bytes;
	void *region;
	uint64_t region_bytes;
	struct mirror_vcpu *vcpu[MIRROR_VCPUS_MAX];
	unsigned int nvcpus;
};

static int fail(struct why *why, const char *step, int err)
{
	return why_set(why, err, "%s: %s", step, strerror(-err));
}

static int open_kvm(struct mirror *m, const struct mirror_config *config, struct why *why)
{
	m->kvm_fd = config->kvm_fd;
	if (m->kvm_fd < 0) {
		m->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
		if (m->kvm_fd < 0)
			return fail(why, "cannot open /dev/kvm", -errno);
		m->own_kvm_fd = true;
	}
	m->vm_fd = ioctl(m->kvm_fd, KVM_CREATE_VM, 0);
	if (m->vm_fd < 0)
		return fail(why, "cannot create a VM (KVM_CREATE_VM)", -errno);
	return 0;
}

/* Before any vCPU: KVM refuses it after (arch/x86/kvm/svm/sev.c, sev_vm_copy_enc_context_from). */
static int share_context(struct mirror *m, const struct mirror_config *config, struct why *why)
{
	struct sev_error error;
	int err;

	if (config->primary_fd < 0)
		return 0;
	err = sev_guest_create_mirror(&m->sev, m->vm_fd, config->primary_fd, -1, &error);
	if (!err)
		return 0;
	why_sev(why, err, &error);
	why_prefix(why, "cannot share the encryption context: ");
	return err;
}

static int add_slot(struct mirror *m, uint32_t id, uint32_t flags, uint64_t gpa, uint64_t bytes,
		    void *hva)
{
	struct kvm_userspace_memory_region slot = {
		.slot = id,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)hva,
	};

	return ioctl(m->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) ? -errno : 0;
}

/* Where [gpa, gpa + bytes) of ram is in this process: a second mapping, or the caller's own. */
static int place_slot(struct mirror_slot *slot, const struct sevmirror_ram_range *ram, uint64_t gpa,
		      uint64_t bytes)
{
	uint64_t offset = ram->offset + (gpa - ram->gpa);
	void *hva;
	int err;

	slot->ram = (struct sevmirror_ram_range){
		.gpa = gpa, .bytes = bytes, .fd = -1, .offset = offset
	};
	if (ram->fd < 0) {
		if (!ram->hva)
			return -EINVAL;
		slot->hva = (uint8_t *)ram->hva + (gpa - ram->gpa);
		return 0;
	}
	err = util_map_aligned(&hva, ram->fd, (off_t)offset, bytes);
	if (err)
		return err;
	slot->hva = hva;
	slot->mapped = true;
	return 0;
}

/* Add [gpa, gpa + bytes), which is in ram, as a memslot of its own. */
static int map_slot(struct mirror *m, const struct sevmirror_ram_range *ram, uint64_t gpa,
		    uint64_t bytes, bool writable, struct why *why)
{
	uint32_t flags = writable ? 0 : KVM_MEM_READONLY;
	struct mirror_slot *slot = &m->slot[m->nslots];
	int err;

	if (bytes == 0)
		return 0;
	if (writable && m->log_dirty)
		flags |= KVM_MEM_LOG_DIRTY_PAGES;
	slot->writable = writable;
	err = place_slot(slot, ram, gpa, bytes);
	if (err)
		return fail(why, "cannot map guest RAM a second time", err);
	err = add_slot(m, m->nslots++, flags, gpa, bytes, slot->hva);
	return err ? fail(why, "cannot add guest RAM to the mirror", err) : 0;
}

/* One memslot a part of RAM, three for the one with the writable range in it. */
static int map_ram(struct mirror *m, const struct mirror_config *config, struct why *why)
{
	bool writable = !config->read_only;
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < config->nram; i++) {
		const struct sevmirror_ram_range *ram = &config->ram[i];
		uint64_t end = ram->gpa + ram->bytes;
		uint64_t from = config->writable_gpa, to = from + config->writable_bytes;

		if (!config->writable_bytes || from < ram->gpa || to > end)
			from = to = end;
		err = map_slot(m, ram, ram->gpa, from - ram->gpa, writable, why);
		if (!err)
			err = map_slot(m, ram, from, to - from, true, why);
		if (!err)
			err = map_slot(m, ram, to, end - to, writable, why);
	}
	return err;
}

static int map_window(struct mirror *m, const struct mirror_config *config, struct why *why)
{
	const struct sevmirror_ram_range *last = &config->ram[config->nram - 1];
	void *window;
	int err;

	m->window_bytes = config->window_bytes;
	m->window_gpa = mirror_window_place(last->gpa + last->bytes);
	m->window_fd = memfd_create("sevmirror-window", MFD_CLOEXEC);
	if (m->window_fd < 0 || ftruncate(m->window_fd, (off_t)m->window_bytes))
		return fail(why, "cannot create the window", -errno);
	window = mmap(NULL, m->window_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		      m->window_fd, 0);
	if (window == MAP_FAILED)
		return fail(why, "cannot map the window", -errno);
	(void)madvise(window, m->window_bytes, MADV_DONTDUMP);
	m->window = window;
	err = add_slot(m, WINDOW_ID, 0, m->window_gpa, m->window_bytes, window);
	return err ? fail(why, "cannot add the window to the mirror", err) : 0;
}

static int map_region(struct mirror *m, const struct mirror_config *config, struct why *why)
{
	const struct sevmirror_ram_range *region = &config->region;
	int err;

	if (region->bytes == 0)
		return 0;
	err = util_map_aligned(&m->region, region->fd, (off_t)region->offset, region->bytes);
	if (err)
		return fail(why, "cannot map the helper region", err);
	m->region_bytes = region->bytes;
	err = add_slot(m, REGION_ID, 0, region->gpa, region->bytes, m->region);
	return err ? fail(why, "cannot add the helper region to the mirror", err) : 0;
}

/* What is logged is counted in whole words of a bitmap. */
static bool ram_ok(const struct mirror_config *config)
{
	uint64_t unit = config->log_dirty || config->writable_bytes ? MIB2 : PAGE_BYTES;
	unsigned int i;

	if (config->nram < 1 || config->nram > REGION_RAM_MAX)
		return false;
	for (i = 0; i < config->nram; i++)
		if (config->ram[i].gpa % unit || config->ram[i].bytes % unit)
			return false;
	return true;
}

static bool config_ok(const struct mirror_config *config)
{
	return ram_ok(config) && config->nvcpus >= 1 && config->nvcpus <= MIRROR_VCPUS_MAX &&
	       config->window_bytes > 0 && config->window_bytes % MIB2 == 0 &&
	       config->writable_gpa % MIB2 == 0 && config->writable_bytes % MIB2 == 0;
}

static int build(struct mirror *m, const struct mirror_config *config, struct why *why)
{
	int err = open_kvm(m, config, why);

	if (err)
		return err;
	err = share_context(m, config, why);
	if (err)
		return err;
	err = map_ram(m, config, why);
	if (err)
		return err;
	err = map_window(m, config, why);
	if (err)
		return err;
	err = map_region(m, config, why);
	if (err)
		return err;
	for (; m->nvcpus < config->nvcpus; m->nvcpus++) {
		err = mirror_vcpu_create(&m->vcpu[m->nvcpus], m->kvm_fd, m->vm_fd, m->nvcpus,
					 config->cbit_mask);
		if (err)
			return fail(why, "cannot create a vCPU of the mirror", err);
	}
	return 0;
}

int mirror_create(struct mirror **mirror, const struct mirror_config *config, struct why *why)
{
	struct mirror *m;
	int err;

	*mirror = NULL;
	if (!config_ok(config))
		return fail(why, "the mirror's configuration is not valid", -EINVAL);
	m = calloc(1, sizeof(*m));
	if (!m)
		return fail(why, "cannot allocate the mirror", -ENOMEM);
	m->thread_begins = config->thread_begins;
	m->thread_opaque = config->thread_opaque;
	m->kvm_fd = m->vm_fd = m->window_fd = -1;
	m->log_dirty = config->log_dirty;
	err = build(m, config, why);
	if (err) {
		mirror_destroy(m);
		return err;
	}
	*mirror = m;
	return 0;
}

void mirror_destroy(struct mirror *m)
{
	unsigned int i;

	if (!m)
		return;
	for (i = 0; i < m->nvcpus; i++)
		mirror_vcpu_destroy(m->vcpu[i]);
	sev_guest_destroy(m->sev);
	if (m->vm_fd >= 0)
		close(m->vm_fd);
	for (i = 0; i < m->nslots; i++)
		if (m->slot[i].mapped)
			munmap(m->slot[i].hva, m->slot[i].ram.bytes);
	if (m->window)
		munmap(m->window, m->window_bytes);
	if (m->region)
		munmap(m->region, m->region_bytes);
	if (m->window_fd >= 0)
		close(m->window_fd);
	if (m->own_kvm_fd)
		close(m->kvm_fd);
	free(m);
}

int mirror_vm_fd(const struct mirror *m)
{
	return m->vm_fd;
}

uint64_t mirror_window_gpa(const struct mirror *m)
{
	return m->window_gpa;
}

void *mirror_window(const struct mirror *m)
{
	return m->window;
}

void *mirror_hva(const struct mirror *m, uint64_t gpa, uint64_t bytes)
{
	unsigned int i;

	for (i = 0; i < m->nslots; i++) {
		const struct sevmirror_ram_range *ram = &m->slot[i].ram;

		if (gpa >= ram->gpa && gpa - ram->gpa < ram->bytes &&
		    bytes <= ram->bytes - (gpa - ram->gpa))
			return m->slot[i].hva + (gpa - ram->gpa);
	}
	return NULL;
}

void mirror_populate(struct mirror *m, uint64_t gpa, uint64_t bytes)
{
	void *hva = mirror_hva(m, gpa, bytes);

	if (hva)
		(void)madvise(hva, bytes, MADV_POPULATE_WRITE);
}

static void or_bits(uint64_t *to, const uint64_t *from, size_t first, size_t npages)
{
	size_t i;

	/* Parts are whole 2 MiB, so each begins at a word's first bit. */
	for (i = 0; i < npages / 64; i++)
		to[first / 64 + i] |= from[i];
}

int mirror_dirty_fetch(struct mirror *m, uint64_t *bitmap, size_t npages)
{
	size_t first = 0;
	unsigned int i;

	if (!m->log_dirty)
		return -EINVAL;
	for (i = 0; i < m->nslots; i++) {
		size_t n = m->slot[i].ram.bytes / PAGE_BYTES;
		struct kvm_dirty_log log = { .slot = i };
		int err = 0;

		if (n > npages - first)
			return -ENOBUFS;
		if (!m->slot[i].writable) {
			first += n;
			continue;
		}
		log.dirty_bitmap = calloc(n / 64, sizeof(uint64_t));
		if (!log.dirty_bitmap)
			return -ENOMEM;
		if (ioctl(m->vm_fd, KVM_GET_DIRTY_LOG, &log))
			err = -errno;
		else
			or_bits(bitmap, log.dirty_bitmap, first, n);
		free(log.dirty_bitmap);
		if (err)
			return err;
		first += n;
	}
	return 0;
}

int mirror_ioeventfd(struct mirror *m, uint16_t port, uint32_t value, int eventfd)
{
	struct kvm_ioeventfd event = {
		.datamatch = value,
		.addr = port,
		.len = 4,
		.fd = eventfd,
		.flags = KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	return ioctl(m->vm_fd, KVM_IOEVENTFD, &event) ? -errno : 0;
}

int mirror_vcpu_enter(struct mirror *m, unsigned int vcpu, const struct mirror_entry *entry)
{
	return vcpu < m->nvcpus ? mirror_vcpu_set(m->vcpu[vcpu], entry) : -EINVAL;
}

int mirror_vcpu_start(struct mirror *m, unsigned int vcpu, mirror_handler handler, void *opaque)
{
	return vcpu < m->nvcpus ? mirror_vcpu_thread(m->vcpu[vcpu], m->thread_begins,
						     m->thread_opaque, handler, opaque) :
				  -EINVAL;
}

void mirror_vcpu_stop(struct mirror *m, unsigned int vcpu)
{
	if (vcpu < m->nvcpus)
		mirror_vcpu_end(m->vcpu[vcpu]);
}

void mirror_vcpu_join(struct mirror *m, unsigned int vcpu)
{
	if (vcpu < m->nvcpus)
		mirror_vcpu_wait(m->vcpu[vcpu]);
}

bool mirror_park(struct mirror *m, unsigned int vcpu, bool (*work)(void *opaque), void *opaque)
{
	return mirror_vcpu_park(m->vcpu[vcpu], work, opaque);
}

void mirror_wake(struct mirror *m, unsigned int vcpu)
{
	if (vcpu < m->nvcpus)
		mirror_vcpu_wake(m->vcpu[vcpu]);
}

uint64_t mirror_exits(const struct mirror *m)
{
	uint64_t exits = 0;
	unsigned int i;

	for (i = 0; i < m->nvcpus; i++)
		exits += mirror_vcpu_exits(m->vcpu[i]);
	return exits;
}

int mirror_kvm_exits(const struct mirror *m, uint64_t *exits)
{
	unsigned int i;

	*exits = 0;
	for (i = 0; i < m->nvcpus; i++) {
		uint64_t n;
		int err = mirror_vcpu_counter(mirror_vcpu_fd(m->vcpu[i]), "exits", &n);

		if (err)
			return err;
		*exits += n;
	}
	return 0;
}
