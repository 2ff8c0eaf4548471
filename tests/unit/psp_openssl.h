/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SEV API's cryptography a second time, with OpenSSL: what the firmware's results are compared
 * with, and what plays the guest owner. Each function asserts that OpenSSL itself does not fail.
 */
#ifndef TESTS_UNIT_PSP_OPENSSL_H
#define TESTS_UNIT_PSP_OPENSSL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

#include "emulator/psp/wire.h"

void ossl_hmac(const void *key, size_t key_len, const void *data, size_t len, uint8_t mac[32]);
void ossl_kdf(const void *key, size_t key_len, const char *label, const void *context,
	      size_t context_len, uint8_t *out, size_t out_len);
void ossl_ctr(const uint8_t key[16], const uint8_t iv[16], void *buf, size_t len);
void ossl_sha256(const void *data, size_t len, uint8_t digest[32]);
/* AES-128-XTS over one data unit. */
void ossl_xts(const uint8_t key1[16], const uint8_t key2[16], uint64_t unit, void *buf, size_t len,
	      bool encrypt);
void ossl_ecb(const uint8_t key[16], uint8_t block[16]);

EVP_PKEY *ossl_p384_generate(void);
EVP_PKEY *ossl_from_ec_pubkey(const struct ec_pubkey *pub);
void ossl_to_ec_pubkey(EVP_PKEY *key, struct ec_pubkey *pub);
/* Z, big-endian */
void ossl_ecdh(EVP_PKEY *own, EVP_PKEY *peer, uint8_t z[48]);
void ossl_ecdsa_sign(EVP_PKEY *key, const EVP_MD *md, const void *data, size_t len,
		     struct ec_signature *sig);
bool ossl_ecdsa_verify(EVP_PKEY *key, const EVP_MD *md, const void *data, size_t len,
		       const struct ec_signature *sig);

/* A SEV certificate by this signature; the algorithm decides what is verified. */
bool ossl_cert_verify(const struct sev_cert *cert, int slot, const struct sev_cert *issuer);
bool ossl_cert_verify_by_vendor(const struct sev_cert *cert, int slot,
				const struct vendor_cert *issuer);
bool ossl_vendor_verify(const struct vendor_cert *cert, const struct vendor_cert *issuer);

/* A certificate as the owner's tools make it: of this usage, signed by signer into sig[0]. */
void ossl_cert_make(struct sev_cert *cert, uint32_t usage, uint32_t algo, EVP_PKEY *key,
		    uint32_t signer_usage, EVP_PKEY *signer);
void ossl_cert_sign(struct sev_cert *cert, int slot, uint32_t signer_usage, EVP_PKEY *signer);

/*
 * The guest owner: a key pair, its certificate, transport keys and the session that wraps them for
 * this platform.
 */
struct owner {
	EVP_PKEY *key;
	struct sev_cert cert;
	uint8_t tek[16], tik[16];
	struct session session;
};
void owner_create(struct owner *owner, const struct sev_cert *pdh, uint32_t policy);
void owner_destroy(struct owner *owner);

/* Derive from Z what a session is wrapped with. */
void ossl_wrap_keys(const uint8_t z[48], const uint8_t nonce[16], uint8_t kek[16], uint8_t kik[16]);
/* A packet's MAC. */
void ossl_packet_mac(const uint8_t tik[16], uint8_t tag, uint32_t flags, const uint8_t iv[16],
		     uint32_t guest_len, uint32_t trans_len, const void *payload, const void *extra,
		     size_t extra_len, uint8_t mac[32]);

#endif
