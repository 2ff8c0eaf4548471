/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The image's head and its two entries. The host sets RIP and the arguments; stacks are taken from
 * here, not from the host.
 */
#include "helper/limits.h"

	.section .head, "a"
	.globl helper_image
helper_image:
	.quad 0x00004547414d4d53	/* HELPER_IMAGE_MAGIC */
	.long boot - helper_image
	.long serve - helper_image
	.long __text_bytes
	.long __rodata_bytes
	.long __bss_bytes
	.long HELPER_VCPUS_MAX
	.long HELPER_AREA_BYTES
	.long 0

	.section .text, "ax"
/* rdi window's gpa, rsi its bytes, edx number of vCPUs */
boot:
	cld
	lea helper_areas + HELPER_AREA_STACK(%rip), %rsp
	call guest_boot
	ud2

/* rdi number of this vCPU */
serve:
	cld
	cmp $HELPER_VCPUS_MAX, %rdi
	jae 1f
	imul $HELPER_AREA_BYTES, %rdi, %rax
	lea helper_areas + HELPER_AREA_STACK(%rip), %rsp
	add %rax, %rsp
	call guest_serve
1:	ud2

	.section .note.GNU-stack, "", @progbits
