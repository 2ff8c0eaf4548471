/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Migration Helper of migrate_rig.h, in place of all of lib/mirror that the engine and its
 * sealing session call.
 */
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "helper/layout.h"
#include "lib/mirror/calls.h"
#include "lib/seal/blob.h"
#include "lib/seal/seal_private.h"
#include "tests/fuzz/migrate_rig.h"

#define PAGE SEVMIRROR_PAGE_BYTES
/* For each ring at most: an argument page, a batch of data, and two lanes' slots. */
#define RING_PAGES (1 + SEAL_SLOT_PAGES + 2 * SEAL_DEPTH_MAX * SEAL_SLOT_PAGES)
#define WINDOW	   (RIG_STREAMS * RING_PAGES)

/* Requests under way, oldest first. A ring is used by one thread at a time. */
struct one_ring {
	struct helper_request request[HELPER_RING_ENTRIES];
	unsigned int head, tail;
	size_t answered;
	bool dead; /* from then on it answers nothing, as lib/mirror/ring.c has it */
	atomic_bool used; /* just now, by some thread */
};

struct rings {
	struct one_ring ring[RIG_STREAMS];
	unsigned int nrings;
	uint32_t data_pages;
	atomic_bool busy[WINDOW]; /* a batch begins there, and the helper has it */
	atomic_bool postcopy, verified;
	_Atomic uint64_t lacks[RIG_PAGES / 64];
	const struct rig *rig;
};

static uint8_t window[WINDOW][PAGE] __attribute__((aligned(4096)));
static struct rings helper;

void rig_helper_reset(const struct rig *rig)
{
	memset(&helper, 0, sizeof(helper));
	helper.rig = rig;
}

uint8_t rig_next_answer(unsigned int ring)
{
	const struct rig *rig = helper.rig;

	if (!rig->nanswers)
		return 0;
	return rig->answers[(helper.ring[ring].answered++ + ring) % rig->nanswers];
}

bool rig_lacks(uint64_t gfn)
{
	return atomic_load(&helper.lacks[gfn / 64]) >> gfn % 64 & 1;
}

uint64_t rig_lacking(void)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < RIG_PAGES / 64; i++)
		n += (uint64_t)__builtin_popcountll(atomic_load(&helper.lacks[i]));
	return n;
}

static struct one_ring *take_ring(struct rings *rings, unsigned int ring)
{
	rig_need(ring < RIG_STREAMS, "an invalid ring");
	rig_need(!atomic_exchange(&rings->ring[ring].used, true),
		 "two threads at one ring at the same time");
	sched_yield(); /* so that the other one comes, if there is one */
	return &rings->ring[ring];
}

static void leave_ring(struct one_ring *r)
{
	atomic_store(&r->used, false);
}

/* A call that all rings must be at rest for. */
static void need_rest(struct rings *rings, const char *what)
{
	for (unsigned int i = 0; i < RIG_STREAMS; i++) {
		struct one_ring *r = take_ring(rings, i);

		rig_need(r->head == r->tail, what);
		leave_ring(r);
	}
}

/* The real one, but for a core that is quick to carry. */
int __real_region_plan(struct region_plan *plan, const struct sevmirror_ram_range *ram,
		       unsigned int nram, uint64_t cbit_mask);
int __wrap_region_plan(struct region_plan *plan, const struct sevmirror_ram_range *ram,
		       unsigned int nram, uint64_t cbit_mask);
int __wrap_region_plan(struct region_plan *plan, const struct sevmirror_ram_range *ram,
		       unsigned int nram, uint64_t cbit_mask)
{
	int err = __real_region_plan(plan, ram, nram, cbit_mask);

	plan->core_bytes = RIG_CORE_PAGES * PAGE;
	return err;
}

