/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "helper/crypto.h"

/* intel-ipsec-mb's block function: SSE, for any CPU that has AES-NI. */
void sha256_block_sse(const void *block, uint32_t digest[8]);

void sha256_init(struct sha256 *sha)
{
	static const uint32_t start[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
					   0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };

	__builtin_memcpy(sha->digest, start, sizeof(start));
	sha->bytes = 0;
}

void sha256_update(struct sha256 *sha, const void *data, size_t bytes)
{
	const uint8_t *at = data;

	while (bytes > 0) {
		size_t used = sha->bytes % 64;
		size_t n = bytes < 64 - used ? bytes : 64 - used;

		copy_once(sha->block + used, at, n);
		sha->bytes += n;
		at += n;
		bytes -= n;
		if (used + n == 64)
			sha256_block_sse(sha->block, sha->digest);
	}
}

void sha256_final(struct sha256 *sha, uint8_t out[32])
{
	static const uint8_t padding[64] = { 0x80 };
	uint64_t bits = __builtin_bswap64(sha->bytes * 8);
	int i;

	sha256_update(sha, padding, 1 + (119 - sha->bytes % 64) % 64);
	sha256_update(sha, &bits, sizeof(bits));
	for (i = 0; i < 8; i++) {
		uint32_t word = __builtin_bswap32(sha->digest[i]);

		__builtin_memcpy(out + 4 * i, &word, sizeof(word));
	}
	wipe(sha, sizeof(*sha));
}

/* RFC 2104. Keys longer than a block are not needed and not supported. */
void hmac_sha256(uint8_t mac[32], const void *key, size_t key_bytes, const void *data, size_t bytes)
{
	uint8_t pad[64] = { 0 };
	struct sha256 sha;
	int i;

	copy_once(pad, key, key_bytes < 64 ? key_bytes : 64);
	for (i = 0; i < 64; i++)
		pad[i] ^= 0x36;
	sha256_init(&sha);
	sha256_update(&sha, pad, 64);
	sha256_update(&sha, data, bytes);
	sha256_final(&sha, mac);

	for (i = 0; i < 64; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	sha256_init(&sha);
	sha256_update(&sha, pad, 64);
	sha256_update(&sha, mac, 32);
	sha256_final(&sha, mac);
	wipe(pad, sizeof(pad));
}

void hkdf_extract(uint8_t prk[32], const void *salt, size_t salt_bytes, const void *secret,
		  size_t secret_bytes)
{
	hmac_sha256(prk, salt, salt_bytes, secret, secret_bytes);
}

void hkdf_expand(uint8_t out[32], const uint8_t prk[32], const char *label)
{
	uint8_t info[64];
	size_t n;

	for (n = 0; n < sizeof(info) - 1 && label[n]; n++)
		info[n] = (uint8_t)label[n];
	info[n++] = 1;
	hmac_sha256(out, prk, 32, info, n);
}
