/* SPDX-License-Identifier: Apache-2.0 */
#include "payloads/dirtier.h"

#include "payloads/sdk/runtime.h"

#define PAGE_BYTES	 4096ULL
#define PAGE_WORDS	 512U
#define SHARED_PAGES_MAX 512
#define BEAT_PAGES	 64 /* a beat this often in loops that do nothing else */

/* Pages in a row and how often each was written. */
struct part {
	uint64_t *pages;
	uint32_t *generations;
	uint64_t count;
	uint64_t working_set;
	uint64_t writes; /* the sum of all generations */
	uint64_t next; /* sequential pattern */
	uint64_t sweep;
	bool hot;
};

struct dirtier {
	uint64_t seed;
	uint64_t words;
	uint64_t pattern;
	uint64_t verify;
	uint64_t random;
	unsigned int vcpu;
	uint64_t verified;
	uint64_t sweeps;
};

static uint32_t shared_generations[SHARED_PAGES_MAX];

/* Where the numbers of a page in a generation begin; word i is mix(key + i). */
static uint64_t page_key(const struct dirtier *d, const uint64_t *page, uint32_t generation)
{
	return payload_mix(d->seed ^
			   payload_mix((uint64_t)page ^ (uint64_t)generation << 48 ^ generation));
}

/* Volatile: to the compiler nobody else reads this memory, but the host sends it elsewhere. */
static void write_words(volatile uint64_t *words, uint64_t key, unsigned int from, unsigned int to)
{
	for (unsigned int i = from; i < to; i++)
		words[i] = payload_mix(key + i);
}

static void write_page(struct dirtier *d, struct part *part, uint64_t page)
{
	uint64_t *words = part->pages + page * PAGE_WORDS;
	uint32_t generation = ++part->generations[page];

	if (generation == 1)
		write_words(words, page_key(d, words, 1), 0, PAGE_WORDS);
	else
		write_words(words, page_key(d, words, generation), 0, (unsigned int)d->words);
	part->writes++;
}

static bool check_words(struct dirtier *d, volatile uint64_t *words, uint32_t generation,
			unsigned int from, unsigned int to)
{
	uint64_t key = page_key(d, (const uint64_t *)words, generation);

	for (unsigned int i = from; i < to; i++) {
		uint64_t expected = generation ? payload_mix(key + i) : 0, found = words[i];

		if (found != expected) {
			const uint64_t info[4] = { (uint64_t)&words[i], expected, found,
						   generation };

			payload_fail(d->vcpu, DIRTIER_ERROR_PAGE, info);
			return false;
		}
	}
	return true;
}

/* Beyond the words that each generation writes, a page holds those of its first. */
static void verify_page(struct dirtier *d, struct part *part, uint64_t page)
{
	uint64_t *words = part->pages + page * PAGE_WORDS;
	uint32_t generation = part->generations[page];
	unsigned int split = generation > 1 ? (unsigned int)d->words : PAGE_WORDS;

	d->verified++;
	/* A wrong page is reported once and written again, so that one loss is one error. */
	if (check_words(d, words, generation, 0, split) &&
	    check_words(d, words, 1, split, PAGE_WORDS))
		return;
	if (generation) {
		write_words(words, page_key(d, words, 1), 0, PAGE_WORDS);
		write_words(words, page_key(d, words, generation), 0, split);
	} else {
		memset(words, 0, PAGE_BYTES);
	}
}

static void verify_table(struct dirtier *d, struct part *part)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < part->count; i++)
		sum += part->generations[i];
	if (sum != part->writes) {
		const uint64_t info[4] = { (uint64_t)part->pages, sum, part->writes, 0 };

		payload_fail(d->vcpu, DIRTIER_ERROR_TABLE, info);
		part->writes = sum;
	}
}

static void verify_part(struct dirtier *d, struct part *part)
{
	for (uint64_t page = 0; page < part->count; page++) {
		verify_page(d, part, page);
		if (page % BEAT_PAGES == 0)
			payload_beat(d->vcpu);
	}
	verify_table(d, part);
}

static uint64_t next_random(struct dirtier *d, uint64_t below)
{
	d->random += 0x9e3779b97f4a7c15ULL;
	/* The high half of a product maps a random number to a range without a division. */
	return (payload_mix(d->random) >> 32) * below >> 32;
}

static uint64_t pick_page(struct dirtier *d, struct part *part)
{
	uint64_t hot = part->working_set / 10;

	switch (d->pattern) {
	case DIRTIER_RANDOM:
		return next_random(d, part->working_set);
	case DIRTIER_HOT:
		return next_random(d, 10) && hot ? next_random(d, hot) :
						   next_random(d, part->working_set);
	default:
		part->next = part->next + 1 < part->working_set ? part->next + 1 : 0;
		return part->next;
	}
}

