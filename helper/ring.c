/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The helper's end of a ring. The host may write anything into the window at any time. */
#include "helper/helper_private.h"

#define SPIN_DEFAULT 20000
#define SPIN_MAX     (1u << 24)

static uint8_t *ring_page(const struct helper *h, const struct helper_vcpu *v, uint32_t page)
{
	return h->window + ((uint64_t)v->index * HELPER_RING_PAGES + page) * HELPER_PAGE_BYTES;
}

static struct helper_ring_control *control_of(const struct helper *h, const struct helper_vcpu *v)
{
	return (struct helper_ring_control *)ring_page(h, v, 0);
}

void *window_page(const struct helper *h, uint32_t page)
{
	if (page < h->nvcpus * HELPER_RING_PAGES || page >= h->window_pages)
		return NULL;
	return h->window + (uint64_t)page * HELPER_PAGE_BYTES;
}

/*
 * A request is there, and room for its completion. Indices that make no sense count as an empty
 * ring.
 */
static bool ready(const struct helper_ring_control *control, const struct helper_vcpu *v)
{
	uint32_t submitted = __atomic_load_n(&control->submitted, __ATOMIC_ACQUIRE) - v->taken;
	uint32_t unread = v->taken - __atomic_load_n(&control->taken, __ATOMIC_ACQUIRE);

	return submitted > 0 && submitted <= HELPER_RING_ENTRIES && unread < HELPER_RING_ENTRIES;
}

bool ring_take(struct helper *h, struct helper_vcpu *v, struct helper_request *request)
{
	const struct helper_request *entry;

	if (!ready(control_of(h, v), v))
		return false;
	entry = (const struct helper_request *)ring_page(h, v, 1) + v->taken % HELPER_RING_ENTRIES;
	copy_once(request, entry, sizeof(*request));
	v->idle = 0;
	return true;
}

void ring_complete(struct helper *h, struct helper_vcpu *v,
		   const struct helper_completion *completion)
{
	struct helper_ring_control *control = control_of(h, v);
	struct helper_completion *entry;

	entry = (struct helper_completion *)ring_page(h, v, 2) + v->taken % HELPER_RING_ENTRIES;
	copy_once(entry, completion, sizeof(*entry));
	v->taken++;
	__atomic_store_n(&control->completed, v->taken, __ATOMIC_SEQ_CST);
	/*
	 * The host sets host_sleeps, then looks at completed again: one of the two sees the other.
	 */
	if (__atomic_load_n(&control->host_sleeps, __ATOMIC_SEQ_CST) &&
	    (int32_t)(v->taken - __atomic_load_n(&control->wake_at, __ATOMIC_RELAXED)) >= 0) {
		v->statistics.doorbells++;
		hw_doorbell(v);
	}
}

void ring_idle(struct helper *h, struct helper_vcpu *v)
{
	struct helper_ring_control *control = control_of(h, v);
	uint32_t spin = __atomic_load_n(&control->spin, __ATOMIC_RELAXED);

	if (spin == 0)
		spin = SPIN_DEFAULT;
	if (v->idle++ < (spin < SPIN_MAX ? spin : SPIN_MAX)) {
		__builtin_ia32_pause();
		return;
	}
	/*
	 * No race: while this vCPU does not run, the host compares submitted with completed before
	 * it leaves it at that.
	 */
	v->idle = 0;
	v->statistics.sleeps++;
	hw_event(v, HELPER_EVENT_SLEEP);
}
