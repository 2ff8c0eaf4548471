/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Sealing: from the guest's page straight into the window, without a copy in between. The guest may
 * be writing the page meanwhile; then the record holds a mixture, properly sealed, and the dirty
 * log sends the page again.
 */
#include "helper/helper_private.h"

void page_aad(uint8_t aad[16], const struct helper_record *record)
{
	uint32_t kind = record->kind;

	__builtin_memcpy(aad, &record->gpa, 8);
	__builtin_memcpy(aad + 8, &record->epoch, 4);
	__builtin_memcpy(aad + 12, &kind, 4);
}

static enum helper_status seal_page(struct helper *h, struct helper_vcpu *v,
				    struct helper_record *record, uint32_t index)
{
	uint8_t *slot = window_page(h, record->slot);
	enum helper_status status;
	uint8_t iv[GCM_IV_BYTES];
	uint32_t *epoch, was;
	uint8_t aad[16];
	bool zero;

	status = page_check(h, v, record->gpa, &epoch);
	if (status != HELPER_OK)
		return status;
	if (!slot)
		return HELPER_BAD_WINDOW;
	if (!epoch_claim(epoch, &was))
		return HELPER_BUSY;
	if (was >= EPOCH_LAST) {
		epoch_set(epoch, was);
		return HELPER_EPOCH_FULL;
	}

	zero = h->keys->flags & HELPER_SESSION_ZERO_MARKS &&
	       all_zero(h->ram + record->gpa, HELPER_PAGE_BYTES);
	record->epoch = was + 1;
	record->kind = zero ? HELPER_ZERO : HELPER_PAGE;
	record->index = (uint16_t)index;
	page_aad(aad, record);
	xaes_iv(iv, v->salt, index);
	h->gcm->seal(&v->gcm, slot, h->ram + record->gpa, zero ? 0 : HELPER_PAGE_BYTES, iv, aad,
		     sizeof(aad), record->tag);
	epoch_set(epoch, record->epoch);
	v->statistics.sealed++;
	v->statistics.sealed_zero += zero;
	return HELPER_OK;
}

/*
 * The key lives until the end of the batch only, so that old memory put back by the host between
 * batches repeats no nonce.
 */
void batch_begin(struct helper *h, struct helper_vcpu *v, const struct cmac_key *key)
{
	uint8_t derived[32];

	xaes_derive(key, v->salt, derived);
	h->gcm->schedule(&v->gcm, derived);
	wipe(derived, sizeof(derived));
}

void batch_end(struct helper_vcpu *v)
{
	wipe(&v->gcm, sizeof(v->gcm));
	v->statistics.batches++;
}

static void seal_records(struct helper *h, struct helper_vcpu *v, uint32_t count, uint32_t *done)
{
	uint32_t i;

	for (i = 0; i < count; i++) {
		struct helper_record *record = &v->record[i];
		struct helper_record sealed = { .gpa = record->gpa, .slot = record->slot };

		sealed.status = seal_page(h, v, &sealed, i);
		if (sealed.status == HELPER_OK)
			(*done)++;
		else
			v->statistics.refused++;
		*record = sealed;
	}
}

enum helper_status seal_batch(struct helper *h, struct helper_vcpu *v,
			      const struct helper_request *request, uint32_t *done)
{
	struct helper_batch *batch = window_page(h, request->page);
	enum helper_status status = HELPER_BAD_STATE;
	uint32_t state;

	if (request->count < 1 || request->count > HELPER_BATCH_MAX)
		return HELPER_BAD_REQUEST;
	if (!batch)
		return HELPER_BAD_WINDOW;
	if (!session_enter(h, v, &state) || state != HELPER_SOURCE)
		goto out;
	copy_once(v->record, batch->record, request->count * sizeof(v->record[0]));
	if (!random_bytes(v->salt, sizeof(v->salt))) {
		status = session_broken(h);
		goto out;
	}
	batch_begin(h, v, &h->record_key);
	seal_records(h, v, request->count, done);
	batch_end(v);
	copy_once(batch->salt, v->salt, sizeof(batch->salt));
	copy_once(batch->record, v->record, request->count * sizeof(v->record[0]));
	status = *done == request->count ? HELPER_OK : HELPER_MISMATCH;
out:
	session_leave(v);
	return status;
}
