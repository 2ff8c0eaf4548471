/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helper's cryptography against OpenSSL and published vectors: every kernel that this CPU runs,
 * every length, every alignment.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "helper/crypto.h"
#include "tests/unit/cmocka_all.h"

#define MOST 4096

struct message {
	uint8_t key[32], iv[12], aad[64];
	size_t aad_bytes;
	uint8_t *in, *out;
	size_t bytes;
	uint8_t tag[16];
};

static void openssl_seal(const struct message *m, uint8_t *out, uint8_t tag[16])
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n;

	assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, m->key, m->iv), 1);
	if (m->aad_bytes)
		assert_int_equal(EVP_EncryptUpdate(ctx, NULL, &n, m->aad, (int)m->aad_bytes), 1);
	if (m->bytes)
		assert_int_equal(EVP_EncryptUpdate(ctx, out, &n, m->in, (int)m->bytes), 1);
	assert_int_equal(EVP_EncryptFinal_ex(ctx, out + m->bytes, &n), 1);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, 16, tag), 1);
	EVP_CIPHER_CTX_free(ctx);
}

static void check_one(const struct gcm_kernel *kernel, struct message *m)
{
	uint8_t expected[MOST + 16], back[MOST], tag[16], open_tag[16];
	struct gcm_key gcm;

	openssl_seal(m, expected, tag);
	kernel->schedule(&gcm, m->key);
	kernel->seal(&gcm, m->out, m->in, m->bytes, m->iv, m->aad, m->aad_bytes, m->tag);
	assert_memory_equal(m->tag, tag, 16);
	assert_memory_equal(m->out, expected, m->bytes);
	kernel->open(&gcm, back, m->out, m->bytes, m->iv, m->aad, m->aad_bytes, open_tag);
	assert_memory_equal(open_tag, tag, 16);
	assert_memory_equal(back, m->in, m->bytes);
	if (m->bytes) {
		m->out[m->bytes / 2] ^= 1;
		kernel->open(&gcm, back, m->out, m->bytes, m->iv, m->aad, m->aad_bytes, open_tag);
		assert_memory_not_equal(open_tag, tag, 16);
	}
}

static uint8_t in[MOST + 64], out[MOST + 64];

static void random_message(struct message *m, size_t bytes, size_t aad_bytes, size_t shift)
{
	RAND_bytes(m->key, sizeof(m->key));
	RAND_bytes(m->iv, sizeof(m->iv));
	RAND_bytes(m->aad, sizeof(m->aad));
	m->aad_bytes = aad_bytes;
	m->bytes = bytes;
	m->in = in + shift;
	m->out = out + (shift * 7) % 64;
	RAND_bytes(m->in, (int)bytes);
}

static void gcm_every_length(void **state)
{
	struct message m;
	uint32_t id;
	size_t n;

	(void)state;
	for (id = 1; id <= 3; id++) {
		const struct gcm_kernel *kernel = gcm_by_id(id);

		if (!kernel) {
			print_message("# kernel %u: this CPU cannot run it\n", id);
			continue;
		}
		assert_int_equal(kernel->id, id);
		for (n = 0; n <= MOST; n += n < 1100 ? 1 : 37) {
			random_message(&m, n, n % 65, n % 64);
			check_one(kernel, &m);
		}
		for (n = 0; n < 64; n++) {
			random_message(&m, MOST, 16, n);
			check_one(kernel, &m);
		}
	}
	assert_non_null(gcm_best());
	assert_null(gcm_by_id(0));
	assert_null(gcm_by_id(4));
}

static size_t unhex(uint8_t *to, const char *hex)
{
	size_t n;

	for (n = 0; hex[2 * n]; n++) {
		char digits[3] = { hex[2 * n], hex[2 * n + 1], 0 };
		char *end;

		to[n] = (uint8_t)strtoul(digits, &end, 16);
		assert_ptr_equal(end, digits + 2);
	}
	return n;
}

/* McGrew and Viega, The Galois/Counter Mode of Operation, test cases 13 to 16. */
static const struct {
	const char *key, *iv, *aad, *plain, *sealed, *tag;
} gcm_vectors[] = {
	{ "0000000000000000000000000000000000000000000000000000000000000000",
	  "000000000000000000000000", "", "", "", "530f8afbc74536b9a963b4f1c4cb738b" },
	{ "0000000000000000000000000000000000000000000000000000000000000000",
	  "000000000000000000000000", "", "00000000000000000000000000000000",
	  "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919" },
	{ "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
	  "cafebabefacedbaddecaf888", "",
	  "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
	  "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
	  "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
	  "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
	  "b094dac5d93471bdec1a502270e3cc6c" },
	{ "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
	  "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
	  "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
	  "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
	  "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
	  "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
	  "76fc6ece0f4e1768cddf8853bb2d551b" },
};

/*
 * Each vector, and then what is a forgery of it: each bit of the tag, of the AAD, of the IV's first
 * byte, of the text's ends.
 */
