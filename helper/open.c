/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Opening: the record is decrypted into a private scratch page, its tag compared, and only then the
 * guest's page written. Nothing is ever decrypted into the window.
 */
#include "helper/helper_private.h"

/* Decrypt into the scratch page; true if the source sealed just this record in this session. */
static bool authentic(struct helper *h, struct helper_vcpu *v, const struct helper_record *record,
		      const uint8_t *slot)
{
	uint64_t bytes = record->kind == HELPER_PAGE ? HELPER_PAGE_BYTES : 0;
	uint8_t iv[GCM_IV_BYTES];
	uint8_t tag[GCM_TAG_BYTES];
	uint8_t aad[16];

	page_aad(aad, record);
	xaes_iv(iv, v->salt, record->index);
	h->gcm->open(&v->gcm, v->scratch, slot, bytes, iv, aad, sizeof(aad), tag);
	return equal_ct(tag, record->tag, sizeof(tag));
}

/* Whether a page that has this epoch takes the record, as far as its head says. */
static enum helper_status wanted(uint32_t state, uint32_t was, const struct helper_record *record)
{
	if (state == HELPER_EXACT && was != (record->epoch | EPOCH_MISSING))
		return HELPER_NOT_EXACT;
	return state == HELPER_POSTCOPY && !(was & EPOCH_MISSING) ? HELPER_RESIDENT : HELPER_OK;
}

/* With the page claimed, which has the epoch was. */
static enum helper_status open_claimed(struct helper *h, struct helper_vcpu *v, uint32_t state,
				       const struct helper_record *record, const uint8_t *slot,
				       uint32_t was)
{
	enum helper_status status = wanted(state, was, record);

	if (status != HELPER_OK)
		return status;
	if (!authentic(h, v, record, slot))
		return HELPER_BAD_TAG;
	if (state != HELPER_EXACT && record->epoch <= (was & ~EPOCH_MISSING))
		return HELPER_STALE;
	if (record->kind == HELPER_PAGE)
		copy_once(h->ram + record->gpa, v->scratch, HELPER_PAGE_BYTES);
	else
		wipe(h->ram + record->gpa, HELPER_PAGE_BYTES);
	return HELPER_OK;
}

static enum helper_status open_page(struct helper *h, struct helper_vcpu *v, uint32_t state,
				    const struct helper_record *record)
{
	const uint8_t *slot = window_page(h, record->slot);
	enum helper_status status;
	uint32_t *epoch, was;

	status = page_check(h, v, record->gpa, &epoch);
	if (status != HELPER_OK)
		return status;
	if (!slot)
		return HELPER_BAD_WINDOW;
	if (record->kind != HELPER_PAGE && record->kind != HELPER_ZERO)
		return HELPER_BAD_TAG;
	if (record->index >= HELPER_BATCH_MAX || record->epoch > EPOCH_LAST)
		return HELPER_BAD_TAG;
	if (!epoch_claim(epoch, &was))
		return HELPER_BUSY;
	status = open_claimed(h, v, state, record, slot, was);
	epoch_set(epoch, status == HELPER_OK ? record->epoch : was);
	return status;
}

static void count(struct helper_statistics *statistics, const struct helper_record *record)
{
	switch (record->status) {
	case HELPER_OK:
		statistics->opened++;
		statistics->opened_zero += record->kind == HELPER_ZERO;
		break;
	case HELPER_STALE:
		statistics->stale++;
		break;
	case HELPER_BAD_TAG:
		statistics->bad_tag++;
		break;
	case HELPER_RESIDENT:
		statistics->resident++;
		break;
	default:
		statistics->refused++;
	}
}

enum helper_status open_batch(struct helper *h, struct helper_vcpu *v,
			      const struct helper_request *request, uint32_t *done)
{
	struct helper_batch *batch = window_page(h, request->page);
	enum helper_status status = HELPER_BAD_STATE;
	uint32_t state, i;

	if (request->count < 1 || request->count > HELPER_BATCH_MAX)
		return HELPER_BAD_REQUEST;
	if (!batch)
		return HELPER_BAD_WINDOW;
	if (!session_enter(h, v, &state) || state == HELPER_SOURCE)
		goto out;
	copy_once(v->salt, batch->salt, sizeof(v->salt));
	copy_once(v->record, batch->record, request->count * sizeof(v->record[0]));
	batch_begin(h, v, &h->record_key);
	for (i = 0; i < request->count; i++) {
		v->record[i].status = open_page(h, v, state, &v->record[i]);
		*done += v->record[i].status == HELPER_OK;
		count(&v->statistics, &v->record[i]);
		batch->record[i].status = v->record[i].status;
	}
	batch_end(v);
	status = *done == request->count ? HELPER_OK : HELPER_MISMATCH;
out:
	session_leave(v);
	return status;
}
