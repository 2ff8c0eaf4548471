/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A BIOS of 64 KiB, all of a guest that keeps writing memory: round n writes n at the start of each
 * page from 64 KiB to 576 KiB, where it must find n - 1. If it finds something else it writes
 * 0xbad to the address 0x600, and stops. The number of the round is at 0x604.
 */
	.code16
	.section .text
	.global _start
_start:
	xorw	%ax, %ax
	movw	%ax, %ds
	movl	$0, 0x600
	xorl	%ebx, %ebx
clear:					/* round 0 finds anything */
	movw	$0x1000, %ax
1:	movw	%ax, %es
	xorw	%di, %di
2:	movl	%ebx, %es:(%di)
	addw	$0x1000, %di
	jnz	2b
	addw	$0x1000, %ax
	cmpw	$0x9000, %ax
	jne	1b
round:
	movl	%ebx, %edx
	incl	%ebx
	movl	%ebx, 0x604
	movw	$0x1000, %ax
1:	movw	%ax, %es
	xorw	%di, %di
2:	cmpl	%edx, %es:(%di)
	jne	bad
	movl	%ebx, %es:(%di)
	addw	$0x1000, %di
	jnz	2b
	addw	$0x1000, %ax
	cmpw	$0x9000, %ax
	jne	1b
	jmp	round
bad:
	movl	$0xbad, 0x600
1:	hlt
	jmp	1b

	.org	0xfff0			/* where a CPU begins */
	ljmp	$0xf000, $0
	.org	0x10000
