/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/mirror/ring.h"

#include <errno.h>
#include <string.h>

#include "helper/layout.h"

void ring_init(struct host_ring *r, void *pages)
{
	uint8_t *page = pages;

	memset(r, 0, sizeof(*r));
	r->control = (struct helper_ring_control *)page;
	r->requests = (struct helper_request *)(page + HELPER_PAGE_BYTES);
	r->completions = (struct helper_completion *)(page + 2 * (size_t)HELPER_PAGE_BYTES);
}

void ring_die(struct host_ring *r, int error)
{
	int alive = 0;

	atomic_compare_exchange_strong(&r->error, &alive, error);
}

int ring_error(const struct host_ring *r)
{
	return atomic_load(&r->error);
}

unsigned int ring_pending(const struct host_ring *r)
{
	return atomic_load(&r->submitted) - r->taken;
}

int ring_submit(struct host_ring *r, const struct helper_request *request, uint32_t *id)
{
	uint32_t submitted = atomic_load(&r->submitted), place = submitted % HELPER_RING_ENTRIES;
	struct helper_request copy = *request;

	if (ring_error(r))
		return ring_error(r);
	if (submitted - r->taken >= HELPER_RING_ENTRIES)
		return -EAGAIN;
	copy.id = r->next_id++;
	r->pending[place] =
		(struct ring_pending){ .id = copy.id, .count = copy.count, .op = copy.op };
	if (id)
		*id = copy.id;
	memcpy(&r->requests[place], &copy, sizeof(copy));
	atomic_store(&r->submitted, submitted + 1);
	__atomic_store_n(&r->control->submitted, submitted + 1, __ATOMIC_SEQ_CST);
	return 0;
}

static bool answers(const struct ring_pending *asked, const struct helper_completion *c)
{
	uint32_t most = asked->op == HELPER_OP_HELLO ? UINT32_MAX : asked->count;

	if (asked->op == HELPER_OP_MISSING)
		most = asked->count << HELPER_CHUNK_SHIFT;
	return c->id == asked->id && c->op == asked->op && c->status <= HELPER_MISMATCH &&
	       c->count <= most;
}

int ring_poll(struct host_ring *r, struct helper_completion *completion)
{
	uint32_t place = r->taken % HELPER_RING_ENTRIES;
	uint32_t ready = __atomic_load_n(&r->control->completed, __ATOMIC_ACQUIRE) - r->taken;

	/* What was completed before the helper died is still good, unless it lied. */
	if (ready == 0 || ring_error(r) == -EPROTO)
		return ring_error(r);
	if (ready > ring_pending(r))
		goto nonsense;
	memcpy(completion, &r->completions[place], sizeof(*completion));
	__asm__ volatile("" : : : "memory"); /* the copy is what is checked and used */
	if (!answers(&r->pending[place], completion))
		goto nonsense;
	r->taken++;
	__atomic_store_n(&r->control->taken, r->taken, __ATOMIC_RELEASE);
	return 1;
nonsense:
	ring_die(r, -EPROTO);
	return ring_error(r);
}

bool ring_has_work(const struct host_ring *r)
{
	return atomic_load(&r->submitted) !=
	       __atomic_load_n(&r->control->completed, __ATOMIC_SEQ_CST);
}

bool ring_arm(struct host_ring *r, unsigned int count)
{
	if (count > ring_pending(r))
		count = ring_pending(r);
	__atomic_store_n(&r->control->wake_at, r->taken + count, __ATOMIC_RELAXED);
	__atomic_store_n(&r->control->host_sleeps, 1, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&r->control->completed, __ATOMIC_SEQ_CST) - r->taken >= count ||
	       ring_error(r);
}

void ring_disarm(struct host_ring *r)
{
	__atomic_store_n(&r->control->host_sleeps, 0, __ATOMIC_SEQ_CST);
}
