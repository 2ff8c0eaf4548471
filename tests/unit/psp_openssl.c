/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/psp_openssl.h"

#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#include "tests/unit/cmocka_all.h"

#define BODY offsetof(struct sev_cert, sig)

void ossl_hmac(const void *key, size_t key_len, const void *data, size_t len, uint8_t mac[32])
{
	unsigned int n = 32;

	assert_non_null(HMAC(EVP_sha256(), key, key_len, data, len, mac, &n));
}

void ossl_kdf(const void *key, size_t key_len, const char *label, const void *context,
	      size_t context_len, uint8_t *out, size_t out_len)
{
	for (uint32_t i = 1; out_len; i++) {
		uint8_t msg[256], mac[32];
		uint32_t bits = 0;
		size_t n = 0, take = out_len < 32 ? out_len : 32;

		memcpy(msg, &i, 4);
		n += 4;
		memcpy(msg + n, label, strlen(label));
		n += strlen(label);
		msg[n++] = 0;
		if (context_len)
			memcpy(msg + n, context, context_len);
		n += context_len;
		bits = 8 * (32 * (i - 1) + out_len);
		memcpy(msg + n, &bits, 4);
		n += 4;
		ossl_hmac(key, key_len, msg, n, mac);
		memcpy(out, mac, take);
		out += take;
		out_len -= take;
	}
}

static void cipher(const EVP_CIPHER *type, const uint8_t *key, const uint8_t *iv, void *buf,
		   size_t len, bool encrypt)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n = 0;

	assert_non_null(ctx);
	assert_int_equal(EVP_CipherInit_ex2(ctx, type, key, iv, encrypt, NULL), 1);
	EVP_CIPHER_CTX_set_padding(ctx, 0);
	assert_int_equal(EVP_CipherUpdate(ctx, buf, &n, buf, len), 1);
	assert_int_equal(n, len);
	EVP_CIPHER_CTX_free(ctx);
}

void ossl_ctr(const uint8_t key[16], const uint8_t iv[16], void *buf, size_t len)
{
	cipher(EVP_aes_128_ctr(), key, iv, buf, len, true);
}

void ossl_ecb(const uint8_t key[16], uint8_t block[16])
{
	cipher(EVP_aes_128_ecb(), key, NULL, block, 16, true);
}

void ossl_xts(const uint8_t key1[16], const uint8_t key2[16], uint64_t unit, void *buf, size_t len,
	      bool encrypt)
{
	uint8_t key[32], iv[16] = { 0 };

	memcpy(key, key1, 16);
	memcpy(key + 16, key2, 16);
	memcpy(iv, &unit, sizeof(unit));
	cipher(EVP_aes_128_xts(), key, iv, buf, len, encrypt);
}

void ossl_sha256(const void *data, size_t len, uint8_t digest[32])
{
	assert_int_equal(EVP_Digest(data, len, digest, NULL, EVP_sha256(), NULL), 1);
}

EVP_PKEY *ossl_p384_generate(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-384");

	assert_non_null(key);
	return key;
}

static EVP_PKEY *from_params(const char *type, OSSL_PARAM_BLD *bld)
{
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *key = NULL;

	assert_non_null(params);
	assert_non_null(ctx);
	assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
	assert_int_equal(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	return key;
}

static void reverse(uint8_t *out, const uint8_t *in, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = in[len - 1 - i];
}

EVP_PKEY *ossl_from_ec_pubkey(const struct ec_pubkey *pub)
{
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	uint8_t point[1 + 2 * 48] = { 4 };

	assert_int_equal(pub->curve, 2);
	reverse(point + 1, pub->qx, 48);
	reverse(point + 49, pub->qy, 48);
	OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "P-384", 0);
	OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point));
	return from_params("EC", bld);
}

void ossl_to_ec_pubkey(EVP_PKEY *key, struct ec_pubkey *pub)
{
	BIGNUM *x = NULL, *y = NULL;

	memset(pub, 0, sizeof(*pub));
	pub->curve = 2;
	assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &x), 1);
	assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &y), 1);
	assert_int_equal(BN_bn2lebinpad(x, pub->qx, sizeof(pub->qx)), sizeof(pub->qx));
	assert_int_equal(BN_bn2lebinpad(y, pub->qy, sizeof(pub->qy)), sizeof(pub->qy));
	BN_free(x);
	BN_free(y);
}

