/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/page_frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define KEY_BYTES   32
#define NONCE_BYTES 12

struct frame_cipher {
	EVP_CIPHER_CTX *ctx;
	uint8_t key[KEY_BYTES];
	uint8_t hello_key[KEY_BYTES];
	uint8_t session[16];
	uint32_t stream;
	uint64_t sequence;
};

int frame_cipher_create(struct frame_cipher **out, struct channel *control,
			const uint8_t session[16], uint32_t stream)
{
	struct frame_cipher *cipher = calloc(1, sizeof(*cipher));
	uint8_t context[16 + sizeof(stream)];
	uint8_t keys[2 * KEY_BYTES];
	int err = -ENOMEM;

	*out = NULL;
	if (!cipher)
		return -ENOMEM;
	memcpy(context, session, 16);
	memcpy(context + 16, &stream, sizeof(stream));
	memcpy(cipher->session, session, 16);
	cipher->stream = stream;
	cipher->ctx = EVP_CIPHER_CTX_new();
	if (cipher->ctx)
		err = channel_export_key(control, "EXPORTER-sevmirror-stream", context,
					 sizeof(context), keys, sizeof(keys));
	if (!err) {
		memcpy(cipher->key, keys, KEY_BYTES);
		memcpy(cipher->hello_key, keys + KEY_BYTES, KEY_BYTES);
		if (!EVP_CipherInit_ex(cipher->ctx, EVP_aes_256_gcm(), NULL, NULL, NULL, 1))
			err = -EIO;
	}
	OPENSSL_cleanse(keys, sizeof(keys));
	if (err) {
		frame_cipher_destroy(cipher);
		return err;
	}
	*out = cipher;
	return 0;
}

void frame_cipher_destroy(struct frame_cipher *cipher)
{
	if (!cipher)
		return;
	EVP_CIPHER_CTX_free(cipher->ctx);
	OPENSSL_cleanse(cipher, sizeof(*cipher));
	free(cipher);
}

static int hello_mac(struct frame_cipher *cipher, const struct wire_stream_hello *hello,
		     uint8_t mac[32])
{
	const void *bytes = hello;

	return HMAC(EVP_sha256(), cipher->hello_key, KEY_BYTES, bytes,
		    offsetof(struct wire_stream_hello, mac), mac, NULL) ?
		       0 :
		       -EIO;
}

int frame_make_hello(struct frame_cipher *cipher, struct wire_stream_hello *hello)
{
	memset(hello, 0, sizeof(*hello));
	hello->magic = WIRE_MAGIC;
	hello->stream = cipher->stream;
	memcpy(hello->session, cipher->session, sizeof(hello->session));
	return hello_mac(cipher, hello, hello->mac);
}

int frame_check_hello(struct frame_cipher *cipher, const struct wire_stream_hello *hello,
		      struct why *why)
{
	uint8_t mac[32];

	if (hello->magic == WIRE_MAGIC && hello->stream == cipher->stream &&
	    memcmp(hello->session, cipher->session, sizeof(hello->session)) == 0 &&
	    hello_mac(cipher, hello, mac) == 0 && CRYPTO_memcmp(mac, hello->mac, sizeof(mac)) == 0)
		return 0;
	return why_set(why, -EPERM,
		       "a data connection could not prove that it belongs to this migration");
}

static void make_nonce(uint64_t sequence, uint8_t nonce[NONCE_BYTES])
{
	memset(nonce, 0, NONCE_BYTES);
	memcpy(nonce + NONCE_BYTES - sizeof(sequence), &sequence, sizeof(sequence));
}

int frame_seal(struct frame_cipher *cipher, struct wire_frame *header, void *directory, size_t len)
{
	uint8_t nonce[NONCE_BYTES];
	uint8_t *bytes = directory;
	const void *aad = header;
	int n;

	header->magic = WIRE_MAGIC;
	header->sequence = cipher->sequence;
	header->directory_bytes = (uint32_t)(len + FRAME_TAG_BYTES);
	make_nonce(cipher->sequence, nonce);
	if (!EVP_CipherInit_ex(cipher->ctx, NULL, NULL, cipher->key, nonce, 1) ||
	    !EVP_CipherUpdate(cipher->ctx, NULL, &n, aad, sizeof(*header)) ||
	    !EVP_CipherUpdate(cipher->ctx, bytes, &n, bytes, (int)len) ||
	    !EVP_CipherFinal_ex(cipher->ctx, bytes + n, &n) ||
	    !EVP_CIPHER_CTX_ctrl(cipher->ctx, EVP_CTRL_AEAD_GET_TAG, FRAME_TAG_BYTES, bytes + len))
		return -EIO;
	cipher->sequence++;
	return 0;
}

int frame_open(struct frame_cipher *cipher, const struct wire_frame *header, void *directory,
	       size_t *len, struct why *why)
{
	uint8_t nonce[NONCE_BYTES];
	uint8_t *bytes = directory;
	const void *aad = header;
	int err = wire_check_frame(header, cipher->sequence, why);
	int n;

	if (err)
		return err;
	if (header->directory_bytes <= FRAME_TAG_BYTES) {
		return why_set(why, -EPROTO, "the source sent a frame with a directory of %u bytes",
			       header->directory_bytes);
	}
	*len = header->directory_bytes - FRAME_TAG_BYTES;
	make_nonce(cipher->sequence, nonce);
	if (!EVP_CipherInit_ex(cipher->ctx, NULL, NULL, cipher->key, nonce, 0) ||
	    !EVP_CipherUpdate(cipher->ctx, NULL, &n, aad, sizeof(*header)) ||
	    !EVP_CipherUpdate(cipher->ctx, bytes, &n, bytes, (int)*len) ||
	    !EVP_CIPHER_CTX_ctrl(cipher->ctx, EVP_CTRL_AEAD_SET_TAG, FRAME_TAG_BYTES,
				 bytes + *len) ||
	    EVP_CipherFinal_ex(cipher->ctx, bytes + n, &n) <= 0) {
		return why_set(why, -EBADMSG, "frame %llu of stream %u was changed on the way",
			       (unsigned long long)header->sequence, cipher->stream);
	}
	cipher->sequence++;
	return 0;
}

uint64_t frame_count(const struct frame_cipher *cipher)
{
	return cipher->sequence;
}
