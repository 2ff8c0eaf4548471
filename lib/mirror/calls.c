/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/mirror/calls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "helper/layout.h"
#include "lib/util/page.h"

#define CHUNK_PAGES (1u << HELPER_CHUNK_SHIFT)
#define CHUNK_BYTES (CHUNK_PAGES * (uint64_t)PAGE_BYTES)
#define TIMEOUT	    60000000000ULL

static int refused(const struct helper_completion *c)
{
	switch (c->status) {
	case HELPER_OK:
		return 0;
	case HELPER_BAD_STATE:
		return -EPERM;
	case HELPER_BUSY:
		return -EAGAIN;
	case HELPER_NO_RANDOM:
		return -EIO;
	default:
		return -EINVAL;
	}
}

static int call(struct rings *rings, unsigned int ring, const struct helper_request *request,
		struct helper_completion *completion)
{
	int error = rings_call(rings, ring, request, completion, TIMEOUT);

	return error ? error : refused(completion);
}

/* The page that these calls put their arguments into: the first of a ring's own. */
static void *argument(const struct rings *rings, unsigned int ring, uint32_t *page)
{
	uint32_t npages;

	*page = rings_data(rings, ring, &npages);
	return npages > 0 ? rings_page(rings, *page) : NULL;
}

int rings_hello(struct rings *rings, enum helper_state *state, uint8_t session[16])
{
	struct helper_request request = { .op = HELPER_OP_HELLO };
	struct helper_completion c;
	int error = call(rings, 0, &request, &c);

	if (error)
		return error;
	if (c.count != HELPER_ABI_VERSION)
		return -EINVAL;
	*state = c.state;
	memcpy(session, c.session, sizeof(c.session));
	return 0;
}

int rings_session_make(struct rings *rings, uint16_t flags, uint8_t session[16])
{
	struct helper_request request = {
		.op = HELPER_OP_SESSION_MAKE,
		.flags = flags,
	};
	struct helper_completion c;
	int error = call(rings, 0, &request, &c);

	if (!error)
		memcpy(session, c.session, sizeof(c.session));
	return error;
}

int rings_session_wipe(struct rings *rings)
{
	struct helper_request request = { .op = HELPER_OP_SESSION_WIPE };
	struct helper_completion c;

	return call(rings, 0, &request, &c);
}

static int touch_reap(struct rings *rings, unsigned int ring, uint64_t *touched)
{
	struct helper_completion c;
	int error = rings_wait(rings, ring, &c, TIMEOUT);

	if (error)
		return error;
	*touched += c.count;
	return refused(&c);
}

int rings_touch(struct rings *rings, bool write, uint64_t *touched)
{
	const struct region_plan *plan = rings_plan(rings);
	struct helper_request request = {
		.op = HELPER_OP_TOUCH,
		.flags = write ? HELPER_TOUCH_WRITE : 0,
	};
	unsigned int i, ring;
	int error = 0;

	*touched = 0;
	for (i = 0; i < plan->nram && !error; i++) {
		const struct sevmirror_ram_range *ram = &plan->ram[i];
		uint64_t end = ram->gpa + ram->bytes, next;

		for (request.gpa = ram->gpa; request.gpa < end && !error; request.gpa = next) {
			next = (request.gpa / CHUNK_BYTES + 1) * CHUNK_BYTES;
			if (next > end)
				next = end;
			request.count = (uint32_t)((next - request.gpa) / PAGE_BYTES);
			mirror_populate(rings_mirror(rings), request.gpa, next - request.gpa);
			ring = rings_of(rings, request.gpa);
			if (rings_pending(rings, ring) >= HELPER_RING_ENTRIES)
				error = touch_reap(rings, ring, touched);
			if (!error)
				error = rings_submit(rings, ring, &request, NULL);
		}
	}
	for (ring = 0; ring < rings_count(rings); ring++)
		while (!error && rings_pending(rings, ring))
			error = touch_reap(rings, ring, touched);
	return error;
}

static uint64_t ram_pages(const struct rings *rings)
{
	const struct region_plan *plan = rings_plan(rings);
	uint64_t npages = 0;
	unsigned int i;

	for (i = 0; i < plan->nram; i++)
		npages += plan->ram[i].bytes / PAGE_BYTES;
	return npages;
}

