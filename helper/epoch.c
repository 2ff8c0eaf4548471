/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The pages of guest RAM: which a request may name, and how often each was sealed. */
#include "helper/helper_private.h"

/* Place of a page in the epoch table, or UINT64_MAX when gpa is no page of RAM. */
uint64_t epoch_index(const struct helper_layout *layout, uint64_t gpa)
{
	uint32_t i;

	if (gpa % HELPER_PAGE_BYTES)
		return UINT64_MAX;
	for (i = 0; i < layout->nram; i++) {
		const struct helper_ram *ram = &layout->ram[i];
		uint64_t page = (gpa - ram->gpa) / HELPER_PAGE_BYTES;

		if (gpa >= ram->gpa && page < ram->npages)
			return ram->first + page;
	}
	return UINT64_MAX;
}

static enum helper_status ram_check(const struct helper *h, uint64_t gpa, uint64_t *index)
{
	*index = epoch_index(h->layout, gpa);
	return *index == UINT64_MAX ? HELPER_BAD_GPA : HELPER_OK;
}

enum helper_status page_check(const struct helper *h, const struct helper_vcpu *v, uint64_t gpa,
			      uint32_t **epoch)
{
	uint64_t index;
	enum helper_status status = ram_check(h, gpa, &index);

	if (status != HELPER_OK)
		return status;
	if (!(h->keys->flags & HELPER_SESSION_ANY_RING) &&
	    helper_ring_of(gpa / HELPER_PAGE_BYTES, h->nvcpus) != v->index)
		return HELPER_NOT_MINE;
	*epoch = &h->epochs[index];
	return HELPER_OK;
}

bool epoch_claim(uint32_t *epoch, uint32_t *was)
{
	*was = __atomic_load_n(epoch, __ATOMIC_RELAXED);
	return !(*was & EPOCH_CLAIMED) &&
	       __atomic_compare_exchange_n(epoch, was, *was | EPOCH_CLAIMED, false,
					   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

void epoch_set(uint32_t *epoch, uint32_t value)
{
	__atomic_store_n(epoch, value, __ATOMIC_RELEASE);
}

/*
 * Make KVM map the pages before they are needed. A write changes nothing: the guest may be writing
 * the byte at the same time.
 */
enum helper_status touch(struct helper *h, struct helper_vcpu *v, uint64_t gpa, uint32_t npages,
			 bool write, uint32_t *done)
{
	uint64_t index;
	uint32_t i;

	if (npages > HELPER_TOUCH_MAX)
		return HELPER_BAD_REQUEST;
	for (i = 0; i < npages; i++, gpa += HELPER_PAGE_BYTES) {
		if (ram_check(h, gpa, &index) != HELPER_OK)
			continue;
		if (write)
			__atomic_fetch_or(h->ram + gpa, 0, __ATOMIC_RELAXED);
		else
			(void)*(volatile uint8_t *)(h->ram + gpa);
		(*done)++;
	}
	v->statistics.touched += *done;
	return *done == npages ? HELPER_OK : HELPER_MISMATCH;
}

static void mark_chunk(struct helper *h, struct helper_vcpu *v, uint64_t gpa, const uint8_t *bits,
		       uint32_t *done)
{
	uint32_t *epoch;
	uint32_t i;

	if (helper_ring_of(gpa / HELPER_PAGE_BYTES, h->nvcpus) != v->index)
		return;
	for (i = 0; i < 1u << HELPER_CHUNK_SHIFT; i++, gpa += HELPER_PAGE_BYTES) {
		if (page_check(h, v, gpa, &epoch) != HELPER_OK)
			continue;
		if (bits[i / 8] & 1u << i % 8) {
			*epoch |= EPOCH_MISSING;
			(*done)++;
		} else {
			*epoch &= ~EPOCH_MISSING;
		}
	}
}

/* Chunks of other rings are passed over, so that the host can send the same request to each. */
enum helper_status missing(struct helper *h, struct helper_vcpu *v,
			   const struct helper_request *request, uint32_t *done)
{
	const uint64_t chunk_bytes = (uint64_t)HELPER_PAGE_BYTES << HELPER_CHUNK_SHIFT;
	const void *page = window_page(h, request->page);
	enum helper_status status = HELPER_BAD_STATE;
	uint32_t state, i;

	if (request->count > HELPER_BATCH_MAX || request->gpa % chunk_bytes ||
	    request->gpa >= HELPER_GPA_LIMIT)
		return HELPER_BAD_REQUEST;
	if (!page)
		return HELPER_BAD_WINDOW;
	if (session_enter(h, v, &state) && state == HELPER_TARGET) {
		copy_once(v->bitmap, page, (size_t)request->count * sizeof(v->bitmap[0]));
		for (i = 0; i < request->count; i++)
			mark_chunk(h, v, request->gpa + i * chunk_bytes, v->bitmap[i], done);
		status = HELPER_OK;
	}
	session_leave(v);
	return status;
}
