/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run-time support of payloads: what the SDK does for the code in ring 3 of a guest. A payload
 * is one function, payload_main(), which each vCPU runs; everything else here it may call.
 * Freestanding: no libc, no allocation, no exceptions handled.
 */
#ifndef PAYLOADS_SDK_RUNTIME_H
#define PAYLOADS_SDK_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "payloads/sdk/payload.h"

/*
 * The payload's own. When it returns, this vCPU is finished; when the last one is, the state
 * becomes PAYLOAD_DONE.
 */
void payload_main(const struct payload_params *params, unsigned int vcpu);

/*
 * Makes a payload a workload for mirrors: its name (at most PAYLOAD_NAME_BYTES - 1 characters), and
 * 0 or PAYLOAD_WRITES_MEMORY. Once, at file scope.
 */
#define PAYLOAD_NOTE(name, flags)                                                                  \
	static const struct {                                                                      \
		uint32_t owner_bytes, note_bytes, type;                                            \
		char owner[(sizeof(PAYLOAD_NOTE_OWNER) + 3) & ~3UL];                               \
		struct payload_note note;                                                          \
	} payload_note __attribute__((section(".note.sevmirror"), aligned(4), used)) = {           \
		sizeof(PAYLOAD_NOTE_OWNER), sizeof(struct payload_note),	PAYLOAD_NOTE_TYPE, \
		PAYLOAD_NOTE_OWNER,	    { PAYLOAD_VERSION, (flags), name },                    \
	}

/*
 * In a mirror: the guest's memory [gpa, gpa + bytes), or NULL when it is not all of one part of
 * params->ram. Under SEV what the guest has encrypted; what it shares with the host reads as noise.
 * The guest may change it at any time.
 */
void *payload_memory(const struct payload_params *params, uint64_t gpa, uint64_t bytes);

/* The shared area: what is read from it is the host's word. */
struct payload_shared *payload_shared(void);

/* Count a heartbeat and note how long the last one is ago. Call it all the time. */
void payload_beat(unsigned int vcpu);

/* Whether the host asked to finish. */
bool payload_stopping(void);

/* Publish a counter of this vCPU. */
void payload_count(unsigned int vcpu, unsigned int counter, uint64_t value);

/*
 * An error: counted, the first one described in the shared area; the state becomes PAYLOAD_FAILED.
 * Returns: the payload may continue.
 */
void payload_fail(unsigned int vcpu, uint32_t error, const uint64_t info[4]);

/* A line of text and a number for the host to print, "text 0x2a\n". Any vCPU. */
void payload_log(const char *text, uint64_t value);

/* Ring the doorbell; PAYLOAD_BELL_SLEEP takes microseconds. */
static inline void payload_bell(enum payload_bell bell, uint64_t argument)
{
	__asm__ volatile("outl %0, %w1"
			 :
			 : "a"((uint32_t)bell), "d"(PAYLOAD_DOORBELL_PORT), "D"(argument)
			 : "memory");
}

static inline uint64_t payload_tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return low | (uint64_t)high << 32;
}

/*
 * Keeps a loop at a rate: payload_pace() waits until the next turn is due, beating meanwhile. Time
 * lost (to a pause, a migration, a slow turn) is not made up for. A rate of 0, or an unknown TSC
 * frequency, means as fast as it goes.
 */
struct payload_pacer {
	uint64_t period_fp; /* TSC ticks a turn, 16 binary places */
	uint64_t due_fp;
	uint64_t ticks_per_us;
};

void payload_pacer_init(struct payload_pacer *pacer, const struct payload_params *params,
			uint64_t per_second);
void payload_pace(struct payload_pacer *pacer, unsigned int vcpu);

/* A bijection that turns counters into noise: the finalizer of the splitmix64 generator. */
static inline uint64_t payload_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

void *memset(void *to, int byte, size_t len);
void *memcpy(void *restrict to, const void *restrict from, size_t len);

#endif
