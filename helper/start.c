/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* What only exists inside a VM: where things are, the way out, start. */
#include "helper/helper_private.h"

#define STACK_BYTES 12288

struct area {
	uint8_t guard[HELPER_PAGE_BYTES]; /* not mapped: a stack that overflows ends the mirror */
	uint8_t stack[STACK_BYTES];
	struct helper_vcpu vcpu;
} __attribute__((aligned(HELPER_PAGE_BYTES)));

/* entry.S finds the stacks by these numbers. */
_Static_assert(sizeof(struct area) == HELPER_AREA_BYTES, "entry.S and meson.build disagree");
_Static_assert(offsetof(struct area, vcpu) == HELPER_AREA_STACK,
	       "entry.S and meson.build disagree");

extern struct area helper_areas[HELPER_VCPUS_MAX];
struct area helper_areas[HELPER_VCPUS_MAX] __attribute__((section(".bss.areas")));
static struct helper helper;

void guest_boot(uint64_t window_gpa, uint64_t window_bytes, uint32_t nvcpus);
void guest_serve(uint32_t index);

static void out(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

void hw_event(struct helper_vcpu *v, uint32_t value)
{
	(void)v;
	out(HELPER_PORT_EVENT, value);
}

void hw_doorbell(struct helper_vcpu *v)
{
	out(HELPER_PORT_DOORBELL, v->index);
}

static _Noreturn void fatal(enum helper_status status)
{
	for (;;)
		out(HELPER_PORT_EVENT, HELPER_EVENT_FATAL | (uint32_t)status << 8);
}

static void *at(uint64_t va)
{
	return (void *)
		va; /* NOLINT(performance-no-int-to-ptr): the address space is ours to lay out */
}

/*
 * The layout is measured; this finds a core built for another helper, or pages that the host put
 * elsewhere.
 */
static bool layout_ok(const struct helper_layout *layout)
{
	return layout->magic == HELPER_LAYOUT_MAGIC && layout->abi == HELPER_ABI_VERSION &&
	       layout->region_bytes <= HELPER_REGION_MAX &&
	       layout->epoch_offset + layout->epoch_bytes <= layout->region_bytes &&
	       layout->npages * sizeof(uint32_t) <= layout->epoch_bytes;
}

/*
 * Runs on vCPU 0 with the bootstrap tables. Everything that is not in the core may hold anything:
 * it is zeroed here.
 */
void guest_boot(uint64_t window_gpa, uint64_t window_bytes, uint32_t nvcpus)
{
	struct helper *h = &helper;
	enum helper_status status;
	uint32_t i;

	wipe(h, sizeof(*h));
	for (i = 0; i < HELPER_VCPUS_MAX; i++) {
		wipe(&helper_areas[i].vcpu, sizeof(helper_areas[i].vcpu));
		helper_areas[i].vcpu.index = i;
		h->vcpus[i] = &helper_areas[i].vcpu;
	}
	h->region = at(HELPER_REGION_VA);
	h->layout = at(HELPER_REGION_VA + HELPER_CORE_LAYOUT * HELPER_PAGE_BYTES);
	h->keys = at(HELPER_REGION_VA + HELPER_CORE_KEYS * HELPER_PAGE_BYTES);
	if (!layout_ok(h->layout) || nvcpus < 1 || nvcpus > HELPER_VCPUS_MAX ||
	    window_bytes < (uint64_t)nvcpus * HELPER_RING_PAGES * HELPER_PAGE_BYTES ||
	    !tables_fill(h->layout, h->region, window_gpa, window_bytes))
		fatal(HELPER_BAD_REQUEST);
	h->gcm = gcm_best();
	if (!h->gcm)
		fatal(HELPER_BAD_CORE);
	h->ram = at(HELPER_RAM_VA);
	h->window = at(HELPER_WINDOW_VA);
	h->window_pages = (uint32_t)(window_bytes / HELPER_PAGE_BYTES);
	h->epochs = at(HELPER_REGION_VA + h->layout->epoch_offset);
	status = session_boot(h);
	h->gcm->scrub();
	if (status != HELPER_OK)
		fatal(status);
	__atomic_store_n(&h->nvcpus, nvcpus, __ATOMIC_SEQ_CST);
	for (;;)
		out(HELPER_PORT_EVENT, HELPER_EVENT_BOOTED | h->gcm->id << 8);
}

/* Runs on each vCPU with the run-time tables; entry.S checked index against the number of areas. */
void guest_serve(uint32_t index)
{
	if (index >= __atomic_load_n(&helper.nvcpus, __ATOMIC_SEQ_CST))
		fatal(HELPER_BAD_STATE);
	for (;;)
		helper_poll(&helper, &helper_areas[index].vcpu);
}
