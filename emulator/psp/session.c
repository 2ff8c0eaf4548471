/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport keys of a guest, agreed upon with its owner or with another platform (publication
 * 55766, section 2.2 and appendix A).
 */
#include "state.h"

#include <string.h>

#include "cert.h"
#include "kdf.h"

#define NONCE_BYTES 16
#define KEY_BYTES   16

struct wrap_keys {
	uint8_t kek[KEY_BYTES]; /* encrypts TEK and TIK */
	uint8_t kik[KEY_BYTES]; /* authenticates them */
};

static void derive_wrap_keys(const uint8_t z[EC_BYTES], const uint8_t nonce[NONCE_BYTES],
			     struct wrap_keys *keys)
{
	uint8_t master[KEY_BYTES];

	psp_kdf(z, EC_BYTES, "sev-master-secret", nonce, NONCE_BYTES, master, sizeof(master));
	psp_kdf(master, sizeof(master), "sev-kek", NULL, 0, keys->kek, sizeof(keys->kek));
	psp_kdf(master, sizeof(master), "sev-kik", NULL, 0, keys->kik, sizeof(keys->kik));
	explicit_bzero(master, sizeof(master));
}

void psp_session_wrap(const uint8_t z[EC_BYTES], const struct rng *rng, uint32_t policy,
		      const uint8_t tek[16], const uint8_t tik[16], struct session *session)
{
	struct wrap_keys keys;

	rng->random(rng->opaque, session->nonce, sizeof(session->nonce));
	rng->random(rng->opaque, session->wrap_iv, sizeof(session->wrap_iv));
	derive_wrap_keys(z, session->nonce, &keys);
	memcpy(session->wrapped, tek, KEY_BYTES);
	memcpy(session->wrapped + KEY_BYTES, tik, KEY_BYTES);
	psp_aes_ctr(keys.kek, session->wrap_iv, session->wrapped, sizeof(session->wrapped));
	psp_hmac_sha256(keys.kik, sizeof(keys.kik), session->wrapped, sizeof(session->wrapped),
			session->wrap_mac);
	psp_hmac_sha256(tik, KEY_BYTES, &policy, sizeof(policy), session->policy_mac);
	explicit_bzero(&keys, sizeof(keys));
}

bool psp_session_unwrap(const uint8_t z[EC_BYTES], const struct session *session, uint32_t policy,
			uint8_t tek[16], uint8_t tik[16])
{
	uint8_t unwrapped[2 * KEY_BYTES];
	struct wrap_keys keys;
	uint8_t mac[32];
	bool ok;

	derive_wrap_keys(z, session->nonce, &keys);
	psp_hmac_sha256(keys.kik, sizeof(keys.kik), session->wrapped, sizeof(session->wrapped),
			mac);
	ok = psp_mac_equal(mac, session->wrap_mac);
	if (ok) {
		memcpy(unwrapped, session->wrapped, sizeof(unwrapped));
		psp_aes_ctr(keys.kek, session->wrap_iv, unwrapped, sizeof(unwrapped));
		psp_hmac_sha256(unwrapped + KEY_BYTES, KEY_BYTES, &policy, sizeof(policy), mac);
		ok = psp_mac_equal(mac, session->policy_mac);
	}
	if (ok) {
		memcpy(tek, unwrapped, KEY_BYTES);
		memcpy(tik, unwrapped + KEY_BYTES, KEY_BYTES);
	}
	explicit_bzero(unwrapped, sizeof(unwrapped));
	explicit_bzero(&keys, sizeof(keys));
	return ok;
}

enum psp_status psp_session_accept(struct call *call, struct guest *guest)
{
	const struct cmd_start *cmd = &call->cmd.start;
	struct psp *psp = call->psp;
	struct sev_cert peer;
	struct session session;
	uint8_t z[EC_BYTES];
	enum psp_status status;

	if (cmd->dh_cert_len != sizeof(peer) || cmd->session_len != sizeof(session))
		return PSP_INVALID_LEN;
	status = psp_read(psp, cmd->dh_cert_addr, &peer, sizeof(peer));
	if (!status)
		status = psp_read(psp, cmd->session_addr, &session, sizeof(session));
	if (status)
		return status;
	if (!psp_cert_well_formed(&peer, USAGE_PDH) ||
	    !psp_ec_shared_secret(&psp->identity.pdh, &peer.pubkey, z))
		return PSP_INVALID_CERTIFICATE;
	if (!psp_session_unwrap(z, &session, guest->policy, guest->tek, guest->tik))
		status = PSP_BAD_MEASUREMENT;
	explicit_bzero(z, sizeof(z));
	return status;
}
