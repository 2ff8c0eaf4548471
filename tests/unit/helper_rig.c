/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/helper_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SPACE	   (RIG_HIGH_GPA + RIG_HIGH + (2ULL << 20))
#define WINDOW_PAD 16
#define PAGE	   HELPER_PAGE_BYTES

static void need(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "helper_rig: %s\n", what);
	abort();
}

static void *reserve(uint64_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	need(at != MAP_FAILED, "mmap");
	return at;
}

static void fill(uint8_t *at, uint64_t bytes, uint64_t x)
{
	uint64_t i;

	for (i = 0; i < bytes; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(at + i, &x, 8);
	}
}

enum helper_status helper_rig_boot(struct helper_rig *rig, unsigned int nvcpus)
{
	struct helper *h = &rig->helper;
	unsigned int i;

	memset(h, 0, sizeof(*h));
	memset(rig->vcpus, 0, HELPER_VCPUS_MAX * sizeof(*rig->vcpus));
	memset(rig->window, 0, (size_t)RIG_WINDOW * PAGE);
	h->ram = rig->reserved;
	h->region = rig->region;
	h->layout = (struct helper_layout *)h->region;
	h->keys = (struct helper_keys *)(h->region + (size_t)HELPER_CORE_KEYS * PAGE);
	h->epochs = (uint32_t *)(h->region + rig->plan.epoch_offset);
	h->window = rig->window;
	h->window_pages = RIG_WINDOW;
	h->nvcpus = nvcpus;
	h->gcm = gcm_best();
	need(h->gcm, "this CPU has no AES-NI");
	for (i = 0; i < HELPER_VCPUS_MAX; i++) {
		h->vcpus[i] = &rig->vcpus[i];
		h->vcpus[i]->index = i;
	}
	return session_boot(h);
}

void helper_rig_init(struct helper_rig *rig, unsigned int nvcpus, unsigned int seed)
{
	const struct sevmirror_ram_range ram[2] = {
		{ .gpa = 0, .bytes = RIG_LOW, .fd = -1 },
		{ .gpa = RIG_HIGH_GPA, .bytes = RIG_HIGH, .fd = -1 },
	};
	uint64_t pad = (uint64_t)WINDOW_PAD * PAGE;
	uint8_t *window;

	memset(rig, 0, sizeof(*rig));
	rig->reserved = reserve(SPACE);
	need(mprotect(rig->reserved, RIG_LOW, PROT_READ | PROT_WRITE) == 0, "mprotect");
	need(mprotect(rig->reserved + RIG_HIGH_GPA, RIG_HIGH, PROT_READ | PROT_WRITE) == 0,
	     "mprotect");
	fill(rig->reserved, RIG_LOW, seed * 2 + 1);
	fill(rig->reserved + RIG_HIGH_GPA, RIG_HIGH, seed * 2 + 2);
	window = reserve(2 * pad + (uint64_t)RIG_WINDOW * PAGE);
	rig->window = window + pad;
	need(mprotect(rig->window, (size_t)RIG_WINDOW * PAGE, PROT_READ | PROT_WRITE) == 0,
	     "mprotect");
	rig->vcpus =
		aligned_alloc(4096, (HELPER_VCPUS_MAX * sizeof(*rig->vcpus) + 4095) / 4096 * 4096);
	need(rig->vcpus, "memory");
	need(region_plan(&rig->plan, ram, 2, 0) == 0, "region_plan");
	rig->region = reserve(rig->plan.bytes);
	need(mprotect(rig->region, rig->plan.bytes, PROT_READ | PROT_WRITE) == 0, "mprotect");
	need(region_build(&rig->plan, rig->region, rig->plan.bytes) == 0, "region_build");
	need(helper_rig_boot(rig, nvcpus) == HELPER_OK, "boot");
}

void helper_rig_fini(struct helper_rig *rig)
{
	uint64_t pad = (uint64_t)WINDOW_PAD * PAGE;

	munmap(rig->reserved, SPACE);
	munmap(rig->region, rig->plan.bytes);
	munmap(rig->window - pad, 2 * pad + (uint64_t)RIG_WINDOW * PAGE);
	free(rig->vcpus);
}

void helper_rig_connect(struct helper_rig *source, struct helper_rig *target)
{
	const struct helper_request make = { .op = HELPER_OP_SESSION_MAKE };

	need(helper_rig_call(source, 0, &make).status == HELPER_OK, "SESSION_MAKE");
	memcpy(target->helper.region, source->helper.region, source->plan.core_bytes);
	need(helper_rig_boot(target, source->helper.nvcpus) == HELPER_OK, "the target's boot");
	need(session_state(&target->helper) == HELPER_TARGET, "the target's state");
}

uint8_t *helper_rig_at(const struct helper_rig *rig, uint64_t gpa)
{
	return rig->reserved + gpa;
}

void *helper_rig_page(const struct helper_rig *rig, uint32_t page)
{
	return rig->window + (size_t)page * PAGE;
}

struct helper_completion helper_rig_call(struct helper_rig *rig, unsigned int vcpu,
					 const struct helper_request *request)
{
	uint32_t page = vcpu * HELPER_RING_PAGES;
	struct helper_ring_control *control = helper_rig_page(rig, page);
	struct helper_request *requests = helper_rig_page(rig, page + 1);
	const struct helper_completion *completions = helper_rig_page(rig, page + 2);
	uint32_t place = control->submitted % HELPER_RING_ENTRIES;

	requests[place] = *request;
	control->submitted++;
	need(helper_poll(&rig->helper, rig->helper.vcpus[vcpu]), "a request was not taken");
	need(control->completed == control->submitted, "a request was not completed");
	control->taken = control->completed;
	return completions[place];
}
