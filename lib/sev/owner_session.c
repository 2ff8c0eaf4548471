/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/sev/owner_session.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "lib/sev/sev_crypto.h"

/*
 * The owner's half of the exchange: P-384's x coordinate, big-endian as OpenSSL gives it and the
 * firmware feeds it to its KDF.
 */
static int shared_secret(EVP_PKEY *own, const struct sev_cert *pdh, uint8_t z[SEV_EC_BYTES])
{
	EVP_PKEY *peer = sev_crypto_ec_public(pdh->key.x, pdh->key.y);
	EVP_PKEY_CTX *ctx = peer ? EVP_PKEY_CTX_new(own, NULL) : NULL;
	size_t len = SEV_EC_BYTES;
	int ret = -EIO;

	if (ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, peer) == 1 &&
	    EVP_PKEY_derive(ctx, z, &len) == 1 && len == SEV_EC_BYTES)
		ret = 0;
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(peer);
	return ret;
}

static int coordinate(EVP_PKEY *key, const char *name, uint8_t out[72])
{
	BIGNUM *value = NULL;
	int ok = EVP_PKEY_get_bn_param(key, name, &value) == 1 &&
		 BN_bn2lebinpad(value, out, SEV_EC_BYTES) == SEV_EC_BYTES;

	BN_free(value);
	return ok ? 0 : -EIO;
}

/* The owner's DH certificate: nobody signs it, the session's MACs bind it. */
static int make_dh_cert(struct sev_cert *cert, EVP_PKEY *own, const struct sev_cert *pdh)
{
	memset(cert, 0, sizeof(*cert));
	cert->version = htole32(1);
	cert->api_major = pdh->api_major;
	cert->api_minor = pdh->api_minor;
	cert->usage = htole32(SEV_CERT_PDH);
	cert->algo = htole32(SEV_ALGO_ECDH_SHA256);
	cert->key.curve = htole32(SEV_CURVE_P384);
	cert->signatures[0].usage = htole32(SEV_CERT_NONE);
	cert->signatures[1].usage = htole32(SEV_CERT_NONE);
	if (coordinate(own, OSSL_PKEY_PARAM_EC_PUB_X, cert->key.x))
		return -EIO;
	return coordinate(own, OSSL_PKEY_PARAM_EC_PUB_Y, cert->key.y);
}

struct wrapping {
	uint8_t z[SEV_EC_BYTES];
	uint8_t master[SEV_KEY_BYTES], kek[SEV_KEY_BYTES], kik[SEV_KEY_BYTES];
	uint8_t keys[2 * SEV_KEY_BYTES];
};

static int wrap_keys(struct sev_owner_session *session, struct wrapping *w, uint32_t policy)
{
	struct sev_session_blob *blob = &session->start.session;
	uint32_t policy_le = htole32(policy);
	struct sev_part wrapped = { blob->wrapped, sizeof(blob->wrapped) };
	struct sev_part policy_part = { &policy_le, sizeof(policy_le) };

	memcpy(w->keys, session->tek, SEV_KEY_BYTES);
	memcpy(w->keys + SEV_KEY_BYTES, session->tik, SEV_KEY_BYTES);
	if (sev_crypto_kdf(w->z, sizeof(w->z), "sev-master-secret", blob->nonce,
			   sizeof(blob->nonce), w->master) ||
	    sev_crypto_kdf(w->master, SEV_KEY_BYTES, "sev-kek", NULL, 0, w->kek) ||
	    sev_crypto_kdf(w->master, SEV_KEY_BYTES, "sev-kik", NULL, 0, w->kik) ||
	    sev_crypto_ctr(w->kek, blob->wrap_iv, w->keys, blob->wrapped, sizeof(w->keys)) ||
	    sev_crypto_hmac(w->kik, SEV_KEY_BYTES, &wrapped, 1, blob->wrap_mac) ||
	    sev_crypto_hmac(session->tik, SEV_KEY_BYTES, &policy_part, 1, blob->policy_mac))
		return -EIO;
	return 0;
}

int sev_owner_session_create(struct sev_owner_session *session, const struct sev_cert *pdh,
			     uint32_t policy, struct sev_error *error)
{
	struct sev_session_blob *blob = &session->start.session;
	struct wrapping w = { 0 };
	struct sev_cert cert;
	EVP_PKEY *own = NULL;
	int err = sev_cert_check(pdh, SEV_CERT_PDH, error);

	memset(session, 0, sizeof(*session));
	if (err)
		return err;
	err = -EIO;
	own = EVP_EC_gen("P-384");
	if (!own || RAND_bytes(session->tek, SEV_KEY_BYTES) != 1 ||
	    RAND_bytes(session->tik, SEV_KEY_BYTES) != 1 ||
	    RAND_bytes(blob->nonce, sizeof(blob->nonce)) != 1 ||
	    RAND_bytes(blob->wrap_iv, sizeof(blob->wrap_iv)) != 1)
		goto out;
	if (make_dh_cert(&cert, own, pdh) || shared_secret(own, pdh, w.z))
		goto out;
	memcpy(session->start.dh_cert, &cert, sizeof(cert));
	err = wrap_keys(session, &w, policy);
out:
	EVP_PKEY_free(own);
	explicit_bzero(&w, sizeof(w));
	if (err) {
		sev_owner_session_wipe(session);
		return sev_error_set(error, err, "OpenSSL cannot make the owner's session");
	}
	return 0;
}

void sev_owner_session_wipe(struct sev_owner_session *session)
{
	explicit_bzero(session, sizeof(*session));
}
