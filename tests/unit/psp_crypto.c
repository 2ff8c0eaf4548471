/* SPDX-License-Identifier: Apache-2.0 */
/* The firmware's primitives and the memory cipher against OpenSSL. */
#include <string.h>

#include <openssl/rand.h>

#include "emulator/psp/ec.h"
#include "emulator/psp/kdf.h"
#include "emulator/psp/memenc.h"
#include "emulator/psp/state.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/psp_openssl.h"

static void os_random(void *opaque, void *buf, size_t len)
{
	assert_int_equal(RAND_bytes(buf, len), 1);
}

static const struct rng rng = { os_random, NULL };

static void test_kdf(void **state)
{
	uint8_t key[48], context[16], ours[100], theirs[100];

	os_random(NULL, key, sizeof(key));
	os_random(NULL, context, sizeof(context));
	for (size_t len = 1; len <= sizeof(ours); len++) {
		psp_kdf(key, sizeof(key), "sev-master-secret", context, sizeof(context), ours, len);
		ossl_kdf(key, sizeof(key), "sev-master-secret", context, sizeof(context), theirs,
			 len);
		assert_memory_equal(ours, theirs, len);
		psp_kdf(key, 16, "sev-kek", NULL, 0, ours, len);
		ossl_kdf(key, 16, "sev-kek", NULL, 0, theirs, len);
		assert_memory_equal(ours, theirs, len);
	}
}

/*
 * Computed once with Python's hmac module, so that both implementations above cannot be wrong in
 * the same way.
 */
static void test_kdf_known_answer(void **state)
{
	static const uint8_t expected[16] = { 0xdc, 0x3c, 0x52, 0xda, 0x49, 0x19, 0x06, 0x11,
					      0xab, 0x45, 0x89, 0x8c, 0xb3, 0xf1, 0x07, 0x65 };
	uint8_t key[48], nonce[16], out[16];

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = i;
	memset(nonce, 0xa5, sizeof(nonce));
	psp_kdf(key, sizeof(key), "sev-master-secret", nonce, sizeof(nonce), out, sizeof(out));
	assert_memory_equal(out, expected, sizeof(out));
}

static void test_ctr_hmac(void **state)
{
	uint8_t key[16], iv[16], a[4096], b[4096], mac_a[32], mac_b[32];

	os_random(NULL, key, sizeof(key));
	memset(iv, 0xff, sizeof(iv)); /* the counter wraps */
	os_random(NULL, a, sizeof(a));
	memcpy(b, a, sizeof(a));
	psp_aes_ctr(key, iv, a, sizeof(a));
	ossl_ctr(key, iv, b, sizeof(b));
	assert_memory_equal(a, b, sizeof(a));
	psp_hmac_sha256(key, sizeof(key), a, sizeof(a), mac_a);
	ossl_hmac(key, sizeof(key), b, sizeof(b), mac_b);
	assert_memory_equal(mac_a, mac_b, sizeof(mac_a));
	assert_true(psp_mac_equal(mac_a, mac_b));
	mac_b[31] ^= 1;
	assert_false(psp_mac_equal(mac_a, mac_b));
}

