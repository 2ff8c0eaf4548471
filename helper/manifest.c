/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The manifest: tags over the epoch table. Source and target agree on a span's tag when every page
 * of it was opened in the very version that was sealed last. A page still missing in post-copy
 * carries EPOCH_MISSING and makes its span differ.
 */
#include "helper/helper_private.h"

static uint32_t spans(const struct helper *h)
{
	return (uint32_t)((h->layout->npages + HELPER_MANIFEST_SPAN - 1) / HELPER_MANIFEST_SPAN);
}

static void span_tag(const struct helper *h, const struct helper_vcpu *v, uint32_t span,
		     uint8_t tag[GCM_TAG_BYTES])
{
	uint64_t first = (uint64_t)span * HELPER_MANIFEST_SPAN;
	uint64_t npages = h->layout->npages - first;
	uint8_t iv[GCM_IV_BYTES];

	if (npages > HELPER_MANIFEST_SPAN)
		npages = HELPER_MANIFEST_SPAN;
	xaes_iv(iv, v->salt, span);
	h->gcm->seal(&v->gcm, NULL, NULL, 0, iv, (const uint8_t *)(h->epochs + first),
		     npages * sizeof(h->epochs[0]), tag);
}

static void make_tags(struct helper *h, struct helper_vcpu *v, const struct helper_request *request,
		      struct helper_manifest *page)
{
	uint8_t tag[GCM_TAG_BYTES];
	uint32_t i;

	copy_once(page->salt, v->salt, sizeof(page->salt));
	for (i = 0; i < request->count; i++) {
		span_tag(h, v, request->first + i, tag);
		copy_once(page->tag[i], tag, sizeof(tag));
	}
}

static uint32_t check_tags(struct helper *h, struct helper_vcpu *v,
			   const struct helper_request *request, struct helper_manifest *page)
{
	uint8_t differs[HELPER_MANIFEST_TAGS / 8] = { 0 };
	uint8_t mine[GCM_TAG_BYTES], theirs[GCM_TAG_BYTES];
	uint32_t i, equal = 0;

	for (i = 0; i < request->count; i++) {
		span_tag(h, v, request->first + i, mine);
		copy_once(theirs, page->tag[i], sizeof(theirs));
		if (equal_ct(mine, theirs, sizeof(mine)))
			equal++;
		else
			differs[i / 8] |= (uint8_t)(1u << i % 8);
	}
	copy_once(page->differs, differs, sizeof(differs));
	return equal;
}

enum helper_status manifest(struct helper *h, struct helper_vcpu *v,
			    const struct helper_request *request, bool check, uint32_t *done)
{
	struct helper_manifest *page = window_page(h, request->page);
	enum helper_status status = HELPER_BAD_STATE;
	uint32_t state;

	if (request->count < 1 || request->count > HELPER_MANIFEST_TAGS ||
	    request->first >= spans(h) || request->count > spans(h) - request->first)
		return HELPER_BAD_REQUEST;
	if (!page)
		return HELPER_BAD_WINDOW;
	if (!session_enter(h, v, &state) || (state == HELPER_SOURCE) == check)
		goto out;
	if (check) {
		copy_once(v->salt, page->salt, sizeof(v->salt));
	} else if (!random_bytes(v->salt, sizeof(v->salt))) {
		status = session_broken(h);
		goto out;
	}
	batch_begin(h, v, &h->manifest_key);
	if (check) {
		*done = check_tags(h, v, request, page);
	} else {
		make_tags(h, v, request, page);
		*done = request->count;
	}
	batch_end(v);
	status = *done == request->count ? HELPER_OK : HELPER_MISMATCH;
out:
	session_leave(v);
	return status;
}
