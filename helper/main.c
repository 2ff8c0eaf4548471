/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* One request after the other. */
#include "helper/helper_private.h"

static bool reserved_zero(const struct helper_request *request)
{
	uint32_t any = 0;
	uint32_t i;

	for (i = 0; i < sizeof(request->reserved) / sizeof(request->reserved[0]); i++)
		any |= request->reserved[i];
	return any == 0;
}

static enum helper_status statistics(struct helper *h, struct helper_vcpu *v, uint32_t page)
{
	void *to = window_page(h, page);

	if (!to)
		return HELPER_BAD_WINDOW;
	copy_once(to, &v->statistics, sizeof(v->statistics));
	return HELPER_OK;
}

static enum helper_status serve(struct helper *h, struct helper_vcpu *v,
				const struct helper_request *request, uint32_t *done)
{
	if (!reserved_zero(request))
		return HELPER_BAD_REQUEST;
	switch (request->op) {
	case HELPER_OP_HELLO:
		*done = HELPER_ABI_VERSION;
		return HELPER_OK;
	case HELPER_OP_TOUCH:
		return touch(h, v, request->gpa, request->count,
			     request->flags & HELPER_TOUCH_WRITE, done);
	case HELPER_OP_SEAL:
		return seal_batch(h, v, request, done);
	case HELPER_OP_OPEN:
		return open_batch(h, v, request, done);
	case HELPER_OP_SESSION_MAKE:
		return session_make(h, v, request->flags);
	case HELPER_OP_SESSION_WIPE:
		return session_wipe(h, v);
	case HELPER_OP_MANIFEST_MAKE:
		return manifest(h, v, request, false, done);
	case HELPER_OP_MANIFEST_CHECK:
		return manifest(h, v, request, true, done);
	case HELPER_OP_MISSING:
		return missing(h, v, request, done);
	case HELPER_OP_POSTCOPY:
		return session_narrow(h, v, HELPER_POSTCOPY);
	case HELPER_OP_EXACT:
		return session_narrow(h, v, HELPER_EXACT);
	case HELPER_OP_DATA_SEAL:
	case HELPER_OP_DATA_OPEN:
	case HELPER_OP_EPOCHS_EXPORT:
	case HELPER_OP_EPOCHS_IMPORT:
		return data_batch(h, v, request, done);
	case HELPER_OP_STATISTICS:
		return statistics(h, v, request->page);
	default:
		return HELPER_BAD_REQUEST;
	}
}

bool helper_poll(struct helper *h, struct helper_vcpu *v)
{
	struct helper_completion completion = { 0 };
	struct helper_request request;
	uint32_t done = 0;

	if (!ring_take(h, v, &request)) {
		ring_idle(h, v);
		return false;
	}
	completion.id = request.id;
	completion.op = request.op;
	completion.status = (uint16_t)serve(h, v, &request, &done);
	h->gcm->scrub();
	completion.count = done;
	completion.state = session_state(h);
	completion.value = h->gcm->id;
	if (session_live(completion.state))
		copy_once(completion.session, h->keys->session, sizeof(completion.session));
	if (completion.status == HELPER_BAD_REQUEST)
		v->statistics.bad_requests++;
	ring_complete(h, v, &completion);
	return true;
}
