/* SPDX-License-Identifier: Apache-2.0 */
/* The platform's certificates, verified by OpenSSL up to the vendor's root, and its ownership. */
#include <stdio.h>
#include <string.h>

#include "emulator/psp/cert.h"
#include "emulator/psp/vendor.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/psp_machine.h"
#include "tests/unit/psp_openssl.h"

static const struct vendor_chain *vendor(void)
{
	return (const struct vendor_chain *)psp_vendor_ask_ark;
}

static void check_chain(const struct sev_cert *pdh, const struct cert_chain *c)
{
	assert_true(ossl_cert_verify(pdh, 0, &c->pek));
	assert_true(ossl_cert_verify(&c->pek, 0, &c->oca));
	assert_true(ossl_cert_verify(&c->pek, 1, &c->cek));
	assert_true(ossl_cert_verify(&c->oca, 0, &c->oca));
	assert_true(ossl_cert_verify_by_vendor(&c->cek, 0, &vendor()->ask));
	assert_true(ossl_vendor_verify(&vendor()->ask, &vendor()->ark));
	assert_true(ossl_vendor_verify(&vendor()->ark, &vendor()->ark));
}

static void test_chain(void **state)
{
	struct cert_chain chain;
	struct sev_cert pdh;
	struct machine m;

	machine_up(&m, 1);
	machine_init(&m);
	pdh_export(&m, &pdh, &chain);
	check_chain(&pdh, &chain);
	assert_int_equal(pdh.pubkey_usage, 0x1003);
	assert_int_equal(pdh.pubkey_algo, 0x3);
	assert_int_equal(chain.pek.pubkey_usage, 0x1002);
	assert_int_equal(chain.pek.pubkey_algo, 0x2);
	assert_int_equal(chain.pek.api_minor, PSP_API_MINOR);
	assert_int_equal(chain.oca.pubkey_usage, 0x1001);
	assert_int_equal(chain.cek.pubkey_usage, 0x1004);
	assert_int_equal(chain.cek.sig[0].algo, 0x101);
	assert_int_equal(chain.cek.sig[1].usage, 0x1000);
	machine_down(&m);
}

static void test_vendor_file(void **state)
{
	uint8_t bytes[PSP_VENDOR_CERTS_BYTES + 1];
	FILE *f = fopen(VENDOR_FILE, "rb");

	assert_non_null(f);
	assert_int_equal(fread(bytes, 1, sizeof(bytes), f), PSP_VENDOR_CERTS_BYTES);
	assert_memory_equal(bytes, psp_vendor_ask_ark, PSP_VENDOR_CERTS_BYTES);
	fclose(f);
}

static void test_chip_identity(void **state)
{
	struct cert_chain c1, c1_again, c2;
	struct sev_cert pdh;
	struct machine m;

	machine_up(&m, 1);
	machine_init(&m);
	pdh_export(&m, &pdh, &c1);
	machine_down(&m);
	machine_up(&m, 1);
	m.rng = 99; /* other random numbers, the same chip */
	machine_init(&m);
	pdh_export(&m, &pdh, &c1_again);
	machine_down(&m);
	machine_up(&m, 2);
	machine_init(&m);
	pdh_export(&m, &pdh, &c2);
	machine_down(&m);
	assert_memory_equal(&c1.cek, &c1_again.cek, sizeof(c1.cek));
	assert_memory_not_equal(&c1.pek, &c1_again.pek, sizeof(c1.pek));
	assert_memory_not_equal(&c1.cek.pubkey, &c2.cek.pubkey, sizeof(c1.cek.pubkey));
}

static void test_get_id(void **state)
{
	uint8_t ids[2][GET_ID_BYTES], zero[CHIP_ID_BYTES] = { 0 };
	struct machine m;

	for (uint8_t chip = 0; chip < 2; chip++) {
		struct cmd_buffer cmd = { 0 };

		machine_up(&m, chip);
		cmd.addr = put(&m, NULL, GET_ID_BYTES);
		assert_int_equal(RUN(&m, PSP_CMD_GET_ID, &cmd), PSP_INVALID_LEN);
		assert_int_equal(cmd.len, GET_ID_BYTES);
		assert_int_equal(RUN(&m, PSP_CMD_GET_ID, &cmd), PSP_OK);
		memcpy(ids[chip], at(&m, cmd.addr), GET_ID_BYTES);
		assert_memory_equal(ids[chip] + CHIP_ID_BYTES, zero, CHIP_ID_BYTES);
		machine_down(&m);
	}
	assert_memory_not_equal(ids[0], ids[1], CHIP_ID_BYTES);
}

