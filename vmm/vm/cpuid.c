/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm/cpuid.h"

#include <asm/kvm_para.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lib/sev/sev_cpuid.h"

/* Leaf 1 */
#define ECX_VMX		 (1U << 5)
#define ECX_X2APIC	 (1U << 21)
#define ECX_TSC_DEADLINE (1U << 24)
#define ECX_HYPERVISOR	 (1U << 31)
#define EDX_HTT		 (1U << 28)
/* Leaf 7 */
#define ECX_LA57 (1U << 16)
/* Leaf 0x80000001 */
#define ECX_CMP_LEGACY	 (1U << 1)
#define ECX_SVM		 (1U << 2)
#define ECX_PERFCTR_CORE (1U << 23)
#define ECX_PERFCTR_NB	 (1U << 24)
#define ECX_PERFCTR_LLC	 (1U << 28)
/* Leaf 0x80000007 */
#define EDX_INVARIANT_TSC (1U << 8)

#define LEVEL_SMT  1
#define LEVEL_CORE 2

struct topology {
	unsigned int apic_id;
	unsigned int cpus;
	unsigned int shift; /* APIC IDs of a package differ in so many bits */
};

static void clear(struct kvm_cpuid_entry2 *entry)
{
	entry->eax = entry->ebx = entry->ecx = entry->edx = 0;
}

/* Bits [high:low] of a register. */
static void set_field(uint32_t *reg, unsigned int high, unsigned int low, uint32_t value)
{
	uint32_t mask = (uint32_t)(((1ULL << (high - low + 1)) - 1) << low);

	*reg = (*reg & ~mask) | (value << low & mask);
}

/*
 * One package of single-threaded cores; a cache of level 3 is shared by all, others by nobody.
 */
static void fix_topology(struct kvm_cpuid_entry2 *entry, const struct topology *topology)
{
	uint32_t last = topology->cpus - 1;
	bool shared = (entry->eax >> 5 & 7) >= 3; /* level, in the two cache leaves */

	switch (entry->function) {
	case 0x1:
		set_field(&entry->ebx, 31, 24, topology->apic_id);
		set_field(&entry->ebx, 23, 16, topology->cpus);
		entry->edx = topology->cpus > 1 ? entry->edx | EDX_HTT : entry->edx & ~EDX_HTT;
		break;
	case 0x4:
		set_field(&entry->eax, 25, 14, shared ? last : 0);
		set_field(&entry->eax, 31, 26, last);
		break;
	case 0x80000001:
		if (topology->cpus > 1)
			entry->ecx |= ECX_CMP_LEGACY;
		else
			entry->ecx &= ~ECX_CMP_LEGACY;
		break;
	case 0x80000008:
		entry->ecx = last | topology->shift << 12;
		break;
	case 0x8000001d:
		set_field(&entry->eax, 25, 14, shared ? last : 0);
		break;
	case 0x8000001e:
		entry->eax = topology->apic_id;
		entry->ebx = topology->apic_id & 0xff;
		entry->ecx = 0;
		break;
	default:
		break;
	}
}

/*
 * Take away what a guest here cannot have (five-level paging: the boot code's page tables have
 * four; nested virtualisation and performance counters: their state is not saved; an invariant TSC:
 * it would not survive a migration, kvm-clock does).
 */
static void fix_features(struct kvm_cpuid_entry2 *entry, bool tsc_deadline, bool hears_sharing,
			 bool sev)
{
	switch (entry->function) {
	case 0x1:
		entry->ecx = (entry->ecx & ~ECX_VMX) | ECX_X2APIC | ECX_HYPERVISOR;
		if (tsc_deadline)
			entry->ecx |= ECX_TSC_DEADLINE;
		break;
	case 0x7:
		if (!entry->index)
			entry->ecx &= ~ECX_LA57;
		break;
	case 0xa:
	case 0x80000022:
		clear(entry);
		break;
	case KVM_CPUID_FEATURES:
		/*
		 * KVM leaves both out; Linux tells of shared pages only where it sees them
		 * (arch/x86/kernel/kvm.c).
		 */
		if (hears_sharing)
			entry->eax |= 1U << KVM_FEATURE_HC_MAP_GPA_RANGE |
				      1U << KVM_FEATURE_MIGRATION_CONTROL;
		break;
	case 0x80000001:
		entry->ecx &= ~(ECX_SVM | ECX_PERFCTR_CORE | ECX_PERFCTR_NB | ECX_PERFCTR_LLC);
		break;
	case 0x80000007:
		entry->edx &= ~EDX_INVARIANT_TSC;
		break;
	case 0x8000000a:
		clear(entry);
		break;
	case SEV_CPUID_LEAF:
		/*
		 * A guest that reads SEV here reads MSR 0xC0010131 next, which a plain one does not
		 * have.
		 */
		if (!sev)
			clear(entry);
		break;
	default:
		break;
	}
}

static void add(union guest_cpuid *cpuid, struct kvm_cpuid_entry2 entry)
{
	if (cpuid->table.nent < CPUID_MAX_ENTRIES)
		cpuid->table.entries[cpuid->table.nent++] = entry;
}

/* Leaf 0xB in place of whatever the host has there and in 0x1F. */
static void replace_topology_leaves(union guest_cpuid *cpuid, const struct topology *topology)
{
	struct kvm_cpuid_entry2 *entries = cpuid->table.entries;
	unsigned int from, to = 0;

	for (from = 0; from < cpuid->table.nent; from++) {
		if (entries[from].function != 0xb && entries[from].function != 0x1f)
			entries[to++] = entries[from];
	}
	cpuid->table.nent = to;
	add(cpuid, (struct kvm_cpuid_entry2){ .function = 0xb,
					      .index = 0,
					      .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
					      .ebx = 1,
					      .ecx = LEVEL_SMT << 8,
					      .edx = topology->apic_id });
	add(cpuid, (struct kvm_cpuid_entry2){ .function = 0xb,
					      .index = 1,
					      .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
					      .eax = topology->shift,
					      .ebx = topology->cpus,
					      .ecx = LEVEL_CORE << 8 | 1,
					      .edx = topology->apic_id });
	add(cpuid, (struct kvm_cpuid_entry2){ .function = 0xb,
					      .index = 2,
					      .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
					      .ecx = 2,
					      .edx = topology->apic_id });
}

void guest_cpuid_place(union guest_cpuid *cpuid, unsigned int apic_id, unsigned int cpus)
{
	struct topology topology = { .apic_id = apic_id, .cpus = cpus };
	unsigned int i;

	while (1U << topology.shift < cpus)
		topology.shift++;
	for (i = 0; i < cpuid->table.nent; i++)
		fix_topology(&cpuid->table.entries[i], &topology);
	replace_topology_leaves(cpuid, &topology);
}

int guest_cpuid_get(union guest_cpuid *cpuid, int kvm_fd, unsigned int cpus, bool sev,
		    bool hears_sharing, struct why *why)
{
	bool tsc_deadline;
	unsigned int i;

	memset(cpuid, 0, sizeof(*cpuid));
	cpuid->table.nent = CPUID_MAX_ENTRIES - 3;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0)
		return why_errno(why, "KVM_GET_SUPPORTED_CPUID");
	tsc_deadline = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	for (i = 0; i < cpuid->table.nent; i++)
		fix_features(&cpuid->table.entries[i], tsc_deadline, hears_sharing, sev);
	guest_cpuid_place(cpuid, 0, cpus);
	return 0;
}
