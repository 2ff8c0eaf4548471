/* SPDX-License-Identifier: Apache-2.0 */
#include "payloads/counter.h"

#include "payloads/sdk/runtime.h"

#define HOLD_TURNS 2000 /* of a loop that only waits, some microseconds */

/* Each on its own page, so that the page that one vCPU dirties is not dirtied by another. */
static struct {
	volatile uint64_t ticks;
	uint8_t pad[4096 - sizeof(uint64_t)];
} in_memory[PAYLOAD_MAX_VCPUS] __attribute__((aligned(4096)));

/*
 * Fill the registers from value, wait, and compare: returns 0 if all held. RAX, RCX, RBX and RBP
 * are the loop's, the compiler's and the frame's; each other general register holds value plus its
 * number, each SSE register value in both halves, rotated by its number.
 */
static uint64_t hold_registers(uint64_t value)
{
	uint64_t bad, turns = HOLD_TURNS;

	__asm__ volatile("	lea 2(%[value]), %%rdx\n"
			 "	lea 6(%[value]), %%rsi\n"
			 "	lea 7(%[value]), %%rdi\n"
			 "	lea 8(%[value]), %%r8\n"
			 "	lea 9(%[value]), %%r9\n"
			 "	lea 10(%[value]), %%r10\n"
			 "	lea 11(%[value]), %%r11\n"
			 "	lea 12(%[value]), %%r12\n"
			 "	lea 13(%[value]), %%r13\n"
			 "	lea 14(%[value]), %%r14\n"
			 "	lea 15(%[value]), %%r15\n"
			 ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
			 "	lea \\n(%[value]), %%rax\n"
			 "	movq %%rax, %%xmm\\n\n"
			 "	punpcklqdq %%xmm\\n, %%xmm\\n\n"
			 ".endr\n"
			 "1:	pause\n"
			 "	dec %[turns]\n"
			 "	jnz 1b\n"
			 "	sub %[value], %%rdx\n	sub $2, %%rdx\n	mov %%rdx, %[bad]\n"
			 "	sub %[value], %%rsi\n	sub $6, %%rsi\n	or %%rsi, %[bad]\n"
			 "	sub %[value], %%rdi\n	sub $7, %%rdi\n	or %%rdi, %[bad]\n"
			 ".irp n, 8,9,10,11,12,13,14,15\n"
			 "	sub %[value], %%r\\n\n"
			 "	sub $\\n, %%r\\n\n"
			 "	or %%r\\n, %[bad]\n"
			 ".endr\n"
			 ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
			 "	lea \\n(%[value]), %%rdx\n"
			 "	movq %%xmm\\n, %%rsi\n"
			 "	xor %%rdx, %%rsi\n"
			 "	or %%rsi, %[bad]\n"
			 "	psrldq $8, %%xmm\\n\n"
			 "	movq %%xmm\\n, %%rsi\n"
			 "	xor %%rdx, %%rsi\n"
			 "	or %%rsi, %[bad]\n"
			 ".endr\n"
			 : [bad] "=&a"(bad), [turns] "+c"(turns)
			 : [value] "b"(value)
			 : "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
			   "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
			   "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
			   "cc", "memory");
	return bad;
}

void payload_main(const struct payload_params *params, unsigned int vcpu)
{
	uint64_t limit = params->args[COUNTER_ARG_TICKS];
	uint64_t last_tsc = payload_tsc(), backwards = 0;
	struct payload_pacer pacer;

	payload_pacer_init(&pacer, params, params->args[COUNTER_ARG_RATE]);
	for (uint64_t tick = 1; !payload_stopping() && (!limit || tick <= limit); tick++) {
		uint64_t now = payload_tsc(), found = in_memory[vcpu].ticks;

		if (now < last_tsc)
			payload_count(vcpu, COUNTER_COUNT_TSC_BACKWARDS, ++backwards);
		last_tsc = now;
		if (found != tick - 1)
			payload_fail(vcpu, COUNTER_ERROR_TICKS, (const uint64_t[4]){ tick, found });
		in_memory[vcpu].ticks = tick;
		if (hold_registers(payload_mix(tick)))
			payload_fail(vcpu, COUNTER_ERROR_REGISTERS, (const uint64_t[4]){ tick });
		payload_count(vcpu, COUNTER_COUNT_TICKS, tick);
		payload_pace(&pacer, vcpu);
	}
}
