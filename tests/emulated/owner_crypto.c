/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>

#include "tests/emulated/owner_crypto.h"

#define CURVE_P384    2
#define POINT_BYTES   48
#define BIGNUM_BYTES  72
#define ALGO_RSA256   0x001
#define ALGO_ECDSA256 0x002
#define ALGO_ECDSA384 0x102

void die(const char *what, ...)
{
	va_list args;

	va_start(args, what);
	vfprintf(stderr, what, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static void must(bool good, const char *what)
{
	if (!good)
		die("OpenSSL: %s failed", what);
}

uint32_t get_le32(const uint8_t *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

void put_le32(uint8_t *p, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		p[i] = value >> (8 * i);
}

void hmac(const uint8_t key[KEY_BYTES], const struct part *parts, size_t n,
	  uint8_t mac[DIGEST_BYTES])
{
	OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256",
								 0),
				OSSL_PARAM_construct_end() };
	EVP_MAC *type = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(type);
	size_t len = 0;

	must(ctx && EVP_MAC_init(ctx, key, KEY_BYTES, params), "HMAC");
	for (size_t i = 0; i < n; i++)
		must(EVP_MAC_update(ctx, parts[i].data, parts[i].len), "HMAC");
	must(EVP_MAC_final(ctx, mac, &len, DIGEST_BYTES) && len == DIGEST_BYTES, "HMAC");
	EVP_MAC_CTX_free(ctx);
	EVP_MAC_free(type);
}

void aes_ctr(const uint8_t key[KEY_BYTES], const uint8_t iv[16], const void *in, void *out,
	     size_t len)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n = 0;

	must(ctx && EVP_EncryptInit_ex2(ctx, EVP_aes_128_ctr(), key, iv, NULL) &&
		     EVP_EncryptUpdate(ctx, out, &n, in, (int)len) && (size_t)n == len,
	     "AES-CTR");
	EVP_CIPHER_CTX_free(ctx);
}

void random_bytes(void *buf, size_t len)
{
	must(RAND_bytes(buf, (int)len) == 1, "RAND_bytes");
}

void sha256(const void *data, size_t len, uint8_t digest[DIGEST_BYTES])
{
	SHA256(data, len, digest);
}

EVP_PKEY *ec_generate(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-384");

	must(key, "making a P-384 key");
	return key;
}

EVP_PKEY *ec_load(const char *pem)
{
	FILE *f = fopen(pem, "re");
	EVP_PKEY *key = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;

	if (!key)
		die("cannot read the key %s", pem);
	fclose(f);
	return key;
}

void ec_store(EVP_PKEY *key, const char *pem)
{
	FILE *f = fopen(pem, "we");

	if (!f || !PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) || fclose(f))
		die("cannot write the key %s", pem);
}

void cert_make(uint8_t cert[CERT_BYTES], EVP_PKEY *key, uint32_t usage, uint32_t algo)
{
	BIGNUM *x = NULL, *y = NULL;

	memset(cert, 0, CERT_BYTES);
	put_le32(cert, 1);
	cert[5] = 24;
	put_le32(cert + 8, usage);
	put_le32(cert + 12, algo);
	put_le32(cert + 16, CURVE_P384);
	must(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &x) &&
		     EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &y) &&
		     BN_bn2lebinpad(x, cert + 20, BIGNUM_BYTES) > 0 &&
		     BN_bn2lebinpad(y, cert + 20 + BIGNUM_BYTES, BIGNUM_BYTES) > 0,
	     "reading a public key");
	BN_free(x);
	BN_free(y);
	put_le32(cert + CERT_SIGNED, USAGE_NONE);
	put_le32(cert + CERT_SIGNED + SIG_BYTES, USAGE_NONE);
}

