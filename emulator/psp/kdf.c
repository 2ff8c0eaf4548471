/* SPDX-License-Identifier: Apache-2.0 */
#include "kdf.h"

#include <string.h>

#include <nettle/aes.h>
#include <nettle/ctr.h>
#include <nettle/hmac.h>
#include <nettle/memops.h>

static void hmac_le32(struct hmac_sha256_ctx *ctx, uint32_t v)
{
	uint8_t bytes[4] = { v, v >> 8, v >> 16, v >> 24 };

	hmac_sha256_update(ctx, sizeof(bytes), bytes);
}

void psp_kdf(const void *key, size_t key_len, const char *label, const void *context,
	     size_t context_len, void *out, size_t out_len)
{
	struct hmac_sha256_ctx ctx;
	uint8_t *p = out;
	uint32_t bits = out_len * 8;

	hmac_sha256_set_key(&ctx, key_len, key);
	for (uint32_t i = 1; out_len; i++) {
		size_t n = out_len < SHA256_DIGEST_SIZE ? out_len : SHA256_DIGEST_SIZE;

		hmac_le32(&ctx, i);
		hmac_sha256_update(&ctx, strlen(label) + 1, (const uint8_t *)label);
		hmac_sha256_update(&ctx, context_len, context);
		hmac_le32(&ctx, bits);
		hmac_sha256_digest(&ctx, n, p);
		p += n;
		out_len -= n;
	}
	explicit_bzero(&ctx, sizeof(ctx));
}

void psp_aes_ctr(const uint8_t key[16], const uint8_t iv[16], void *buf, size_t len)
{
	struct aes128_ctx ctx;
	uint8_t counter[AES_BLOCK_SIZE];

	memcpy(counter, iv, sizeof(counter));
	aes128_set_encrypt_key(&ctx, key);
	ctr_crypt(&ctx, (nettle_cipher_func *)aes128_encrypt, AES_BLOCK_SIZE, counter, len, buf,
		  buf);
	explicit_bzero(&ctx, sizeof(ctx));
}

void psp_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len, uint8_t mac[32])
{
	struct hmac_sha256_ctx ctx;

	hmac_sha256_set_key(&ctx, key_len, key);
	hmac_sha256_update(&ctx, len, data);
	hmac_sha256_digest(&ctx, SHA256_DIGEST_SIZE, mac);
	explicit_bzero(&ctx, sizeof(ctx));
}

bool psp_mac_equal(const uint8_t a[32], const uint8_t b[32])
{
	return memeql_sec(a, b, 32);
}
