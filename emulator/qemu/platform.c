/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The emulated EPYC around its memory: CPUID leaf 0x8000001F, the MSRs that the kernel reads before
 * it believes it, WBINVD, and what is refused at start-up because the model would be wrong there.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bitmap.h"
#include "qemu/error-report.h"
#include "qemu/module.h"
#include "cpu.h"
#include "exec/helper-proto.h"
#include "system/cpu-timers.h"
#include "hw/boards.h"
#include "hw/i386/apic_internal.h"
#include "hw/i386/x86.h"
#include "migration/blocker.h"
#include "system/confidential-guest-support.h"
#include "system/replay.h"
#include "system/system.h"
#include "system/tcg.h"
#include "internal.h"

#define CPUID_8000001F_EAX_SEV (1 << 1)
#define SYSCFG_MEM_ENCRYPT     (1 << 23)
#define HWCR_SMMLOCK	       (1 << 0)
#define SEV_STATUS_SEV	       (1 << 0)

/*
 * CPU index by bit: has executed WBINVD since the last sev_platform_wbinvd_arm(). vCPU thread only.
 */
static unsigned long *wbinvd_seen;
static Error *migration_blocker;

void sev_emu_cpuid(X86CPU *cpu, uint32_t index, uint32_t *eax, uint32_t *ebx, uint32_t *ecx,
		   uint32_t *edx)
{
	if (!cpu->sev_emu)
		return;
	switch (index) {
	case 0x8000000A:
		*ebx = SEV_EMU_NR_ASIDS;
		break;
	case 0x8000001F:
		*eax = CPUID_8000001F_EAX_SEV;
		*ebx = SEV_EMU_CBIT_POS | SEV_EMU_PHYS_REDUCTION << 6;
		*ecx = SEV_EMU_MAX_ASID;
		*edx = SEV_EMU_MIN_ASID;
		break;
	}
}

uint64_t sev_emu_rdmsr(CPUX86State *env, uint32_t msr)
{
	if (!env_archcpu(env)->sev_emu)
		return 0;
	switch (msr) {
	case MSR_K7_HWCR:
		return HWCR_SMMLOCK;
	case SEV_EMU_MSR_SYSCFG:
		return SYSCFG_MEM_ENCRYPT;
	case SEV_EMU_MSR_STATUS:
		return env->sev_asid ? SEV_STATUS_SEV : 0;
	}
	return 0;
}

void helper_sev_wbinvd(CPUX86State *env)
{
	if (wbinvd_seen)
		set_bit(env_cpu(env)->cpu_index, wbinvd_seen);
}

/* A core that nobody has started since its reset has nothing in its caches. */
static bool never_started(CPUState *cs)
{
	DeviceState *apic = X86_CPU(cs)->apic_state;

	return cs->halted && apic && APIC_COMMON(apic)->wait_for_sipi;
}

bool sev_platform_wbinvd_done(void)
{
	CPUState *cs;

	CPU_FOREACH(cs)
	if (!test_bit(cs->cpu_index, wbinvd_seen) && !never_started(cs))
		return false;
	return true;
}

void sev_platform_wbinvd_arm(void)
{
	bitmap_zero(wbinvd_seen, current_machine->smp.max_cpus);
}

static bool check_accelerator(Error **errp)
{
	if (!tcg_enabled() || qemu_tcg_mttcg_enabled()) {
		error_setg(errp, "the SEV emulation needs all CPUs in one thread: use -accel "
				 "tcg,thread=single");
		return false;
	}
	if (icount_enabled() || replay_mode != REPLAY_MODE_NONE) {
		error_setg(
			errp,
			"the SEV emulation cannot be recorded or replayed: leave out -icount and "
			"rr options");
		return false;
	}
	return true;
}

static bool check_cpu(Error **errp)
{
	static const uint32_t need =
		CPUID_SVM_NPT | CPUID_SVM_NRIPSAVE | CPUID_SVM_DECODEASSIST | CPUID_SVM_FLUSHASID;
	X86CPU *cpu = X86_CPU(first_cpu);

	if (!cpu->sev_emu) {
		error_setg(
			errp,
			"the CPU has no SEV: use -cpu EPYC,sev-emu=on,... with the amd-psp device");
		return false;
	}
	if (!(cpu->env.features[FEAT_8000_0001_ECX] & CPUID_EXT3_SVM) ||
	    (cpu->env.features[FEAT_SVM] & need) != need) {
		error_setg(
			errp,
			"KVM uses SEV only with +svm,+npt,+nrip-save,+decodeassists,+flushbyasid: "
			"add them to -cpu");
		return false;
	}
	if (cpu->phys_bits != SEV_EMU_PHYS_BITS) {
		error_setg(errp,
			   "the C-bit is bit %d of %d physical address bits, not of %u: add "
			   "phys-bits=%d to -cpu",
			   SEV_EMU_CBIT_POS, SEV_EMU_PHYS_BITS, cpu->phys_bits, SEV_EMU_PHYS_BITS);
		return false;
	}
	return true;
}

