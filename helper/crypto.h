/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The helper's cryptography. The GCM kernels, the AES key schedule and the SHA-256 block function
 * are intel-ipsec-mb's; what is here puts them together as the standards say.
 */
#ifndef HELPER_CRYPTO_H
#define HELPER_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XAES_NONCE_BYTES 24
#define GCM_TAG_BYTES	 16
#define GCM_IV_BYTES	 12

/*
 * Room for struct gcm_key_data of any intel-ipsec-mb since 1.0 (gcm.c checks); it wants 64-byte
 * alignment.
 */
struct gcm_key {
	uint8_t opaque[1024];
} __attribute__((aligned(64)));

/* gcm.c: AES-256-GCM. The kernels read each input byte once and write each output byte once. */
struct gcm_kernel {
	uint32_t id; /* 1 SSE, 2 AVX2, 3 VAES/AVX-512 */
	const char *name;
	/*
	 * Zero the vector registers. Without SEV-ES the host finds them in its own memory after an
	 * exit; the kernels leave keys and plaintext in them.
	 */
	void (*scrub)(void);
	void (*schedule)(struct gcm_key *gcm, const uint8_t key[32]);
	void (*seal)(const struct gcm_key *gcm, uint8_t *out, const uint8_t *in, uint64_t bytes,
		     const uint8_t iv[GCM_IV_BYTES], const uint8_t *aad, uint64_t aad_bytes,
		     uint8_t tag[GCM_TAG_BYTES]);
	void (*open)(const struct gcm_key *gcm, uint8_t *out, const uint8_t *in, uint64_t bytes,
		     const uint8_t iv[GCM_IV_BYTES], const uint8_t *aad, uint64_t aad_bytes,
		     uint8_t tag[GCM_TAG_BYTES]);
};

/* The best kernel that this CPU and the enabled XCR0 can run, or NULL without AES-NI. */
const struct gcm_kernel *gcm_best(void);
/* The kernel with this id, or NULL when the CPU cannot run it. */
const struct gcm_kernel *gcm_by_id(uint32_t id);

/* aes.c: AES-256-CMAC (NIST SP 800-38B). */
struct cmac_key {
	uint8_t round[15][16] __attribute__((aligned(16)));
	uint8_t k1[16], k2[16];
};

struct cmac {
	const struct cmac_key *key;
	uint8_t state[16] __attribute__((aligned(16)));
	uint8_t last[16];
	size_t held; /* bytes in last */
};

void cmac_key_init(struct cmac_key *key, const uint8_t secret[32]);
void cmac_init(struct cmac *cmac, const struct cmac_key *key);
void cmac_update(struct cmac *cmac, const void *data, size_t bytes);
void cmac_final(struct cmac *cmac, uint8_t tag[16]);

/*
 * The key of XAES-256-GCM (C2SP, XAES-256-GCM) for a nonce: derived by CMAC from its first 12
 * bytes; its last 12 bytes are then the IV of AES-256-GCM under that key.
 */
void xaes_derive(const struct cmac_key *key, const uint8_t nonce[XAES_NONCE_BYTES],
		 uint8_t derived[32]);
/*
 * The IV for one of the messages that share a nonce's derived key: the nonce with index XORed into
 * its last 4 bytes.
 */
void xaes_iv(uint8_t iv[GCM_IV_BYTES], const uint8_t nonce[XAES_NONCE_BYTES], uint32_t index);

/*
 * sha256.c: SHA-256 (FIPS 180-4); input is read once, final wipes. HKDF-SHA-256 (RFC 5869), outputs
 * of one hash at most.
 */
struct sha256 {
	uint32_t digest[8] __attribute__((aligned(16)));
	uint8_t block[64] __attribute__((aligned(16)));
	uint64_t bytes;
};

void sha256_init(struct sha256 *sha);
void sha256_update(struct sha256 *sha, const void *data, size_t bytes);
void sha256_final(struct sha256 *sha, uint8_t out[32]);
void hkdf_extract(uint8_t prk[32], const void *salt, size_t salt_bytes, const void *secret,
		  size_t secret_bytes);
void hkdf_expand(uint8_t out[32], const uint8_t prk[32], const char *label);
void hmac_sha256(uint8_t mac[32], const void *key, size_t key_bytes, const void *data,
		 size_t bytes);

/* random.c: false when RDRAND fails or repeats itself; out is zeroed then. */
bool random_bytes(void *out, size_t bytes);

/* mem.c */
void wipe(void *at, size_t bytes);
bool equal_ct(const void *a, const void *b, size_t bytes);
bool all_zero(const void *page, size_t bytes);
/* Copies that the compiler neither repeats nor splits: for memory that somebody else changes. */
void copy_once(void *to, const void *from, size_t bytes);

#endif
