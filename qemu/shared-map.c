/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which pages the guest shares with the host. The guest's kernel says so by the hypercall
 * KVM_HC_MAP_GPA_RANGE (Linux, Documentation/virt/kvm/x86/hypercalls.rst); until it has, every page
 * counts as private and the guest cannot be migrated.
 */
#include "internal.h"

#include "cpu.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "hw/boards.h"
#include "hw/i386/x86.h"
#include "hw/mem/memory-device.h"
#include "qapi/qapi-commands-sevmirror.h"
#include "qemu/error-report.h"
#include "qemu/units.h"
#include "system/reset.h"
#include "system/sevmirror.h"

#include <linux/kvm.h>
#include <linux/kvm_para.h>

#define PAGE  4096ULL
#define GIB_4 (4 * GiB)

bool shared_map_live(const SevmirrorHelper *helper)
{
	return helper->plain || qatomic_read(&helper->map_state) == SHARED_MAP_LIVE ||
	       sev_pagemap_migration_ready(helper->map);
}

/*
 * The sweep, and its end: the kernel reports its shared data when it has reported all RAM. (A
 * kernel that is started by another one, kexec, sweeps again: see sevmirror_wrmsr().)
 */
static void follow_sweep(SevmirrorHelper *helper, bool encrypted)
{
	if (encrypted)
		qatomic_cmpxchg(&helper->map_state, SHARED_MAP_UNKNOWN, SHARED_MAP_SWEEP);
	else
		qatomic_cmpxchg(&helper->map_state, SHARED_MAP_SWEEP, SHARED_MAP_LIVE);
}

bool sevmirror_hypercall(struct kvm_run *run)
{
	SevmirrorHelper *helper = sevmirror_active();
	uint64_t args[3];

	if (!helper || run->hypercall.nr != KVM_HC_MAP_GPA_RANGE)
		return false;
	memcpy(args, run->hypercall.args, sizeof(args));
	run->hypercall.ret = sev_pagemap_hypercall(helper->map, args);
	if (!run->hypercall.ret)
		follow_sweep(helper, args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED);
	return true;
}

bool sevmirror_rdmsr(X86CPU *cpu, uint32_t msr, uint64_t *value)
{
	SevmirrorHelper *helper = sevmirror_active();

	if (!helper)
		return false;
	*value = sev_pagemap_read_migration_control(helper->map);
	return true;
}

/*
 * A kernel that ends writes 0 on each CPU that it takes out of service, and so does one that takes
 * a CPU offline and runs on. The first CPU is never taken offline; when it writes 0, the next
 * kernel must sweep before the map counts.
 */
bool sevmirror_wrmsr(X86CPU *cpu, uint32_t msr, uint64_t value)
{
	SevmirrorHelper *helper = sevmirror_active();

	if (!helper || sev_pagemap_write_migration_control(helper->map, value))
		return false;
	if (!value && !CPU(cpu)->cpu_index)
		qatomic_set(&helper->map_state, SHARED_MAP_UNKNOWN);
	return true;
}

/*
 * A page that changed its kind is sent again, in its new kind. From the vCPU's thread;
 * MemoryRegions are kept alive by the section's reference.
 */
static void on_change(void *opaque, uint64_t gfn, uint64_t npages, bool private)
{
	hwaddr gpa = gfn * PAGE;
	hwaddr left = npages * PAGE;

	while (left) {
		MemoryRegionSection section = memory_region_find(get_system_memory(), gpa, left);
		hwaddr skip;

		if (!section.mr)
			return;
		skip = section.offset_within_address_space - gpa;
		if (memory_region_is_ram(section.mr) && !memory_region_is_rom(section.mr))
			memory_region_set_dirty(section.mr, section.offset_within_region,
						int128_get64(section.size));
		skip += int128_get64(section.size);
		memory_region_unref(section.mr);
		gpa += skip;
		left = skip < left ? left - skip : 0;
	}
}

/* Guest-physical addresses end with the last RAM, or with the firmware's flash below 4 GiB. */
static uint64_t map_pages(void)
{
	MachineState *machine = MACHINE(qdev_get_machine());
	X86MachineState *x86 = X86_MACHINE(machine);
	uint64_t end = GIB_4;

	if (x86->above_4g_mem_size)
		end = MAX(end, x86->above_4g_mem_start + x86->above_4g_mem_size);
	if (machine->device_memory)
		end = MAX(end, machine->device_memory->base +
				       memory_region_size(&machine->device_memory->mr));
	return end / PAGE;
}

static void on_reset(void *opaque)
{
	SevmirrorHelper *helper = opaque;

	sev_pagemap_load(helper->map, helper->blank, helper->blank_bytes);
	qatomic_set(&helper->map_state, SHARED_MAP_UNKNOWN);
}

void shared_map_init(SevmirrorHelper *helper)
{
	uint64_t npages = map_pages();
	int err = sev_pagemap_create(&helper->map, npages);

	if (err) {
		error_report("sevmirror-helper: a map of %" PRIu64 " pages: %s", npages,
			     strerror(-err));
		exit(1);
	}
	helper->blank_bytes = sev_pagemap_save(helper->map, NULL, 0);
	helper->blank = g_malloc(helper->blank_bytes);
	sev_pagemap_save(helper->map, helper->blank, helper->blank_bytes);
	sev_pagemap_on_change(helper->map, on_change, helper);
	qemu_register_reset(on_reset, helper);
}

static SevSharedRangeList *shared_ranges(const struct sev_pagemap *map)
{
	uint64_t end = sev_pagemap_npages(map);
	SevSharedRangeList *list = NULL, **tail = &list;
	uint64_t gfn = 0, run;
	bool private;

	for (; gfn < end && (run = sev_pagemap_run(map, gfn, &private)); gfn += run) {
		SevSharedRange *range;

		if (private)
			continue;
		range = g_new0(SevSharedRange, 1);
		range->gpa = gfn * PAGE;
		range->pages = run;
		QAPI_LIST_APPEND(tail, range);
	}
	return list;
}

static char *helper_digest(void)
{
	GString *text = g_string_new(NULL);
	uint8_t digest[32];
	unsigned int i;

	sevmirror_helper_digest(digest);
	for (i = 0; i < sizeof(digest); i++)
		g_string_append_printf(text, "%02x", digest[i]);
	return g_string_free(text, FALSE);
}

SevMigrationInfo *qmp_query_sev_migration(Error **errp)
{
	SevmirrorHelper *helper = sevmirror_active();
	SevMigrationInfo *info;
	Error *reason;

	if (!helper) {
		reason = sevmirror_blocker();
		if (reason)
			error_propagate(errp, reason);
		else
			error_setg(errp,
				   "this guest is not encrypted: it is migrated as any other");
		return NULL;
	}
	info = g_new0(SevMigrationInfo, 1);
	reason = refusal_now(helper);
	info->ready = !reason;
	if (reason)
		info->reason = g_strdup(error_get_pretty(reason));
	error_free(reason);
	info->shared_map = shared_map_live(helper);
	info->shared_pages = sev_pagemap_count_shared(helper->map);
	info->shared_ranges = shared_ranges(helper->map);
	info->helper_version = sevmirror_helper_version();
	info->helper_digest = helper_digest();
	return info;
}
