/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine's firmware of one purpose: from the reset vector into 64-bit mode, with the first 512
 * GiB mapped one to one, and into hostile(). The image is the last 128 KiB below 4 GiB; it runs
 * from a copy at 1 MiB.
 */
#define IMAGE_BYTES 0x20000
#define ROM	    (0x100000000 - IMAGE_BYTES)
#define RUN_AT	    0x100000
#define PML4	    0x10000
#define PDPT	    0x11000
#define STACK_TOP   0x90000

	.section .text.start, "ax"
	.code64
	.globl start
start:
	jmp 1f
	.balign 8
	.globl seed
seed:	.quad 1 /* at offset 8 of the image, for whoever runs it to set */
1:	mov $STACK_TOP, %rsp
	call hostile
2:	hlt
	jmp 2b

	/* Interrupts: acknowledge both PICs. */
	.globl on_interrupt
on_interrupt:
	push %rax
	mov $0x20, %al
	outb %al, $0xa0
	outb %al, $0x20
	pop %rax
	iretq

	/*
	 * Exceptions: VMRUN of a bad address raises one and is skipped. Any other means that a
	 * guest got at us: over, by a reset.
	 */
	.globl on_exception_code, on_exception
on_exception_code:
	add $8, %rsp
on_exception:
	cmpq $vmrun_at, (%rsp)
	jne 1f
	incq exceptions(%rip)
	addq $3, (%rsp)
	iretq
1:	mov $0xcf9, %edx
	mov $6, %al
	outb %al, %dx
	jmp 1b

	/* void vmrun(uint64_t vmcb_pa): everything but the VMCB's own registers survives. */
	.globl vmrun
vmrun:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rdi, %rax
	clgi
vmrun_at:
	vmrun %rax
	/* Interrupts come now. */
	stgi
	nop
	cld
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

	.section .reset, "ax"
	.code16
reset16:
	cli
	lgdtl %cs:(gdtr - reset16 + 0xf000)
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmpl $8, $(0xfffff000 + reset32 - reset16)
	.balign 4
gdtr:	.word 4 * 8 - 1
	.long 0xfffff000 + gdt - reset16
	.balign 8
gdt:	.quad 0
	.quad 0x00cf9a000000ffff /* 8: 32-bit code */
	.quad 0x00cf92000000ffff /* 16: data */
	.quad 0x00af9a000000ffff /* 24: 64-bit code */
	.code32
reset32:
	mov $16, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	cld
	mov $ROM & 0xffffffff, %esi
	mov $RUN_AT, %edi
	mov $IMAGE_BYTES / 4, %ecx
	rep movsl
	mov $PML4, %edi
	xor %eax, %eax
	mov $2048, %ecx
	rep stosl
	movl $PDPT + 3, PML4
	/* 512 pages of 1 GiB */
	mov $PDPT, %edi
	mov $0x83, %eax
	xor %edx, %edx
	mov $512, %ecx
1:	mov %eax, (%edi)
	mov %edx, 4(%edi)
	add $0x40000000, %eax
	adc $0, %edx
	add $8, %edi
	loop 1b
	mov $0x620, %eax
	mov %eax, %cr4
	mov $PML4, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	mov $0x1900, %eax /* LME, NXE, SVME */
	xor %edx, %edx
	wrmsr
	mov $0x80000011, %eax
	mov %eax, %cr0
	ljmpl $24, $RUN_AT

	.section .vector, "ax"
	.code16
	ljmpw $0xf000, $0xf000
	.balign 16

	.section .note.GNU-stack, "", @progbits
