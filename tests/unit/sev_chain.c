/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib/sev's certificates: chains of the emulator's firmware and of OpenSSL; each broken link is
 * named; files; roots.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "emulator/psp/vendor.h"
#include "lib/sev/root_certs.h"
#include "lib/util/text.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/sev_chain_make.h"
#include "tests/unit/sev_firmware.h"

struct platform {
	struct firmware *fw;
	struct sev_cert pdh, certs[3]; /* PEK, OCA, CEK */
	struct sev_root root;
};

static void reload(struct platform *p)
{
	firmware_certs(p->fw, &p->pdh, p->certs);
}

static int platform_up(void **state)
{
	struct platform *p = calloc(1, sizeof(*p));

	p->fw = firmware_up(1);
	reload(p);
	assert_int_equal(sev_root_from_file_bytes(&p->root, psp_vendor_ask_ark,
						  PSP_VENDOR_CERTS_BYTES, NULL),
			 0);
	*state = p;
	return 0;
}

static int platform_down(void **state)
{
	struct platform *p = *state;

	firmware_down(p->fw);
	free(p);
	return 0;
}

static int verify_certs(const struct platform *p, struct sev_error *error)
{
	struct sev_chain chain;
	int err;

	memset(error, 0, sizeof(*error));
	sev_chain_init(&chain);
	err = sev_chain_add(&chain, &p->pdh, SEV_CERT_BYTES, "pdh.cert", error);
	if (!err)
		err = sev_chain_add(&chain, p->certs, SEV_CERT_CHAIN_BYTES, "cert_chain.cert",
				    error);
	if (!err)
		err = sev_chain_add(&chain, psp_vendor_ask_ark, PSP_VENDOR_CERTS_BYTES,
				    "ask_ark.cert", error);
	return err ? err : sev_chain_verify(&chain, &p->root, error);
}

static void the_firmwares_chain_holds(void **state)
{
	struct platform *p = *state;
	struct sev_error error;

	assert_int_equal(verify_certs(p, &error), 0);
	firmware_new_pek(p->fw);
	reload(p);
	assert_int_equal(verify_certs(p, &error), 0);
}

/*
 * What the chain protects: all of a certificate but a signature that is not used and what fills up
 * one that is.
 */
static bool is_covered(const struct sev_cert *cert, size_t at)
{
	size_t sig0 = offsetof(struct sev_cert, signatures),
	       each = sizeof(struct sev_cert_signature);
	const struct sev_cert_signature *sig;
	size_t in_sig;

	if (at < sig0)
		return true;
	sig = &cert->signatures[(at - sig0) / each];
	in_sig = (at - sig0) % each;
	if (sig->usage == SEV_CERT_NONE)
		return false;
	return in_sig < 8 + (sig->usage == SEV_CERT_ASK ? 512 : 144);
}

static void each_changed_byte_is_found(void **state)
{
	struct platform *p = *state;
	struct sev_cert *certs[] = { &p->pdh, &p->certs[0], &p->certs[1], &p->certs[2] };
	struct sev_error error;
	int tried = 0;

	for (int c = 0; c < 4; c++) {
		for (size_t at = (size_t)c; at < SEV_CERT_BYTES; at += at < 24 ? 1 : 17) {
			if (!is_covered(certs[c], at))
				continue;
			((uint8_t *)certs[c])[at] ^= 0x20;
			assert_int_equal(verify_certs(p, &error), -EBADMSG);
			assert_true(error.message[0]);
			((uint8_t *)certs[c])[at] ^= 0x20;
			tried++;
		}
	}
	assert_true(tried > 300);
	assert_int_equal(verify_certs(p, &error), 0);
}

/* SEV certificates have no dates: an old one is one whose signer was replaced. */
static void outdated_certificates_are_refused(void **state)
{
	struct platform *p = *state;
	struct sev_cert old_pdh = p->pdh;
	struct sev_error error;

	firmware_new_pek(p->fw);
	reload(p);
	p->pdh = old_pdh;
	assert_int_equal(verify_certs(p, &error), -EBADMSG);
	assert_string_equal(error.message, "the PDH certificate is not signed by the PEK's key");
}

static void chips_are_not_mixed(void **state)
{
	struct platform *p = *state;
	struct firmware *other = firmware_up(2);
	struct sev_cert pdh, certs[3], cek = p->certs[2];
	struct sev_error error;

	firmware_certs(other, &pdh, certs);
	p->certs[2] = certs[2];
	assert_int_equal(verify_certs(p, &error), -EBADMSG);
	assert_string_equal(error.message, "the PEK certificate is not signed by the CEK's key");
	p->certs[2] = cek;
	p->certs[1] = certs[1];
	assert_int_equal(verify_certs(p, &error), -EBADMSG);
	assert_string_equal(error.message, "the PEK certificate is not signed by the OCA's key");
	firmware_down(other);
}

