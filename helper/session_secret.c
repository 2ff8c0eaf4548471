/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A session: one migration's secret and what is derived from it.
 *
 *   EMPTY --make--> SOURCE --wipe--> EMPTY
 *   (core carried by the PSP, checked at boot) TARGET --postcopy--> POSTCOPY --wipe--> EMPTY
 *                                              TARGET --exact-----> EXACT ----wipe--> EMPTY
 *
 * The secret is in the key page of the core, and moves with it. Changes of state wait until no vCPU
 * uses the session.
 */
#include "helper/helper_private.h"

#define CHANGING 0x100u /* not shown to the host */
#define PATIENCE 1000000 /* polls that a change of state waits for other vCPUs */

static void derive(struct helper *h, struct cmac_key *core_key)
{
	const struct helper_keys *keys = h->keys;
	uint8_t prk[32], key[32];

	hkdf_extract(prk, keys->session, sizeof(keys->session), keys->secret, sizeof(keys->secret));
	hkdf_expand(key, prk, "sevmirror 1 records source to target");
	cmac_key_init(&h->record_key, key);
	hkdf_expand(key, prk, "sevmirror 1 manifest source to target");
	cmac_key_init(&h->manifest_key, key);
	hkdf_expand(key, prk, "sevmirror 1 data source to target");
	cmac_key_init(&h->data_key, key);
	hkdf_expand(key, prk, "sevmirror 1 core");
	cmac_key_init(core_key, key);
	wipe(prk, sizeof(prk));
	wipe(key, sizeof(key));
}

/*
 * PSP packets carry no address: this is what says that each page of the core is where it belongs.
 */
static void core_mac(struct helper *h, const struct cmac_key *core_key, uint8_t mac[16])
{
	uint64_t npages = h->layout->core_bytes / HELPER_PAGE_BYTES;
	struct cmac cmac;
	uint64_t i;

	cmac_init(&cmac, core_key);
	for (i = 0; i < npages; i++) {
		uint64_t stamp[2] = { HELPER_STAMP_MAGIC,
				      h->layout->region_gpa + i * HELPER_PAGE_BYTES };
		uint64_t bytes = i == HELPER_CORE_KEYS ? offsetof(struct helper_keys, mac) :
							 HELPER_PAGE_BYTES;

		cmac_update(&cmac, stamp, sizeof(stamp));
		cmac_update(&cmac, h->keys->session, sizeof(h->keys->session));
		cmac_update(&cmac, h->region + i * HELPER_PAGE_BYTES, bytes);
	}
	cmac_final(&cmac, mac);
}

static void forget(struct helper *h)
{
	wipe(h->keys, sizeof(*h->keys));
	wipe(&h->record_key, sizeof(h->record_key));
	wipe(&h->manifest_key, sizeof(h->manifest_key));
	wipe(&h->data_key, sizeof(h->data_key));
	wipe(h->epochs, h->layout->epoch_bytes);
}

/* At start: a core with a session in it was carried here by the PSP. */
enum helper_status session_boot(struct helper *h)
{
	struct cmac_key core_key;
	uint8_t mac[16];
	bool good;

	wipe(h->epochs, h->layout->epoch_bytes);
	if (!h->keys->live) {
		h->state = HELPER_EMPTY;
		return HELPER_OK;
	}
	derive(h, &core_key);
	core_mac(h, &core_key, mac);
	good = h->keys->live == 1 && equal_ct(mac, h->keys->mac, sizeof(mac));
	wipe(&core_key, sizeof(core_key));
	if (!good) {
		forget(h);
		h->broken = 1;
		return HELPER_BAD_CORE;
	}
	h->state = HELPER_TARGET;
	return HELPER_OK;
}

uint32_t session_state(const struct helper *h)
{
	if (__atomic_load_n(&h->broken, __ATOMIC_SEQ_CST))
		return HELPER_FAILED;
	return __atomic_load_n(&h->state, __ATOMIC_SEQ_CST);
}

