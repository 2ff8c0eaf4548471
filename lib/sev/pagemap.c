/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include <sevmirror/pagemap.h>

#include <errno.h>
#include <endian.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <asm/kvm_para.h>

#include "lib/util/page.h"

#define NPAGES_MAX  (1ULL << 40)
#define STATE_MAGIC 0x50414d56455356ULL /* "VSEVMAP", in the saved state */

struct sev_pagemap {
	uint64_t npages;
	_Atomic uint64_t *shared; /* a bit for each gfn */
	_Atomic uint64_t migration_control;
	uint64_t private_first;
	uint64_t private_npages;
	sev_pagemap_changed_fn changed;
	void *opaque;
};

/*
 * The saved state: this header, then nruns times {u64 gfn, u64 npages}, ascending, not touching.
 * All little-endian.
 */
struct saved_header {
	uint64_t magic;
	uint64_t npages;
	uint64_t migration_control;
	uint64_t nruns;
};

struct saved_run {
	uint64_t gfn;
	uint64_t npages;
};

static size_t nwords(uint64_t npages)
{
	return (size_t)((npages + WORD_BITS - 1) / WORD_BITS);
}

int sev_pagemap_create(struct sev_pagemap **out, uint64_t npages)
{
	struct sev_pagemap *map;

	if (npages == 0 || npages > NPAGES_MAX)
		return -EINVAL;
	map = calloc(1, sizeof(*map));
	if (!map)
		return -ENOMEM;
	map->npages = npages;
	map->shared = calloc(nwords(npages), sizeof(*map->shared));
	if (!map->shared) {
		free(map);
		return -ENOMEM;
	}
	*out = map;
	return 0;
}

void sev_pagemap_destroy(struct sev_pagemap *map)
{
	if (!map)
		return;
	free((void *)map->shared);
	free(map);
}

uint64_t sev_pagemap_npages(const struct sev_pagemap *map)
{
	return map->npages;
}

void sev_pagemap_on_change(struct sev_pagemap *map, sev_pagemap_changed_fn changed, void *opaque)
{
	map->changed = changed;
	map->opaque = opaque;
}

static bool in_map(const struct sev_pagemap *map, uint64_t gfn, uint64_t npages)
{
	return gfn < map->npages && npages <= map->npages - gfn;
}

int sev_pagemap_set_always_private(struct sev_pagemap *map, uint64_t gfn, uint64_t npages)
{
	if (!in_map(map, gfn, npages))
		return -EINVAL;
	map->private_first = gfn;
	map->private_npages = npages;
	return 0;
}

/* Bits [gfn, gfn + npages) of their words: at most WORD_BITS at once. */
static uint64_t word_mask(uint64_t gfn, uint64_t npages)
{
	uint64_t low = gfn % WORD_BITS;
	uint64_t n = npages < WORD_BITS - low ? npages : WORD_BITS - low;

	return (n == WORD_BITS ? ~0ULL : (1ULL << n) - 1) << low;
}

static void set_range(struct sev_pagemap *map, uint64_t gfn, uint64_t npages, bool private)
{
	while (npages) {
		uint64_t mask = word_mask(gfn, npages);
		uint64_t n = (uint64_t)__builtin_popcountll(mask);

		if (private)
			atomic_fetch_and(&map->shared[gfn / WORD_BITS], ~mask);
		else
			atomic_fetch_or(&map->shared[gfn / WORD_BITS], mask);
		gfn += n;
		npages -= n;
	}
}

/* As set_range(), around the pages that stay private. */
static void set_range_allowed(struct sev_pagemap *map, uint64_t gfn, uint64_t npages, bool private)
{
	uint64_t end = gfn + npages;
	uint64_t keep_first = map->private_first;
	uint64_t keep_end = keep_first + map->private_npages;

	if (gfn < keep_first)
		set_range(map, gfn, (end < keep_first ? end : keep_first) - gfn, private);
	if (end > keep_end) {
		uint64_t from = gfn > keep_end ? gfn : keep_end;

		set_range(map, from, end - from, private);
	}
}

int64_t sev_pagemap_hypercall(struct sev_pagemap *map, const uint64_t args[3])
{
	uint64_t gpa = args[0], npages = args[1], attributes = args[2];
	uint64_t gfn = gpa >> PAGE_SHIFT;
	bool private = attributes & KVM_MAP_GPA_RANGE_ENCRYPTED;
	/* Bits 0 to 3: page size, a hint; bit 4: the kind. */
	uint64_t known = 0xf | KVM_MAP_GPA_RANGE_ENCRYPTED;

	if (gpa & (PAGE_BYTES - 1) || npages == 0 || attributes & ~known ||
	    !in_map(map, gfn, npages))
		return -EINVAL;
	set_range_allowed(map, gfn, npages, private);
	if (map->changed)
		map->changed(map->opaque, gfn, npages, private);
	return 0;
}

static bool is_shared(const struct sev_pagemap *map, uint64_t gfn)
{
	return atomic_load(&map->shared[gfn / WORD_BITS]) >> gfn % WORD_BITS & 1;
}

