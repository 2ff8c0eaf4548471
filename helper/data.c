/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Pages that are not the guest's memory: data of the host, which has no key of the session itself,
 * and the epoch table. They have a key of their own and the kind is in the AAD, so nothing that the
 * host may have sealed or opened here passes for a page of the guest, or for the table.
 */
#include "helper/helper_private.h"

#define ENTRIES (HELPER_PAGE_BYTES / sizeof(uint32_t)) /* of a page of the table */

static bool seals(uint16_t op)
{
	return op == HELPER_OP_DATA_SEAL || op == HELPER_OP_EPOCHS_EXPORT;
}

static bool of_table(uint16_t op)
{
	return op == HELPER_OP_EPOCHS_EXPORT || op == HELPER_OP_EPOCHS_IMPORT;
}

static bool state_ok(uint16_t op, uint32_t state)
{
	if (seals(op))
		return state == HELPER_SOURCE;
	return state == HELPER_TARGET || (!of_table(op) && state != HELPER_SOURCE);
}

/* The table's page as it arrived, into the table: what has an epoch is to come. */
static bool take_epochs(struct helper *h, uint64_t page, const uint32_t *epochs)
{
	uint32_t *to = h->epochs + page * ENTRIES;
	uint32_t i;

	for (i = 0; i < ENTRIES; i++)
		if (epochs[i] > EPOCH_LAST)
			return false;
	for (i = 0; i < ENTRIES; i++)
		to[i] = epochs[i] ? epochs[i] | EPOCH_MISSING : 0;
	return true;
}

static enum helper_status seal_one(struct helper *h, struct helper_vcpu *v, uint16_t op,
				   struct helper_record *record, uint8_t *slot)
{
	const uint8_t *from = of_table(op) ? (const uint8_t *)h->epochs + record->gpa : slot;
	uint8_t iv[GCM_IV_BYTES];
	uint8_t aad[16];

	copy_once(v->scratch, from, HELPER_PAGE_BYTES);
	page_aad(aad, record);
	xaes_iv(iv, v->salt, record->index);
	h->gcm->seal(&v->gcm, slot, v->scratch, HELPER_PAGE_BYTES, iv, aad, sizeof(aad),
		     record->tag);
	return HELPER_OK;
}

static enum helper_status open_one(struct helper *h, struct helper_vcpu *v, uint16_t op,
				   const struct helper_record *record, uint8_t *slot)
{
	uint8_t tag[GCM_TAG_BYTES];
	uint8_t iv[GCM_IV_BYTES];
	uint8_t aad[16];

	page_aad(aad, record);
	xaes_iv(iv, v->salt, record->index);
	h->gcm->open(&v->gcm, v->scratch, slot, HELPER_PAGE_BYTES, iv, aad, sizeof(aad), tag);
	if (!equal_ct(tag, record->tag, sizeof(tag)))
		return HELPER_BAD_TAG;
	if (!of_table(op))
		copy_once(slot, v->scratch, HELPER_PAGE_BYTES);
	else if (!take_epochs(h, record->gpa / HELPER_PAGE_BYTES, (const uint32_t *)v->scratch))
		return HELPER_BAD_TAG;
	return HELPER_OK;
}

/* record is a private copy; i is its place in the request. */
static enum helper_status one(struct helper *h, struct helper_vcpu *v,
			      const struct helper_request *request, struct helper_record *record,
			      uint32_t i)
{
	uint8_t *slot = window_page(h, record->slot);

	if (!slot)
		return HELPER_BAD_WINDOW;
	if (of_table(request->op)) {
		record->gpa = ((uint64_t)request->first + i) * HELPER_PAGE_BYTES;
		record->epoch = 0;
		record->kind = HELPER_EPOCHS;
	} else if (record->kind != HELPER_DATA && record->kind != HELPER_DATA_LAST) {
		return HELPER_BAD_REQUEST;
	}
	if (seals(request->op)) {
		record->index = (uint16_t)i;
		return seal_one(h, v, request->op, record, slot);
	}
	if (record->index >= HELPER_BATCH_MAX)
		return HELPER_BAD_TAG;
	return open_one(h, v, request->op, record, slot);
}

static bool request_ok(const struct helper *h, const struct helper_request *request)
{
	uint64_t pages = h->layout->epoch_bytes / HELPER_PAGE_BYTES;

	if (request->count < 1 || request->count > HELPER_BATCH_MAX || request->flags)
		return false;
	if (!of_table(request->op))
		return request->first == 0;
	return request->first < pages && request->count <= pages - request->first;
}

enum helper_status data_batch(struct helper *h, struct helper_vcpu *v,
			      const struct helper_request *request, uint32_t *done)
{
	struct helper_batch *batch = window_page(h, request->page);
	enum helper_status status = HELPER_BAD_STATE;
	uint32_t state, i;

	if (!request_ok(h, request))
		return HELPER_BAD_REQUEST;
	if (!batch)
		return HELPER_BAD_WINDOW;
	if (!session_enter(h, v, &state) || !state_ok(request->op, state))
		goto out;
	copy_once(v->record, batch->record, request->count * sizeof(v->record[0]));
	if (!seals(request->op)) {
		copy_once(v->salt, batch->salt, sizeof(v->salt));
	} else if (!random_bytes(v->salt, sizeof(v->salt))) {
		status = session_broken(h);
		goto out;
	}
	batch_begin(h, v, &h->data_key);
	for (i = 0; i < request->count; i++) {
		v->record[i].status = one(h, v, request, &v->record[i], i);
		*done += v->record[i].status == HELPER_OK;
	}
	batch_end(v);
	if (seals(request->op))
		copy_once(batch->salt, v->salt, sizeof(batch->salt));
	copy_once(batch->record, v->record, request->count * sizeof(v->record[0]));
	status = *done == request->count ? HELPER_OK : HELPER_MISMATCH;
out:
	session_leave(v);
	return status;
}
