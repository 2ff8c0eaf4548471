/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "demo/guest/guest.h"
#include "demo/page.h"

#define THREADS_MAX 16
#define ROUND_PAGES 64
#define IDLE_MS	    10

/* A thread's part; the versions are what the pages themselves cannot vouch for. */
struct part {
	pthread_t thread;
	uint64_t first, npages, random;
	uint32_t *versions;
	_Atomic uint64_t sweeps, written;
};

static struct {
	struct memory_options options;
	uint64_t (*arena)[PAGE_WORDS];
	struct part parts[THREADS_MAX];
	atomic_bool idle;
} memory;

static uint64_t next_random(struct part *part)
{
	part->random ^= part->random << 13;
	part->random ^= part->random >> 7;
	part->random ^= part->random << 17;
	return part->random;
}

static void verify(const struct part *part, uint64_t i)
{
	uint64_t page = part->first + i;

	if (!page_is(memory.arena[page], page, part->versions[i]))
		guest_error("page %" PRIu64 " is not what was written last", page);
}

static void write_new(struct part *part, uint64_t i)
{
	page_fill(memory.arena[part->first + i], part->first + i, ++part->versions[i]);
	part->written++;
}

static void *work(void *opaque)
{
	struct part *part = opaque;
	uint64_t next = 0;

	while (!guest_ends()) {
		bool idle = memory.idle;

		for (int n = 0; n < ROUND_PAGES; n++) {
			verify(part, next);
			if (++next == part->npages) {
				next = 0;
				part->sweeps++;
			}
			if (!idle) {
				uint64_t i = next_random(part) % part->npages;

				verify(part, i);
				write_new(part, i);
			}
		}
		guest_sleep_ms(idle ? IDLE_MS : memory.options.rest_ms);
	}
	return NULL;
}

void memory_start(const struct memory_options *options)
{
	uint64_t npages = options->mib * ((1ULL << 20) / PAGE_BYTES);
	uint64_t each = npages / options->threads;

	memory.options = *options;
	memory.idle = options->idle;
	memory.arena = mmap(NULL, npages * PAGE_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory.arena == MAP_FAILED || options->threads > THREADS_MAX) {
		guest_error("no memory to work on");
		memory.options.threads = 0;
		return;
	}
	for (unsigned int t = 0; t < options->threads; t++) {
		struct part *part = &memory.parts[t];

		part->first = t * each;
		part->npages = each;
		part->random = 88172645463325252ULL + t;
		part->versions = calloc(each, sizeof(*part->versions));
		for (uint64_t i = 0; i < each; i++)
			write_new(part, i);
		if (pthread_create(&part->thread, NULL, work, part))
			guest_error("no thread for the memory");
	}
}

void memory_rest(bool idle)
{
	memory.idle = idle;
}

void memory_end(void)
{
	for (unsigned int t = 0; t < memory.options.threads; t++) {
		struct part *part = &memory.parts[t];

		pthread_join(part->thread, NULL);
		for (uint64_t i = 0; i < part->npages; i++)
			verify(part, i);
		part->sweeps++;
	}
}

uint64_t memory_written(void)
{
	uint64_t written = 0;

	for (unsigned int t = 0; t < memory.options.threads; t++)
		written += memory.parts[t].written;
	return written;
}

uint64_t memory_sweeps(void)
{
	uint64_t least = UINT64_MAX;

	for (unsigned int t = 0; t < memory.options.threads; t++)
		if (memory.parts[t].sweeps < least)
			least = memory.parts[t].sweeps;
	return least;
}
