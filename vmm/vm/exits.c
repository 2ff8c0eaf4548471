/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a vCPU left the guest for (Linux Documentation/virt/kvm/api.rst, "The kvm_run structure").
 */
#include <asm/kvm_para.h>
#include <errno.h>
#include <stdatomic.h>
#include <linux/kvm_para.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include <sevmirror/pagemap.h>
#include "vmm/bus.h"
#include "launch/device_layout.h"
#include "vmm/vm/vm_private.h"

const char *vm_exit_name(enum vm_exit_kind kind)
{
	static const char *const names[VM_EXIT_KINDS] = { "io",	  "mmio",     "hypercall",
							  "msr",  "doorbell", "interrupted",
							  "other" };

	return names[kind];
}

void vcpu_count(struct vcpu *vcpu, enum vm_exit_kind kind)
{
	/* One writer: no locked instruction in the hottest path there is. */
	atomic_store_explicit(&vcpu->exits[kind],
			      atomic_load_explicit(&vcpu->exits[kind], memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

void vm_exits(const struct vm *vm, unsigned int cpu, uint64_t counts[VM_EXIT_KINDS])
{
	for (unsigned int i = 0; i < VM_EXIT_KINDS; i++)
		counts[i] = atomic_load_explicit(&vm->vcpus[cpu].exits[i], memory_order_relaxed);
}

static bool is_bell(const struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;

	return vcpu->vm->config.payload && run->io.direction == KVM_EXIT_IO_OUT &&
	       run->io.port == PAYLOAD_DOORBELL_IOPORT && run->io.size == sizeof(uint32_t);
}

static enum vm_exit_kind kind_of(const struct vcpu *vcpu)
{
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_IO:
		return is_bell(vcpu) ? VM_EXIT_BELL : VM_EXIT_IO;
	case KVM_EXIT_MMIO:
		return VM_EXIT_MMIO;
	case KVM_EXIT_HYPERCALL:
		return VM_EXIT_HYPERCALL;
	case KVM_EXIT_X86_RDMSR:
	case KVM_EXIT_X86_WRMSR:
		return VM_EXIT_MSR;
	default:
		return VM_EXIT_OTHER;
	}
}

static void exit_io(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	bool out = run->io.direction == KVM_EXIT_IO_OUT;
	uint32_t i;

	if (is_bell(vcpu)) {
		uint32_t bell;

		__builtin_memcpy(&bell, data, sizeof(bell));
		vcpu_bell(vcpu, bell);
		return;
	}
	for (i = 0; i < run->io.count; i++, data += run->io.size) {
		if (out)
			bus_write(vcpu->vm->bus, BUS_PIO, run->io.port, data, run->io.size);
		else
			bus_read(vcpu->vm->bus, BUS_PIO, run->io.port, data, run->io.size);
	}
}

static void exit_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	if (run->mmio.is_write)
		bus_write(vcpu->vm->bus, BUS_MMIO, run->mmio.phys_addr, run->mmio.data,
			  run->mmio.len);
	else
		bus_read(vcpu->vm->bus, BUS_MMIO, run->mmio.phys_addr, run->mmio.data,
			 run->mmio.len);
}

static void exit_hypercall(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint64_t args[3] = { run->hypercall.args[0], run->hypercall.args[1],
			     run->hypercall.args[2] };

	if (run->hypercall.nr == KVM_HC_MAP_GPA_RANGE)
		run->hypercall.ret = (uint64_t)sev_pagemap_hypercall(vcpu->vm->pagemap, args);
	else
		run->hypercall.ret = (uint64_t)-KVM_ENOSYS;
}

/*
 * Only MSR_KVM_MIGRATION_CONTROL comes here, which KVM leaves to user space (vm.c filters it out).
 */
static void exit_msr(struct vcpu *vcpu, bool write)
{
	struct kvm_run *run = vcpu->run;

	run->msr.error = 0;
	if (run->msr.index != MSR_KVM_MIGRATION_CONTROL)
		run->msr.error = 1;
	else if (write)
		run->msr.error =
			sev_pagemap_write_migration_control(vcpu->vm->pagemap, run->msr.data) != 0;
	else
		run->msr.data = sev_pagemap_read_migration_control(vcpu->vm->pagemap);
}

/*
 * "rip ... cr3 ..." for people; an encrypted guest's registers are readable too with plain SEV, but
 * say nothing without its memory.
 */
static const char *registers(struct vcpu *vcpu, char *text, size_t max)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	text[0] = '\0';
	if (vcpu->vm->config.sev || ioctl(vcpu->fd, KVM_GET_REGS, &r) < 0 ||
	    ioctl(vcpu->fd, KVM_GET_SREGS, &s) < 0)
		return text;
	snprintf(text, max,
		 "\nrip %016llx rsp %016llx rflags %08llx cs %04x:%d\n"
		 "rax %016llx rbx %016llx rcx %016llx rdx %016llx\n"
		 "rsi %016llx rdi %016llx rbp %016llx r8  %016llx\n"
		 "r9  %016llx r10 %016llx r11 %016llx r12 %016llx\n"
		 "r13 %016llx r14 %016llx r15 %016llx efer %08llx\n"
		 "cr0 %016llx cr2 %016llx cr3 %016llx cr4 %016llx",
		 r.rip, r.rsp, r.rflags, s.cs.selector, s.cs.dpl, r.rax, r.rbx, r.rcx, r.rdx, r.rsi,
		 r.rdi, r.rbp, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, s.efer, s.cr0,
		 s.cr2, s.cr3, s.cr4);
	return text;
}