void cert_sign(uint8_t cert[CERT_BYTES], int slot, EVP_PKEY *issuer, uint32_t issuer_usage)
{
	uint8_t *sig = cert + CERT_SIGNED + (size_t)slot * SIG_BYTES;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char der[256];
	const unsigned char *p = der;
	size_t len = sizeof(der);
	ECDSA_SIG *rs;

	must(ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, issuer) &&
		     EVP_DigestSign(ctx, der, &len, cert, CERT_SIGNED),
	     "signing");
	rs = d2i_ECDSA_SIG(NULL, &p, (long)len);
	must(rs, "reading a signature");
	memset(sig, 0, SIG_BYTES);
	put_le32(sig, issuer_usage);
	put_le32(sig + 4, ALGO_ECDSA256);
	BN_bn2lebinpad(ECDSA_SIG_get0_r(rs), sig + 8, BIGNUM_BYTES);
	BN_bn2lebinpad(ECDSA_SIG_get0_s(rs), sig + 8 + BIGNUM_BYTES, BIGNUM_BYTES);
	ECDSA_SIG_free(rs);
	EVP_MD_CTX_free(ctx);
}

static void reversed(uint8_t *out, const uint8_t *in, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = in[len - 1 - i];
}

static EVP_PKEY *key_from_params(const char *type, OSSL_PARAM *params)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *key = NULL;

	if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(ctx);
	return key;
}

EVP_PKEY *cert_key(const uint8_t cert[CERT_BYTES])
{
	char group[] = "P-384";
	uint8_t point[1 + 2 * POINT_BYTES] = { 4 };
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)),
		OSSL_PARAM_construct_end(),
	};

	if (get_le32(cert + 16) != CURVE_P384)
		return NULL;
	reversed(point + 1, cert + 20, POINT_BYTES);
	reversed(point + 1 + POINT_BYTES, cert + 20 + BIGNUM_BYTES, POINT_BYTES);
	return key_from_params("EC", params);
}

bool ec_verify(EVP_PKEY *key, uint32_t algo, const void *data, size_t len, const uint8_t sig[144])
{
	const EVP_MD *md = algo == ALGO_ECDSA256 ? EVP_sha256() :
			   algo == ALGO_ECDSA384 ? EVP_sha384() :
						   NULL;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	ECDSA_SIG *rs = ECDSA_SIG_new();
	unsigned char *der = NULL;
	bool good = false;
	int n;

	ECDSA_SIG_set0(rs, BN_lebin2bn(sig, BIGNUM_BYTES, NULL),
		       BN_lebin2bn(sig + BIGNUM_BYTES, BIGNUM_BYTES, NULL));
	n = i2d_ECDSA_SIG(rs, &der);
	if (md && n > 0 && EVP_DigestVerifyInit(ctx, NULL, md, NULL, key) == 1)
		good = EVP_DigestVerify(ctx, der, n, data, len) == 1;
	OPENSSL_free(der);
	ECDSA_SIG_free(rs);
	EVP_MD_CTX_free(ctx);
	return good;
}

bool cert_signed_by(const uint8_t cert[CERT_BYTES], const uint8_t issuer[CERT_BYTES])
{
	EVP_PKEY *key = cert_key(issuer);
	bool good = false;

	for (int slot = 0; key && slot < 2 && !good; slot++) {
		const uint8_t *sig = cert + CERT_SIGNED + (size_t)slot * SIG_BYTES;

		good = get_le32(sig) == get_le32(issuer + 8) &&
		       ec_verify(key, get_le32(sig + 4), cert, CERT_SIGNED, sig + 8);
	}
	EVP_PKEY_free(key);
	return good;
}

/*
 * A vendor certificate: 64 bytes of header (usage at 36, sizes in bits at 56 and 60), then
 * exponent, modulus, signature.
 */
struct vendor_cert {
	const uint8_t *raw;
	size_t signed_bytes, bytes, modulus_bytes;
	uint32_t usage;
};

static bool vendor_parse(const uint8_t *raw, size_t len, struct vendor_cert *cert)
{
	uint32_t exponent_bits, modulus_bits;

	if (len < 64)
		return false;
	exponent_bits = get_le32(raw + 56);
	modulus_bits = get_le32(raw + 60);
	if (exponent_bits != modulus_bits || (modulus_bits != 2048 && modulus_bits != 4096))
		return false;
	cert->raw = raw;
	cert->usage = get_le32(raw + 36);
	cert->modulus_bytes = modulus_bits / 8;
	cert->signed_bytes = 64 + 2 * cert->modulus_bytes;
	cert->bytes = cert->signed_bytes + cert->modulus_bytes;
	return len >= cert->bytes;
}

