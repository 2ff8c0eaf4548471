/* SPDX-License-Identifier: Apache-2.0 */
#include "service/migrate_compat.h"

#include <asm/kvm_para.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/sev/sev_cpuid.h"
#include "vmm/state_bytes.h"
#include "vmm/host_devices.h"

#define COMPAT_MAGIC   0x504d5653u /* "SVMP" */
#define COMPAT_VERSION 1

enum cpuid_register { EAX, EBX, ECX, EDX };

/*
 * Registers whose bits are features, each of which the host must have (AMD64 APM volume 3, appendix
 * E; Intel SDM, CPUID; Linux Documentation/virt/kvm/x86/cpuid.rst). not_features: bits that follow
 * the guest's own control registers, or that KVM emulates anyway.
 */
struct feature_word {
	uint32_t function, index;
	enum cpuid_register reg;
	uint32_t not_features;
};

#define ECX_OSXSAVE (1u << 27)
#define ECX_HYPER   (1u << 31)
#define EDX_HTT	    (1u << 28)
#define EDX_APIC    (1u << 9)
#define ECX_OSPKE   (1u << 4)
#define ECX_CMP_LEG (1u << 1)
#define ECX_MWAIT   (1u << 3)
#define ECX_X2APIC  (1u << 21)

static const struct feature_word feature_words[] = {
	{ 0x1, 0, ECX, ECX_OSXSAVE | ECX_HYPER | ECX_MWAIT | ECX_X2APIC },
	{ 0x1, 0, EDX, EDX_HTT | EDX_APIC },
	{ 0x7, 0, EBX, 0 },
	{ 0x7, 0, ECX, ECX_OSPKE },
	{ 0x7, 0, EDX, 0 },
	{ 0x7, 1, EAX, 0 },
	{ 0xd, 0, EAX, 0 }, /* XCR0: what XSAVE may hold */
	{ 0xd, 0, EDX, 0 },
	{ 0xd, 1, EAX, 0 },
	{ 0xd, 1, ECX, 0 }, /* IA32_XSS */
	{ KVM_CPUID_FEATURES, 0, EAX, 0 },
	{ 0x80000001, 0, ECX, ECX_CMP_LEG },
	{ 0x80000001, 0, EDX, EDX_APIC },
	{ 0x80000008, 0, EBX, 0 },
	{ SEV_CPUID_LEAF, 0, EAX, 0 },
};

static const struct kvm_cpuid_entry2 *find(const union guest_cpuid *cpuid, uint32_t function,
					   uint32_t index)
{
	static const struct kvm_cpuid_entry2 none;
	uint32_t i;

	for (i = 0; i < cpuid->table.nent; i++) {
		const struct kvm_cpuid_entry2 *entry = &cpuid->table.entries[i];

		if (entry->function == function && entry->index == index)
			return entry;
	}
	return &none;
}

static uint32_t reg(const struct kvm_cpuid_entry2 *entry, enum cpuid_register which)
{
	return which == EAX ? entry->eax :
	       which == EBX ? entry->ebx :
	       which == ECX ? entry->ecx :
			      entry->edx;
}

static int compare_vendor(const union guest_cpuid *guest, const union guest_cpuid *host,
			  struct why *why)
{
	const struct kvm_cpuid_entry2 *g = find(guest, 0, 0), *h = find(host, 0, 0);

	if (g->ebx == h->ebx && g->ecx == h->ecx && g->edx == h->edx)
		return 0;
	return why_set(why, -ENOTSUP,
		       "the CPUs are of different vendors (%.4s%.4s%.4s on the source, "
		       "%.4s%.4s%.4s on the target)",
		       (const char *)&g->ebx, (const char *)&g->edx, (const char *)&g->ecx,
		       (const char *)&h->ebx, (const char *)&h->edx, (const char *)&h->ecx);
}

/* The guest's page tables count on the reserved bits that go with it. */
static int compare_address_width(const union guest_cpuid *guest, const union guest_cpuid *host,
				 struct why *why)
{
	uint32_t g = find(guest, 0x80000008, 0)->eax, h = find(host, 0x80000008, 0)->eax;

