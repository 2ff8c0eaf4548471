/* SPDX-License-Identifier: Apache-2.0 */
#include "ec.h"

#include <string.h>

#include <gmp.h>
#include <nettle/dsa.h>
#include <nettle/ecc-curve.h>
#include <nettle/ecc.h>
#include <nettle/ecdsa.h>
#include <nettle/sha2.h>

static void number_from_le(mpz_t z, const uint8_t *bytes, size_t len)
{
	mpz_import(z, len, -1, 1, 0, 0, bytes);
}

static void number_to_le(const mpz_t z, uint8_t *bytes, size_t len)
{
	size_t used = 0;

	memset(bytes, 0, len);
	if ((mpz_sizeinbase(z, 2) + 7) / 8 <= len)
		mpz_export(bytes, &used, -1, 1, 0, 0, z);
}

/* mpz_clear() and ecc_scalar_clear() do not wipe. */
static void number_wipe(mpz_t z)
{
	size_t limbs = mpz_size(z);

	if (limbs)
		explicit_bzero(mpz_limbs_modify(z, limbs), limbs * sizeof(mp_limb_t));
	mpz_clear(z);
}

static void scalar_wipe(struct ecc_scalar *s)
{
	explicit_bzero(s->p, ecc_size(s->ecc) * sizeof(mp_limb_t));
	ecc_scalar_clear(s);
}

static void rng_bytes(void *ctx, size_t len, uint8_t *dst)
{
	const struct rng *rng = ctx;

	rng->random(rng->opaque, dst, len);
}

/* Both initialise their first argument, which the caller clears whatever they return. */
static bool point_load(struct ecc_point *point, const struct ec_pubkey *pub)
{
	mpz_t x, y;
	bool ok;

	ecc_point_init(point, nettle_get_secp_384r1());
	mpz_init(x);
	mpz_init(y);
	number_from_le(x, pub->qx, sizeof(pub->qx));
	number_from_le(y, pub->qy, sizeof(pub->qy));
	ok = pub->curve == EC_CURVE_P384 && ecc_point_set(point, x, y);
	mpz_clear(x);
	mpz_clear(y);
	return ok;
}

static bool scalar_load(struct ecc_scalar *s, const uint8_t d[EC_BYTES])
{
	mpz_t z;
	bool ok;

	ecc_scalar_init(s, nettle_get_secp_384r1());
	mpz_init(z);
	number_from_le(z, d, EC_BYTES);
	ok = ecc_scalar_set(s, z);
	number_wipe(z);
	return ok;
}

static void pubkey_store(struct ec_pubkey *pub, const struct ecc_scalar *s)
{
	struct ecc_point point;
	mpz_t x, y;

	memset(pub, 0, sizeof(*pub));
	pub->curve = EC_CURVE_P384;
	ecc_point_init(&point, nettle_get_secp_384r1());
	ecc_point_mul_g(&point, s);
	mpz_init(x);
	mpz_init(y);
	ecc_point_get(&point, x, y);
	number_to_le(x, pub->qx, sizeof(pub->qx));
	number_to_le(y, pub->qy, sizeof(pub->qy));
	mpz_clear(x);
	mpz_clear(y);
	ecc_point_clear(&point);
}

void psp_ec_key_generate(struct ec_key *key, const struct rng *rng)
{
	struct rng local = *rng;
	struct ecc_scalar s;
	mpz_t z;

	ecc_scalar_init(&s, nettle_get_secp_384r1());
	ecc_scalar_random(&s, &local, rng_bytes);
	mpz_init(z);
	ecc_scalar_get(&s, z);
	number_to_le(z, key->d, sizeof(key->d));
	number_wipe(z);
	pubkey_store(&key->pub, &s);
	scalar_wipe(&s);
}

bool psp_ec_key_complete(struct ec_key *key)
{
	struct ecc_scalar s;
	bool ok = scalar_load(&s, key->d);

	if (ok)
		pubkey_store(&key->pub, &s);
	scalar_wipe(&s);
	return ok;
}

bool psp_ec_pubkey_valid(const struct ec_pubkey *pub)
{
	struct ecc_point point;
	bool ok = point_load(&point, pub);

	ecc_point_clear(&point);
	return ok;
}

/* The digest's length, 0 for an algorithm that is not ECDSA. */
static size_t digest_of(uint32_t algo, const void *data, size_t len,
			uint8_t digest[SHA384_DIGEST_SIZE])
{
	struct sha256_ctx sha256;
	struct sha384_ctx sha384;

	switch (algo) {
	case ALGO_ECDSA_SHA256:
		sha256_init(&sha256);
		sha256_update(&sha256, len, data);
		sha256_digest(&sha256, SHA256_DIGEST_SIZE, digest);
		return SHA256_DIGEST_SIZE;
	case ALGO_ECDSA_SHA384:
		sha384_init(&sha384);
		sha384_update(&sha384, len, data);
		sha384_digest(&sha384, SHA384_DIGEST_SIZE, digest);
		return SHA384_DIGEST_SIZE;
	default:
		return 0;
	}
}

void psp_ec_sign(const struct ec_key *key, const struct rng *rng, uint32_t algo, const void *data,
		 size_t len, struct ec_signature *sig)
{
	uint8_t digest[SHA384_DIGEST_SIZE];
	size_t digest_len = digest_of(algo, data, len, digest);
	struct dsa_signature rs;
	struct rng local = *rng;
	struct ecc_scalar s;

	memset(sig, 0, sizeof(*sig));
	dsa_signature_init(&rs);
	if (scalar_load(&s, key->d) && digest_len) {
		ecdsa_sign(&s, &local, rng_bytes, digest_len, digest, &rs);
		number_to_le(rs.r, sig->r, sizeof(sig->r));
		number_to_le(rs.s, sig->s, sizeof(sig->s));
	}
	dsa_signature_clear(&rs);
	scalar_wipe(&s);
}

bool psp_ec_verify(const struct ec_pubkey *pub, uint32_t algo, const void *data, size_t len,
		   const struct ec_signature *sig)
{
	uint8_t digest[SHA384_DIGEST_SIZE];
	size_t digest_len = digest_of(algo, data, len, digest);
	struct dsa_signature rs;
	struct ecc_point point;
	bool ok;

	dsa_signature_init(&rs);
	number_from_le(rs.r, sig->r, sizeof(sig->r));
	number_from_le(rs.s, sig->s, sizeof(sig->s));
	ok = point_load(&point, pub) && digest_len && ecdsa_verify(&point, digest_len, digest, &rs);
	ecc_point_clear(&point);
	dsa_signature_clear(&rs);
	return ok;
}

bool psp_ec_shared_secret(const struct ec_key *key, const struct ec_pubkey *peer,
			  uint8_t z[EC_BYTES])
{
	struct ecc_point point;
	struct ecc_scalar s;
	bool have_point = point_load(&point, peer);
	bool ok = scalar_load(&s, key->d) && have_point;

	if (ok) {
		mpz_t x, y;

		ecc_point_mul(&point, &s, &point);
		mpz_init(x);
		mpz_init(y);
		ecc_point_get(&point, x, y);
		nettle_mpz_get_str_256(EC_BYTES, z, x);
		number_wipe(x);
		number_wipe(y);
		explicit_bzero(point.p, ecc_size_a(point.ecc) * sizeof(mp_limb_t));
	}
	scalar_wipe(&s);
	ecc_point_clear(&point);
	return ok;
}