static bool check_memory(Error **errp)
{
	X86MachineState *x86ms =
		(X86MachineState *)object_dynamic_cast(OBJECT(current_machine), TYPE_X86_MACHINE);
	MemoryRegion *ram = current_machine->ram;
	uint64_t limit = 1ULL << (SEV_EMU_PHYS_BITS - SEV_EMU_PHYS_REDUCTION);

	if (!x86ms || !ram || !ram->ram_block || memory_region_is_ram_device(ram)) {
		error_setg(errp,
			   "the SEV emulation needs a PC machine (-machine q35) with one block of "
			   "RAM, no NUMA memory devices");
		return false;
	}
	if (current_machine->maxram_size != current_machine->ram_size) {
		error_setg(errp,
			   "the SEV emulation does not encrypt hot-plugged memory: leave out -m "
			   "maxmem=");
		return false;
	}
	if (current_machine->cgs) {
		error_setg(errp, "the emulated SEV host cannot itself be a confidential guest");
		return false;
	}
	if (x86ms->above_4g_mem_size &&
	    x86ms->above_4g_mem_start + x86ms->above_4g_mem_size > limit) {
		error_setg(errp,
			   "RAM would end above %#" PRIx64
			   ", where SEV has taken the address bits: use less than 8 TiB",
			   limit);
		return false;
	}
	return true;
}

/*
 * Waking up from S3 resets the machine: keys would be gone, and the kernel's driver does not start
 * the firmware again. EPYC servers have neither S3 nor S4. Without the properties (no ICH9) the
 * machine has no sleep states that this could be about.
 */
static bool check_sleep(Error **errp)
{
	Object *lpc = object_resolve_path_type("", "ICH9-LPC", NULL);
	static const char *const states[] = { "disable_s3", "disable_s4" };

	for (size_t i = 0; lpc && i < G_N_ELEMENTS(states); i++) {
		if (!object_property_get_uint(lpc, states[i], NULL)) {
			error_setg(
				errp,
				"the SEV emulation does not survive sleep, and servers have none: "
				"add -global ICH9-LPC.%s=1",
				states[i]);
			return false;
		}
	}
	return true;
}

static void after_all_devices(Notifier *notifier, void *data)
{
	sev_bus_raise_bounce_limits();
}

bool sev_platform_check(Error **errp)
{
	static Notifier notifier = { .notify = after_all_devices };
	X86MachineState *x86ms;

	if (sev_forms_dram()) {
		error_setg(errp, "there is one PSP a machine");
		return false;
	}
	if (!check_accelerator(errp) || !check_cpu(errp) || !check_memory(errp) ||
	    !check_sleep(errp))
		return false;
	error_setg(&migration_blocker,
		   "the emulated SEV host has encrypted pages and a PSP, which are not migrated");
	if (migrate_add_blocker(&migration_blocker, errp) < 0)
		return false;
	x86ms = X86_MACHINE(current_machine);
	wbinvd_seen = bitmap_new(current_machine->smp.max_cpus);
	sev_forms_init(current_machine->ram, x86ms->below_4g_mem_size, x86ms->above_4g_mem_start);
	sev_bus_claim_dram();
	qemu_add_machine_init_done_notifier(&notifier);
	return true;
}

static void check_psp_exists(Notifier *notifier, void *data)
{
	X86CPU *cpu = (X86CPU *)object_dynamic_cast(OBJECT(first_cpu), TYPE_X86_CPU);

	if (!cpu || !cpu->sev_emu || sev_forms_dram())
		return;
	error_report("sev-emu=on needs the secure processor: add -device amd-psp");
	exit(1);
}

static Notifier psp_check = { .notify = check_psp_exists };

static void register_check(void)
{
	qemu_add_machine_init_done_notifier(&psp_check);
}

type_init(register_check)