static void another_root_is_refused(void **state)
{
	struct platform *p = *state;
	struct sev_error error;

	for (unsigned int i = 0; sev_root_builtin_name(i); i++) {
		assert_int_equal(sev_root_builtin(&p->root, sev_root_builtin_name(i), NULL), 0);
		assert_int_equal(verify_certs(p, &error), -EBADMSG);
		assert_non_null(strstr(error.message, "root that was chosen"));
	}
	memset(&p->root, 0, sizeof(p->root));
	assert_int_equal(verify_certs(p, &error), -EBADMSG);
}

static void missing_links_are_named(void **state)
{
	struct platform *p = *state;
	struct sev_chain chain;
	struct sev_error error;

	sev_chain_init(&chain);
	assert_int_equal(sev_chain_verify(&chain, &p->root, &error), -ENOENT);
	for (int link = 0; link < SEV_CHAIN_LINKS; link++)
		assert_non_null(strstr(error.message, sev_chain_link_name(link)));
	assert_int_equal(sev_chain_add(&chain, &p->pdh, SEV_CERT_BYTES, "pdh", &error), 0);
	assert_int_equal(sev_chain_add(&chain, p->certs, SEV_CERT_CHAIN_BYTES, "chain", &error), 0);
	assert_int_equal(sev_chain_verify(&chain, &p->root, &error), -ENOENT);
	assert_null(strstr(error.message, "PEK"));
	assert_non_null(strstr(error.message, "ASK"));
}

static void certificates_come_in_any_order(void **state)
{
	struct platform *p = *state;
	uint8_t file[PSP_VENDOR_CERTS_BYTES + 4 * SEV_CERT_BYTES];
	struct sev_chain chain;

	/* ARK first, then ASK, CEK, OCA, PEK, PDH: nobody writes them so */
	memcpy(file, psp_vendor_ask_ark + PSP_VENDOR_CERT_BYTES, PSP_VENDOR_CERT_BYTES);
	memcpy(file + PSP_VENDOR_CERT_BYTES, psp_vendor_ask_ark, PSP_VENDOR_CERT_BYTES);
	for (int i = 0; i < 3; i++)
		memcpy(file + PSP_VENDOR_CERTS_BYTES + i * SEV_CERT_BYTES, &p->certs[2 - i],
		       SEV_CERT_BYTES);
	memcpy(file + PSP_VENDOR_CERTS_BYTES + 3 * SEV_CERT_BYTES, &p->pdh, SEV_CERT_BYTES);
	sev_chain_init(&chain);
	assert_int_equal(sev_chain_add(&chain, file, sizeof(file), "all", NULL), 0);
	assert_int_equal(sev_chain_verify(&chain, &p->root, NULL), 0);
}

static void truncated_files_are_refused(void **state)
{
	struct platform *p = *state;
	uint8_t *file;
	struct sev_chain chain;
	struct sev_error error;

	for (size_t len = 0; len < SEV_CERT_CHAIN_BYTES; len += len < 128 ? 1 : 97) {
		file = malloc(len + 1); /* exactly as long as the file, for AddressSanitizer */
		memcpy(file, p->certs, len);
		sev_chain_init(&chain);
		assert_int_equal(sev_chain_add(&chain, file, len, "short.cert", &error), -EBADMSG);
		assert_non_null(strstr(error.message, "short.cert"));
		free(file);
	}
	for (size_t len = 1; len < PSP_VENDOR_CERTS_BYTES; len += 41) {
		if (len % PSP_VENDOR_CERT_BYTES == 0)
			continue;
		file = malloc(len);
		memcpy(file, psp_vendor_ask_ark, len);
		sev_chain_init(&chain);
		assert_int_equal(sev_chain_add(&chain, file, len, "short.cert", &error), -EBADMSG);
		free(file);
	}
}

static void other_files_are_refused(void **state)
{
	struct sev_chain chain;
	struct sev_error error;
	char text[3000];

	memset(text, '\n', sizeof(text));
	strcpy(text, "-----BEGIN CERTIFICATE-----");
	sev_chain_init(&chain);
	assert_int_equal(sev_chain_add(&chain, text, sizeof(text), "x.pem", &error), -EBADMSG);
	assert_non_null(strstr(error.message,
			       "neither an SEV certificate (2084 bytes) nor AMD's ASK or ARK"));
}