static void gcm_vectors_and_forgeries(void **state)
{
	uint8_t plain[64], sealed[64], tag[16], key[32], iv[12], aad[32], got[64], got_tag[16];
	size_t i, bit, bytes, aad_bytes;
	struct gcm_key gcm;
	uint32_t id;

	(void)state;
	for (id = 1; id <= 3; id++) {
		const struct gcm_kernel *kernel = gcm_by_id(id);

		for (i = 0; kernel && i < sizeof(gcm_vectors) / sizeof(gcm_vectors[0]); i++) {
			unhex(key, gcm_vectors[i].key);
			unhex(iv, gcm_vectors[i].iv);
			aad_bytes = unhex(aad, gcm_vectors[i].aad);
			bytes = unhex(plain, gcm_vectors[i].plain);
			unhex(sealed, gcm_vectors[i].sealed);
			unhex(tag, gcm_vectors[i].tag);
			kernel->schedule(&gcm, key);
			kernel->seal(&gcm, got, plain, bytes, iv, aad, aad_bytes, got_tag);
			assert_memory_equal(got, sealed, bytes);
			assert_memory_equal(got_tag, tag, 16);
			for (bit = 0; bit < 128; bit++) {
				got_tag[bit / 8] ^= (uint8_t)(1u << bit % 8);
				assert_false(equal_ct(got_tag, tag, 16));
				got_tag[bit / 8] ^= (uint8_t)(1u << bit % 8);
			}
			assert_true(equal_ct(got_tag, tag, 16));
			for (bit = 0; bit < aad_bytes * 8; bit++) {
				aad[bit / 8] ^= (uint8_t)(1u << bit % 8);
				kernel->open(&gcm, got, sealed, bytes, iv, aad, aad_bytes, got_tag);
				assert_false(equal_ct(got_tag, tag, 16));
				aad[bit / 8] ^= (uint8_t)(1u << bit % 8);
			}
			for (bit = 0; bit < bytes * 8; bit++) {
				sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
				kernel->open(&gcm, got, sealed, bytes, iv, aad, aad_bytes, got_tag);
				assert_false(equal_ct(got_tag, tag, 16));
				sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
			}
			for (bit = 0; bit < 96; bit++) {
				iv[bit / 8] ^= (uint8_t)(1u << bit % 8);
				kernel->open(&gcm, got, sealed, bytes, iv, aad, aad_bytes, got_tag);
				assert_false(equal_ct(got_tag, tag, 16));
				iv[bit / 8] ^= (uint8_t)(1u << bit % 8);
			}
		}
	}
}

static void mac(const char *name, const char *param, const char *value, const uint8_t *key,
		size_t key_bytes, const uint8_t *data, size_t bytes, uint8_t *tag)
{
	EVP_MAC *method = EVP_MAC_fetch(NULL, name, NULL);
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(method);
	OSSL_PARAM params[2] = { OSSL_PARAM_construct_utf8_string(param, (char *)(uintptr_t)value,
								  0),
				 OSSL_PARAM_construct_end() };
	size_t n;

	assert_int_equal(EVP_MAC_init(ctx, key, key_bytes, params), 1);
	assert_int_equal(EVP_MAC_update(ctx, data, bytes), 1);
	assert_int_equal(EVP_MAC_final(ctx, tag, &n, 64), 1);
	EVP_MAC_CTX_free(ctx);
	EVP_MAC_free(method);
}

static void cmac_like_openssl(void **state)
{
	uint8_t key[32], data[300], tag[16], expected[64];
	struct cmac_key schedule;
	struct cmac cmac;
	size_t n, cut;

	(void)state;
	for (n = 0; n <= sizeof(data); n++) {
		RAND_bytes(key, sizeof(key));
		RAND_bytes(data, sizeof(data));
		mac("CMAC", OSSL_MAC_PARAM_CIPHER, "AES-256-CBC", key, sizeof(key), data, n,
		    expected);
		cmac_key_init(&schedule, key);
		cut = n ? data[0] % n : 0;
		cmac_init(&cmac, &schedule);
		cmac_update(&cmac, data, cut);
		cmac_update(&cmac, data + cut, n - cut);
		cmac_final(&cmac, tag);
		assert_memory_equal(tag, expected, 16);
	}
}

static void hmac_and_hkdf_like_openssl(void **state)
{
	static const char label[] = "sevmirror 1 records source to target";
	uint8_t key[64], data[300], got[32], expected[64];
	EVP_KDF *method = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(method);
	OSSL_PARAM params[5];
	size_t n;

	(void)state;
	for (n = 0; n <= sizeof(data); n++) {
		RAND_bytes(key, sizeof(key));
		RAND_bytes(data, sizeof(data));
		mac("HMAC", OSSL_MAC_PARAM_DIGEST, "SHA256", key, 1 + n % 64, data, n, expected);
		hmac_sha256(got, key, 1 + n % 64, data, n);
		assert_memory_equal(got, expected, 32);
	}
	params[0] = OSSL_PARAM_construct_utf8_string("digest", (char *)(uintptr_t) "SHA256", 0);
	params[1] = OSSL_PARAM_construct_octet_string("key", data, 32);
	params[2] = OSSL_PARAM_construct_octet_string("salt", key, 16);
	params[3] =
		OSSL_PARAM_construct_octet_string("info", (void *)(uintptr_t)label, strlen(label));
	params[4] = OSSL_PARAM_construct_end();
	assert_int_equal(EVP_KDF_derive(ctx, expected, 32, params), 1);
	hkdf_extract(got, key, 16, data, 32);
	hkdf_expand(got, got, label);
	assert_memory_equal(got, expected, 32);
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(method);
}

