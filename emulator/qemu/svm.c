/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What KVM's SEV code needs of SVM beyond QEMU's: NRIPS and DecodeAssists (APM volume 2, 15.7.1 and
 * 15.10), VMRUN of an SEV guest, and TLB entries that outlive VMRUN and #VMEXIT. The ASID's private
 * pages and the C-bit are in target/i386/tcg/system/excp_helper.c (hooks.patch) and forms.c.
 */
#include "qemu/osdep.h"
#include "cpu.h"
#include "exec/cputlb.h"
#include "exec/exec-all.h"
#include "exec/helper-proto.h"
#include "svm.h"
#include "tcg/helper-tcg.h"
#include "internal.h"

/*
 * Fields of the VMCB's control area that QEMU's struct vmcb leaves reserved (APM volume 2, table
 * B-1).
 */
#define VMCB_NEXT_RIP	0xc8
#define VMCB_INSN_BYTES 0xd0 /* a length byte, 15 bytes */

#define NESTED_CTL_SEV	  (1 << 1)
#define NESTED_CTL_SEV_ES (1 << 2)

#define MAX_INSN_BYTES 15

/*
 * The host and the guest have TLBs of their own, as QEMU has one for each MMU index. The guest's
 * keep their entries while the host runs, and the reverse, as the ASID arranges it in hardware (APM
 * volume 2, 15.16). A vCPU keeps the entries of one ASID, that of the last guest.
 */
#define HOST_MMUIDX  (0x3f | 1 << MMU_PHYS_IDX)
#define GUEST_MMUIDX (0x3f << MMU_GUEST_IDX)

void sev_emu_tlb_flush(CPUX86State *env)
{
	if (!env->sev_switching)
		tlb_flush_by_mmuidx(env_cpu(env),
				    env->hflags & HF_GUEST_MASK ? GUEST_MMUIDX : HOST_MMUIDX);
}

static struct sev_regime regime_of(const CPUX86State *env)
{
	return (struct sev_regime){ env->cr[0], env->cr[3], env->cr[4], env->efer };
}

static bool is_regime(const CPUX86State *env, const struct sev_regime *regime)
{
	return env->cr[0] == regime->cr0 && env->cr[3] == regime->cr3 &&
	       env->cr[4] == regime->cr4 && env->efer == regime->efer;
}

bool sev_emu_vmrun(CPUX86State *env, uint64_t nested_ctl, uint32_t asid)
{
	env->sev_host = regime_of(env);
	env->sev_switching = true;
	if (!(nested_ctl & (NESTED_CTL_SEV | NESTED_CTL_SEV_ES)) || !env_archcpu(env)->sev_emu)
		return true;
	if ((nested_ctl & NESTED_CTL_SEV_ES) || !(nested_ctl & SVM_NPT_ENABLED))
		return false;
	if (asid < SEV_EMU_MIN_ASID || asid > SEV_EMU_MAX_ASID)
		return false;
	env->sev_asid = asid;
	return true;
}

/*
 * A hypervisor says by TLB_CONTROL what it has changed in a guest's tables. What is compared here
 * besides the ASID is what it may have changed in the VMCB without a word.
 */
static bool entries_are_of_guest(const CPUX86State *env, uint32_t asid)
{
	const struct sev_guest_tlb *tlb = &env->sev_guest;

	return tlb->asid == asid && tlb->sev_asid == env->sev_asid &&
	       tlb->nested == (env->hflags2 & HF2_NPT_MASK) &&
	       tlb->nested_pg_mode == env->nested_pg_mode && tlb->nested_cr3 == env->nested_cr3 &&
	       is_regime(env, &tlb->regime);
}

void sev_emu_enter_guest(CPUX86State *env, uint32_t asid, uint8_t tlb_control)
{
	env->sev_switching = false;
	if (tlb_control == TLB_CONTROL_FLUSH_ALL_ASID) /* also the host's */
		tlb_flush(env_cpu(env));
	else if (tlb_control != TLB_CONTROL_DO_NOTHING || !entries_are_of_guest(env, asid))
		tlb_flush_by_mmuidx(env_cpu(env), GUEST_MMUIDX | 1 << MMU_NESTED_IDX);
	env->sev_guest.asid = asid;
}

void sev_emu_vmexit(CPUX86State *env)
{
	struct sev_guest_tlb *tlb = &env->sev_guest;

	/* of a VMRUN that has failed before sev_emu_enter_guest() */
	if (env->sev_switching || !(env->hflags & HF_GUEST_MASK))
		tlb->asid = 0;
	tlb->sev_asid = env->sev_asid;
	tlb->nested = env->hflags2 & HF2_NPT_MASK;
	tlb->nested_pg_mode = env->nested_pg_mode;
	tlb->nested_cr3 = env->nested_cr3;
	tlb->regime = regime_of(env);
	env->hflags2 &= ~HF2_NPT_MASK;
	env->sev_asid = 0;
	env->sev_switching = true;
}

void sev_emu_enter_host(CPUX86State *env)
{
	env->sev_switching = false;
	if (!is_regime(env, &env->sev_host))
		sev_emu_tlb_flush(env);
}