static void test_export_lengths(void **state)
{
	struct cmd_pdh_cert_export cmd = { 0 };
	struct machine m;
	uint64_t a, b;

	machine_up(&m, 1);
	machine_init(&m);
	a = put(&m, NULL, 8192);
	b = put(&m, NULL, 8192);
	assert_int_equal(RUN(&m, PSP_CMD_PDH_CERT_EXPORT, &cmd), PSP_INVALID_LEN);
	assert_int_equal(cmd.pdh_len, 2084);
	assert_int_equal(cmd.chain_len, 3 * 2084);
	cmd = (struct cmd_pdh_cert_export){ a, 2083, 0, b, 6252 };
	assert_int_equal(RUN(&m, PSP_CMD_PDH_CERT_EXPORT, &cmd), PSP_INVALID_LEN);
	assert_int_equal(cmd.pdh_len, 2084);
	cmd = (struct cmd_pdh_cert_export){ a, 2084, 0, b, 6251 };
	assert_int_equal(RUN(&m, PSP_CMD_PDH_CERT_EXPORT, &cmd), PSP_INVALID_LEN);
	cmd = (struct cmd_pdh_cert_export){ a, 2084, 0, NOT_RAM, 6252 };
	assert_int_equal(RUN(&m, PSP_CMD_PDH_CERT_EXPORT, &cmd), PSP_INVALID_ADDRESS);
	cmd = (struct cmd_pdh_cert_export){ a, 9999, 0, b, 9999 };
	assert_int_equal(RUN(&m, PSP_CMD_PDH_CERT_EXPORT, &cmd), PSP_OK);
	assert_int_equal(cmd.chain_len, 6252);
	machine_down(&m);
}

static void test_pdh_gen(void **state)
{
	struct cert_chain c1, c2;
	struct sev_cert p1, p2;
	struct machine m;

	machine_up(&m, 1);
	machine_init(&m);
	pdh_export(&m, &p1, &c1);
	assert_int_equal(run(&m, PSP_CMD_PDH_GEN, NULL, 0), PSP_OK);
	pdh_export(&m, &p2, &c2);
	check_chain(&p2, &c2);
	assert_memory_equal(&c1, &c2, sizeof(c1));
	assert_memory_not_equal(&p1.pubkey, &p2.pubkey, sizeof(p1.pubkey));

	assert_int_equal(run(&m, PSP_CMD_PEK_GEN, NULL, 0), PSP_OK);
	pdh_export(&m, &p1, &c1);
	check_chain(&p1, &c1);
	assert_memory_not_equal(&c1.pek.pubkey, &c2.pek.pubkey, sizeof(c1.pek.pubkey));
	assert_memory_not_equal(&c1.oca.pubkey, &c2.oca.pubkey, sizeof(c1.oca.pubkey));
	machine_down(&m);
}

/* The owner's part of an external ownership: take the CSR and sign it. */
struct import {
	struct sev_cert pek, oca;
	EVP_PKEY *oca_key;
};

static void get_csr(struct machine *m, struct sev_cert *csr)
{
	struct cmd_buffer cmd = { 0 };

	assert_int_equal(RUN(m, PSP_CMD_PEK_CSR, &cmd), PSP_INVALID_LEN);
	assert_int_equal(cmd.len, 2084);
	cmd.addr = put(m, NULL, cmd.len);
	assert_int_equal(RUN(m, PSP_CMD_PEK_CSR, &cmd), PSP_OK);
	memcpy(csr, at(m, cmd.addr), sizeof(*csr));
}

static void import_prepare(struct machine *m, struct import *im)
{
	get_csr(m, &im->pek);
	assert_int_equal(im->pek.sig[0].usage, USAGE_NONE);
	assert_int_equal(im->pek.sig[1].usage, USAGE_NONE);
	im->oca_key = ossl_p384_generate();
	ossl_cert_make(&im->oca, USAGE_OCA, ALGO_ECDSA_SHA256, im->oca_key, USAGE_OCA, im->oca_key);
	ossl_cert_sign(&im->pek, 0, USAGE_OCA, im->oca_key);
}

static uint32_t import_run(struct machine *m, const struct import *im)
{
	struct cmd_pek_cert_import cmd = {
		.pek_addr = put(m, &im->pek, sizeof(im->pek)),
		.pek_len = sizeof(im->pek),
		.oca_addr = put(m, &im->oca, sizeof(im->oca)),
		.oca_len = sizeof(im->oca),
	};

	return RUN(m, PSP_CMD_PEK_CERT_IMPORT, &cmd);
}

