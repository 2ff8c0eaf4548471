/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SDK's example of a workload for mirrors: it counts the pages of the guest's private memory
 * that hold nothing but zeros, says so in the log, and ends.
 *
 *     sevmirror run --mirror-payload payload-zeropages --name web ...
 *     sevmirror mirror attach web
 */
#include "payloads/sdk/runtime.h"

#define PAGE_BYTES 4096ULL
#define PAGE_WORDS (PAGE_BYTES / sizeof(uint64_t))

PAYLOAD_NOTE("zeropages", 0);

static bool is_zero(const volatile uint64_t *page)
{
	for (uint64_t i = 0; i < PAGE_WORDS; i++)
		if (page[i])
			return false;
	return true;
}

void payload_main(const struct payload_params *params, unsigned int vcpu)
{
	uint64_t zero = 0, pages = 0;

	for (uint64_t i = 0; i < params->nram; i++) {
		const struct payload_ram *ram = &params->ram[i];

		for (uint64_t at = 0; at < ram->bytes && !payload_stopping(); at += PAGE_BYTES) {
			zero += is_zero(payload_memory(params, ram->gpa + at, PAGE_BYTES));
			pages++;
			payload_beat(vcpu);
		}
	}
	payload_log("pages", pages);
	payload_log("all zero", zero);
}