/* C2SP, XAES-256-GCM: the two vectors of the specification, sealed by the helper's parts. */
static void xaes_vectors(void **state)
{
	static const struct {
		uint8_t byte;
		const char *aad, *sealed;
	} vectors[] = {
		{ 1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271" },
		{ 3, "c2sp.org/XAES-256-GCM",
		  "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d" },
	};
	static const uint8_t nonce[] = "ABCDEFGHIJKLMNOPQRSTUVWX";
	static const uint8_t plain[] = "XAES-256-GCM";
	uint8_t secret[32], derived[32], iv[12], got[28], expected[28];
	const struct gcm_kernel *kernel = gcm_best();
	struct cmac_key key;
	struct gcm_key gcm;
	size_t i;

	(void)state;
	for (i = 0; i < 2; i++) {
		memset(secret, vectors[i].byte, sizeof(secret));
		assert_int_equal(unhex(expected, vectors[i].sealed), sizeof(expected));
		cmac_key_init(&key, secret);
		xaes_derive(&key, nonce, derived);
		xaes_iv(iv, nonce, 0);
		kernel->schedule(&gcm, derived);
		kernel->seal(&gcm, got, plain, 12, iv, (const uint8_t *)vectors[i].aad,
			     strlen(vectors[i].aad), got + 12);
		assert_memory_equal(got, expected, sizeof(got));
	}
}

/* What the host would find in the registers after an exit. */
static void scrub_leaves_no_register(void **state)
{
	static uint8_t registers[16][16] __attribute__((aligned(16)));
	static const uint8_t zero[16];
	const struct gcm_kernel *kernel;
	uint8_t key[32] = { 1 };
	struct gcm_key gcm;
	uint32_t id;
	int i;

	(void)state;
	for (id = 1; (kernel = gcm_by_id(id)) != NULL; id++) {
		kernel->schedule(&gcm, key);
		memset(registers, 1, sizeof(registers));
		kernel->scrub();
#define STORE(n) __asm__ volatile("movdqa %%xmm" #n ", %0" : "=m"(registers[n]))
		STORE(0);
		STORE(1);
		STORE(2);
		STORE(3);
		STORE(4);
		STORE(5);
		STORE(6);
		STORE(7);
		STORE(8);
		STORE(9);
		STORE(10);
		STORE(11);
		STORE(12);
		STORE(13);
		STORE(14);
		STORE(15);
#undef STORE
		for (i = 0; i < 16; i++)
			assert_memory_equal(registers[i], zero, sizeof(zero));
	}
}

static void iv_counts_pages(void **state)
{
	static const uint8_t nonce[24] = {
		[12] = 1, [20] = 0xff, [21] = 0xff, [22] = 0xff, [23] = 0xfe
	};
	uint8_t seen[64][12];
	uint32_t i, j;

	(void)state;
	for (i = 0; i < 64; i++) {
		xaes_iv(seen[i], nonce, i);
		for (j = 0; j < i; j++)
			assert_memory_not_equal(seen[i], seen[j], 12);
		assert_memory_equal(seen[i], nonce + 12, 8);
	}
	assert_int_equal(seen[1][11], 0xff);
}

static void random_does_not_repeat(void **state)
{
	uint8_t drawn[256][24], zero[24] = { 0 };
	size_t i, j;

	(void)state;
	for (i = 0; i < 256; i++) {
		assert_true(random_bytes(drawn[i], 24));
		assert_memory_not_equal(drawn[i], zero, 24);
		for (j = 0; j < i; j++)
			assert_memory_not_equal(drawn[i], drawn[j], 24);
	}
	memset(drawn[0], 0, 24);
	assert_true(random_bytes(drawn[0], 5));
	assert_memory_equal(drawn[0] + 5, zero, 19);
}

static void memory_functions(void **state)
{
	static uint8_t page[4096] __attribute__((aligned(64)));
	size_t i;

	(void)state;
	assert_true(all_zero(page, sizeof(page)));
	for (i = 0; i < sizeof(page); i++) {
		page[i] = 0x80;
		assert_false(all_zero(page, sizeof(page)));
		page[i] = 0;
	}
	memset(page, 7, sizeof(page));
	wipe(page + 1, 100);
	assert_int_equal(page[0], 7);
	assert_int_equal(page[1] | page[100], 0);
	assert_int_equal(page[101], 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gcm_every_length),
		cmocka_unit_test(gcm_vectors_and_forgeries),
		cmocka_unit_test(cmac_like_openssl),
		cmocka_unit_test(hmac_and_hkdf_like_openssl),
		cmocka_unit_test(xaes_vectors),
		cmocka_unit_test(iv_counts_pages),
		cmocka_unit_test(scrub_leaves_no_register),
		cmocka_unit_test(random_does_not_repeat),
		cmocka_unit_test(memory_functions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