	if ((g & 0xff) != (h & 0xff))
		return why_set(
			why, -ENOTSUP,
			"MAXPHYADDR is %u bits on the source and %u on the target: the guest's "
			"page tables depend on it",
			g & 0xff, h & 0xff);
	if ((g >> 8 & 0xff) > (h >> 8 & 0xff))
		return why_set(why, -ENOTSUP,
			       "virtual addresses have %u bits on the source and %u "
			       "on the target",
			       g >> 8 & 0xff, h >> 8 & 0xff);
	return 0;
}

int migrate_compat_compare(const union guest_cpuid *guest, const union guest_cpuid *host,
			   struct why *why)
{
	static const char *const reg_names[] = { "EAX", "EBX", "ECX", "EDX" };
	size_t i;
	int err = compare_vendor(guest, host, why);

	if (!err)
		err = compare_address_width(guest, host, why);
	for (i = 0; !err && i < sizeof(feature_words) / sizeof(*feature_words); i++) {
		const struct feature_word *word = &feature_words[i];
		uint32_t g = reg(find(guest, word->function, word->index), word->reg);
		uint32_t h = reg(find(host, word->function, word->index), word->reg);
		uint32_t missing = g & ~h & ~word->not_features;

		if (missing)
			err = why_set(
				why, -ENOTSUP,
				"the guest uses CPU features that the target does not have: CPUID "
				"0x%x.%u %s bits 0x%x (bit %d first)",
				word->function, word->index, reg_names[word->reg], missing,
				__builtin_ctz(missing));
	}
	return err;
}

ssize_t migrate_compat_save(const struct vm *vm, bool sev, void *buf, size_t max)
{
	const union guest_cpuid *cpuid = vm_cpuid(vm);
	struct state_writer w = { .buf = buf, .max = max };
	uint32_t i;

	state_put32(&w, COMPAT_MAGIC);
	state_put32(&w, COMPAT_VERSION);
	state_put64(&w, vm_tsc_khz(vm));
	state_put8(&w, sev);
	state_put32(&w, cpuid->table.nent);
	for (i = 0; i < cpuid->table.nent; i++) {
		const struct kvm_cpuid_entry2 *entry = &cpuid->table.entries[i];

		state_put32(&w, entry->function);
		state_put32(&w, entry->index);
		state_put32(&w, entry->flags);
		state_put32(&w, entry->eax);
		state_put32(&w, entry->ebx);
		state_put32(&w, entry->ecx);
		state_put32(&w, entry->edx);
	}
	return state_written(&w);
}

int migrate_compat_load(struct migrate_guest_cpu *cpu, const void *buf, size_t len, struct why *why)
{
	struct state_reader r = { .buf = buf, .len = len };
	uint32_t magic = state_get32(&r), version = state_get32(&r), i;

	memset(cpu, 0, sizeof(*cpu));
	if (r.overflow || magic != COMPAT_MAGIC || version != COMPAT_VERSION)
		return why_set(
			why, -EINVAL,
			"the source does not describe the guest's CPUs in version %u: install the "
			"same sevmirror on both",
			COMPAT_VERSION);
	cpu->tsc_khz = state_get64(&r);
	cpu->sev = state_get_bool(&r);
	cpu->cpuid.table.nent = state_get32(&r);
	if (cpu->cpuid.table.nent > CPUID_MAX_ENTRIES)
		return why_set(why, -EINVAL, "the guest's CPUID has %u entries, %u at most",
			       cpu->cpuid.table.nent, CPUID_MAX_ENTRIES);
	for (i = 0; i < cpu->cpuid.table.nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpu->cpuid.table.entries[i];

		entry->function = state_get32(&r);
		entry->index = state_get32(&r);
		entry->flags = state_get32(&r) & KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		entry->eax = state_get32(&r);
		entry->ebx = state_get32(&r);
		entry->ecx = state_get32(&r);
		entry->edx = state_get32(&r);
	}
	return state_complete(&r) ?
		       0 :
		       why_set(why, -EINVAL, "the description of the guest's CPUs is malformed");
}

int migrate_compat_check(const struct migrate_guest_cpu *cpu, const struct host_devices *devices,
			 struct why *why)
{
	union guest_cpuid host;
	int kvm = host_devices_kvm(devices, why), err;

	if (kvm < 0)
		return kvm;
	err = guest_cpuid_get(&host, kvm, 1, cpu->sev, true, why);
	close(kvm);
	return err ? err : migrate_compat_compare(&cpu->cpuid, &host, why);
}
