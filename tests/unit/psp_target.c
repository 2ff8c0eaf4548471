/* SPDX-License-Identifier: Apache-2.0 */
/* Which targets SEND_START takes: by the guest's policy, from nobody checked to all of them. */
#include <string.h>

#include "emulator/psp/cert.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/psp_machine.h"
#include "tests/unit/psp_openssl.h"

/* SEND_START of an altered chain is refused, and the guest stays where it was. */
static void send_refused(struct pair *p, const struct target_certs *target, uint32_t expected)
{
	uint64_t next = p->src.next;
	struct session session, zero;

	memset(&zero, 0, sizeof(zero));
	memset(at(&p->src, next), 0, 6 * 4096);
	assert_int_equal(send_start(&p->src, p->handle, target, &session), expected);
	assert_memory_equal(&session, &zero, sizeof(session));
	assert_int_equal(guest_status(&p->src, p->handle).state, GUEST_RUNNING);
	p->src.next = next;
}

static void test_target_chain(void **state)
{
	static struct pair p;
	static struct target_certs bad;
	struct target_certs foreign;
	struct session session;
	struct machine other;

	machine_up(&other, 9);
	machine_init(&other);
	target_certs(&other, &foreign);
	machine_down(&other);
	pair_up(&p, POLICY_SEV);

#define ALTER(field, expected)                    \
	do {                                      \
		bad = p.target;                   \
		field;                            \
		send_refused(&p, &bad, expected); \
	} while (0)
	ALTER(bad.pdh.sig[0].ec.r[1] ^= 1, PSP_BAD_SIGNATURE);
	ALTER(bad.pdh.api_minor ^= 1, PSP_BAD_SIGNATURE);
	ALTER(bad.pdh.pubkey.qx[0] ^= 1, PSP_INVALID_CERTIFICATE);
	ALTER(bad.pdh.version = 2, PSP_INVALID_CERTIFICATE);
	ALTER(bad.pdh = foreign.pdh, PSP_BAD_SIGNATURE);
	ALTER(bad.chain.pek = foreign.chain.pek, PSP_BAD_SIGNATURE);
	ALTER(bad.chain.cek = foreign.chain.cek, PSP_BAD_SIGNATURE);
	ALTER(bad.chain.pek.sig[1].ec.s[0] ^= 1, PSP_BAD_SIGNATURE);
	ALTER(bad.chain.cek.sig[0].rsa[9] ^= 1, PSP_BAD_SIGNATURE);
	ALTER(bad.chain.cek.sig[0].algo = ALGO_RSA_SHA256, PSP_BAD_SIGNATURE);
	ALTER(bad.chain.pek.pubkey_usage = USAGE_OCA, PSP_INVALID_CERTIFICATE);
	ALTER(bad.chain.cek.pubkey_usage = USAGE_PEK, PSP_INVALID_CERTIFICATE);
	ALTER(bad.chain.pek.version = 2, PSP_INVALID_CERTIFICATE);
	ALTER(bad.vendor.ask.sig[0] ^= 1, PSP_BAD_SIGNATURE);
	ALTER(bad.vendor.ask.modulus[7] ^= 1, PSP_BAD_SIGNATURE);
	ALTER(bad.vendor.ask.usage = USAGE_ARK, PSP_INVALID_CERTIFICATE);
	ALTER(bad.vendor.ask.certifying_id[0] ^= 1, PSP_INVALID_CERTIFICATE);
	ALTER(bad.vendor.ask.modulus_bits = 2048, PSP_INVALID_CERTIFICATE);
	ALTER(bad.vendor.ark.sig[0] ^= 1, PSP_BAD_SIGNATURE);
	/* an unknown root */
	ALTER(bad.vendor.ark.modulus[100] ^= 1, PSP_INVALID_CERTIFICATE);
	ALTER(bad.vendor.ark.exponent[0] = 3, PSP_INVALID_CERTIFICATE);
	ALTER(memset(&bad.vendor, 0, sizeof(bad.vendor)), PSP_INVALID_CERTIFICATE);
	ALTER(memset(&bad, 0xff, sizeof(bad)), PSP_INVALID_CERTIFICATE);
	/* the owner's part of the chain is DOMAIN's business */
	p.target.chain.oca = foreign.chain.oca;
	p.target.chain.pek.sig[0].ec.s[0] ^= 1;
	assert_int_equal(send_start(&p.src, p.handle, &p.target, &session), PSP_OK);
	pair_down(&p);
}

