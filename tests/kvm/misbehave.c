/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workloads for tests that do what they must not: write to the guest's memory unasked, or, with
 * MISBEHAVE_LOOP, never come to an end.
 */
#include "payloads/sdk/runtime.h"

#define VICTIM_GPA 0x80000ULL

#ifdef MISBEHAVE_LOOP
PAYLOAD_NOTE("loop", 0);
#else
PAYLOAD_NOTE("intruder", 0);
#endif

void payload_main(const struct payload_params *params, unsigned int vcpu)
{
	volatile uint64_t *victim = payload_memory(params, VICTIM_GPA, sizeof(*victim));

	(void)vcpu;
	payload_log("found", *victim);
#ifdef MISBEHAVE_LOOP
	for (;;)
		__builtin_ia32_pause();
#else
	*victim = 0x6261642062616421;
#endif
}
