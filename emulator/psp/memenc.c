/* SPDX-License-Identifier: Apache-2.0 */
#include "memenc.h"

#include <stdlib.h>
#include <string.h>

#include <nettle/aes.h>

#define BLOCK 16
#define PAGE  4096

struct memenc_key {
	struct aes128_ctx enc, dec; /* key 1, the VEK */
	struct aes128_ctx tweak; /* key 2 */
};

/*
 * A block's tweak, as an element of GF(2^128) with the least significant coefficient in bit 0 of
 * lo.
 */
struct tweak {
	uint64_t lo, hi;
};

struct memenc_key *memenc_key_create(const uint8_t vek[16])
{
	struct memenc_key *key = malloc(sizeof(*key));
	uint8_t key2[BLOCK];

	if (!key)
		return NULL;
	aes128_set_encrypt_key(&key->enc, vek);
	aes128_set_decrypt_key(&key->dec, vek);
	memset(key2, 0x5c, sizeof(key2));
	aes128_encrypt(&key->enc, sizeof(key2), key2, key2);
	aes128_set_encrypt_key(&key->tweak, key2);
	explicit_bzero(key2, sizeof(key2));
	return key;
}

void memenc_key_destroy(struct memenc_key *key)
{
	if (!key)
		return;
	explicit_bzero(key, sizeof(*key));
	free(key);
}

static uint64_t load_le64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

static struct tweak tweak_next(struct tweak t)
{
	uint64_t carry = -(t.hi >> 63) & 0x87;

	t.hi = t.hi << 1 | t.lo >> 63;
	t.lo = t.lo << 1 ^ carry;
	return t;
}

/*
 * The tweak of the block at spa: AES of the frame number, doubled once for each block before it in
 * the page.
 */
static struct tweak tweak_at(const struct memenc_key *key, uint64_t spa)
{
	uint64_t pfn = spa / PAGE;
	uint8_t unit[BLOCK] = { 0 };
	struct tweak t;

	for (int i = 0; i < 8; i++)
		unit[i] = pfn >> (8 * i);
	aes128_encrypt(&key->tweak, sizeof(unit), unit, unit);
	t.lo = load_le64(unit);
	t.hi = load_le64(unit + 8);
	for (uint64_t i = 0; i < spa % PAGE / BLOCK; i++)
		t = tweak_next(t);
	return t;
}

static void xor_into(uint8_t *buf, const uint64_t *mask, size_t words)
{
	for (size_t i = 0; i < words; i++) {
		uint64_t v;

		memcpy(&v, buf + 8 * i, 8);
		v ^= mask[i];
		memcpy(buf + 8 * i, &v, 8);
	}
}

/* One page at most, so that AES and the two xors run over the whole of it at once. */
static void crypt_in_page(const struct memenc_key *key, uint64_t spa, uint8_t *buf, size_t len,
			  bool encrypt)
{
	uint64_t mask[PAGE / 8];
	size_t words = len / BLOCK * 2;
	struct tweak t = tweak_at(key, spa);

	for (size_t i = 0; i < words; i += 2) {
		mask[i] = t.lo;
		mask[i + 1] = t.hi;
		t = tweak_next(t);
	}
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the tweak mask is laid out for a little-endian machine"
#endif
	xor_into(buf, mask, words);
	if (encrypt)
		aes128_encrypt(&key->enc, len, buf, buf);
	else
		aes128_decrypt(&key->dec, len, buf, buf);
	xor_into(buf, mask, words);
}

static void crypt_range(const struct memenc_key *key, uint64_t spa, void *buf, size_t len,
			bool encrypt)
{
	uint8_t *p = buf;

	while (len >= BLOCK) {
		size_t n = PAGE - spa % PAGE;

		if (n > len)
			n = len;
		crypt_in_page(key, spa, p, n, encrypt);
		spa += n;
		p += n;
		len -= n;
	}
}

void memenc_encrypt(const struct memenc_key *key, uint64_t spa, void *buf, size_t len)
{
	crypt_range(key, spa, buf, len, true);
}

void memenc_decrypt(const struct memenc_key *key, uint64_t spa, void *buf, size_t len)
{
	crypt_range(key, spa, buf, len, false);
}