void ossl_ecdh(EVP_PKEY *own, EVP_PKEY *peer, uint8_t z[48])
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(own, NULL);
	size_t len = 48;

	assert_int_equal(EVP_PKEY_derive_init(ctx), 1);
	assert_int_equal(EVP_PKEY_derive_set_peer(ctx, peer), 1);
	assert_int_equal(EVP_PKEY_derive(ctx, z, &len), 1);
	assert_int_equal(len, 48);
	EVP_PKEY_CTX_free(ctx);
}

void ossl_ecdsa_sign(EVP_PKEY *key, const EVP_MD *md, const void *data, size_t len,
		     struct ec_signature *sig)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t der[160];
	const uint8_t *p = der;
	size_t der_len = sizeof(der);
	ECDSA_SIG *rs;

	assert_int_equal(EVP_DigestSignInit(ctx, NULL, md, NULL, key), 1);
	assert_int_equal(EVP_DigestSign(ctx, der, &der_len, data, len), 1);
	EVP_MD_CTX_free(ctx);
	rs = d2i_ECDSA_SIG(NULL, &p, der_len);
	assert_non_null(rs);
	BN_bn2lebinpad(ECDSA_SIG_get0_r(rs), sig->r, sizeof(sig->r));
	BN_bn2lebinpad(ECDSA_SIG_get0_s(rs), sig->s, sizeof(sig->s));
	ECDSA_SIG_free(rs);
}

static bool digest_verify(EVP_PKEY *key, const EVP_MD *md, bool pss, const void *data, size_t len,
			  const uint8_t *sig, size_t sig_len)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx = NULL;
	bool ok;

	assert_int_equal(EVP_DigestVerifyInit(ctx, &pctx, md, NULL, key), 1);
	if (pss) {
		assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING), 1);
		assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST), 1);
	}
	ok = EVP_DigestVerify(ctx, sig, sig_len, data, len) == 1;
	EVP_MD_CTX_free(ctx);
	return ok;
}

bool ossl_ecdsa_verify(EVP_PKEY *key, const EVP_MD *md, const void *data, size_t len,
		       const struct ec_signature *sig)
{
	ECDSA_SIG *rs = ECDSA_SIG_new();
	uint8_t *der = NULL;
	int der_len;
	bool ok;

	ECDSA_SIG_set0(rs, BN_lebin2bn(sig->r, sizeof(sig->r), NULL),
		       BN_lebin2bn(sig->s, sizeof(sig->s), NULL));
	der_len = i2d_ECDSA_SIG(rs, &der);
	assert_true(der_len > 0);
	ok = digest_verify(key, md, false, data, len, der, der_len);
	OPENSSL_free(der);
	ECDSA_SIG_free(rs);
	return ok;
}

bool ossl_cert_verify(const struct sev_cert *cert, int slot, const struct sev_cert *issuer)
{
	const struct cert_signature *sig = &cert->sig[slot];
	EVP_PKEY *key = ossl_from_ec_pubkey(&issuer->pubkey);
	bool ok = sig->usage == issuer->pubkey_usage && sig->algo == ALGO_ECDSA_SHA256 &&
		  ossl_ecdsa_verify(key, EVP_sha256(), cert, BODY, &sig->ec);

	EVP_PKEY_free(key);
	return ok;
}

static bool rsa_verify(const struct vendor_cert *issuer, const void *data, size_t len,
		       const uint8_t sig_le[512])
{
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	BIGNUM *n = BN_lebin2bn(issuer->modulus, 512, NULL);
	BIGNUM *e = BN_lebin2bn(issuer->exponent, 512, NULL);
	uint8_t sig[512];
	EVP_PKEY *key;
	bool ok;

	reverse(sig, sig_le, sizeof(sig));
	OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n);
	OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e);
	key = from_params("RSA", bld);
	ok = digest_verify(key, EVP_sha384(), true, data, len, sig, sizeof(sig));
	EVP_PKEY_free(key);
	BN_free(n);
	BN_free(e);
	return ok;
}

bool ossl_cert_verify_by_vendor(const struct sev_cert *cert, int slot,
				const struct vendor_cert *issuer)
{
	const struct cert_signature *sig = &cert->sig[slot];

	return sig->usage == issuer->usage && sig->algo == ALGO_RSA_SHA384 &&
	       rsa_verify(issuer, cert, BODY, sig->rsa);
}