static void test_import(void **state)
{
	struct cert_chain before, chain, after;
	struct sev_cert old_pdh, pdh;
	struct import im;
	struct machine m;

	machine_up(&m, 1);
	machine_init(&m);
	pdh_export(&m, &old_pdh, &before);
	import_prepare(&m, &im);
	assert_int_equal(platform_status(&m).flags, 0);
	assert_int_equal(import_run(&m, &im), PSP_OK);
	assert_int_equal(platform_status(&m).flags, STATUS_FLAG_OWNED);
	pdh_export(&m, &pdh, &chain);
	check_chain(&pdh, &chain);
	assert_memory_equal(&chain.oca, &im.oca, sizeof(chain.oca));
	assert_memory_equal(&chain.pek.pubkey, &before.pek.pubkey, sizeof(chain.pek.pubkey));
	assert_memory_not_equal(&pdh.pubkey, &old_pdh.pubkey, sizeof(pdh.pubkey));
	assert_int_equal(import_run(&m, &im), PSP_ALREADY_OWNED);

	/* The ownership survives a power cycle and ends with PEK_GEN. */
	machine_power_cycle(&m);
	machine_init(&m);
	assert_int_equal(platform_status(&m).flags, STATUS_FLAG_OWNED);
	pdh_export(&m, &pdh, &after);
	assert_memory_equal(&chain, &after, sizeof(chain));
	assert_int_equal(run(&m, PSP_CMD_PEK_GEN, NULL, 0), PSP_OK);
	assert_int_equal(platform_status(&m).flags, 0);
	pdh_export(&m, &pdh, &after);
	check_chain(&pdh, &after);
	EVP_PKEY_free(im.oca_key);
	machine_down(&m);
}

static void import_refused(struct machine *m, const struct import *im, uint32_t expected)
{
	struct snapshot *before = snapshot_take(m);
	uint64_t next = m->next;

	assert_int_equal(import_run(m, im), expected);
	memcpy(at(m, next), before->ram + (next - RAM_BASE), m->next - next);
	m->next = next;
	snapshot_check(before, m);
}

static void test_import_refused(void **state)
{
	struct import im, bad;
	struct machine m;
	EVP_PKEY *other = ossl_p384_generate();

	machine_up(&m, 1);
	machine_init(&m);
	import_prepare(&m, &im);

	bad = im;
	bad.pek.sig[0].ec.r[0] ^= 1;
	import_refused(&m, &bad, PSP_BAD_SIGNATURE);
	bad = im;
	bad.oca.sig[0].ec.s[0] ^= 1;
	import_refused(&m, &bad, PSP_BAD_SIGNATURE);
	bad = im;
	ossl_cert_sign(&bad.pek, 0, USAGE_OCA, other);
	import_refused(&m, &bad, PSP_BAD_SIGNATURE);
	bad = im;
	bad.pek.sig[0].usage = USAGE_PEK;
	import_refused(&m, &bad, PSP_BAD_SIGNATURE);
	/* another platform's PEK, well signed */
	bad = im;
	ossl_to_ec_pubkey(other, &bad.pek.pubkey);
	ossl_cert_sign(&bad.pek, 0, USAGE_OCA, im.oca_key);
	import_refused(&m, &bad, PSP_INVALID_CERTIFICATE);
	bad = im;
	bad.pek.api_minor++;
	ossl_cert_sign(&bad.pek, 0, USAGE_OCA, im.oca_key);
	import_refused(&m, &bad, PSP_INVALID_CERTIFICATE);
	bad = im;
	bad.oca.pubkey_usage = USAGE_PEK;
	import_refused(&m, &bad, PSP_INVALID_CERTIFICATE);
	bad = im;
	bad.oca.version = 2;
	import_refused(&m, &bad, PSP_INVALID_CERTIFICATE);
	bad = im;
	bad.oca.pubkey.qx[0] ^= 1;
	import_refused(&m, &bad, PSP_INVALID_CERTIFICATE);

	m.nv_store_fails = true;
	import_refused(&m, &im, PSP_HWERROR_PLATFORM);
	m.nv_store_fails = false;
	assert_int_equal(import_run(&m, &im), PSP_OK);
	EVP_PKEY_free(im.oca_key);
	EVP_PKEY_free(other);
	machine_down(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chain),	       cmocka_unit_test(test_vendor_file),
		cmocka_unit_test(test_chip_identity),  cmocka_unit_test(test_get_id),
		cmocka_unit_test(test_export_lengths), cmocka_unit_test(test_pdh_gen),
		cmocka_unit_test(test_import),	       cmocka_unit_test(test_import_refused),
	};

	return cmocka_run_group_tests_name("psp_certs", tests, NULL, NULL);
}