bool sev_pagemap_is_private(const struct sev_pagemap *map, uint64_t gfn)
{
	return gfn < map->npages && !is_shared(map, gfn);
}

uint64_t sev_pagemap_run(const struct sev_pagemap *map, uint64_t gfn, bool *private)
{
	uint64_t at = gfn, word;
	bool shared;

	if (gfn >= map->npages)
		return 0;
	/*
	 * One load for the first page's kind and its word: else a page that changes between two
	 * would make a run of none.
	 */
	word = atomic_load(&map->shared[gfn / WORD_BITS]);
	shared = word >> gfn % WORD_BITS & 1;
	for (;;) {
		uint64_t other = (shared ? ~word : word) & ~0ULL << at % WORD_BITS;

		if (other) {
			at = at / WORD_BITS * WORD_BITS + (uint64_t)__builtin_ctzll(other);
			break;
		}
		at = (at / WORD_BITS + 1) * WORD_BITS;
		if (at >= map->npages)
			break;
		word = atomic_load(&map->shared[at / WORD_BITS]);
	}
	*private = !shared;
	return (at < map->npages ? at : map->npages) - gfn;
}

uint64_t sev_pagemap_count_shared(const struct sev_pagemap *map)
{
	uint64_t count = 0;

	for (size_t i = 0; i < nwords(map->npages); i++)
		count += (uint64_t)__builtin_popcountll(atomic_load(&map->shared[i]));
	return count;
}

int sev_pagemap_write_migration_control(struct sev_pagemap *map, uint64_t value)
{
	if (value & ~(uint64_t)KVM_MIGRATION_READY)
		return -EINVAL;
	atomic_store(&map->migration_control, value);
	return 0;
}

uint64_t sev_pagemap_read_migration_control(const struct sev_pagemap *map)
{
	return atomic_load(&map->migration_control);
}

bool sev_pagemap_migration_ready(const struct sev_pagemap *map)
{
	return sev_pagemap_read_migration_control(map) & KVM_MIGRATION_READY;
}

size_t sev_pagemap_save(const struct sev_pagemap *map, void *buf, size_t max)
{
	struct saved_header header = {
		.magic = htole64(STATE_MAGIC),
		.npages = htole64(map->npages),
		.migration_control = htole64(sev_pagemap_read_migration_control(map)),
	};
	size_t at = sizeof(header);
	uint64_t nruns = 0, gfn = 0;
	bool private;

	for (uint64_t n; (n = sev_pagemap_run(map, gfn, &private)) > 0; gfn += n) {
		struct saved_run run = { htole64(gfn), htole64(n) };

		if (private)
			continue;
		if (max >= sizeof(run) && at <= max - sizeof(run))
			memcpy((char *)buf + at, &run, sizeof(run));
		at += sizeof(run);
		nruns++;
	}
	header.nruns = htole64(nruns);
	if (max >= sizeof(header))
		memcpy(buf, &header, sizeof(header));
	return at;
}

static struct saved_run run_at(const void *buf, uint64_t i)
{
	struct saved_run run;

	memcpy(&run, (const char *)buf + sizeof(struct saved_header) + i * sizeof(run),
	       sizeof(run));
	return (struct saved_run){ le64toh(run.gfn), le64toh(run.npages) };
}

/* Runs ascending, apart from each other, inside the map and outside what stays private. */
static bool runs_are_sound(const struct sev_pagemap *map, const void *buf, uint64_t nruns)
{
	uint64_t keep_end = map->private_first + map->private_npages;
	uint64_t free_from = 0;

	for (uint64_t i = 0; i < nruns; i++) {
		struct saved_run run = run_at(buf, i);

		if (run.npages == 0 || !in_map(map, run.gfn, run.npages) || run.gfn < free_from)
			return false;
		if (run.gfn < keep_end && run.gfn + run.npages > map->private_first)
			return false;
		free_from = run.gfn + run.npages + 1;
	}
	return true;
}

int sev_pagemap_load(struct sev_pagemap *map, const void *buf, size_t len)
{
	struct saved_header header;
	uint64_t nruns;

	if (len < sizeof(header))
		return -EINVAL;
	memcpy(&header, buf, sizeof(header));
	nruns = le64toh(header.nruns);
	if (le64toh(header.magic) != STATE_MAGIC || le64toh(header.npages) != map->npages ||
	    le64toh(header.migration_control) & ~(uint64_t)KVM_MIGRATION_READY ||
	    nruns != (len - sizeof(header)) / sizeof(struct saved_run) ||
	    (len - sizeof(header)) % sizeof(struct saved_run) || !runs_are_sound(map, buf, nruns))
		return -EINVAL;
	set_range(map, 0, map->npages, true);
	for (uint64_t i = 0; i < nruns; i++) {
		struct saved_run run = run_at(buf, i);

		set_range(map, run.gfn, run.npages, false);
	}
	atomic_store(&map->migration_control, le64toh(header.migration_control));
	return 0;
}