static void a_later_certificate_replaces_an_earlier_one(void **state)
{
	struct platform *p = *state;
	struct sev_cert unsigned_cek = p->certs[2];
	struct sev_chain chain;
	struct sev_error error;

	/* as on hardware: the platform's own CEK is not signed by the ASK */
	memset(unsigned_cek.signatures, 0, sizeof(unsigned_cek.signatures));
	unsigned_cek.signatures[0].usage = SEV_CERT_NONE;
	sev_chain_init(&chain);
	sev_chain_add(&chain, &p->pdh, SEV_CERT_BYTES, "pdh", NULL);
	sev_chain_add(&chain, p->certs, 2 * SEV_CERT_BYTES, "pek and oca", NULL);
	sev_chain_add(&chain, &unsigned_cek, SEV_CERT_BYTES, "cek", NULL);
	sev_chain_add(&chain, psp_vendor_ask_ark, PSP_VENDOR_CERTS_BYTES, "ask and ark", NULL);
	assert_int_equal(sev_chain_verify(&chain, &p->root, &error), -EBADMSG);
	assert_string_equal(error.message,
			    "the CEK certificate carries no signature by the ASK's key");
	sev_chain_add(&chain, &p->certs[2], SEV_CERT_BYTES, "cek of the key server", NULL);
	assert_int_equal(sev_chain_verify(&chain, &p->root, &error), 0);
}

static void made_root(const struct made_chain *made, struct sev_root *root)
{
	assert_int_equal(
		sev_root_from_file_bytes(root, made->vendor, 2 * made->vendor_cert_bytes, NULL), 0);
}

/*
 * The first generation's certificates have RSA keys of 2048 bits and SHA-256, the later ones 4096
 * and SHA-384.
 */
static void both_generations_of_vendor_certificates(void **state)
{
	static const unsigned int sizes[] = { 2048, 4096 };

	for (int i = 0; i < 2; i++) {
		struct made_chain *made = make_chain(sizes[i]);
		struct sev_chain chain;
		struct sev_root root;
		struct sev_error error = { 0 };

		made_root(made, &root);
		load_made(made, &chain);
		assert_int_equal(sev_chain_verify(&chain, &root, &error), 0);
		for (size_t at = 0; at < made->vendor_cert_bytes * 2; at += 71) {
			made->vendor[at] ^= 8;
			sev_chain_init(&chain);
			sev_chain_add(&chain, made->certs, sizeof(made->certs), "certs", NULL);
			if (!sev_chain_add(&chain, made->vendor, 2 * made->vendor_cert_bytes, "v",
					   NULL))
				assert_int_not_equal(sev_chain_verify(&chain, &root, &error), 0);
			made->vendor[at] ^= 8;
		}
		unmake_chain(made);
	}
}

static void expect_refusal(const struct made_chain *made, const struct sev_root *root,
			   const char *message)
{
	struct sev_chain chain;
	struct sev_error error;

	load_made(made, &chain);
	assert_int_equal(sev_chain_verify(&chain, root, &error), -EBADMSG);
	assert_string_equal(error.message, message);
}

static void a_signer_of_the_wrong_rank_is_refused(void **state)
{
	struct made_chain *made = make_chain(2048);
	struct sev_root root;

	made_root(made, &root);
	/* the PEK signs itself twice */
	make_signature(made, SEV_CHAIN_PEK, 0, SEV_CHAIN_PEK);
	make_signature(made, SEV_CHAIN_PEK, 1, SEV_CHAIN_PEK);
	expect_refusal(made, &root, "the PEK certificate carries no signature by the CEK's key");
	make_signature(made, SEV_CHAIN_PEK, 0, SEV_CHAIN_CEK);
	expect_refusal(made, &root, "the PEK certificate carries no signature by the OCA's key");
	/* in the other order it is as good */
	make_signature(made, SEV_CHAIN_PEK, 0, SEV_CHAIN_OCA);
	make_signature(made, SEV_CHAIN_PEK, 1, SEV_CHAIN_CEK);
	make_signature(made, SEV_CHAIN_PDH, 0, SEV_CHAIN_OCA);
	expect_refusal(made, &root, "the PDH certificate carries no signature by the PEK's key");
	/* a name alone is no signature */
	made->certs[SEV_CHAIN_PDH].signatures[0].usage = SEV_CERT_PEK;
	expect_refusal(made, &root, "the PDH certificate is not signed by the PEK's key");
	make_signature(made, SEV_CHAIN_PDH, 1, SEV_CHAIN_PEK);
	made->certs[SEV_CHAIN_PDH].signatures[0].usage = SEV_CERT_NONE;
	made->certs[SEV_CHAIN_CEK].signatures[0].algo = SEV_ALGO_RSA_SHA384;
	expect_refusal(made, &root,
		       "the CEK certificate names the wrong algorithm for the ASK's key");
	unmake_chain(made);
}

