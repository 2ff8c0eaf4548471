/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/sev/sev_crypto.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

int sev_crypto_hmac(const void *key, size_t key_len, const struct sev_part *parts, size_t nparts,
		    uint8_t mac[SEV_DIGEST_BYTES])
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *ctx = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
	size_t len;
	int ret = -EIO;

	if (!ctx || EVP_MAC_init(ctx, key, key_len, params) != 1)
		goto out;
	for (size_t i = 0; i < nparts; i++) {
		if (EVP_MAC_update(ctx, parts[i].data, parts[i].len) != 1)
			goto out;
	}
	if (EVP_MAC_final(ctx, mac, &len, SEV_DIGEST_BYTES) == 1 && len == SEV_DIGEST_BYTES)
		ret = 0;
out:
	EVP_MAC_CTX_free(ctx);
	EVP_MAC_free(hmac);
	return ret;
}

int sev_crypto_kdf(const void *key, size_t key_len, const char *label, const void *context,
		   size_t context_len, uint8_t out[SEV_KEY_BYTES])
{
	uint32_t i = htole32(1), bits = htole32(8 * SEV_KEY_BYTES);
	uint8_t mac[SEV_DIGEST_BYTES];
	struct sev_part parts[] = {
		{ &i, sizeof(i) },
		{ label, strlen(label) + 1 }, /* its NUL is the separator */
		{ context, context_len },
		{ &bits, sizeof(bits) },
	};
	int err = sev_crypto_hmac(key, key_len, parts, 4, mac);

	if (!err)
		memcpy(out, mac, SEV_KEY_BYTES);
	explicit_bzero(mac, sizeof(mac));
	return err;
}

int sev_crypto_ctr(const uint8_t key[SEV_KEY_BYTES], const uint8_t iv[16], const void *in,
		   void *out, size_t len)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n, ret = -EIO;

	if (ctx && len <= INT32_MAX &&
	    EVP_EncryptInit_ex(ctx, EVP_aes_128_ctr(), NULL, key, iv) == 1 &&
	    EVP_EncryptUpdate(ctx, out, &n, in, (int)len) == 1 && (size_t)n == len)
		ret = 0;
	EVP_CIPHER_CTX_free(ctx);
	return ret;
}

static EVP_PKEY *public_from_params(const char *type, OSSL_PARAM *params)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *key = NULL;

	if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(ctx);
	return key;
}

static void reverse(uint8_t *out, const uint8_t *in, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = in[len - 1 - i];
}

EVP_PKEY *sev_crypto_ec_public(const uint8_t x[SEV_EC_BYTES], const uint8_t y[SEV_EC_BYTES])
{
	uint8_t point[1 + 2 * SEV_EC_BYTES] = { POINT_CONVERSION_UNCOMPRESSED };
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)"P-384", 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)),
		OSSL_PARAM_construct_end(),
	};

	reverse(point + 1, x, SEV_EC_BYTES);
	reverse(point + 1 + SEV_EC_BYTES, y, SEV_EC_BYTES);
	return public_from_params("EC", params);
}

EVP_PKEY *sev_crypto_rsa_public(const uint8_t *modulus, size_t bytes, const uint8_t *exponent,
				size_t exponent_bytes)
{
	BIGNUM *n = BN_lebin2bn(modulus, (int)bytes, NULL);
	BIGNUM *e = BN_lebin2bn(exponent, (int)exponent_bytes, NULL);
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;
	EVP_PKEY *key = NULL;

	/*
	 * An exponent of thousands of bits, or a modulus with leading zeros, is nobody's key:
	 * refuse before OpenSSL computes with it.
	 */
	if (!n || !e || !build || !BN_is_odd(n) || !BN_is_odd(e) || BN_is_one(e) ||
	    BN_num_bits(e) > 64 || (size_t)BN_num_bits(n) != 8 * bytes)
		goto out;
	if (OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) == 1)
		params = OSSL_PARAM_BLD_to_param(build);
	if (params)
		key = public_from_params("RSA", params);
out:
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	BN_free(n);
	BN_free(e);
	return key;
}

static int digest_verify(EVP_PKEY *key, const EVP_MD *md, int padding, const uint8_t *signature,
			 size_t signature_len, const void *data, size_t len)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx;
	int ret = -EIO;

	if (!ctx || EVP_DigestVerifyInit(ctx, &pctx, md, NULL, key) != 1)
		goto out;
	if (padding && (EVP_PKEY_CTX_set_rsa_padding(pctx, padding) != 1 ||
			EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_AUTO) != 1))
		goto out;
	ret = EVP_DigestVerify(ctx, signature, signature_len, data, len) == 1 ? 0 : -EBADMSG;
out:
	EVP_MD_CTX_free(ctx);
	return ret;
}

int sev_crypto_ecdsa_verify(EVP_PKEY *key, const EVP_MD *md, const uint8_t r[SEV_EC_BYTES],
			    const uint8_t s[SEV_EC_BYTES], const void *data, size_t len)
{
	ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *bn_r = BN_lebin2bn(r, SEV_EC_BYTES, NULL);
	BIGNUM *bn_s = BN_lebin2bn(s, SEV_EC_BYTES, NULL);
	unsigned char *der = NULL;
	int der_len, ret = -EIO;

	if (!sig || !bn_r || !bn_s || ECDSA_SIG_set0(sig, bn_r, bn_s) != 1) {
		BN_free(bn_r);
		BN_free(bn_s);
		goto out;
	}
	der_len = i2d_ECDSA_SIG(sig, &der);
	if (der_len > 0)
		ret = digest_verify(key, md, 0, der, (size_t)der_len, data, len);
out:
	OPENSSL_free(der);
	ECDSA_SIG_free(sig);
	return ret;
}

int sev_crypto_pss_verify(EVP_PKEY *key, const EVP_MD *md, const uint8_t *signature, size_t bytes,
			  const void *data, size_t len)
{
	uint8_t big_endian[SEV_RSA_BYTES_MAX];

	if (bytes > sizeof(big_endian) || (size_t)EVP_PKEY_get_size(key) != bytes)
		return -EBADMSG;
	reverse(big_endian, signature, bytes);
	return digest_verify(key, md, RSA_PKCS1_PSS_PADDING, big_endian, bytes, data, len);
}