uint32_t rings_manifest_spans(const struct rings *rings)
{
	return (uint32_t)((ram_pages(rings) + HELPER_MANIFEST_SPAN - 1) / HELPER_MANIFEST_SPAN);
}

int rings_manifest_make(struct rings *rings, struct rings_manifest *manifest)
{
	struct helper_request request = { .op = HELPER_OP_MANIFEST_MAKE };
	const struct helper_manifest *page = argument(rings, 0, &request.page);
	uint32_t nspans = rings_manifest_spans(rings);
	struct helper_completion c;
	uint32_t i;
	int error;

	if (!page)
		return -ENOBUFS;
	manifest->nspans = nspans;
	for (request.first = 0; request.first < nspans; request.first += request.count) {
		request.count = nspans - request.first;
		if (request.count > HELPER_MANIFEST_TAGS)
			request.count = HELPER_MANIFEST_TAGS;
		error = call(rings, 0, &request, &c);
		if (error)
			return error;
		for (i = 0; i < request.count; i++) {
			memcpy(manifest->span[request.first + i].salt, page->salt,
			       sizeof(page->salt));
			memcpy(manifest->span[request.first + i].tag, page->tag[i],
			       sizeof(page->tag[i]));
		}
	}
	return 0;
}

/* Spans from first that share a salt, so that one request can check them. */
static uint32_t same_salt(const struct rings_manifest *manifest, uint32_t first)
{
	uint32_t n = 1;

	while (n < HELPER_MANIFEST_TAGS && first + n < manifest->nspans &&
	       memcmp(manifest->span[first].salt, manifest->span[first + n].salt,
		      sizeof(manifest->span[0].salt)) == 0)
		n++;
	return n;
}

static void note_differences(const uint8_t *differs, const struct helper_request *request,
			     uint32_t *differing, uint32_t *first)
{
	uint32_t i;

	for (i = 0; i < request->count; i++) {
		if (!(differs[i / 8] & 1u << i % 8))
			continue;
		if ((*differing)++ == 0)
			*first = request->first + i;
	}
}

int rings_manifest_check(struct rings *rings, const struct rings_manifest *manifest,
			 uint32_t *differing, uint32_t *first)
{
	struct helper_request request = { .op = HELPER_OP_MANIFEST_CHECK };
	struct helper_manifest *page = argument(rings, 0, &request.page);
	uint8_t differs[sizeof(page->differs)];
	struct helper_completion c;
	uint32_t i, before;
	int error;

	*differing = *first = 0;
	if (!page)
		return -ENOBUFS;
	if (manifest->nspans != rings_manifest_spans(rings))
		return -EBADMSG;
	for (request.first = 0; request.first < manifest->nspans; request.first += request.count) {
		request.count = same_salt(manifest, request.first);
		memcpy(page->salt, manifest->span[request.first].salt, sizeof(page->salt));
		for (i = 0; i < request.count; i++)
			memcpy(page->tag[i], manifest->span[request.first + i].tag,
			       sizeof(page->tag[i]));
		error = rings_call(rings, 0, &request, &c, TIMEOUT);
		if (error)
			return error;
		if (c.status == HELPER_OK && c.count == request.count)
			continue;
		if (c.status != HELPER_MISMATCH)
			return refused(&c) ? refused(&c) : -EPROTO;
		memcpy(differs, page->differs, sizeof(differs));
		before = *differing;
		note_differences(differs, &request, differing, first);
		if (*differing == before)
			return -EPROTO;
	}
	return *differing ? -EBADMSG : 0;
}

