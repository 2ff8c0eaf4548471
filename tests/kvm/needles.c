/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kvm/needles.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MASK	     0xa7a7a7a7a7a7a7a7ULL
#define MASK_BYTE    0xa7
#define BUFFER_BYTES (1u << 20)

struct search {
	const struct needles *needles;
	const char *name;
	bool loud;
	int mem;
	uint8_t *buffer;
	/* First two bytes, masked, of some needle. */
	uint8_t begins[65536 / 8];
	unsigned int found;
};

void needles_mask(void *bytes, size_t len)
{
	uint8_t *b = bytes;

	for (size_t i = 0; i < len; i++)
		b[i] ^= MASK_BYTE;
}

void needles_add(struct needles *needles, const char *name, const uint8_t *masked, size_t len)
{
	for (size_t at = 0; at + NEEDLE_BYTES <= len; at += NEEDLE_BYTES) {
		struct needle one = { .name = name };
		unsigned int i = 0;

		memcpy(one.half, masked + at, sizeof(one.half));
		while (i < needles->n &&
		       memcmp(needles->needle[i].half, one.half, sizeof(one.half)) != 0)
			i++;
		if (i < needles->n)
			continue;
		if (needles->n == sizeof(needles->needle) / sizeof(needles->needle[0]))
			abort();
		needles->needle[needles->n++] = one;
	}
}

/* The value at p, masked on its way through a register. */
static uint64_t masked_at(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v ^ MASK;
}

static const struct needle *match(const struct search *s, const uint8_t *p)
{
	uint64_t first = masked_at(p);

	if (!(s->begins[(first & 0xffff) / 8] & 1u << first % 8))
		return NULL;
	for (unsigned int i = 0; i < s->needles->n; i++) {
		const struct needle *one = &s->needles->needle[i];

		if (one->half[0] == first && one->half[1] == masked_at(p + 8) &&
		    strncmp(one->name, s->name, strlen(s->name)) == 0)
			return one;
	}
	return NULL;
}

/* Pieces overlap, so that a needle across two of them is found, and once. */
static void search_mapping(struct search *s, uint64_t begin, uint64_t end, const char *line)
{
	uint64_t step = BUFFER_BYTES - NEEDLE_BYTES + 1;

	for (uint64_t at = begin; at < end; at += step) {
		size_t want = end - at < BUFFER_BYTES ? end - at : BUFFER_BYTES;
		ssize_t n = pread(s->mem, s->buffer, want, (off_t)at);

		if (n < 0)
			return; /* memory of a device */
		for (ssize_t i = 0; i + NEEDLE_BYTES <= n; i++) {
			const struct needle *one = match(s, s->buffer + i);

			if (!one)
				continue;
			s->found++;
			if (s->loud)
				printf("# %s at %#" PRIx64 " in %s", one->name, at + (uint64_t)i,
				       line);
		}
	}
}

static void search_all(struct search *s)
{
	uint64_t own = (uintptr_t)s->buffer;
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");

	if (!maps)
		abort();
	while (fgets(line, sizeof(line), maps)) {
		char *dash;
		uint64_t begin = strtoull(line, &dash, 16), end;

		if (*dash != '-')
			abort();
		end = strtoull(dash + 1, NULL, 16);
		/*
		 * Not what is being looked at; the kernel may have made it part of a larger
		 * mapping.
		 */
		if (begin <= own && own < end) {
			search_mapping(s, begin, own, line);
			begin = own + BUFFER_BYTES;
		}
		search_mapping(s, begin, end, line);
	}
	fclose(maps);
}

unsigned int needles_find(const struct needles *needles, const char *name, int loud)
{
	struct search s = { .needles = needles, .name = name, .loud = loud };

	s.buffer = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			0);
	s.mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	if (s.buffer == MAP_FAILED || s.mem < 0)
		abort();
	for (unsigned int i = 0; i < needles->n; i++) {
		uint64_t first = needles->needle[i].half[0];

		s.begins[(first & 0xffff) / 8] |= 1u << first % 8;
	}
	search_all(&s);
	explicit_bzero(s.buffer, BUFFER_BYTES);
	munmap(s.buffer, BUFFER_BYTES);
	close(s.mem);
	fflush(stdout);
	return s.found;
}
