/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where each vCPU enters a payload: RDI is the parameter block, RSI the vCPU's index (payload.h).
 */
#include "payloads/sdk/payload.h"

	.section .text.start, "ax"
	.globl	_start
	.type	_start, @function
_start:
	cld
	testl	$PAYLOAD_IN_MIRROR, PAYLOAD_PARAMS_FLAGS(%rdi)
	jz	2f
	/* A mirror runs it more than once; there is one vCPU, so nobody uses any of this yet. */
	movq	%rdi, %rdx
	leaq	payload_zeroed(%rip), %rdi
	leaq	payload_end(%rip), %rcx
	subq	%rdi, %rcx
	xorl	%eax, %eax
	rep stosb
	movq	%rdx, %rdi
2:
	cmpq	$PAYLOAD_MAX_VCPUS, %rsi
	jae	1f
	leaq	1(%rsi), %rax
	imulq	$PAYLOAD_STACK_BYTES, %rax, %rax
	leaq	payload_stacks(%rip), %rsp
	addq	%rax, %rsp
	xorl	%ebp, %ebp
	call	payload_start
1:	movl	$PAYLOAD_BELL_EXIT_VALUE, %eax
	movl	$PAYLOAD_DOORBELL_PORT, %edx
	outl	%eax, %dx
	jmp	1b
	.size	_start, . - _start

	.section .bss.stacks, "aw", @nobits
	.balign	4096
payload_stacks:
	.skip	PAYLOAD_MAX_VCPUS * PAYLOAD_STACK_BYTES

	.section .note.GNU-stack, "", @progbits
