/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest owner's and a certificate authority's cryptography, by OpenSSL: independent of the
 * firmware's and of lib/sev.
 */
#ifndef TESTS_EMULATED_OWNER_CRYPTO_H
#define TESTS_EMULATED_OWNER_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

#define KEY_BYTES	   16
#define DIGEST_BYTES	   32
#define CERT_BYTES	   2084
#define CERT_SIGNED	   1044 /* up to the first signature's usage */
#define SIG_BYTES	   520 /* usage, algorithm, 512 bytes */
#define PACKET_TAG_SECRET  0x01
#define PACKET_TAG_MEASURE 0x04

#define USAGE_ARK  0x0
#define USAGE_ASK  0x13
#define USAGE_OCA  0x1001
#define USAGE_PEK  0x1002
#define USAGE_PDH  0x1003
#define USAGE_CEK  0x1004
#define USAGE_NONE 0x1000

struct tek_tik {
	uint8_t tek[KEY_BYTES];
	uint8_t tik[KEY_BYTES];
};

uint32_t get_le32(const uint8_t *p);
void put_le32(uint8_t *p, uint32_t value);

/* HMAC-SHA-256 over the concatenation of n parts. */
struct part {
	const void *data;
	size_t len;
};
void hmac(const uint8_t key[KEY_BYTES], const struct part *parts, size_t n,
	  uint8_t mac[DIGEST_BYTES]);

/* AES-128-CTR, en- or decrypting. */
void aes_ctr(const uint8_t key[KEY_BYTES], const uint8_t iv[16], const void *in, void *out,
	     size_t len);
void random_bytes(void *buf, size_t len);
void sha256(const void *data, size_t len, uint8_t digest[DIGEST_BYTES]);

/* A P-384 key pair; from and to a PEM file. Like all of these: a message and exit on failure. */
EVP_PKEY *ec_generate(void);
EVP_PKEY *ec_load(const char *pem);
void ec_store(EVP_PKEY *key, const char *pem);

/* An SEV certificate for the key, with both signatures empty. */
void cert_make(uint8_t cert[CERT_BYTES], EVP_PKEY *key, uint32_t usage, uint32_t algo);
/* Put signature slot (0 or 1) of the issuer into the certificate. */
void cert_sign(uint8_t cert[CERT_BYTES], int slot, EVP_PKEY *issuer, uint32_t issuer_usage);
/* The public key. NULL if it is not a point on P-384. */
EVP_PKEY *cert_key(const uint8_t cert[CERT_BYTES]);
/* Does a signature slot hold a good signature of the issuer's certificate? */
bool cert_signed_by(const uint8_t cert[CERT_BYTES], const uint8_t issuer[CERT_BYTES]);
/* An ECDSA signature (r, s of 72 bytes each, little-endian) over the bytes. */
bool ec_verify(EVP_PKEY *key, uint32_t algo, const void *data, size_t len, const uint8_t sig[144]);

/*
 * The vendor's RSA certificates, ASK followed by ARK: is the CEK signed by ASK, ASK by ARK, ARK by
 * itself?
 */
bool vendor_chain_good(const uint8_t *vendor, size_t len, const uint8_t cek[CERT_BYTES],
		       const char **why);

/*
 * The session's keys for a platform: KEK and KIK from our DH key, its PDH certificate and the
 * nonce.
 */
void session_keys(EVP_PKEY *dh, EVP_PKEY *pdh, const uint8_t nonce[16], uint8_t kek[KEY_BYTES],
		  uint8_t kik[KEY_BYTES]);

__attribute__((noreturn, format(printf, 1, 2))) void die(const char *what, ...);

#endif