static void test_ecdsa_both_ways(void **state)
{
	static const struct {
		uint32_t algo;
		const EVP_MD *(*md)(void);
	} algos[] = { { ALGO_ECDSA_SHA256, EVP_sha256 }, { ALGO_ECDSA_SHA384, EVP_sha384 } };
	EVP_PKEY *theirs = ossl_p384_generate(), *ours_public;
	struct ec_pubkey theirs_public;
	struct ec_signature sig;
	struct ec_key ours;
	char text[] = "signed by one, verified by the other";

	psp_ec_key_generate(&ours, &rng);
	ours_public = ossl_from_ec_pubkey(&ours.pub);
	ossl_to_ec_pubkey(theirs, &theirs_public);
	for (size_t i = 0; i < 2; i++) {
		psp_ec_sign(&ours, &rng, algos[i].algo, text, sizeof(text), &sig);
		assert_true(
			ossl_ecdsa_verify(ours_public, algos[i].md(), text, sizeof(text), &sig));
		assert_true(psp_ec_verify(&ours.pub, algos[i].algo, text, sizeof(text), &sig));
		assert_false(
			psp_ec_verify(&theirs_public, algos[i].algo, text, sizeof(text), &sig));
		memset(&sig, 0, sizeof(sig));
		assert_false(psp_ec_verify(&ours.pub, algos[i].algo, text, sizeof(text), &sig));
		ossl_ecdsa_sign(theirs, algos[i].md(), text, sizeof(text), &sig);
		assert_true(psp_ec_verify(&theirs_public, algos[i].algo, text, sizeof(text), &sig));
		assert_false(
			psp_ec_verify(&theirs_public, algos[!i].algo, text, sizeof(text), &sig));
		assert_false(psp_ec_verify(&theirs_public, ALGO_RSA_SHA256, text, 4, &sig));
		text[0] ^= 1;
		assert_false(
			psp_ec_verify(&theirs_public, algos[i].algo, text, sizeof(text), &sig));
		text[0] ^= 1;
		sig.s[EC_COMP_BYTES - 1] = 1;
		assert_false(
			psp_ec_verify(&theirs_public, algos[i].algo, text, sizeof(text), &sig));
	}
	EVP_PKEY_free(theirs);
	EVP_PKEY_free(ours_public);
}

static void test_ecdh(void **state)
{
	EVP_PKEY *theirs = ossl_p384_generate(), *ours_public;
	struct ec_pubkey theirs_public;
	struct ec_key ours;
	uint8_t z1[48], z2[48];

	psp_ec_key_generate(&ours, &rng);
	ours_public = ossl_from_ec_pubkey(&ours.pub);
	ossl_to_ec_pubkey(theirs, &theirs_public);
	assert_true(psp_ec_shared_secret(&ours, &theirs_public, z1));
	ossl_ecdh(theirs, ours_public, z2);
	assert_memory_equal(z1, z2, sizeof(z1));
	EVP_PKEY_free(theirs);
	EVP_PKEY_free(ours_public);
}

static void test_bad_points(void **state)
{
	struct ec_pubkey bad;
	struct ec_key key;
	uint8_t z[48];

	psp_ec_key_generate(&key, &rng);
	assert_true(psp_ec_pubkey_valid(&key.pub));
	bad = key.pub;
	bad.curve = 1;
	assert_false(psp_ec_pubkey_valid(&bad));
	bad = key.pub;
	bad.qy[0] ^= 1;
	assert_false(psp_ec_pubkey_valid(&bad));
	assert_false(psp_ec_shared_secret(&key, &bad, z));
	memset(&bad, 0xff, sizeof(bad));
	bad.curve = 2;
	assert_false(psp_ec_pubkey_valid(&bad));
	memset(&bad, 0, sizeof(bad));
	bad.curve = 2;
	assert_false(psp_ec_pubkey_valid(&bad));
	memset(key.d, 0, sizeof(key.d));
	assert_false(psp_ec_key_complete(&key));
	memset(key.d, 0xff, sizeof(key.d));
	assert_false(psp_ec_key_complete(&key));
}

static void test_session_wrap(void **state)
{
	uint8_t z[48], tek[16], tik[16], kek[16], kik[16], mac[32], got_tek[16], got_tik[16];
	uint32_t policy = 0x23;
	struct session s, bad;

	os_random(NULL, z, sizeof(z));
	os_random(NULL, tek, sizeof(tek));
	os_random(NULL, tik, sizeof(tik));
	psp_session_wrap(z, &rng, policy, tek, tik, &s);

	ossl_wrap_keys(z, s.nonce, kek, kik);
	ossl_hmac(kik, 16, s.wrapped, 32, mac);
	assert_memory_equal(mac, s.wrap_mac, 32);
	ossl_hmac(tik, 16, &policy, 4, mac);
	assert_memory_equal(mac, s.policy_mac, 32);
	bad = s;
	ossl_ctr(kek, s.wrap_iv, bad.wrapped, 32);
	assert_memory_equal(bad.wrapped, tek, 16);
	assert_memory_equal(bad.wrapped + 16, tik, 16);

	assert_true(psp_session_unwrap(z, &s, policy, got_tek, got_tik));
	assert_memory_equal(got_tek, tek, 16);
	assert_memory_equal(got_tik, tik, 16);
	assert_false(psp_session_unwrap(z, &s, policy ^ 1, got_tek, got_tik));
	for (size_t i = 0; i < sizeof(s); i++) {
		bad = s;
		((uint8_t *)&bad)[i] ^= 0x40;
		/*
		 * the wrap IV is not under the wrap's MAC, but a changed one gives another TIK and
		 * so another policy MAC
		 */
		assert_false(psp_session_unwrap(z, &bad, policy, got_tek, got_tik));
	}
}