bool ossl_vendor_verify(const struct vendor_cert *cert, const struct vendor_cert *issuer)
{
	return !memcmp(cert->certifying_id, issuer->key_id, sizeof(issuer->key_id)) &&
	       rsa_verify(issuer, cert, offsetof(struct vendor_cert, sig), cert->sig);
}

void ossl_cert_sign(struct sev_cert *cert, int slot, uint32_t signer_usage, EVP_PKEY *signer)
{
	struct cert_signature *sig = &cert->sig[slot];

	memset(sig, 0, sizeof(*sig));
	sig->usage = signer_usage;
	sig->algo = ALGO_ECDSA_SHA256;
	ossl_ecdsa_sign(signer, EVP_sha256(), cert, BODY, &sig->ec);
}

void ossl_cert_make(struct sev_cert *cert, uint32_t usage, uint32_t algo, EVP_PKEY *key,
		    uint32_t signer_usage, EVP_PKEY *signer)
{
	memset(cert, 0, sizeof(*cert));
	cert->version = 1;
	cert->pubkey_usage = usage;
	cert->pubkey_algo = algo;
	ossl_to_ec_pubkey(key, &cert->pubkey);
	cert->sig[1].usage = USAGE_NONE;
	ossl_cert_sign(cert, 0, signer_usage, signer);
}

void ossl_wrap_keys(const uint8_t z[48], const uint8_t nonce[16], uint8_t kek[16], uint8_t kik[16])
{
	uint8_t master[16];

	ossl_kdf(z, 48, "sev-master-secret", nonce, 16, master, sizeof(master));
	ossl_kdf(master, 16, "sev-kek", NULL, 0, kek, 16);
	ossl_kdf(master, 16, "sev-kik", NULL, 0, kik, 16);
}

void owner_create(struct owner *owner, const struct sev_cert *pdh, uint32_t policy)
{
	EVP_PKEY *platform = ossl_from_ec_pubkey(&pdh->pubkey);
	struct session *s = &owner->session;
	uint8_t z[48], kek[16], kik[16];

	owner->key = ossl_p384_generate();
	ossl_cert_make(&owner->cert, USAGE_PDH, ALGO_ECDH_SHA256, owner->key, USAGE_PEK,
		       owner->key);
	assert_int_equal(RAND_bytes(owner->tek, 16), 1);
	assert_int_equal(RAND_bytes(owner->tik, 16), 1);
	assert_int_equal(RAND_bytes(s->nonce, 16), 1);
	assert_int_equal(RAND_bytes(s->wrap_iv, 16), 1);
	ossl_ecdh(owner->key, platform, z);
	EVP_PKEY_free(platform);
	ossl_wrap_keys(z, s->nonce, kek, kik);
	memcpy(s->wrapped, owner->tek, 16);
	memcpy(s->wrapped + 16, owner->tik, 16);
	ossl_ctr(kek, s->wrap_iv, s->wrapped, 32);
	ossl_hmac(kik, 16, s->wrapped, 32, s->wrap_mac);
	ossl_hmac(owner->tik, 16, &policy, 4, s->policy_mac);
}

void owner_destroy(struct owner *owner)
{
	EVP_PKEY_free(owner->key);
}

void ossl_packet_mac(const uint8_t tik[16], uint8_t tag, uint32_t flags, const uint8_t iv[16],
		     uint32_t guest_len, uint32_t trans_len, const void *payload, const void *extra,
		     size_t extra_len, uint8_t mac[32])
{
	uint8_t msg[29 + 4096 + 64];
	size_t n = 0;

	assert_true(trans_len <= 4096 && extra_len <= 64);
	msg[n++] = tag;
	memcpy(msg + n, &flags, 4);
	memcpy(msg + n + 4, iv, 16);
	memcpy(msg + n + 20, &guest_len, 4);
	memcpy(msg + n + 24, &trans_len, 4);
	n += 28;
	memcpy(msg + n, payload, trans_len);
	n += trans_len;
	if (extra_len)
		memcpy(msg + n, extra, extra_len);
	ossl_hmac(tik, 16, msg, n + extra_len, mac);
}