size_t rig_offer(void *out, size_t max)
{
	struct seal_offer offer = { .blob = { .magic = SEAL_MAGIC,
					      .version = SEAL_VERSION,
					      .type = SEAL_OFFER,
					      .bytes = sizeof(offer) },
				    .helper_version = HELPER_ABI_VERSION };

	memcpy(offer.helper_digest, region_image_digest(), sizeof(offer.helper_digest));
	rig_need(max >= sizeof(offer), "room for an offer");
	memcpy(out, &offer, sizeof(offer));
	return sizeof(offer);
}

size_t rig_core(void *out, size_t max)
{
	const struct seal_range range = { 0, RIG_RAM_BYTES };
	const size_t len = sizeof(struct seal_core) + sizeof(range) + RIG_CORE_PAGES * PAGE;
	struct seal_core core = { .blob = { .magic = SEAL_MAGIC,
					    .version = SEAL_VERSION,
					    .type = SEAL_CORE,
					    .bytes = len },
				  .helper_version = HELPER_ABI_VERSION,
				  .nranges = 1,
				  .npages = RIG_CORE_PAGES,
				  .rings = RIG_STREAMS };

	memcpy(core.helper_digest, region_image_digest(), sizeof(core.helper_digest));
	rig_need(max >= len, "room for a core");
	memset(out, 0, len);
	memcpy(out, &core, sizeof(core));
	memcpy((uint8_t *)out + sizeof(core), &range, sizeof(range));
	return len;
}

size_t rig_manifest(void *out, size_t max)
{
	const size_t span = sizeof(((struct seal_manifest *)0)->span[0]);
	struct seal_manifest manifest = { .blob = { .magic = SEAL_MAGIC,
						    .version = SEAL_VERSION,
						    .type = SEAL_MANIFEST,
						    .bytes = sizeof(manifest) + span },
					  .nspans = 1 };

	rig_need(max >= sizeof(manifest) + span, "room for a manifest");
	memcpy(out, &manifest, sizeof(manifest));
	memset((uint8_t *)out + sizeof(manifest), RIG_MANIFEST_TAG, span);
	return sizeof(manifest) + span;
}

int rings_create(struct rings **rings, const struct rings_config *config, struct why *why)
{
	rig_need(config->nrings >= 1 && config->nrings <= HELPER_VCPUS_MAX, "rings that cannot be");
	*rings = NULL;
	if (config->nrings > RIG_STREAMS)
		return why_set(why, -ENOSPC, "too many rings for the rig");
	rig_need(config->data_pages <= RING_PAGES, "a window that is too large");
	helper.nrings = config->nrings;
	helper.data_pages = config->data_pages;
	*rings = &helper;
	return 0;
}

void rings_destroy(struct rings *rings)
{
}

unsigned int rings_count(const struct rings *rings)
{
	return rings->nrings;
}

unsigned int rings_of(const struct rings *rings, uint64_t gpa)
{
	return helper_ring_of(gpa / PAGE, rings->nrings);
}

void rings_spin(struct rings *rings, uint32_t helper_polls, uint32_t host_polls)
{
}

int rings_hello(struct rings *rings, enum helper_state *state, uint8_t session[16])
{
	need_rest(rings, "HELLO while pages are moved");
	*state = HELPER_TARGET;
	memset(session, 0, 16);
	return 0;
}

int rings_session_make(struct rings *rings, uint16_t flags, uint8_t session[16])
{
	need_rest(rings, "a session is made while pages are moved");
	memset(session, 0, 16);
	return 0;
}

int rings_session_wipe(struct rings *rings)
{
	return 0;
}

uint64_t mirror_exits(const struct mirror *mirror)
{
	return 0;
}

void mirror_vcpu_stop(struct mirror *mirror, unsigned int vcpu)
{
}

uint32_t rings_data(const struct rings *rings, unsigned int ring, uint32_t *npages)
{
	rig_need(ring < rings->nrings, "an invalid ring");
	*npages = rings->data_pages;
	return ring * rings->data_pages;
}

