/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runs inside the test guests: small functions, entered in 64-bit ring 0 with their arguments
 * in RDI, RSI, RDX, RCX and R8. Each leaves by HLT. Bytes go to the host by port GUEST_PORT_BYTE,
 * 32-bit results by port GUEST_PORT_WORD (guest.h). There is no IDT: a fault is a triple fault, so
 * KVM_EXIT_SHUTDOWN.
 *
 * With plain SEV the guest's registers are the host's to read. Where a function handles a canary
 * that must never be in host memory, the value exists only in guest memory: it is made there by
 * XORing two harmless halves.
 */
#define PORT_BYTE 0x3f8
#define PORT_WORD 0x3fa

	.section .rodata
	.code64
	.balign 16
	.global guest_code, guest_code_end
guest_code:

#define FUNCTION(name) .balign 16; .global name; name:

/* print the NUL-terminated string at RSI */
FUNCTION(guest_hello)
	mov $PORT_BYTE, %edx
1:	lodsb
	test %al, %al
	jz 2f
	out %al, %dx
	jmp 1b
2:	hlt

/* RCX bytes at RSI to the host */
FUNCTION(guest_dump)
	mov $PORT_BYTE, %edx
1:	lodsb
	out %al, %dx
	dec %rcx
	jnz 1b
	hlt

/* RCX words of RSI ^ RDX at RDI; the XOR is done in memory */
FUNCTION(guest_fill)
1:	mov %rsi, (%rdi)
	xor %rdx, (%rdi)
	add $8, %rdi
	dec %rcx
	jnz 1b
	hlt

/* how many of the RCX words at RDI are RSI ^ RDX? */
FUNCTION(guest_count)
	xor %eax, %eax
1:	xor %rdx, (%rdi)
	cmp %rsi, (%rdi)
	jne 2f
	inc %eax
2:	xor %rdx, (%rdi)
	add $8, %rdi
	dec %rcx
	jnz 1b
	mov $PORT_WORD, %edx
	out %eax, %dx
	hlt

/* RCX words of the generator seeded with RSI at RDI */
FUNCTION(guest_sequence)
	movabs $6364136223846793005, %rax
	movabs $1442695040888963407, %rdx
1:	imul %rax, %rsi
	add %rdx, %rsi
	mov %rsi, (%rdi)
	add $8, %rdi
	dec %rcx
	jnz 1b
	hlt

/* how many of the RCX words at RDI are what guest_sequence puts there? */
FUNCTION(guest_sequence_count)
	movabs $6364136223846793005, %rax
	movabs $1442695040888963407, %rdx
	xor %r8d, %r8d
1:	imul %rax, %rsi
	add %rdx, %rsi
	cmp %rsi, (%rdi)
	jne 2f
	inc %r8d
2:	add $8, %rdi
	dec %rcx
	jnz 1b
	mov %r8d, %eax
	mov $PORT_WORD, %edx
	out %eax, %dx
	hlt

/* RCX bytes from RSI to RDI */
FUNCTION(guest_copy)
	rep movsb
	hlt

/*
 * SEV_STATUS (if RSI; without SEV it would fault), CPUID 8000001F EAX and EBX, CR4 after writing
 * it, and a word from MMIO space at RDI after writing one there
 */
FUNCTION(guest_probe)
	xor %eax, %eax
	test %esi, %esi
	jz 1f
	mov $0xc0010131, %ecx
	rdmsr
1:	mov $PORT_WORD, %edx
	out %eax, %dx
	mov $0x8000001f, %eax
	cpuid
	mov $PORT_WORD, %edx
	out %eax, %dx
	mov %ebx, %eax
	out %eax, %dx
	mov %cr4, %r9
	or $0x80, %r9		/* PGE: a bit KVM shadows, so the write is intercepted */
	mov %r9, %cr4
	mov %cr4, %rax
	out %eax, %dx
	movl $0x12345678, 0x10(%rdi)
	mov 0x20(%rdi), %eax
	out %eax, %dx
	hlt

/* count at RDI until the byte at RSI is not zero */
FUNCTION(guest_tick)
1:	incq (%rdi)
	cmpb $0, (%rsi)
	je 1b
	hlt

/* meet RCX CPUs at the counter RDX, then add one RSI times to the counter RDI */
FUNCTION(guest_add)
	lock incl (%rdx)
1:	pause
	cmp %ecx, (%rdx)
	jb 1b
2:	lock incq (%rdi)
	dec %rsi
	jnz 2b
	hlt

/*
 * RDX rounds of table tennis over the word at RDI, as player RSI (0 or 1): wait for one's parity,
 * then hit
 */
FUNCTION(guest_pong)
1:	pause
	mov (%rdi), %eax
	and $1, %eax
	cmp %esi, %eax
	jne 1b
	lock incl (%rdi)
	dec %edx
	jnz 1b
	hlt

/* write a function to RDI, call it, change it, call it again: each returns a word */
FUNCTION(guest_codegen)
	movb $0xb8, (%rdi)	/* mov $imm32, %eax */
	movl $0x1111, 1(%rdi)
	movb $0xc3, 5(%rdi)	/* ret */
	call *%rdi
	mov $PORT_WORD, %edx
	out %eax, %dx
	movl $0x2222, 1(%rdi)
	call *%rdi
	mov $PORT_WORD, %edx
	out %eax, %dx
	hlt

/*
 * Change the kind of the page at RSI as Linux does: flush, keep a copy at R8, set its PTE (at RDI)
 * to RDX, flush the TLB, bring the contents back through the new mapping.
 */
FUNCTION(guest_convert)
	mov %rdi, %r9
	mov %rsi, %r10
	wbinvd
	mov %r8, %rdi
	mov $4096, %ecx
	rep movsb
	mov %rdx, (%r9)
	invlpg (%r10)
	mov %cr3, %rax
	mov %rax, %cr3
	mov %r8, %rsi
	mov %r10, %rdi
	mov $4096, %ecx
	rep movsb
	hlt

guest_code_end:
	.section .note.GNU-stack, "", @progbits
