/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/sev_chain_make.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/rsa.h>

#include "tests/unit/cmocka_all.h"

static void put_number(EVP_PKEY *key, const char *name, uint8_t *out, int len)
{
	BIGNUM *n = NULL;

	assert_int_equal(EVP_PKEY_get_bn_param(key, name, &n), 1);
	assert_int_equal(BN_bn2lebinpad(n, out, len), len);
	BN_free(n);
}

static size_t sign(EVP_PKEY *key, const EVP_MD *md, int padding, const void *data, size_t len,
		   uint8_t out[512])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx;
	size_t n = 512;

	assert_int_equal(EVP_DigestSignInit(ctx, &pctx, md, NULL, key), 1);
	if (padding) {
		assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pctx, padding), 1);
		assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST), 1);
	}
	assert_int_equal(EVP_DigestSign(ctx, out, &n, data, len), 1);
	EVP_MD_CTX_free(ctx);
	return n;
}

static void sign_rsa(EVP_PKEY *key, const void *data, size_t len, uint8_t *out)
{
	int bytes = EVP_PKEY_get_size(key);
	uint8_t big_endian[512];

	sign(key, bytes == 256 ? EVP_sha256() : EVP_sha384(), RSA_PKCS1_PSS_PADDING, data, len,
	     big_endian);
	for (int i = 0; i < bytes; i++)
		out[i] = big_endian[bytes - 1 - i];
}

static void sign_ec(EVP_PKEY *key, const void *data, size_t len, uint8_t *out)
{
	uint8_t der[512];
	const uint8_t *at = der;
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)sign(key, EVP_sha384(), 0, data, len, der));

	assert_non_null(sig);
	assert_int_equal(BN_bn2lebinpad(ECDSA_SIG_get0_r(sig), out, 72), 72);
	assert_int_equal(BN_bn2lebinpad(ECDSA_SIG_get0_s(sig), out + 72, 72), 72);
	ECDSA_SIG_free(sig);
}

static const uint32_t usages[SEV_CHAIN_LINKS] = { SEV_CERT_PDH, SEV_CERT_PEK, SEV_CERT_OCA,
						  SEV_CERT_CEK, SEV_CERT_ASK, SEV_CERT_ARK };

void make_signature(struct made_chain *made, enum sev_chain_link link, int which,
		    enum sev_chain_link signer)
{
	struct sev_cert *cert = &made->certs[link];
	struct sev_cert_signature *sig = &cert->signatures[which];
	size_t len = offsetof(struct sev_cert, signatures);

	memset(sig, 0, sizeof(*sig));
	sig->usage = usages[signer];
	if (signer == SEV_CHAIN_ASK) {
		sig->algo = EVP_PKEY_get_size(made->keys[signer]) == 256 ? SEV_ALGO_RSA_SHA256 :
									   SEV_ALGO_RSA_SHA384;
		sign_rsa(made->keys[signer], cert, len, sig->data);
	} else {
		sig->algo = SEV_ALGO_ECDSA_SHA384;
		sign_ec(made->keys[signer], cert, len, sig->data);
	}
}

static void make_cert(struct made_chain *made, enum sev_chain_link link)
{
	struct sev_cert *cert = &made->certs[link];

	made->keys[link] = EVP_EC_gen("P-384");
	assert_non_null(made->keys[link]);
	cert->version = 1;
	cert->api_minor = 24;
	cert->usage = usages[link];
	cert->algo = link == SEV_CHAIN_PDH ? SEV_ALGO_ECDH_SHA256 : SEV_ALGO_ECDSA_SHA256;
	cert->key.curve = SEV_CURVE_P384;
	put_number(made->keys[link], OSSL_PKEY_PARAM_EC_PUB_X, cert->key.x, 72);
	put_number(made->keys[link], OSSL_PKEY_PARAM_EC_PUB_Y, cert->key.y, 72);
	cert->signatures[0].usage = SEV_CERT_NONE;
	cert->signatures[1].usage = SEV_CERT_NONE;
}

static void make_vendor_cert(struct made_chain *made, enum sev_chain_link link, unsigned int bits)
{
	uint8_t *out = made->vendor + (link == SEV_CHAIN_ARK ? made->vendor_cert_bytes : 0);
	EVP_PKEY *key = made->keys[link];
	int n = (int)bits / 8;

	out[0] = 1;
	memset(out + 4, link, 16); /* its key id */
	memset(out + 20, SEV_CHAIN_ARK, 16);
	memcpy(out + 36, &usages[link], 4);
	memcpy(out + 56, &bits, 4);
	memcpy(out + 60, &bits, 4);
	put_number(key, OSSL_PKEY_PARAM_RSA_E, out + 64, n);
	put_number(key, OSSL_PKEY_PARAM_RSA_N, out + 64 + n, n);
	sign_rsa(made->keys[SEV_CHAIN_ARK], out, 64 + 2 * (size_t)n, out + 64 + 2 * n);
}

struct made_chain *make_chain(unsigned int rsa_bits)
{
	struct made_chain *made = calloc(1, sizeof(*made));

	made->vendor_cert_bytes = 64 + 3 * rsa_bits / 8;
	made->keys[SEV_CHAIN_ARK] = EVP_RSA_gen(rsa_bits);
	made->keys[SEV_CHAIN_ASK] = EVP_RSA_gen(rsa_bits);
	make_vendor_cert(made, SEV_CHAIN_ASK, rsa_bits);
	make_vendor_cert(made, SEV_CHAIN_ARK, rsa_bits);
	for (int link = 0; link <= SEV_CHAIN_CEK; link++)
		make_cert(made, link);
	make_signature(made, SEV_CHAIN_CEK, 0, SEV_CHAIN_ASK);
	make_signature(made, SEV_CHAIN_OCA, 0, SEV_CHAIN_OCA);
	make_signature(made, SEV_CHAIN_PEK, 0, SEV_CHAIN_CEK);
	make_signature(made, SEV_CHAIN_PEK, 1, SEV_CHAIN_OCA);
	make_signature(made, SEV_CHAIN_PDH, 0, SEV_CHAIN_PEK);
	return made;
}

void unmake_chain(struct made_chain *made)
{
	for (int i = 0; i < SEV_CHAIN_LINKS; i++)
		EVP_PKEY_free(made->keys[i]);
	free(made);
}

void load_made(const struct made_chain *made, struct sev_chain *chain)
{
	sev_chain_init(chain);
	assert_int_equal(sev_chain_add(chain, made->certs, sizeof(made->certs), "certs", NULL), 0);
	assert_int_equal(
		sev_chain_add(chain, made->vendor, 2 * made->vendor_cert_bytes, "vendor", NULL), 0);
}
