/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SEV emulation for TCG: what the hooks in QEMU's own files call. Everything else is in this
 * folder.
 *
 * Words: "raw" bytes are those on the memory bus, what a device or a host mapping sees; a page's
 * "form" says what its host memory holds now: the raw bytes, or the plaintext under one ASID's key.
 */
#ifndef HW_I386_SEV_EMU_H
#define HW_I386_SEV_EMU_H

#include "cpu.h"
#include "exec/memory.h"
#include "dram.h"

#define SEV_EMU_MIN_ASID       1
#define SEV_EMU_MAX_ASID       15
#define SEV_EMU_NR_ASIDS       0x8000 /* KVM gives the ones above the SEV range to plain guests */
#define SEV_EMU_CBIT_POS       47
#define SEV_EMU_CBIT	       (1ULL << SEV_EMU_CBIT_POS)
#define SEV_EMU_PHYS_BITS      48
#define SEV_EMU_PHYS_REDUCTION 5

#define SEV_EMU_MSR_SYSCFG 0xc0010010
#define SEV_EMU_MSR_STATUS 0xc0010131

/* Pages whose form is not raw. Written by the vCPU thread only (or while the vCPUs are stopped). */
extern uint64_t sev_emu_nr_encrypted;

void sev_emu_tlb_fill_slow(CPUState *cs, hwaddr spa, MemTxAttrs attrs, uint32_t asid);

/*
 * A TLB entry for system physical address spa is about to be made, for the view of asid (0: raw).
 * Gives the page that form. Must be called before the entry is set, as a change of form flushes the
 * TLBs.
 */
static inline void sev_emu_tlb_fill(CPUState *cs, hwaddr spa, MemTxAttrs attrs, uint32_t asid)
{
	if (unlikely(asid || sev_emu_nr_encrypted))
		sev_emu_tlb_fill_slow(cs, spa, attrs, asid);
}

/* MOV to CR0, CR3 or CR4: the guest's TLB entries go, or the host's; none during VMRUN. */
void sev_emu_tlb_flush(CPUX86State *env);

/* The guest's translations have MMU indexes of their own. */
static inline int sev_emu_mmu_index(const CPUX86State *env)
{
	return env->hflags & HF_GUEST_MASK ? MMU_GUEST_IDX : 0;
}

/*
 * VMRUN, before the guest's state is loaded: false where the VMCB's SEV settings are illegal
 * (VMEXIT_INVALID). Sets env->sev_asid.
 */
bool sev_emu_vmrun(CPUX86State *env, uint64_t nested_ctl, uint32_t asid);
/* The same, after it: TLB entries of another guest go, and those that TLB_CONTROL names. */
void sev_emu_enter_guest(CPUX86State *env, uint32_t asid, uint8_t tlb_control);
/* #VMEXIT, before the guest's state is saved; clears HF2_NPT_MASK and env->sev_asid. */
void sev_emu_vmexit(CPUX86State *env);
/* The same, after the host's state was loaded. */
void sev_emu_enter_host(CPUX86State *env);

/*
 * NRIPS and DecodeAssists on #VMEXIT, after the guest's RIP was restored: fills the VMCB, returns
 * EXITINFO1.
 */
uint64_t sev_emu_exit_assist(CPUX86State *env, uint64_t exit_code, uint64_t exit_info_1);
/* The return address of a soft interrupt, INT3 or INTO that VMRUN injects. */
uint64_t sev_emu_inject_next_rip(CPUX86State *env);

void sev_emu_cpuid(X86CPU *cpu, uint32_t index, uint32_t *eax, uint32_t *ebx, uint32_t *ecx,
		   uint32_t *edx);
uint64_t sev_emu_rdmsr(CPUX86State *env, uint32_t msr);

/* A guest with encrypted memory reads SEV_STATUS itself; no intercept (APM volume 2, 15.34.10). */
static inline bool sev_emu_rdmsr_unintercepted(CPUX86State *env)
{
	return env->sev_asid && (uint32_t)env->regs[R_ECX] == SEV_EMU_MSR_STATUS;
}

#endif
