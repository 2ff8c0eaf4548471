/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm/vm.h"

#include <asm/kvm_para.h>
#include <errno.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <sevmirror/pagemap.h>

#include "lib/sev/sev_cpuid.h"
#include "lib/sev/platform.h"
#include "lib/util/page.h"
#include "vmm/bus.h"
#include "launch/image.h"
#include "launch/guest_layout.h"
#include "vmm/host_devices.h"
#include "vmm/host_memory.h"
#include "vmm/memory.h"
#include "vmm/vm/power.h"
#include "vmm/vm/vm_private.h"

#define IOAPIC_PINS 24

int vm_sev_available(struct why *why)
{
	struct sev_platform_status status;
	struct sev_error error = { 0 };
	struct sev_cpuid cpuid;
	int fd, err;

	if (!sev_cpuid_host(&cpuid) || !cpuid.sev)
		return why_set(why, -ENODEV,
			       "this CPU has no SEV, or the firmware switched it off");
	fd = sev_device_open(&error);
	if (fd < 0)
		return why_sev(why, fd, &error);
	err = sev_platform_status(fd, &status, &error);
	close(fd);
	return err ? why_sev(why, err, &error) : 0;
}

static void page_kind_changed(void *opaque, uint64_t gfn, uint64_t npages, bool private)
{
	guest_memory_mark_dirty(opaque, gfn << PAGE_SHIFT, npages << PAGE_SHIFT);
}

int vm_set_memslots(struct vm *vm, uint32_t flags)
{
	struct sevmirror_ram_range ranges[GUEST_MEMORY_RANGES];
	unsigned int i, n = guest_memory_ranges(vm->memory, ranges);

	for (i = 0; i < n; i++) {
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.flags = flags,
			.guest_phys_addr = ranges[i].gpa,
			.memory_size = ranges[i].bytes,
			.userspace_addr = (uintptr_t)ranges[i].hva,
		};

		if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return -errno;
	}
	return 0;
}

static int add_memory(struct vm *vm, struct why *why)
{
	struct sevmirror_ram_range ranges[GUEST_MEMORY_RANGES];
	unsigned int n;
	int err;

	/* Huge pages are set aside already: the mapping fails if there are too few. */
	err = vm->config.hugepages ?
		      0 :
		      host_memory_check("", vm->config.memory_bytes, vm->config.helper_bytes,
					vm->config.sev, why);
	if (err)
		return err;
	err = guest_memory_create(&vm->memory, vm->config.memory_bytes, vm->config.hugepages);
	if (err)
		return why_set(why, err, "cannot allocate %llu MiB of guest memory%s: %s",
			       (unsigned long long)vm->config.memory_bytes >> 20,
			       vm->config.hugepages ?
				       " in 2 MiB pages (see /proc/sys/vm/nr_hugepages)" :
				       "",
			       strerror(-err));
	/* Encrypted RAM, too: KVM_MEMORY_ENCRYPT_REG_REGION, which pins it, cannot be cancelled. */
	err = guest_memory_commit(vm->memory, !vm->config.sev, &vm->config.watch);
	if (err)
		return why_set(why, err, "the VM was stopped while its memory was populated");
	err = vm_set_memslots(vm, 0);
	if (err)
		return why_set(why, err,
			       "cannot give the guest its memory (KVM_SET_USER_MEMORY_REGION): %s",
			       strerror(-err));
	n = guest_memory_ranges(vm->memory, ranges);
	err = sev_pagemap_create(&vm->pagemap,
				 (ranges[n - 1].gpa + ranges[n - 1].bytes) >> PAGE_SHIFT);
	if (err)
		return why_set(why, err, "cannot create the map of the guest's pages: %s",
			       strerror(-err));
	sev_pagemap_on_change(vm->pagemap, page_kind_changed, vm->memory);
	return 0;
}

/*
 * Interrupts go to the IOAPIC only. KVM's default would send ISA lines to the PIC as well, which
 * Linux does not set up under hardware-reduced ACPI and which would deliver them as exceptions.
 */
