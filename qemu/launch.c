/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Migration Helper's own memory, which is outside of the guest's and which KVM launches by
 * its address, and the guest's memory that the helper may touch: RAM, and the flash that was
 * encrypted. Both hosts of a migration come to the same layout, from the same command line.
 */
#include "internal.h"

#include "cpu.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "hw/boards.h"
#include "hw/i386/x86.h"
#include "hw/mem/memory-device.h"
#include "qemu/error-report.h"
#include "sev.h"
#include "system/kvm.h"
#include "system/kvm_int.h"
#include "system/runstate.h"
#include "system/sevmirror.h"

#include <linux/kvm.h>

bool sevmirror_init(int sev_fd)
{
	SevmirrorHelper *helper = sevmirror_active();

	if (!helper)
		return false;
	helper->vm = (struct sevmirror_seal_vm){
		.kvm_fd = kvm_state->fd,
		.vm_fd = kvm_state->vmfd,
		.sev_fd = sev_fd,
		.cbit_mask = sev_fd < 0 ? 0 : 1ULL << sev_get_cbit_position(),
	};
	helper->incoming = runstate_check(RUN_STATE_INMIGRATE);
	return helper->incoming;
}

void sevmirror_flash(hwaddr gpa, void *hva, uint64_t bytes)
{
	SevmirrorHelper *helper = sevmirror_active();

	if (helper)
		helper->flash = (struct sevmirror_ram_range){
			.gpa = gpa,
			.bytes = bytes,
			.fd = -1,
			.hva = hva,
		};
}

static bool add_range(struct sevmirror_seal_vm *vm, const struct sevmirror_ram_range *range)
{
	struct sevmirror_ram_range *last = vm->nranges ? &vm->ranges[vm->nranges - 1] : NULL;

	if (last && last->gpa + last->bytes == range->gpa &&
	    (char *)last->hva + last->bytes == range->hva) {
		last->bytes += range->bytes;
		return true;
	}
	if (vm->nranges == ARRAY_SIZE(vm->ranges))
		return false;
	vm->ranges[vm->nranges++] = *range;
	return true;
}

/*
 * RAM in [gpa, end), which has other memory in front of it in places (the VGA window, ROMs below
 * 1 MiB): what is behind those is the same memory block's and belongs to the guest, too, once its
 * firmware has opened it.
 */
static bool add_ram(struct sevmirror_seal_vm *vm, hwaddr gpa, hwaddr end)
{
	while (gpa < end) {
		MemoryRegionSection s = memory_region_find(get_system_memory(), gpa, end - gpa);
		struct sevmirror_ram_range range = { .gpa = gpa, .fd = -1 };
		struct sevmirror_ram_range *last =
			vm->nranges ? &vm->ranges[vm->nranges - 1] : NULL;
		bool ram, found = s.mr != NULL;

		if (!found)
			return true;
		ram = memory_region_is_ram(s.mr) && !memory_region_is_rom(s.mr) &&
		      !memory_region_is_ram_device(s.mr) && s.offset_within_address_space == gpa;
		range.bytes = s.offset_within_address_space + int128_get64(s.size) - gpa;
		if (ram)
			range.hva =
				(char *)memory_region_get_ram_ptr(s.mr) + s.offset_within_region;
		else if (last && last->gpa + last->bytes == gpa)
			range.hva = (char *)last->hva + last->bytes;
		memory_region_unref(s.mr);
		if (range.hva && !add_range(vm, &range))
			return false;
		gpa += range.bytes;
	}
	return true;
}

static bool find_ranges(struct sevmirror_seal_vm *vm, const struct sevmirror_ram_range *flash)
{
	MachineState *machine = MACHINE(qdev_get_machine());
	X86MachineState *x86 = X86_MACHINE(machine);
	hwaddr above = x86->above_4g_mem_start;
	DeviceMemoryState *more = machine->device_memory;

	vm->nranges = 0;
	return add_ram(vm, 0, x86->below_4g_mem_size) && (!flash->bytes || add_range(vm, flash)) &&
	       add_ram(vm, above, above + x86->above_4g_mem_size) &&
	       (!more || add_ram(vm, more->base, more->base + memory_region_size(&more->mr)));
}

bool helper_memory_unchanged(const SevmirrorHelper *helper)
{
	struct sevmirror_seal_vm now = helper->vm;

	memset(now.ranges, 0, sizeof(now.ranges));
	return find_ranges(&now, &helper->flash) && now.nranges == helper->vm.nranges &&
	       !memcmp(now.ranges, helper->vm.ranges, sizeof(now.ranges));
}

static int launch_update_data(int sev_fd, void *hva, uint64_t bytes)
{
	struct kvm_sev_launch_update_data update = {
		.uaddr = (uintptr_t)hva,
		.len = (uint32_t)bytes,
	};
	struct kvm_sev_cmd command = {
		.id = KVM_SEV_LAUNCH_UPDATE_DATA,
		.data = (uintptr_t)&update,
		.sev_fd = (uint32_t)sev_fd,
	};

	return kvm_vm_ioctl(kvm_state, KVM_MEMORY_ENCRYPT_OP, &command);
}

static int make_helper_memory(struct sevmirror_seal_vm *vm,
			      const struct sevmirror_helper_region *region)
{
	struct kvm_enc_region pinned = { .size = region->bytes };
	int err = sevmirror_helper_memory_create(&vm->helper, region);

	if (err || vm->sev_fd < 0)
		return err;
	pinned.addr = (uintptr_t)vm->helper.hva;
	return kvm_vm_ioctl(kvm_state, KVM_MEMORY_ENCRYPT_REG_REGION, &pinned);
}

void sevmirror_launch(void)
{
	SevmirrorHelper *helper = sevmirror_active();
	struct sevmirror_helper_region region;
	struct sevmirror_seal_vm *vm;
	int err;

	if (!helper)
		return;
	vm = &helper->vm;
	err = find_ranges(vm, &helper->flash) ? 0 : -E2BIG;
	if (!err)
		err = sevmirror_helper_place(&region, vm->ranges, vm->nranges, vm->cbit_mask);
	if (err) {
		error_report("sevmirror-helper: the guest's memory has no layout for the Migration "
			     "Helper: %s",
			     strerror(-err));
		exit(1);
	}
	err = make_helper_memory(vm, &region);
	if (err) {
		error_report("sevmirror-helper: %" PRIu64 " KiB of pinned memory for the Migration "
			     "Helper: %s",
			     region.bytes >> 10, strerror(-err));
		exit(1);
	}
	if (helper->incoming)
		return;
	err = sevmirror_helper_build(vm->ranges, vm->nranges, vm->cbit_mask, vm->helper.hva,
				     region.core_bytes);
	if (!err && vm->sev_fd >= 0)
		err = launch_update_data(vm->sev_fd, vm->helper.hva, region.core_bytes);
	if (err) {
		error_report("sevmirror-helper: launching the Migration Helper: %s",
			     strerror(-err));
		exit(1);
	}
}
