/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "helper/crypto.h"

#include <wmmintrin.h>

/* intel-ipsec-mb's key schedule: 15 round keys. */
void aes_keyexp_256_enc_sse(const void *key, void *rounds);

static void aes_block(const struct cmac_key *key, uint8_t block[16])
{
	const __m128i *round = (const __m128i *)key->round;
	__m128i x = _mm_xor_si128(_mm_loadu_si128((const __m128i *)block), round[0]);
	int i;

	for (i = 1; i < 14; i++)
		x = _mm_aesenc_si128(x, round[i]);
	_mm_storeu_si128((__m128i *)block, _mm_aesenclast_si128(x, round[14]));
}

/* Multiply by x in GF(2^128) (SP 800-38B, 6.1), without a branch on the secret. */
static void doubled(uint8_t out[16], const uint8_t in[16])
{
	uint8_t carry = 0;
	int i;

	for (i = 15; i >= 0; i--) {
		uint8_t byte = in[i];

		out[i] = (uint8_t)(byte << 1) | carry;
		carry = byte >> 7;
	}
	out[15] ^= (uint8_t)-carry & 0x87;
}

static void xor16(uint8_t to[16], const uint8_t from[16])
{
	int i;

	for (i = 0; i < 16; i++)
		to[i] ^= from[i];
}

void cmac_key_init(struct cmac_key *key, const uint8_t secret[32])
{
	uint8_t zero[16] = { 0 };

	aes_keyexp_256_enc_sse(secret, key->round);
	aes_block(key, zero);
	doubled(key->k1, zero);
	doubled(key->k2, key->k1);
	wipe(zero, sizeof(zero));
}

void cmac_init(struct cmac *cmac, const struct cmac_key *key)
{
	cmac->key = key;
	wipe(cmac->state, sizeof(cmac->state));
	cmac->held = 0;
}

void cmac_update(struct cmac *cmac, const void *data, size_t bytes)
{
	const uint8_t *at = data;

	while (bytes > 0) {
		size_t n;

		if (cmac->held == 16) {
			xor16(cmac->state, cmac->last);
			aes_block(cmac->key, cmac->state);
			cmac->held = 0;
		}
		n = bytes < 16 - cmac->held ? bytes : 16 - cmac->held;
		__builtin_memcpy(cmac->last + cmac->held, at, n);
		cmac->held += n;
		at += n;
		bytes -= n;
	}
}

void cmac_final(struct cmac *cmac, uint8_t tag[16])
{
	size_t i;

	if (cmac->held == 16) {
		xor16(cmac->last, cmac->key->k1);
	} else {
		for (i = cmac->held; i < 16; i++)
			cmac->last[i] = i == cmac->held ? 0x80 : 0;
		xor16(cmac->last, cmac->key->k2);
	}
	xor16(cmac->state, cmac->last);
	aes_block(cmac->key, cmac->state);
	__builtin_memcpy(tag, cmac->state, 16);
	wipe(cmac, sizeof(*cmac));
}

void xaes_derive(const struct cmac_key *key, const uint8_t nonce[XAES_NONCE_BYTES],
		 uint8_t derived[32])
{
	uint8_t message[16] = { 0, 0, 'X', 0 };
	struct cmac cmac;
	uint8_t half;

	__builtin_memcpy(message + 4, nonce, 12);
	for (half = 0; half < 2; half++) {
		message[1] = half + 1;
		cmac_init(&cmac, key);
		cmac_update(&cmac, message, sizeof(message));
		cmac_final(&cmac, derived + 16 * half);
	}
}

void xaes_iv(uint8_t iv[GCM_IV_BYTES], const uint8_t nonce[XAES_NONCE_BYTES], uint32_t index)
{
	uint32_t last;

	__builtin_memcpy(iv, nonce + 12, GCM_IV_BYTES);
	__builtin_memcpy(&last, iv + 8, 4);
	last ^= __builtin_bswap32(index);
	__builtin_memcpy(iv + 8, &last, 4);
}