/*
 * With neither SEV nor DOMAIN the target is whoever has the PDH's key: nothing is asked of the
 * chain, nor of the PDH's own signature.
 */
static void test_unchecked(void **state)
{
	EVP_PKEY *pdh_key = ossl_p384_generate(), *pek_key = ossl_p384_generate();
	static struct pair p;
	struct target_certs nobody;
	struct session session;

	pair_up(&p, (uint32_t)PSP_API_MINOR << 24);
	memset(&nobody, 0, sizeof(nobody));
	ossl_cert_make(&nobody.pdh, USAGE_PDH, ALGO_ECDH_SHA256, pdh_key, USAGE_PEK, pek_key);
	nobody.pdh.api_minor = 0;
	memset(&nobody.pdh.sig, 0, sizeof(nobody.pdh.sig));
	assert_int_equal(send_start(&p.src, p.handle, &nobody, &session), PSP_OK);
	assert_int_equal(run_handle(&p.src, PSP_CMD_SEND_CANCEL, p.handle), PSP_OK);
	/* but it must be a PDH */
	nobody.pdh.pubkey_usage = USAGE_PEK;
	send_refused(&p, &nobody, PSP_INVALID_CERTIFICATE);
	EVP_PKEY_free(pdh_key);
	EVP_PKEY_free(pek_key);
	pair_down(&p);
}

static void test_nosend(void **state)
{
	static struct pair p;

	pair_up(&p, POLICY_NOSEND);
	send_refused(&p, &p.target, PSP_POLICY_FAILURE);
	pair_down(&p);
}

/* Give a platform this owner. */
static void own(struct machine *m, const struct sev_cert *oca, EVP_PKEY *oca_key)
{
	struct sev_cert pek;
	struct cmd_buffer csr = { .addr = put(m, NULL, 4096), .len = 4096 };
	struct cmd_pek_cert_import cmd = { .pek_len = sizeof(pek), .oca_len = sizeof(*oca) };

	assert_int_equal(RUN(m, PSP_CMD_PEK_CSR, &csr), PSP_OK);
	memcpy(&pek, at(m, csr.addr), sizeof(pek));
	ossl_cert_sign(&pek, 0, USAGE_OCA, oca_key);
	cmd.pek_addr = put(m, &pek, sizeof(pek));
	cmd.oca_addr = put(m, oca, sizeof(*oca));
	assert_int_equal(RUN(m, PSP_CMD_PEK_CERT_IMPORT, &cmd), PSP_OK);
}

/* Move the source's guest to this owner's platform. */
static void own_source(struct pair *p, const struct sev_cert *oca, EVP_PKEY *oca_key)
{
	release(&p->src, p->handle);
	own(&p->src, oca, oca_key);
	wbinvd(&p->src);
	assert_int_equal(run(&p->src, PSP_CMD_DF_FLUSH, NULL, 0), PSP_OK);
	p->handle = launch(&p->src, p->policy, 5, p->image, PAIR_BYTES);
}