void *rings_page(const struct rings *rings, uint32_t page)
{
	return page < WINDOW ? window[page] : NULL;
}

int rings_submit(struct rings *rings, unsigned int ring, const struct helper_request *request,
		 uint32_t *id)
{
	struct one_ring *r = take_ring(rings, ring);

	rig_need(r->head - r->tail < HELPER_RING_ENTRIES, "more batches than there is room for");
	rig_need(request->count >= 1 && request->count <= HELPER_BATCH_MAX,
		 "a batch of an impossible size");
	rig_need(request->page < rings->nrings * rings->data_pages &&
			 request->page % rings->data_pages % SEAL_SLOT_PAGES == 1,
		 "a batch that is in no slot");
	rig_need(!atomic_exchange(&rings->busy[request->page], true), "two batches in one slot");
	rig_need(!atomic_load(&rings->verified), "pages after the manifest was verified");
	r->request[r->head++ % HELPER_RING_ENTRIES] = *request;
	leave_ring(r);
	return 0;
}

/* Most pages are zero, so that a round is quick. */
static uint32_t seal(const struct helper_request *request, struct helper_record *r, unsigned int i)
{
	rig_need(r->slot == request->page + 1 + i, "a slot of another batch");
	rig_need(r->gpa % PAGE == 0 && r->gpa < RIG_RAM_BYTES, "a page that is no RAM");
	r->epoch = 1;
	r->kind = r->gpa / PAGE % 16 ? HELPER_ZERO : HELPER_PAGE;
	r->index = (uint16_t)i;
	if (r->kind == HELPER_PAGE)
		memcpy(window[r->slot], rig_ram() + r->gpa, PAGE);
	return HELPER_OK;
}

static uint32_t open_record(struct rings *rings, const struct helper_request *request,
			    const struct helper_record *r, unsigned int ring)
{
	uint64_t gfn = r->gpa / PAGE;

	if (r->kind != HELPER_PAGE && r->kind != HELPER_ZERO)
		return HELPER_BAD_REQUEST;
	if (r->gpa % PAGE || r->gpa >= RIG_RAM_BYTES)
		return HELPER_BAD_GPA;
	if (helper_ring_of(gfn, rings->nrings) != ring)
		return HELPER_NOT_MINE;
	if (atomic_load(&rings->postcopy) && !rig_lacks(gfn))
		return HELPER_RESIDENT;
	/* The helper wants one of a mark, too. */
	rig_need(r->slot > request->page && r->slot < request->page + SEAL_SLOT_PAGES,
		 "a slot of another batch");
	if (r->kind == HELPER_PAGE) {
		memcpy(rig_ram() + r->gpa, window[r->slot], PAGE);
	} else {
		memset(rig_ram() + r->gpa, 0, PAGE);
	}
	atomic_fetch_and(&rings->lacks[gfn / 64], ~(1ULL << gfn % 64));
	return HELPER_OK;
}

unsigned int rings_pending(const struct rings *rings, unsigned int ring)
{
	return rings->ring[ring].head - rings->ring[ring].tail;
}

static void answer_batch(struct rings *rings, unsigned int ring,
			 const struct helper_request *request, uint8_t answer)
{
	struct helper_batch *batch = (struct helper_batch *)window[request->page];

	for (unsigned int i = 0; i < request->count; i++) {
		struct helper_record *r = &batch->record[i];

		/* A helper that says that it did not open a page has not. */
		if (answer > 4 && answer < 32 && i == answer % request->count)
			r->status = answer;
		else if (request->op == HELPER_OP_SEAL)
			r->status = seal(request, r, i);
		else if (request->op == HELPER_OP_OPEN)
			r->status = open_record(rings, request, r, ring);
		else
			r->status = HELPER_OK; /* data: as they are, this helper has no keys */
	}
}

static uint32_t status_of(uint8_t answer)
{
	if (answer == RIG_REFUSES)
		return HELPER_MISMATCH;
	return answer == 3 ? HELPER_BAD_STATE : HELPER_OK;
}