static int route_interrupts(struct vm *vm, struct why *why)
{
	union {
		struct kvm_irq_routing table;
		uint8_t room[sizeof(struct kvm_irq_routing) +
			     IOAPIC_PINS * sizeof(struct kvm_irq_routing_entry)];
	} routing = { .table.nr = IOAPIC_PINS };
	unsigned int i;

	for (i = 0; i < IOAPIC_PINS; i++) {
		struct kvm_irq_routing_entry *entry = &routing.table.entries[i];

		entry->gsi = i;
		entry->type = KVM_IRQ_ROUTING_IRQCHIP;
		entry->u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
		entry->u.irqchip.pin = i;
	}
	if (ioctl(vm->vm_fd, KVM_SET_GSI_ROUTING, &routing) < 0)
		return why_errno(why, "KVM_SET_GSI_ROUTING");
	return 0;
}

static int add_irqchip(struct vm *vm, struct why *why)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	uint64_t identity_map = LAYOUT_KVM_IDENTITY_MAP_GPA;

	if (ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0 ||
	    ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, LAYOUT_KVM_TSS_GPA) < 0)
		return why_errno(why, "cannot tell KVM its own guest-physical addresses");
	if (ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return why_errno(why, "KVM_CREATE_IRQCHIP");
	if (ioctl(vm->vm_fd, KVM_CREATE_PIT2, &pit) < 0)
		return why_errno(why, "KVM_CREATE_PIT2");
	return route_interrupts(vm, why);
}

static int enable_cap(struct vm *vm, uint32_t cap, uint64_t arg)
{
	struct kvm_enable_cap enable = { .cap = cap, .args[0] = arg };

	return ioctl(vm->vm_fd, KVM_ENABLE_CAP, &enable) < 0 ? -errno : 0;
}

static bool has_cap(struct vm *vm, uint32_t cap, int bits)
{
	int value = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, cap);

	return value > 0 && (value & bits) == bits;
}

/*
 * The guest's words about shared pages come to us: the hypercall, and the MSR, which KVM would
 * refuse with #GP.
 */
static int take_exits(struct vm *vm, struct why *why)
{
	uint8_t denied = 0;
	struct kvm_msr_filter filter = {
		.flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
		.ranges[0] = { .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
			       .nmsrs = 1,
			       .base = MSR_KVM_MIGRATION_CONTROL,
			       .bitmap = &denied },
	};

	if (has_cap(vm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE))
		enable_cap(vm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE);
	vm->hears_sharing = has_cap(vm, KVM_CAP_EXIT_HYPERCALL, 1 << KVM_HC_MAP_GPA_RANGE) &&
			    has_cap(vm, KVM_CAP_X86_USER_SPACE_MSR, 1) &&
			    has_cap(vm, KVM_CAP_X86_MSR_FILTER, 1);
	if (!vm->hears_sharing) {
		if (!vm->config.sev)
			return 0;
		return why_set(why, -ENOSYS,
			       "this kernel's KVM cannot report which pages an SEV guest shares: "
			       "Linux 5.14 or later is needed");
	}
	if (enable_cap(vm, KVM_CAP_EXIT_HYPERCALL, 1 << KVM_HC_MAP_GPA_RANGE) ||
	    enable_cap(vm, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_FILTER) ||
	    ioctl(vm->vm_fd, KVM_X86_SET_MSR_FILTER, &filter) < 0)
		return why_errno(why, "cannot enable KVM_CAP_EXIT_HYPERCALL and the MSR filter");
	return 0;
}

static int encrypt(struct vm *vm, struct why *why)
{
	struct sevmirror_ram_range ranges[GUEST_MEMORY_RANGES];
	struct sev_error error = { 0 };
	struct sev_cpuid cpuid;
	unsigned int i, n;
	int err;

	if (!sev_cpuid_host(&cpuid) || !cpuid.sev)
		return why_set(why, -ENODEV,
			       "this CPU has no SEV, or the firmware switched it off; "
			       "--sev=off runs the guest without encryption");
	vm->c_mask = sev_cpuid_c_mask(&cpuid);
	vm->sev_fd = host_devices_sev(vm->config.devices, &error);
	if (vm->sev_fd < 0)
		return why_sev(why, vm->sev_fd, &error);
	err = sev_guest_create(&vm->sev, vm->vm_fd, vm->sev_fd, &error);
	n = guest_memory_ranges(vm->memory, ranges);
	for (i = 0; !err && i < n; i++)
		err = sev_guest_register_memory(vm->sev, ranges[i].hva, ranges[i].bytes, &error);
	return err ? why_sev(why, err, &error) : 0;
}