static void exit_internal_error(struct vcpu *vcpu)
{
	static const char *const suberrors[] = { "unknown", "an instruction KVM cannot emulate",
						 "simultaneous exceptions", "event delivery failed",
						 "unexpected exit reason" };
	struct kvm_run *run = vcpu->run;
	uint32_t suberror = run->internal.suberror;
	char text[VM_REPORT_BYTES / 2];

	vm_ended(vcpu->vm, VM_FAILED, "CPU %u: KVM internal error %u (%s), data %llx %llx%s",
		 vcpu->index, suberror,
		 suberrors[suberror < sizeof(suberrors) / sizeof(*suberrors) ? suberror : 0],
		 run->internal.ndata > 0 ? run->internal.data[0] : 0,
		 run->internal.ndata > 1 ? run->internal.data[1] : 0,
		 registers(vcpu, text, sizeof(text)));
}

static void exit_system_event(struct vcpu *vcpu)
{
	switch (vcpu->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		vm_ended(vcpu->vm, VM_POWEROFF, NULL);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		vm_ended(vcpu->vm, VM_REBOOT, NULL);
		break;
	default:
		vm_ended(vcpu->vm, VM_CRASH, "CPU %u: system event %u", vcpu->index,
			 vcpu->run->system_event.type);
	}
}

bool vcpu_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	char text[VM_REPORT_BYTES / 2];

	vcpu_count(vcpu, kind_of(vcpu));
	/* The guest wrote it before it did what this exit is for. */
	vm_take_coalesced(vcpu->vm);
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		exit_io(vcpu);
		break;
	case KVM_EXIT_MMIO:
		exit_mmio(vcpu);
		break;
	case KVM_EXIT_HYPERCALL:
		exit_hypercall(vcpu);
		break;
	case KVM_EXIT_X86_RDMSR:
	case KVM_EXIT_X86_WRMSR:
		exit_msr(vcpu, run->exit_reason == KVM_EXIT_X86_WRMSR);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		break;
	case KVM_EXIT_SHUTDOWN:
		vm_ended(vcpu->vm, VM_CRASH, "CPU %u: triple fault%s", vcpu->index,
			 registers(vcpu, text, sizeof(text)));
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		exit_system_event(vcpu);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		exit_internal_error(vcpu);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		vm_ended(vcpu->vm, VM_FAILED,
			 "CPU %u: the hardware refuses to enter the guest, reason 0x%llx%s",
			 vcpu->index, run->fail_entry.hardware_entry_failure_reason,
			 registers(vcpu, text, sizeof(text)));
		break;
	default:
		vm_ended(vcpu->vm, VM_FAILED, "CPU %u: unexpected exit reason %u%s", vcpu->index,
			 run->exit_reason, registers(vcpu, text, sizeof(text)));
	}
	return vm_end(vcpu->vm) == VM_RUNS;
}