/* The same request to every ring, each with the bits in its own page; then all answers. */
static int send_missing(struct rings *rings, uint64_t gpa, uint32_t nchunks, const uint8_t *bits)
{
	struct helper_request request = { .op = HELPER_OP_MISSING, .gpa = gpa, .count = nchunks };
	struct helper_completion c;
	unsigned int ring, asked = 0;
	int error = 0;

	for (ring = 0; ring < rings_count(rings) && !error; ring++) {
		void *page = argument(rings, ring, &request.page);

		if (!page || rings_pending(rings, ring)) {
			error = page ? -EBUSY : -ENOBUFS;
			break;
		}
		memcpy(page, bits, (size_t)nchunks * CHUNK_PAGES / 8);
		error = rings_submit(rings, ring, &request, NULL);
		asked += !error;
	}
	for (ring = 0; ring < asked; ring++) {
		int answer = rings_wait(rings, ring, &c, TIMEOUT);

		answer = answer ? answer : refused(&c);
		error = error ? error : answer;
	}
	return error;
}

/* The bits of the pages in [gpa, gpa + CHUNK_BYTES), whose first one is at page gpa. */
static void chunk_bits(const struct region_plan *plan, const uint64_t *bitmap, uint64_t gpa,
		       uint8_t bits[CHUNK_PAGES / 8])
{
	uint64_t first = 0, at;
	unsigned int i;

	memset(bits, 0, CHUNK_PAGES / 8);
	for (i = 0; i < plan->nram; first += plan->ram[i++].bytes / PAGE_BYTES) {
		const struct sevmirror_ram_range *ram = &plan->ram[i];
		uint64_t from = gpa > ram->gpa ? gpa : ram->gpa;
		uint64_t end = ram->gpa + ram->bytes;

		if (end > gpa + CHUNK_BYTES)
			end = gpa + CHUNK_BYTES;
		for (at = from; at < end; at += PAGE_BYTES) {
			uint64_t number = first + (at - ram->gpa) / PAGE_BYTES;
			uint64_t bit = (at - gpa) / PAGE_BYTES;

			if (bitmap[number / 64] >> number % 64 & 1)
				bits[bit / 8] |= (uint8_t)(1u << bit % 8);
		}
	}
}

/* Send the bits of the chunks of one part of RAM; what an earlier part shares with it is sent. */
static int part_missing(struct rings *rings, unsigned int part, const uint64_t *bitmap)
{
	const struct region_plan *plan = rings_plan(rings);
	const struct sevmirror_ram_range *ram = &plan->ram[part], *before = part ? ram - 1 : NULL;
	uint64_t gpa = ram->gpa / CHUNK_BYTES * CHUNK_BYTES;
	uint64_t end = ram->gpa + ram->bytes, n, i;
	uint8_t bits[HELPER_BATCH_MAX][CHUNK_PAGES / 8];
	int error = 0;

	if (before && before->gpa + before->bytes > gpa)
		gpa += CHUNK_BYTES;
	for (; gpa < end && !error; gpa += n * CHUNK_BYTES) {
		n = (end - gpa + CHUNK_BYTES - 1) / CHUNK_BYTES;
		if (n > HELPER_BATCH_MAX)
			n = HELPER_BATCH_MAX;
		for (i = 0; i < n; i++)
			chunk_bits(plan, bitmap, gpa + i * CHUNK_BYTES, bits[i]);
		error = send_missing(rings, gpa, (uint32_t)n, bits[0]);
	}
	return error;
}

int rings_postcopy(struct rings *rings, const uint64_t *bitmap, uint64_t npages)
{
	struct helper_request request = { .op = HELPER_OP_POSTCOPY };
	struct helper_completion c;
	unsigned int i;
	int error = 0;

	if (npages != ram_pages(rings))
		return -EINVAL;
	for (i = 0; i < rings_plan(rings)->nram && !error; i++)
		error = part_missing(rings, i, bitmap);
	return error ? error : call(rings, 0, &request, &c);
}

int rings_statistics(struct rings *rings, struct helper_statistics *sum)
{
	struct helper_request request = { .op = HELPER_OP_STATISTICS };
	struct helper_completion c;
	unsigned int ring;
	size_t i;
	int error;

	memset(sum, 0, sizeof(*sum));
	for (ring = 0; ring < rings_count(rings); ring++) {
		const uint64_t *counters = argument(rings, ring, &request.page);

		error = counters ? call(rings, ring, &request, &c) : -ENOBUFS;
		if (error)
			return error;
		for (i = 0; i < sizeof(*sum) / sizeof(uint64_t); i++)
			((uint64_t *)sum)[i] += counters[i];
	}
	return 0;
}
