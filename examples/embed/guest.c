/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "guest.h"

#define CODE_GPA   0x20000ULL
#define COUNT_GPA  0x21000ULL
#define WORK_GPA   0x400000ULL
#define WORK_BYTES (4ULL << 20)

/*
 * rbx counts; rdi: the counter in memory; rsi: the working area; rdx: its size less one. Some 50 us
 * between two stamps.
 */
extern const uint8_t guest_code[];
extern const uint64_t guest_code_bytes;
__asm__(".pushsection .rodata\n"
	"guest_code:\n"
	"1:	inc %rbx\n"
	"	mov %rbx, %rax\n"
	"	shl $12, %rax\n"
	"	and %rdx, %rax\n"
	"	mov %rbx, (%rsi, %rax)\n"
	"	mov %rbx, (%rdi)\n"
	"	mov $100000, %ecx\n"
	"2:	dec %ecx\n"
	"	jnz 2b\n"
	"	jmp 1b\n"
	".balign 8\n"
	"guest_code_bytes: .quad . - guest_code\n"
	".popsection\n");

static int load(struct vm *vm)
{
	memcpy(vm->ram + CODE_GPA, guest_code, guest_code_bytes);
	return 0;
}

static void enter(struct vm *vm, uint32_t index, struct kvm_regs *regs, struct kvm_sregs *sregs)
{
	(void)vm;
	(void)index;
	(void)sregs;
	regs->rip = CODE_GPA;
	regs->rdi = COUNT_GPA;
	regs->rsi = WORK_GPA;
	regs->rdx = WORK_BYTES - 1;
}

static bool guest_exit(struct vcpu *vcpu)
{
	fprintf(stderr, "the guest left, and has no reason to: %u\n", vcpu->run->exit_reason);
	return false;
}

const struct vm_guest counting_guest = { .name = "embed",
					 .load = load,
					 .enter = enter,
					 .exit = guest_exit };

uint64_t guest_count(const struct vm *vm)
{
	return vm->ram ? __atomic_load_n((uint64_t *)(vm->ram + COUNT_GPA), __ATOMIC_RELAXED) : 0;
}

/*
 * The page that count n stamps is n modulo the number of pages; a stamp comes before the count in
 * memory.
 */
bool guest_check(struct vm *vm)
{
	uint64_t npages = WORK_BYTES / SEVMIRROR_PAGE_BYTES, count;

	vm_ops.pause(vm);
	count = guest_count(vm);
	for (uint64_t i = 0; i < npages; i++) {
		uint64_t stamp = *(uint64_t *)(vm->ram + WORK_GPA + i * SEVMIRROR_PAGE_BYTES);

		if (!stamp && count < npages)
			continue;
		if (stamp % npages != i || stamp > count + 1 || stamp + npages < count) {
			fprintf(stderr, "page %llu has %llu, the count is %llu\n",
				(unsigned long long)i, (unsigned long long)stamp,
				(unsigned long long)count);
			return false;
		}
	}
	return true;
}