static void turn(struct dirtier *d, struct part *part)
{
	uint64_t page;

	if (!part->count)
		return;
	page = pick_page(d, part);
	if (d->verify != DIRTIER_VERIFY_END)
		verify_page(d, part, page);
	write_page(d, part, page);
	if (d->verify != DIRTIER_VERIFY_SWEEP)
		return;
	verify_page(d, part, part->sweep);
	if (++part->sweep == part->count) {
		part->sweep = 0;
		d->sweeps++;
		verify_table(d, part);
	}
}

/* This vCPU's part of [base, base + bytes), with its table of generations in front. */
static struct part private_part(const struct payload_params *params, unsigned int vcpu)
{
	uint64_t pages = params->work_bytes / PAGE_BYTES / params->vcpus;
	uint64_t base = params->work_va + vcpu * pages * PAGE_BYTES;
	uint64_t table = (pages * sizeof(uint32_t) + PAGE_BYTES - 1) / PAGE_BYTES;
	uint64_t set = params->args[DIRTIER_ARG_WORKING_SET] / PAGE_BYTES / params->vcpus;
	struct part part = { .generations = (uint32_t *)base,
			     .pages = (uint64_t *)(base + table * PAGE_BYTES) };

	part.count = pages > table ? pages - table : 0;
	part.working_set = set && set < part.count ? set : part.count;
	return part;
}

static struct part shared_part(const struct payload_params *params, unsigned int vcpu)
{
	struct part part = { .generations = shared_generations,
			     .pages = (uint64_t *)(params->shared_va + PAGE_BYTES) };

	if (vcpu || !params->args[DIRTIER_ARG_SHARED])
		return part;
	part.count = params->shared_bytes / PAGE_BYTES - 1;
	if (part.count > SHARED_PAGES_MAX)
		part.count = SHARED_PAGES_MAX;
	part.working_set = part.count;
	return part;
}

static void fill(struct dirtier *d, struct part *part)
{
	for (uint64_t page = 0; page < part->count && !payload_stopping(); page++) {
		verify_page(d, part, page);
		write_page(d, part, page);
		if (page % BEAT_PAGES == 0) {
			payload_beat(d->vcpu);
			payload_count(d->vcpu, DIRTIER_COUNT_FILLED, page);
		}
	}
	payload_count(d->vcpu, DIRTIER_COUNT_FILLED, part->writes);
}

static void publish_counts(const struct dirtier *d, const struct part *part)
{
	payload_count(d->vcpu, DIRTIER_COUNT_WRITES, part->writes);
	payload_count(d->vcpu, DIRTIER_COUNT_VERIFIED, d->verified);
	payload_count(d->vcpu, DIRTIER_COUNT_SWEEPS, d->sweeps);
}

void payload_main(const struct payload_params *params, unsigned int vcpu)
{
	const uint64_t *args = params->args;
	uint64_t limit = args[DIRTIER_ARG_WRITES] / params->vcpus;
	struct part part = private_part(params, vcpu), shared = shared_part(params, vcpu);
	struct payload_pacer pacer;
	struct dirtier d = {
		.seed = args[DIRTIER_ARG_SEED],
		.words = args[DIRTIER_ARG_WORDS] ? args[DIRTIER_ARG_WORDS] : PAGE_WORDS,
		.pattern = args[DIRTIER_ARG_PATTERN],
		.verify = args[DIRTIER_ARG_VERIFY],
		.random = args[DIRTIER_ARG_SEED] + vcpu,
		.vcpu = vcpu,
	};

	if (!part.count || d.words > PAGE_WORDS || d.pattern > DIRTIER_HOT ||
	    d.verify > DIRTIER_VERIFY_SWEEP) {
		payload_fail(vcpu, DIRTIER_ERROR_ARGS, (const uint64_t[4]){ 0 });
		return;
	}
	payload_count(vcpu, DIRTIER_COUNT_PAGES, part.count);
	payload_count(vcpu, DIRTIER_COUNT_SHARED_PAGES, shared.count);
	if (args[DIRTIER_ARG_FILL])
		fill(&d, &part);
	payload_pacer_init(&pacer, params, args[DIRTIER_ARG_RATE] / params->vcpus);
	for (uint64_t n = 0; !payload_stopping() && (!args[DIRTIER_ARG_WRITES] || n < limit); n++) {
		turn(&d, &part);
		turn(&d, &shared);
		publish_counts(&d, &part);
		payload_pace(&pacer, vcpu);
	}
	verify_part(&d, &part);
	verify_part(&d, &shared);
	d.sweeps++;
	publish_counts(&d, &part);
}