static void test_domain(void **state)
{
	EVP_PKEY *key = ossl_p384_generate();
	static struct pair p;
	static struct target_certs bad;
	struct sev_cert oca, again;
	struct session session;

	pair_up(&p, POLICY_DOMAIN);
	ossl_cert_make(&oca, USAGE_OCA, ALGO_ECDSA_SHA256, key, USAGE_OCA, key);
	ossl_cert_make(&again, USAGE_OCA, ALGO_ECDSA_SHA256, key, USAGE_OCA, key);
	assert_memory_not_equal(&oca, &again, sizeof(oca));
	send_refused(&p, &p.target, PSP_POLICY_FAILURE);
	own(&p.dst, &oca, key);
	target_certs(&p.dst, &p.target);
	send_refused(&p, &p.target, PSP_POLICY_FAILURE);
	own_source(&p, &oca, key);

	/* the same key under another signature is another certificate */
	bad = p.target;
	bad.chain.oca = again;
	send_refused(&p, &bad, PSP_POLICY_FAILURE);
	ALTER(bad.chain.oca.sig[0].ec.s[0] ^= 1, PSP_BAD_SIGNATURE);
	ALTER(bad.chain.pek.sig[0].ec.s[0] ^= 1, PSP_BAD_SIGNATURE);
	ALTER(bad.pdh.sig[0].ec.s[0] ^= 1, PSP_BAD_SIGNATURE);
	ALTER(bad.chain.oca.pubkey_usage = USAGE_PEK, PSP_INVALID_CERTIFICATE);

	/* DOMAIN alone says nothing of the chip */
	memset(&p.target.vendor, 0, sizeof(p.target.vendor));
	memset(&p.target.chain.cek, 0, sizeof(p.target.chain.cek));
	assert_int_equal(send_start(&p.src, p.handle, &p.target, &session), PSP_OK);
	EVP_PKEY_free(key);
	pair_down(&p);
}

static void test_domain_and_sev(void **state)
{
	EVP_PKEY *key = ossl_p384_generate();
	static struct pair p;
	static struct target_certs bad;
	struct sev_cert oca;
	struct session session;

	pair_up(&p, POLICY_DOMAIN | POLICY_SEV);
	ossl_cert_make(&oca, USAGE_OCA, ALGO_ECDSA_SHA256, key, USAGE_OCA, key);
	own(&p.dst, &oca, key);
	target_certs(&p.dst, &p.target);
	send_refused(&p, &p.target, PSP_POLICY_FAILURE);
	own_source(&p, &oca, key);
	ALTER(bad.vendor.ark.modulus[100] ^= 1, PSP_INVALID_CERTIFICATE);
	ALTER(bad.chain.cek.sig[0].rsa[9] ^= 1, PSP_BAD_SIGNATURE);
	assert_int_equal(send_start(&p.src, p.handle, &p.target, &session), PSP_OK);
	EVP_PKEY_free(key);
	pair_down(&p);
}

/* The chip is genuine, its firmware older or newer than the policy asks for. */
static void test_target_too_old(void **state)
{
	EVP_PKEY *pdh_key = ossl_p384_generate(), *pek_key = ossl_p384_generate();
	static struct pair p;
	struct target_certs *t = &p.target;
	struct session session;

	for (int newer = -1; newer <= 1; newer++) {
		struct rng rng;

		pair_up(&p, (uint32_t)PSP_API_MINOR << 24 | POLICY_SEV);
		rng = psp_rng(p.dst.psp);
		ossl_cert_make(&t->chain.pek, USAGE_PEK, ALGO_ECDSA_SHA256, pek_key, USAGE_OCA,
			       pek_key);
		t->chain.pek.api_minor = PSP_API_MINOR + newer;
		psp_cert_sign(&t->chain.pek, 1, USAGE_CEK, &p.dst.psp->chip.cek, &rng);
		ossl_cert_make(&t->pdh, USAGE_PDH, ALGO_ECDH_SHA256, pdh_key, USAGE_PEK, pek_key);
		if (newer < 0)
			send_refused(&p, t, PSP_POLICY_FAILURE);
		else
			assert_int_equal(send_start(&p.src, p.handle, t, &session), PSP_OK);
		pair_down(&p);
	}
	EVP_PKEY_free(pdh_key);
	EVP_PKEY_free(pek_key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_target_chain),   cmocka_unit_test(test_unchecked),
		cmocka_unit_test(test_nosend),	       cmocka_unit_test(test_domain),
		cmocka_unit_test(test_domain_and_sev), cmocka_unit_test(test_target_too_old),
	};

	return cmocka_run_group_tests_name("psp_target", tests, NULL, NULL);
}