/* Guest instruction bytes at CS:RIP, as far as they are mapped. */
static int fetch_insn(CPUX86State *env, uint8_t *buf)
{
	int mmu_idx = cpu_mmu_index(env_cpu(env), true), n = 0;
	target_ulong pc = env->eip + env->segs[R_CS].base;

	while (n < MAX_INSN_BYTES) {
		target_ulong addr = env->hflags & HF_CS64_MASK ? env->eip + n : (uint32_t)(pc + n);
		int len = MIN(MAX_INSN_BYTES - n, TARGET_PAGE_SIZE - (addr & ~TARGET_PAGE_MASK));
		CPUTLBEntryFull *full;
		void *host;
		int flags = probe_access_full(env, addr, 0, MMU_INST_FETCH, mmu_idx, true, &host,
					      &full, 0);

		if ((flags & TLB_INVALID_MASK) || !host)
			break;
		memcpy(buf + n, host, len);
		n += len;
	}
	return n;
}

static bool is_legacy_prefix(uint8_t byte)
{
	switch (byte) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64 ... 0x67:
	case 0xf0:
	case 0xf2:
	case 0xf3:
		return true;
	}
	return false;
}

/*
 * The general register of a MOV from or to CRn or DRn at CS:RIP; -1 for another instruction (LMSW,
 * SMSW, CLTS).
 */
static int mov_crdr_register(CPUX86State *env)
{
	uint8_t insn[MAX_INSN_BYTES], rex = 0;
	int n = fetch_insn(env, insn), i = 0;

	while (i < n && is_legacy_prefix(insn[i]))
		i++;
	if ((env->hflags & HF_CS64_MASK) && i < n && (insn[i] & 0xf0) == 0x40)
		rex = insn[i++];
	if (i + 2 < n && insn[i] == 0x0f && insn[i + 1] >= 0x20 && insn[i + 1] <= 0x23)
		return (insn[i + 2] & 7) | (rex & 1) << 3;
	return -1;
}

static uint64_t assist_crdr(CPUX86State *env, uint64_t exit_code, uint64_t exit_info_1)
{
	bool dr = exit_code >= SVM_EXIT_READ_DR0 && exit_code <= SVM_EXIT_WRITE_DR7;
	int reg = mov_crdr_register(env);

	if (reg < 0)
		return exit_info_1;
	return reg | (dr ? 0 : 1ULL << 63);
}

static void store_insn_bytes(CPUX86State *env)
{
	struct {
		uint8_t n, bytes[MAX_INSN_BYTES];
	} insn = { 0 };

	if (!env->sev_fetch_fault)
		insn.n = fetch_insn(env, insn.bytes);
	address_space_write(env_cpu(env)->as, env->vm_vmcb + VMCB_INSN_BYTES,
			    MEMTXATTRS_UNSPECIFIED, &insn, sizeof(insn));
}

/*
 * Exits that hold the next RIP: intercepts of instructions, and the exceptions that INT3, INTO and
 * BOUND raise.
 */
static bool has_next_rip(uint64_t exit_code)
{
	switch (exit_code) {
	case SVM_EXIT_READ_CR0 ... SVM_EXIT_WRITE_DR7:
	case SVM_EXIT_EXCP_BASE + EXCP03_INT3:
	case SVM_EXIT_EXCP_BASE + EXCP04_INTO:
	case SVM_EXIT_EXCP_BASE + EXCP05_BOUND:
	case SVM_EXIT_CR0_SEL_WRITE ... SVM_EXIT_MSR:
	case SVM_EXIT_VMRUN ... SVM_EXIT_XSETBV:
		return true;
	}
	return false;
}

static uint64_t next_rip(CPUX86State *env)
{
	uint64_t rip = env->eip + env->sev_insn_len;

	if (!env->sev_insn_len)
		return 0;
	return env->hflags & HF_CS64_MASK ? rip : (uint32_t)rip;
}

uint64_t sev_emu_exit_assist(CPUX86State *env, uint64_t exit_code, uint64_t exit_info_1)
{
	uint32_t features = env->features[FEAT_SVM];

	if (!(env->hflags & HF_GUEST_MASK) || exit_code == (uint64_t)SVM_EXIT_ERR)
		goto out;
	if (features & CPUID_SVM_NRIPSAVE)
		x86_stq_phys(env_cpu(env), env->vm_vmcb + VMCB_NEXT_RIP,
			     has_next_rip(exit_code) ? next_rip(env) : 0);
	if (!(features & CPUID_SVM_DECODEASSIST))
		goto out;
	switch (exit_code) {
	case SVM_EXIT_READ_CR0 ... SVM_EXIT_WRITE_DR7:
	case SVM_EXIT_CR0_SEL_WRITE:
		exit_info_1 = assist_crdr(env, exit_code, exit_info_1);
		break;
	case SVM_EXIT_EXCP_BASE + EXCP0E_PAGE:
	case SVM_EXIT_NPF:
		store_insn_bytes(env);
		break;
	}
out:
	env->sev_insn_len = 0;
	env->sev_fetch_fault = false;
	return exit_info_1;
}

uint64_t sev_emu_inject_next_rip(CPUX86State *env)
{
	if (!(env->features[FEAT_SVM] & CPUID_SVM_NRIPSAVE))
		return env->eip;
	return x86_ldq_phys(env_cpu(env), env->vm_vmcb + VMCB_NEXT_RIP);
}

/* INVLPG and INVLPGA: the linear address in EXITINFO1. */
void helper_svm_check_invlpg(CPUX86State *env, uint32_t type, target_ulong addr)
{
	uint64_t info = env->features[FEAT_SVM] & CPUID_SVM_DECODEASSIST ? addr : 0;

	cpu_svm_check_intercept_param(env, type, info, GETPC());
}
