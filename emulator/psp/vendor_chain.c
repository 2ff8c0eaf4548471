/* SPDX-License-Identifier: Apache-2.0 */
/* The RSA end of the certificate chain: CEK by ASK, ASK by ARK. */
#include "cert.h"

#include <string.h>

#include <gmp.h>
#include <nettle/rsa.h>
#include <nettle/sha2.h>

#include "vendor.h"
#include "vendor_key.h"

#define VENDOR_BITS 4096u
#define SALT_BYTES  SHA384_DIGEST_SIZE

_Static_assert(sizeof(struct vendor_chain) == PSP_VENDOR_CERTS_BYTES, "ASK and ARK");

static void number_from_le(mpz_t z, const uint8_t *bytes, size_t len)
{
	mpz_import(z, len, -1, 1, 0, 0, bytes);
}

static void sha384_of(const void *data, size_t len, uint8_t digest[SHA384_DIGEST_SIZE])
{
	struct sha384_ctx ctx;

	sha384_init(&ctx);
	sha384_update(&ctx, len, data);
	sha384_digest(&ctx, SHA384_DIGEST_SIZE, digest);
}

/* Initialises *key, which the caller clears whatever this returns. */
static bool public_key_load(struct rsa_public_key *key, const struct vendor_cert *cert)
{
	rsa_public_key_init(key);
	number_from_le(key->n, cert->modulus, sizeof(cert->modulus));
	number_from_le(key->e, cert->exponent, sizeof(cert->exponent));
	return rsa_public_key_prepare(key);
}

static bool rsa_verify(const struct vendor_cert *signer, const void *data, size_t len,
		       const uint8_t sig_le[512])
{
	uint8_t digest[SHA384_DIGEST_SIZE];
	struct rsa_public_key key;
	mpz_t sig;
	bool ok;

	sha384_of(data, len, digest);
	mpz_init(sig);
	number_from_le(sig, sig_le, 512);
	ok = public_key_load(&key, signer) &&
	     rsa_pss_sha384_verify_digest(&key, SALT_BYTES, digest, sig);
	mpz_clear(sig);
	rsa_public_key_clear(&key);
	return ok;
}

static bool vendor_cert_well_formed(const struct vendor_cert *cert, uint32_t usage)
{
	return cert->version == 1 && cert->usage == usage && cert->exponent_bits == VENDOR_BITS &&
	       cert->modulus_bits == VENDOR_BITS;
}

enum psp_status psp_cert_verify_vendor(const struct sev_cert *cek, const struct vendor_chain *chain)
{
	const struct vendor_chain *own = (const struct vendor_chain *)psp_vendor_ask_ark;
	const struct vendor_cert *ask = &chain->ask, *ark = &chain->ark;

	if (!vendor_cert_well_formed(ark, USAGE_ARK) || !vendor_cert_well_formed(ask, USAGE_ASK))
		return PSP_INVALID_CERTIFICATE;
	if (memcmp(ark->modulus, own->ark.modulus, sizeof(ark->modulus)) != 0 ||
	    memcmp(ark->exponent, own->ark.exponent, sizeof(ark->exponent)) != 0)
		return PSP_INVALID_CERTIFICATE;
	if (memcmp(ask->certifying_id, ark->key_id, sizeof(ark->key_id)) != 0)
		return PSP_INVALID_CERTIFICATE;
	if (!rsa_verify(ark, ark, offsetof(struct vendor_cert, sig), ark->sig) ||
	    !rsa_verify(ark, ask, offsetof(struct vendor_cert, sig), ask->sig))
		return PSP_BAD_SIGNATURE;

	for (int i = 0; i < 2; i++) {
		const struct cert_signature *sig = &cek->sig[i];

		if (sig->usage == USAGE_ASK && sig->algo == ALGO_RSA_SHA384 &&
		    rsa_verify(ask, cek, offsetof(struct sev_cert, sig), sig->rsa))
			return PSP_OK;
	}
	return PSP_BAD_SIGNATURE;
}

static void rng_bytes(void *ctx, size_t len, uint8_t *dst)
{
	const struct rng *rng = ctx;

	rng->random(rng->opaque, dst, len);
}

static bool ask_key_load(struct rsa_private_key *key)
{
	rsa_private_key_init(key);
	number_from_le(key->p, psp_vendor_ask_prime1, VENDOR_PRIME_BYTES);
	number_from_le(key->q, psp_vendor_ask_prime2, VENDOR_PRIME_BYTES);
	number_from_le(key->a, psp_vendor_ask_exponent1, VENDOR_PRIME_BYTES);
	number_from_le(key->b, psp_vendor_ask_exponent2, VENDOR_PRIME_BYTES);
	number_from_le(key->c, psp_vendor_ask_coefficient, VENDOR_PRIME_BYTES);
	return rsa_private_key_prepare(key);
}

bool psp_cert_sign_by_ask(struct sev_cert *cert, int slot, const uint8_t salt[48],
			  const struct rng *rng)
{
	const struct vendor_chain *own = (const struct vendor_chain *)psp_vendor_ask_ark;
	struct cert_signature *sig = &cert->sig[slot];
	uint8_t digest[SHA384_DIGEST_SIZE];
	struct rsa_private_key key;
	struct rsa_public_key pub;
	struct rng local = *rng;
	mpz_t s;
	bool ok;

	memset(sig, 0, sizeof(*sig));
	sig->usage = USAGE_ASK;
	sig->algo = ALGO_RSA_SHA384;
	sha384_of(cert, offsetof(struct sev_cert, sig), digest);
	mpz_init(s);
	ok = public_key_load(&pub, &own->ask);
	ok = ask_key_load(&key) && ok &&
	     rsa_pss_sha384_sign_digest_tr(&pub, &key, &local, rng_bytes, SALT_BYTES, salt, digest,
					   s);
	if (ok)
		mpz_export(sig->rsa, NULL, -1, 1, 0, 0, s);
	mpz_clear(s);
	rsa_private_key_clear(&key);
	rsa_public_key_clear(&pub);
	return ok;
}
