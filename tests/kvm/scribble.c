/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A workload that asks for writing to the guest's memory, for tests: it fills the pages of
 * [SCRIBBLE_GPA, SCRIBBLE_GPA + SCRIBBLE_BYTES), word by word, with one generation after the other
 * until it is told to stop. Before it begins it says which generation it finds there; words that
 * are no generation and the one before it, in that order, are an error: then something that it
 * wrote was lost.
 */
#include "payloads/sdk/runtime.h"

#define SCRIBBLE_GPA   0x80000ULL
#define SCRIBBLE_BYTES 0x20000ULL
#define WORDS	       (SCRIBBLE_BYTES / sizeof(uint64_t))
#define ERROR_LOST     1

PAYLOAD_NOTE("scribble", PAYLOAD_WRITES_MEMORY);

static uint64_t word_of(uint64_t generation, uint64_t i)
{
	return generation ? generation << 32 | i : 0;
}

/* The youngest generation there is, whose words come first. */
static uint64_t verify(const volatile uint64_t *words, unsigned int vcpu)
{
	uint64_t generation = words[0] >> 32;

	for (uint64_t i = 0, now = generation; i < WORDS; i++) {
		if (words[i] != word_of(now, i) && now == generation && generation)
			now = generation - 1;
		if (words[i] == word_of(now, i))
			continue;
		payload_fail(vcpu, ERROR_LOST,
			     (const uint64_t[4]){ SCRIBBLE_GPA + i * sizeof(uint64_t),
						  word_of(now, i), words[i], generation });
		break;
	}
	return generation;
}

void payload_main(const struct payload_params *params, unsigned int vcpu)
{
	volatile uint64_t *words = payload_memory(params, SCRIBBLE_GPA, SCRIBBLE_BYTES);
	uint64_t generation = verify(words, vcpu);

	payload_log("found generation", generation);
	while (!payload_stopping()) {
		generation++;
		for (uint64_t i = 0; i < WORDS; i++)
			words[i] = word_of(generation, i);
		payload_count(vcpu, 0, generation);
		payload_beat(vcpu);
	}
	payload_log("wrote generation", generation);
}