static void test_memenc_is_xts(void **state)
{
	uint8_t vek[16], key2[16], a[4096], b[4096];
	struct memenc_key *key;

	os_random(NULL, vek, sizeof(vek));
	memset(key2, 0x5c, sizeof(key2));
	ossl_ecb(vek, key2);
	key = memenc_key_create(vek);
	for (uint64_t pfn = 0; pfn < 0x1000000000; pfn = pfn * 7 + 1) {
		os_random(NULL, a, sizeof(a));
		memcpy(b, a, sizeof(a));
		memenc_encrypt(key, pfn * 4096, a, sizeof(a));
		ossl_xts(vek, key2, pfn, b, sizeof(b), true);
		assert_memory_equal(a, b, sizeof(a));
		memenc_decrypt(key, pfn * 4096, a, sizeof(a));
		ossl_xts(vek, key2, pfn, b, sizeof(b), false);
		assert_memory_equal(a, b, sizeof(a));
	}
	memenc_key_destroy(key);
	memenc_key_destroy(NULL);
}

/* However a range is cut into calls, each block has the same ciphertext. */
static void test_memenc_pieces(void **state)
{
	static uint8_t plain[3 * 4096], whole[sizeof(plain)], pieces[sizeof(plain)];
	const uint64_t spa = 0x123450;
	uint8_t vek[16] = { 7 };
	struct memenc_key *key = memenc_key_create(vek);

	os_random(NULL, plain, sizeof(plain));
	memcpy(whole, plain, sizeof(plain));
	memenc_encrypt(key, spa, whole, sizeof(whole));
	for (size_t step = 16; step < sizeof(plain); step = step * 3 / 16 * 16 + 16) {
		memcpy(pieces, plain, sizeof(plain));
		for (size_t i = 0; i < sizeof(plain); i += step) {
			size_t n = sizeof(plain) - i < step ? sizeof(plain) - i : step;

			memenc_encrypt(key, spa + i, pieces + i, n);
		}
		assert_memory_equal(pieces, whole, sizeof(whole));
		for (size_t i = 0; i < sizeof(plain); i += step) {
			size_t n = sizeof(plain) - i < step ? sizeof(plain) - i : step;

			memenc_decrypt(key, spa + i, pieces + i, n);
		}
		assert_memory_equal(pieces, plain, sizeof(plain));
	}
	memenc_encrypt(key, spa, plain, 0);
	memenc_key_destroy(key);
}

/* No two blocks of equal plaintext, at whatever address or under whatever key, look the same. */
static void test_memenc_tweak(void **state)
{
	static uint8_t buf[4 * 4096];
	uint8_t vek[16] = { 0 };

	for (int k = 0; k < 2; k++) {
		struct memenc_key *key;

		vek[0] = k;
		key = memenc_key_create(vek);
		memenc_encrypt(key, 0x7000, buf + k * 8192, 8192);
		memenc_key_destroy(key);
	}
	for (size_t i = 0; i < sizeof(buf); i += 16)
		for (size_t j = i + 16; j < sizeof(buf); j += 16)
			assert_int_not_equal(memcmp(buf + i, buf + j, 16), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kdf),	      cmocka_unit_test(test_kdf_known_answer),
		cmocka_unit_test(test_ctr_hmac),      cmocka_unit_test(test_ecdsa_both_ways),
		cmocka_unit_test(test_ecdh),	      cmocka_unit_test(test_bad_points),
		cmocka_unit_test(test_session_wrap),  cmocka_unit_test(test_memenc_is_xts),
		cmocka_unit_test(test_memenc_pieces), cmocka_unit_test(test_memenc_tweak),
	};

	return cmocka_run_group_tests_name("psp_crypto", tests, NULL, NULL);
}