bool session_live(uint32_t state)
{
	return state == HELPER_SOURCE || state == HELPER_TARGET || state == HELPER_POSTCOPY ||
	       state == HELPER_EXACT;
}

/* Without fresh random numbers a nonce might repeat: nothing is sealed ever again. */
enum helper_status session_broken(struct helper *h)
{
	__atomic_store_n(&h->broken, 1, __ATOMIC_SEQ_CST);
	return HELPER_NO_RANDOM;
}

/*
 * Say that this vCPU uses the session from now on; false when there is none. session_leave() in any
 * case.
 */
bool session_enter(struct helper *h, struct helper_vcpu *v, uint32_t *state)
{
	/* A change of state sets CHANGING, then looks at busy: one of the two sees the other. */
	__atomic_store_n(&v->busy, 1, __ATOMIC_SEQ_CST);
	*state = session_state(h);
	return session_live(*state);
}

void session_leave(struct helper_vcpu *v)
{
	__atomic_store_n(&v->busy, 0, __ATOMIC_RELEASE);
}

static bool others_idle(const struct helper *h, const struct helper_vcpu *v)
{
	uint32_t i, polls;

	for (i = 0; i < h->nvcpus; i++) {
		if (i == v->index)
			continue;
		for (polls = 0; __atomic_load_n(&h->vcpus[i]->busy, __ATOMIC_SEQ_CST); polls++) {
			if (polls == PATIENCE)
				return false;
			__builtin_ia32_pause();
		}
	}
	return true;
}

/* Take the state for this vCPU alone: then others find no session until it is stored again. */
static enum helper_status change_begin(struct helper *h, const struct helper_vcpu *v, uint32_t from)
{
	uint32_t state = from;

	if (!__atomic_compare_exchange_n(&h->state, &state, CHANGING, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return state == CHANGING ? HELPER_BUSY : HELPER_BAD_STATE;
	if (others_idle(h, v))
		return HELPER_OK;
	__atomic_store_n(&h->state, from, __ATOMIC_SEQ_CST);
	return HELPER_BUSY;
}

static void change_end(struct helper *h, uint32_t to)
{
	__atomic_store_n(&h->state, to, __ATOMIC_SEQ_CST);
}

enum helper_status session_make(struct helper *h, struct helper_vcpu *v, uint32_t flags)
{
	struct helper_keys *keys = h->keys;
	struct cmac_key core_key;
	enum helper_status status;

	if (flags & ~(uint32_t)(HELPER_SESSION_ZERO_MARKS | HELPER_SESSION_ANY_RING))
		return HELPER_BAD_REQUEST;
	if (session_state(h) == HELPER_FAILED)
		return HELPER_BAD_STATE;
	status = change_begin(h, v, HELPER_EMPTY);
	if (status != HELPER_OK)
		return status;
	forget(h);
	if (!random_bytes(keys->session, sizeof(keys->session)) ||
	    !random_bytes(keys->secret, sizeof(keys->secret))) {
		forget(h);
		change_end(h, HELPER_EMPTY);
		return session_broken(h);
	}
	keys->live = 1;
	keys->flags = flags;
	derive(h, &core_key);
	core_mac(h, &core_key, keys->mac);
	wipe(&core_key, sizeof(core_key));
	change_end(h, HELPER_SOURCE);
	return HELPER_OK;
}

enum helper_status session_wipe(struct helper *h, struct helper_vcpu *v)
{
	uint32_t from = __atomic_load_n(&h->state, __ATOMIC_SEQ_CST);
	enum helper_status status = change_begin(h, v, from & ~CHANGING);

	if (status != HELPER_OK)
		return status;
	forget(h);
	change_end(h, HELPER_EMPTY);
	return HELPER_OK;
}

enum helper_status session_narrow(struct helper *h, struct helper_vcpu *v, uint32_t to)
{
	enum helper_status status = change_begin(h, v, HELPER_TARGET);

	if (status == HELPER_OK)
		change_end(h, to);
	return status;
}
