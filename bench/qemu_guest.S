/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's guest in the measurements: fills its RAM from 2 MiB up with numbers that no page repeats
 * (xorshift32), says 'F' on the debug
 * console and sleeps for good; with TOUCH it writes to random words from then on instead, and
 * counts them at 0x1ff000. A Multiboot image, so that QEMU's -kernel starts it in 32-bit mode: EBX
 * points to the loader's information.
 */
	.code32
	.section .multiboot, "a"
	.set	FLAGS, 2				/* wants to know how much memory there is */
	.long	0x1badb002, FLAGS, -(0x1badb002 + FLAGS)

	.text
	.globl	_start
_start:
	movl	8(%ebx), %ecx				/* mem_upper: KiB above 1 MiB */
	subl	$1024, %ecx
	shll	$8, %ecx				/* words above 2 MiB */
	movl	$0x200000, %edi
	movl	$2463534242, %eax
1:	movl	%eax, %edx
	shll	$13, %edx
	xorl	%edx, %eax
	movl	%eax, %edx
	shrl	$17, %edx
	xorl	%edx, %eax
	movl	%eax, %edx
	shll	$5, %edx
	xorl	%edx, %eax
	stosl
	decl	%ecx
	jnz	1b
	movb	$'F', %al
	outb	%al, $0xe9
#ifdef TOUCH
	movl	8(%ebx), %esi
	subl	$1024, %esi
	shll	$8, %esi
	movl	$88172645, %ecx
2:	movl	%ecx, %edx
	shll	$13, %edx
	xorl	%edx, %ecx
	movl	%ecx, %edx
	shrl	$17, %edx
	xorl	%edx, %ecx
	movl	%ecx, %edx
	shll	$5, %edx
	xorl	%edx, %ecx
	movl	%ecx, %eax
	mull	%esi					/* EDX: a word below ESI */
	incl	0x200000(,%edx,4)
	incl	0x1ff000
	jmp	2b
#else
2:	cli
	hlt
	jmp	2b
#endif