int rings_wait(struct rings *rings, unsigned int ring, struct helper_completion *completion,
	       uint64_t timeout)
{
	struct one_ring *r = take_ring(rings, ring);
	const struct helper_request *request = &r->request[r->tail % HELPER_RING_ENTRIES];
	uint8_t answer = rig_next_answer(ring);

	rig_need(r->head != r->tail, "a wait for nothing");
	if (answer == RIG_LATE) {
		leave_ring(r);
		return -ETIMEDOUT;
	}
	r->dead |= answer == 1;
	if (r->dead) {
		leave_ring(r);
		return -EPROTO;
	}
	r->tail++;
	memset(completion, 0, sizeof(*completion));
	completion->op = answer == 2 ? HELPER_OP_HELLO : request->op;
	completion->status = status_of(answer);
	completion->count = answer == 4 ? answer * 100u : request->count;
	answer_batch(rings, ring, request, answer);
	atomic_store(&rings->busy[request->page], false);
	leave_ring(r);
	return 0;
}

int rings_call(struct rings *rings, unsigned int ring, const struct helper_request *request,
	       struct helper_completion *completion, uint64_t timeout)
{
	int err = rings_pending(rings, ring) ? -EBUSY : 0;

	if (!err && request->op == HELPER_OP_EXACT) {
		*completion =
			(struct helper_completion){ .op = request->op,
						    .status = status_of(rig_next_answer(ring)) };
		return 0;
	}
	if (!err)
		err = rings_submit(rings, ring, request, NULL);
	return err ? err : rings_wait(rings, ring, completion, timeout);
}

const char *rings_explain(const struct rings *rings, int err)
{
	return strerror(-err);
}

const char *rings_status_name(unsigned int status)
{
	return "a status";
}

uint32_t rings_manifest_spans(const struct rings *rings)
{
	return 1;
}

int rings_manifest_make(struct rings *rings, struct rings_manifest *manifest)
{
	need_rest(rings, "a manifest while pages are sealed");
	memset(manifest->span, RIG_MANIFEST_TAG, sizeof(manifest->span[0]));
	return 0;
}

int rings_manifest_check(struct rings *rings, const struct rings_manifest *manifest,
			 uint32_t *differing, uint32_t *first)
{
	need_rest(rings, "the manifest is verified while pages are opened");
	*differing = 1;
	*first = 0;
	for (size_t i = 0; i < sizeof(manifest->span[0]); i++)
		if (((const uint8_t *)manifest->span)[i] != RIG_MANIFEST_TAG)
			return -EBADMSG;
	atomic_store(&rings->verified, true);
	return 0;
}

int rings_postcopy(struct rings *rings, const uint64_t *bitmap, uint64_t npages)
{
	rig_need(npages == RIG_PAGES, "post-copy of another memory");
	need_rest(rings, "post-copy begins while pages are opened");
	for (unsigned int i = 0; i < RIG_PAGES / 64; i++)
		atomic_store(&rings->lacks[i], bitmap[i]);
	atomic_store(&rings->postcopy, true);
	return rig_next_answer(0) == 1 ? -EPROTO : 0;
}

struct mirror *rings_mirror(const struct rings *rings)
{
	return NULL;
}

void *mirror_hva(const struct mirror *mirror, uint64_t gpa, uint64_t bytes)
{
	return gpa < RIG_RAM_BYTES && bytes <= RIG_RAM_BYTES - gpa ? rig_ram() + gpa : NULL;
}

void mirror_populate(struct mirror *mirror, uint64_t gpa, uint64_t bytes)
{
	rig_need(gpa < RIG_RAM_BYTES && bytes <= RIG_RAM_BYTES - gpa, "invalid memory");
	(void)madvise(rig_ram() + gpa, bytes, MADV_POPULATE_WRITE);
}