static void power_requested(void *opaque, enum power_request request)
{
	vm_ended(opaque, request == POWER_OFF ? VM_POWEROFF : VM_REBOOT, NULL);
}

static int add_bus(struct vm *vm, struct why *why)
{
	struct device *power;
	int err;

	vm->bus = bus_create();
	power = vm->bus ? power_create(power_requested, vm) : NULL;
	if (!power)
		return why_set(why, -ENOMEM, "out of memory for the devices");
	err = bus_add(vm->bus, BUS_PIO, LAYOUT_ACPI_PORT, LAYOUT_ACPI_PORTS, power);
	if (err) {
		power->ops->destroy(power);
		return why_set(why, err, "cannot add the ACPI ports: %s", strerror(-err));
	}
	return 0;
}

static int choose_cpuid(struct vm *vm, struct why *why)
{
	vm->cpuid = malloc(sizeof(*vm->cpuid));
	if (!vm->cpuid)
		return why_set(why, -ENOMEM, "out of memory for the VM");
	if (vm->config.cpuid) {
		memcpy(vm->cpuid, vm->config.cpuid, sizeof(*vm->cpuid));
		return 0;
	}
	return guest_cpuid_get(vm->cpuid, vm->kvm_fd, vm->config.cpus, vm->config.sev,
			       vm->hears_sharing, why);
}

static int add_vcpus(struct vm *vm, struct why *why)
{
	unsigned int i;
	int size, khz, err;

	size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < 0)
		return why_errno(why, "KVM_GET_VCPU_MMAP_SIZE");
	vm->run_bytes = (size_t)size;
	vm->vcpus = calloc(vm->config.cpus, sizeof(*vm->vcpus));
	if (!vm->vcpus)
		return why_set(why, -ENOMEM, "out of memory for the CPUs");
	err = choose_cpuid(vm, why);
	if (err)
		return err;
	for (i = 0; i < vm->config.cpus; i++) {
		vm->vcpus[i].fd = -1;
		vm->vcpus[i].vm = vm;
		err = vcpu_create(&vm->vcpus[i], vm, i, why);
		if (err) {
			vcpu_destroy(&vm->vcpus[i]);
			return err;
		}
		/* From here on it can be kicked. */
		vm->nvcpus++;
	}
	/* Now: later, the call would wait for a vCPU that is in the guest. */
	khz = ioctl(vm->vcpus[0].fd, KVM_GET_TSC_KHZ, 0);
	vm->tsc_khz = khz > 0 ? (uint64_t)khz : 0;
	return 0;
}

static void kicked(int signal)
{
}

static int init_host_side(struct vm *vm, struct why *why)
{
	struct sigaction action = { .sa_handler = kicked };

	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->coalesced_lock, NULL);
	pthread_cond_init(&vm->changed, NULL);
	vm->kvm_fd = vm->vm_fd = vm->sev_fd = -1;
	vm->want = WANT_PAUSE;
	vm->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->end_fd < 0)
		return why_errno(why, "eventfd");
	sigaction(VCPU_SIGNAL, &action, NULL);
	return 0;
}

static int create_vm(struct vm *vm, struct why *why)
{
	vm->kvm_fd = host_devices_kvm(vm->config.devices, why);
	if (vm->kvm_fd < 0)
		return vm->kvm_fd;
	do {
		vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	} while (vm->vm_fd < 0 && errno == EINTR);
	return vm->vm_fd < 0 ? why_errno(why, "KVM_CREATE_VM") : 0;
}

