/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The primitives of the SEV API over OpenSSL: private to lib/sev. Each returns 0, or -ENOMEM or
 * -EIO when OpenSSL fails.
 */
#ifndef LIB_SEV_SEV_CRYPTO_H
#define LIB_SEV_SEV_CRYPTO_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/types.h>

#include "lib/sev/format.h"

#define SEV_EC_BYTES	  48 /* a P-384 coordinate */
#define SEV_RSA_BYTES_MAX 512

struct sev_part {
	const void *data;
	size_t len;
};

/* HMAC-SHA-256 of the parts one after the other. */
int sev_crypto_hmac(const void *key, size_t key_len, const struct sev_part *parts, size_t nparts,
		    uint8_t mac[SEV_DIGEST_BYTES]);

/*
 * NIST SP 800-108 in counter mode with HMAC-SHA-256, 128 bits out: HMAC(key, u32 1 | label | 0x00 |
 * context | u32 128), integers little-endian (SEV API 0.24, "Key derivation").
 */
int sev_crypto_kdf(const void *key, size_t key_len, const char *label, const void *context,
		   size_t context_len, uint8_t out[SEV_KEY_BYTES]);

/* AES-128-CTR, in either direction; in and out may be the same. */
int sev_crypto_ctr(const uint8_t key[SEV_KEY_BYTES], const uint8_t iv[16], const void *in,
		   void *out, size_t len);

/*
 * Public keys from the little-endian numbers of certificates. NULL when they are invalid (a point
 * that is not on P-384, an even modulus, an exponent below 3) or OpenSSL fails. Free with
 * EVP_PKEY_free().
 */
EVP_PKEY *sev_crypto_ec_public(const uint8_t x[SEV_EC_BYTES], const uint8_t y[SEV_EC_BYTES]);
EVP_PKEY *sev_crypto_rsa_public(const uint8_t *modulus, size_t bytes, const uint8_t *exponent,
				size_t exponent_bytes);

/*
 * Verify signatures with little-endian numbers over data: ECDSA (r and s of SEV_EC_BYTES each) and
 * RSA-PSS (as long as the key). 0: good; -EBADMSG: not.
 */
int sev_crypto_ecdsa_verify(EVP_PKEY *key, const EVP_MD *md, const uint8_t r[SEV_EC_BYTES],
			    const uint8_t s[SEV_EC_BYTES], const void *data, size_t len);
int sev_crypto_pss_verify(EVP_PKEY *key, const EVP_MD *md, const uint8_t *signature, size_t bytes,
			  const void *data, size_t len);

#endif