static void an_ask_of_another_vendor_is_refused(void **state)
{
	struct made_chain *made = make_chain(2048), *evil = make_chain(2048);
	struct sev_root root;

	made_root(made, &root);
	/* evil's ASK signs evil's CEK: everything below it is sound, and even the key ids match */
	memcpy(made->vendor, evil->vendor, made->vendor_cert_bytes);
	memcpy(made->certs, evil->certs, sizeof(made->certs));
	expect_refusal(made, &root, "the ASK certificate is not signed by the ARK's key");
	memcpy(made->vendor, evil->vendor, sizeof(made->vendor));
	expect_refusal(
		made, &root,
		"the ARK certificate does not have the key of the root that was chosen: another "
		"generation of processors, another vendor, or an emulated host");
	unmake_chain(made);
	unmake_chain(evil);
}

static void built_in_roots_are_amds(void **state)
{
	static const struct {
		const char *name, *modulus_begins;
	} roots[] = { { "milan", "d0b779d9124e75e88996a2b625db1598" } };
	struct sev_root a, b;
	char text[33];

	for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++) {
		uint8_t first[16];

		assert_int_equal(sev_root_builtin(&a, roots[i].name, NULL), 0);
		assert_int_equal(a.key_bytes, 512);
		assert_int_equal(a.exponent, 65537);
		for (size_t n = 0; n < 16; n++)
			first[n] = a.modulus[511 - n];
		assert_string_equal(util_hex_encode(first, 16, text), roots[i].modulus_begins);
	}
	for (unsigned int i = 0; sev_root_builtin_name(i); i++) {
		for (unsigned int j = 0; j < i; j++) {
			assert_int_equal(sev_root_builtin(&a, sev_root_builtin_name(i), NULL), 0);
			assert_int_equal(sev_root_builtin(&b, sev_root_builtin_name(j), NULL), 0);
			assert_memory_not_equal(a.modulus, b.modulus, 512);
		}
	}
	assert_int_equal(sev_root_builtin(&a, "MILAN", NULL), 0);
	assert_int_equal(sev_root_builtin(&a, "naples", NULL), -ENOENT);
}

static void roots_from_files(void **state)
{
	struct sev_root root;
	struct sev_error error;
	char pem[8192];
	char *at;

	assert_int_equal(sev_root_from_file_bytes(&root, sev_root_pem_genoa,
						  strlen(sev_root_pem_genoa), &error),
			 0);
	/* a changed self-signature: a base64 digit near the end */
	strcpy(pem, sev_root_pem_genoa);
	at = strstr(pem, "-----END") - 20;
	*at = *at == 'A' ? 'B' : 'A';
	assert_int_equal(sev_root_from_file_bytes(&root, pem, strlen(pem), &error), -EBADMSG);
	assert_int_equal(
		sev_root_from_file_bytes(&root, psp_vendor_ask_ark, PSP_VENDOR_CERT_BYTES, &error),
		-EBADMSG);
	assert_non_null(strstr(error.message, "no ARK"));
	assert_int_equal(sev_root_from_file_bytes(&root, psp_vendor_ask_ark + PSP_VENDOR_CERT_BYTES,
						  PSP_VENDOR_CERT_BYTES, &error),
			 0);
	assert_int_equal(sev_root_from_file_bytes(&root, "", 0, &error), -EBADMSG);
	assert_int_equal(sev_root_from_file_bytes(&root, "-----BEGIN", 10, &error), -EBADMSG);
}

#define test(f) cmocka_unit_test_setup_teardown(f, platform_up, platform_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(the_firmwares_chain_holds),
		test(each_changed_byte_is_found),
		test(outdated_certificates_are_refused),
		test(chips_are_not_mixed),
		test(another_root_is_refused),
		test(missing_links_are_named),
		test(certificates_come_in_any_order),
		test(truncated_files_are_refused),
		cmocka_unit_test(other_files_are_refused),
		test(a_later_certificate_replaces_an_earlier_one),
		cmocka_unit_test(both_generations_of_vendor_certificates),
		cmocka_unit_test(a_signer_of_the_wrong_rank_is_refused),
		cmocka_unit_test(an_ask_of_another_vendor_is_refused),
		cmocka_unit_test(built_in_roots_are_amds),
		cmocka_unit_test(roots_from_files),
	};

	return cmocka_run_group_tests_name("sev_chain", tests, NULL, NULL);
}