int vm_create(struct vm **vmp, const struct vm_config *config, struct why *why)
{
	struct vm *vm;
	int err;

	if (config->cpus < 1 || config->cpus > LAUNCH_MAX_CPUS)
		return why_set(why, -EINVAL, "a guest has 1 to %d CPUs, not %u", LAUNCH_MAX_CPUS,
			       config->cpus);
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return why_set(why, -ENOMEM, "out of memory for the VM");
	vm->config = *config;
	/* KVM_SEV_INIT is refused once there are vCPUs. */
	if ((err = init_host_side(vm, why)) || (err = create_vm(vm, why)) ||
	    (err = add_memory(vm, why)) || (err = add_irqchip(vm, why)) ||
	    (err = take_exits(vm, why)) || (config->sev && (err = encrypt(vm, why))) ||
	    (err = add_bus(vm, why)) || (err = add_vcpus(vm, why))) {
		vm_destroy(vm);
		return err;
	}
	vm->config.cpuid = NULL;
	*vmp = vm;
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void vm_destroy(struct vm *vm)
{
	unsigned int i;

	if (!vm)
		return;
	vm_stop(vm);
	vm_throttle(vm, 0);
	for (i = 0; i < vm->nvcpus; i++)
		vcpu_join(&vm->vcpus[i]);
	bus_destroy(vm->bus);
	for (i = 0; i < vm->nvcpus; i++)
		vcpu_destroy(&vm->vcpus[i]);
	free(vm->vcpus);
	free(vm->cpuid);
	sev_guest_destroy(vm->sev);
	close_fd(vm->vm_fd);
	close_fd(vm->sev_fd);
	close_fd(vm->kvm_fd);
	close_fd(vm->end_fd);
	sev_pagemap_destroy(vm->pagemap);
	guest_memory_destroy(vm->memory);
	pthread_cond_destroy(&vm->changed);
	pthread_mutex_destroy(&vm->lock);
	pthread_mutex_destroy(&vm->coalesced_lock);
	free(vm);
}

static void set_irq(void *opaque, unsigned int gsi, bool level)
{
	struct kvm_irq_level irq = { .irq = gsi, .level = level };
	const struct vm *vm = opaque;

	/* Fails only for arguments that cannot be. */
	ioctl(vm->vm_fd, KVM_IRQ_LINE, &irq);
}

int vm_ioeventfd(struct vm *vm, uint64_t gpa, int fd)
{
	struct kvm_ioeventfd notify = { .addr = gpa, .len = sizeof(uint32_t), .fd = fd };

	return ioctl(vm->vm_fd, KVM_IOEVENTFD, &notify) < 0 ? -errno : 0;
}

struct irq_line vm_irq_line(struct vm *vm, unsigned int gsi)
{
	return (struct irq_line){ .set = set_irq, .opaque = vm, .gsi = gsi };
}

void vm_power_button(struct vm *vm)
{
	set_irq(vm, LAYOUT_ACPI_GSI, true);
	set_irq(vm, LAYOUT_ACPI_GSI, false);
}

uint64_t vm_tsc_khz(const struct vm *vm)
{
	return vm->tsc_khz;
}

const union guest_cpuid *vm_cpuid(const struct vm *vm)
{
	return vm->cpuid;
}

unsigned int vm_cpus(const struct vm *vm)
{
	return vm->nvcpus;
}

int vm_kvm_fd(const struct vm *vm)
{
	return vm->kvm_fd;
}

int vm_fd(const struct vm *vm)
{
	return vm->vm_fd;
}

int vm_sev_fd(const struct vm *vm)
{
	return vm->sev_fd;
}

uint64_t vm_c_mask(const struct vm *vm)
{
	return vm->c_mask;
}

struct guest_memory *vm_memory(const struct vm *vm)
{
	return vm->memory;
}

struct bus *vm_bus(const struct vm *vm)
{
	return vm->bus;
}

struct sev_guest *vm_sev(const struct vm *vm)
{
	return vm->sev;
}

struct sev_pagemap *vm_pagemap(const struct vm *vm)
{
	return vm->pagemap;
}