static EVP_PKEY *vendor_key(const struct vendor_cert *cert)
{
	BIGNUM *e = BN_lebin2bn(cert->raw + 64, (int)cert->modulus_bytes, NULL);
	BIGNUM *n =
		BN_lebin2bn(cert->raw + 64 + cert->modulus_bytes, (int)cert->modulus_bytes, NULL);
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params;
	EVP_PKEY *key;

	OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n);
	OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e);
	params = OSSL_PARAM_BLD_to_param(bld);
	key = key_from_params("RSA", params);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	BN_free(e);
	BN_free(n);
	return key;
}

static bool rsa_pss_good(const struct vendor_cert *issuer, const void *data, size_t len,
			 const uint8_t *sig)
{
	const EVP_MD *md = issuer->modulus_bytes == 512 ? EVP_sha384() : EVP_sha256();
	EVP_PKEY *key = vendor_key(issuer);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx = NULL;
	uint8_t big[512];
	bool good;

	reversed(big, sig, issuer->modulus_bytes);
	good = key && EVP_DigestVerifyInit(ctx, &pctx, md, NULL, key) == 1 &&
	       EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1 &&
	       EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_AUTO) == 1 &&
	       EVP_DigestVerify(ctx, big, issuer->modulus_bytes, data, len) == 1;
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	return good;
}

bool vendor_chain_good(const uint8_t *vendor, size_t len, const uint8_t cek[CERT_BYTES],
		       const char **why)
{
	struct vendor_cert ask, ark;
	bool cek_good = false;

	*why = "the vendor's file is not ASK followed by ARK";
	if (!vendor_parse(vendor, len, &ask) ||
	    !vendor_parse(vendor + ask.bytes, len - ask.bytes, &ark) || ask.usage != USAGE_ASK ||
	    ark.usage != USAGE_ARK)
		return false;
	*why = "ARK does not sign itself";
	if (!rsa_pss_good(&ark, ark.raw, ark.signed_bytes, ark.raw + ark.signed_bytes))
		return false;
	*why = "ASK is not signed by ARK";
	if (ark.modulus_bytes != ask.modulus_bytes ||
	    !rsa_pss_good(&ark, ask.raw, ask.signed_bytes, ask.raw + ask.signed_bytes))
		return false;
	*why = "CEK is not signed by ASK";
	for (int slot = 0; slot < 2; slot++) {
		const uint8_t *sig = cek + CERT_SIGNED + (size_t)slot * SIG_BYTES;

		cek_good = cek_good || (get_le32(sig) == USAGE_ASK &&
					rsa_pss_good(&ask, cek, CERT_SIGNED, sig + 8));
	}
	return cek_good;
}

/*
 * NIST SP 800-108 in counter mode; one round of HMAC-SHA-256 gives the 128 bits that are asked for.
 */
static void kdf(const void *key, size_t key_len, const char *label, const void *context,
		size_t context_len, uint8_t out[KEY_BYTES])
{
	uint8_t message[128] = { 0 }, mac[DIGEST_BYTES];
	unsigned int mac_len = 0;
	size_t n;

	put_le32(message, 1);
	n = 4 + sprintf((char *)message + 4, "%s", label) + 1;
	if (context_len)
		memcpy(message + n, context, context_len);
	n += context_len;
	put_le32(message + n, 8 * KEY_BYTES);
	n += 4;
	must(HMAC(EVP_sha256(), key, (int)key_len, message, n, mac, &mac_len) != NULL, "HMAC");
	memcpy(out, mac, KEY_BYTES);
}

void session_keys(EVP_PKEY *dh, EVP_PKEY *pdh, const uint8_t nonce[16], uint8_t kek[KEY_BYTES],
		  uint8_t kik[KEY_BYTES])
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(dh, NULL);
	uint8_t z_big[POINT_BYTES], z[POINT_BYTES], master[KEY_BYTES];
	size_t len = sizeof(z_big);

	must(ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, pdh) == 1 &&
		     EVP_PKEY_derive(ctx, z_big, &len) == 1 && len == POINT_BYTES,
	     "ECDH");
	EVP_PKEY_CTX_free(ctx);
	memcpy(z, z_big, sizeof(z));
	kdf(z, sizeof(z), "sev-master-secret", nonce, 16, master);
	kdf(master, KEY_BYTES, "sev-kek", NULL, 0, kek);
	kdf(master, KEY_BYTES, "sev-kik", NULL, 0, kik);
}
