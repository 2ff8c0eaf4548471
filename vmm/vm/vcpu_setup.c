/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registers with which a new guest's vCPUs begin: Linux in ring 0 as its boot protocol has it,
 * a payload in ring 3 of 64-bit mode.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "launch/image.h"
#include "vmm/vm/vm_private.h"

#define CR0_PROTECTED_PAGING 0x80050033ULL /* PG, AM, WP, NE, ET, MP, PE */
#define CR4_PAE		     (1ULL << 5)
#define CR4_OSFXSR	     (1ULL << 9)
#define CR4_OSXMMEXCPT	     (1ULL << 10)
#define EFER_LME_LMA	     0x500ULL
#define RFLAGS_RESERVED	     0x2ULL

#define BOOT_CS	     0x10
#define BOOT_DS	     0x18
#define USER_CS	     0x33
#define USER_DS	     0x2b
#define TSS_SELECTOR 0x40
#define SEGMENT_CODE 11 /* execute, read, accessed */
#define SEGMENT_DATA 3 /* read, write, accessed */
#define SEGMENT_TSS  11 /* busy, 64-bit */

#define MSR_MTRR_DEF_TYPE 0x2ff
/* no firmware has set it up: Linux takes RAM for uncached otherwise */
#define MTRR_ENABLED_WRITEBACK 0x806

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type, uint8_t dpl)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.dpl = dpl,
		.db = type == SEGMENT_DATA,
		.s = 1,
		.l = type == SEGMENT_CODE,
		.g = 1,
	};
}

static int set_sregs(struct vcpu *vcpu, const struct launch_entry *entry, struct why *why)
{
	bool user = entry->mode == LAUNCH_PAYLOAD;
	uint8_t dpl = user ? 3 : 0;
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
		return why_errno(why, "KVM_GET_SREGS");
	sregs.cs = flat_segment(user ? USER_CS : BOOT_CS, SEGMENT_CODE, dpl);
	sregs.ss = flat_segment(user ? USER_DS : BOOT_DS, SEGMENT_DATA, dpl);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss;
	if (user) {
		/* With its I/O bitmap, so that ring 3 may use `out`. */
		sregs.tr = (struct kvm_segment){ .base = entry->tss_gpa,
						 .limit = (uint32_t)entry->tss_limit,
						 .selector = TSS_SELECTOR,
						 .type = SEGMENT_TSS,
						 .present = 1 };
	} else {
		sregs.gdt.base = entry->gdt_gpa;
		sregs.gdt.limit = (uint16_t)entry->gdt_limit;
	}
	sregs.idt.base = 0;
	sregs.idt.limit = 0;
	sregs.cr0 = CR0_PROTECTED_PAGING;
	sregs.cr3 = entry->cr3;
	sregs.cr4 = CR4_PAE | (user ? CR4_OSFXSR | CR4_OSXMMEXCPT : 0);
	sregs.efer = EFER_LME_LMA;
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) < 0)
		return why_errno(why, "cannot set the registers of CPU %u (KVM_SET_SREGS)",
				 vcpu->index);
	return 0;
}

static int set_regs(struct vcpu *vcpu, const struct launch_entry *entry, struct why *why)
{
	struct kvm_regs regs = {
		.rip = entry->rip,
		.rsp = entry->rsp,
		.rdi = entry->rdi,
		.rsi = entry->mode == LAUNCH_PAYLOAD ? vcpu->index : entry->rsi,
		.rflags = RFLAGS_RESERVED,
	};

	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0)
		return why_errno(why, "cannot set the registers of CPU %u (KVM_SET_REGS)",
				 vcpu->index);
	return 0;
}

static int set_mtrr(struct vcpu *vcpu, struct why *why)
{
	union {
		struct kvm_msrs table;
		uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} msrs = { .table.nmsrs = 1 };
	int set;

	msrs.table.entries[0].index = MSR_MTRR_DEF_TYPE;
	msrs.table.entries[0].data = MTRR_ENABLED_WRITEBACK;
	set = ioctl(vcpu->fd, KVM_SET_MSRS, &msrs);
	if (set < 0)
		return why_errno(why, "cannot set the MTRR default type (KVM_SET_MSRS)");
	return set == 1 ? 0 : why_set(why, -EIO, "KVM refuses the MTRR default type");
}

int vcpu_setup(struct vcpu *vcpu, const struct launch_entry *entry, struct why *why)
{
	struct kvm_mp_state runnable = { KVM_MP_STATE_RUNNABLE };
	int err;

	if (entry->mode == LAUNCH_LINUX) {
		err = set_mtrr(vcpu, why);
		if (err || vcpu->index) /* the others wait for INIT and SIPI, as after a reset */
			return err;
	} else if (ioctl(vcpu->fd, KVM_SET_MP_STATE, &runnable) < 0) {
		return why_errno(why, "cannot make CPU %u runnable (KVM_SET_MP_STATE)",
				 vcpu->index);
	}
	err = set_sregs(vcpu, entry, why);
	return err ? err : set_regs(vcpu, entry, why);
}
