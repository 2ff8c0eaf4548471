/* SPDX-License-Identifier: Apache-2.0 */
/* SEND and RECEIVE between two chips, what the policy refuses, and every tampering on the way. */
#include <string.h>

#include <openssl/rand.h>

#include "tests/unit/cmocka_all.h"
#include "tests/unit/psp_machine.h"
#include "tests/unit/psp_openssl.h"

#define PAGES 3
#define BYTES (PAGES * 4096)

/* A guest that runs on the source, and a target. */
struct pair {
	struct machine src, dst;
	struct target_certs target;
	struct sev_cert src_pdh;
	uint8_t plain[BYTES];
	uint64_t image;
	uint32_t handle;
	uint32_t policy;
};

static void pair_up(struct pair *p, uint32_t policy)
{
	struct cert_chain chain;

	machine_up(&p->src, 1);
	machine_up(&p->dst, 2);
	machine_init(&p->src);
	machine_init(&p->dst);
	pdh_export(&p->src, &p->src_pdh, &chain);
	target_certs(&p->dst, &p->target);
	RAND_bytes(p->plain, sizeof(p->plain));
	p->image = put(&p->src, p->plain, sizeof(p->plain));
	p->policy = policy;
	p->handle = launch(&p->src, policy, 5, p->image, sizeof(p->plain));
}

static void pair_down(struct pair *p)
{
	machine_down(&p->src);
	machine_down(&p->dst);
}

static void test_migration(void **state)
{
	const uint32_t policy = POLICY_NODBG | POLICY_NOKS | POLICY_SEV;
	static struct pair p;
	uint64_t there;
	struct session session;
	uint8_t seen[BYTES];
	uint32_t handle;

	pair_up(&p, policy);
	there = put(&p.dst, NULL, BYTES) + 0x8000; /* another place, so another tweak */
	p.dst.next += 0x8000;
	assert_int_equal(send_start(&p.src, p.handle, &p.target, &session), PSP_OK);
	assert_int_equal(guest_status(&p.src, p.handle).state, GUEST_SUPDATE);
	assert_int_equal(receive_start(&p.dst, policy, &p.src_pdh, &session, &handle), PSP_OK);
	assert_int_equal(guest_status(&p.dst, handle).state, GUEST_RUPDATE);
	activate(&p.dst, handle, 2);
	for (uint32_t i = 0; i < BYTES; i += 4096) {
		struct packet_header hdr;
		uint8_t payload[4096];

		assert_int_equal(send_data(&p.src, p.handle, p.image + i, 4096, &hdr, payload),
				 PSP_OK);
		assert_int_equal(hdr.flags, 0);
		assert_memory_not_equal(payload, p.plain + i, 16);
		assert_int_equal(receive_data(&p.dst, handle, there + i, 4096, &hdr, payload),
				 PSP_OK);
	}
	assert_int_equal(run_handle(&p.src, PSP_CMD_SEND_FINISH, p.handle), PSP_OK);
	assert_int_equal(guest_status(&p.src, p.handle).state, GUEST_SENT);
	assert_int_equal(run_handle(&p.dst, PSP_CMD_RECEIVE_FINISH, handle), PSP_OK);
	assert_int_equal(guest_status(&p.dst, handle).state, GUEST_RUNNING);
	assert_int_equal(guest_status(&p.dst, handle).policy, policy);
	guest_sees(&p.dst, 2, there, seen, sizeof(seen));
	assert_memory_equal(seen, p.plain, sizeof(seen));
	release(&p.src, p.handle);

	/* and back again, from the platform that received it */
	target_certs(&p.src, &p.target);
	assert_int_equal(send_start(&p.dst, handle, &p.target, &session), PSP_OK);
	pair_down(&p);
}

/*
 * Session and packet as OpenSSL reads them with the target's side of the ECDH: an owner's key pair
 * instead of a target.
 */
static void test_known_answers(void **state)
{
	static struct pair p;
	EVP_PKEY *pdh_key = ossl_p384_generate(), *pek_key = ossl_p384_generate();
	EVP_PKEY *oca_key = ossl_p384_generate(), *src_pdh;
	struct target_certs *t = &p.target;
	uint8_t z[48], kek[16], kik[16], mac[32], keys[32], payload[64];
	struct packet_header hdr;
	struct session s;

	pair_up(&p, 0);
	ossl_cert_make(&t->chain.oca, USAGE_OCA, ALGO_ECDSA_SHA256, oca_key, USAGE_OCA, oca_key);
	ossl_cert_make(&t->chain.pek, USAGE_PEK, ALGO_ECDSA_SHA256, pek_key, USAGE_OCA, oca_key);
	ossl_cert_make(&t->pdh, USAGE_PDH, ALGO_ECDH_SHA256, pdh_key, USAGE_PEK, pek_key);
	assert_int_equal(send_start(&p.src, p.handle, t, &s), PSP_OK);

	src_pdh = ossl_from_ec_pubkey(&p.src_pdh.pubkey);
	ossl_ecdh(pdh_key, src_pdh, z);
	ossl_wrap_keys(z, s.nonce, kek, kik);
	ossl_hmac(kik, 16, s.wrapped, 32, mac);
	assert_memory_equal(mac, s.wrap_mac, 32);
	memcpy(keys, s.wrapped, 32);
	ossl_ctr(kek, s.wrap_iv, keys, 32);
	ossl_hmac(keys + 16, 16, &p.policy, 4, mac);
	assert_memory_equal(mac, s.policy_mac, 32);

	assert_int_equal(send_data(&p.src, p.handle, p.image + 16, 64, &hdr, payload), PSP_OK);
	ossl_packet_mac(keys + 16, 2, 0, hdr.iv, 64, 64, payload, NULL, 0, mac);
	assert_memory_equal(mac, hdr.mac, 32);
	ossl_ctr(keys, hdr.iv, payload, 64);
	assert_memory_equal(payload, p.plain + 16, 64);
	EVP_PKEY_free(pdh_key);
	EVP_PKEY_free(pek_key);
	EVP_PKEY_free(oca_key);
	EVP_PKEY_free(src_pdh);
	pair_down(&p);
}

static void test_packet_tampered(void **state)
{
	static struct pair p;
	struct packet_header hdr, second_hdr, bad;
	uint8_t payload[64], second[64], before[64];
	struct session session;
	uint32_t handle;
	uint64_t there;

	pair_up(&p, 0);
	there = put(&p.dst, NULL, 4096);
	assert_int_equal(send_start(&p.src, p.handle, &p.target, &session), PSP_OK);
	assert_int_equal(receive_start(&p.dst, 0, &p.src_pdh, &session, &handle), PSP_OK);
	assert_int_equal(send_data(&p.src, p.handle, p.image, 64, &hdr, payload), PSP_OK);
	assert_int_equal(send_data(&p.src, p.handle, p.image + 64, 64, &second_hdr, second),
			 PSP_OK);
	assert_int_equal(receive_data(&p.dst, handle, there, 64, &hdr, payload), PSP_INACTIVE);
	activate(&p.dst, handle, 1);
	memcpy(before, at(&p.dst, there), sizeof(before));

	for (size_t bit = 0; bit < 8 * sizeof(hdr); bit++) {
		bad = hdr;
		((uint8_t *)&bad)[bit / 8] ^= 1 << bit % 8;
		assert_int_equal(receive_data(&p.dst, handle, there, 64, &bad, payload),
				 PSP_BAD_MEASUREMENT);
		p.dst.next -= 2 * 4096;
	}
	for (size_t i = 0; i < sizeof(payload); i++) {
		payload[i] ^= 0x80;
		assert_int_equal(receive_data(&p.dst, handle, there, 64, &hdr, payload),
				 PSP_BAD_MEASUREMENT);
		payload[i] ^= 0x80;
		p.dst.next -= 2 * 4096;
	}
	assert_int_equal(receive_data(&p.dst, handle, there, 48, &hdr, payload),
			 PSP_BAD_MEASUREMENT);
	assert_int_equal(receive_data(&p.dst, handle, there, 64, &second_hdr, payload),
			 PSP_BAD_MEASUREMENT);
	assert_int_equal(receive_data(&p.dst, handle, there, 64, &hdr, second),
			 PSP_BAD_MEASUREMENT);
	assert_memory_equal(at(&p.dst, there), before, sizeof(before));
	assert_int_equal(receive_data(&p.dst, handle, there + 8, 64, &hdr, payload),
			 PSP_INVALID_ADDRESS);
	assert_int_equal(receive_data(&p.dst, handle, NOT_RAM, 64, &hdr, payload),
			 PSP_INVALID_ADDRESS);
	assert_int_equal(receive_data(&p.dst, handle, there, 60, &hdr, payload), PSP_INVALID_LEN);
	assert_int_equal(receive_data(&p.dst, handle, there, 64, &hdr, payload), PSP_OK);
	guest_sees(&p.dst, 1, there, before, 64);
	assert_memory_equal(before, p.plain, 64);
	pair_down(&p);
}

static void test_session_tampered(void **state)
{
	static struct pair p;
	struct session session, bad;
	struct sev_cert bad_pdh;
	uint32_t handle;

	pair_up(&p, POLICY_NODBG);
	assert_int_equal(send_start(&p.src, p.handle, &p.target, &session), PSP_OK);
	for (size_t i = 0; i < sizeof(session); i += 3) {
		bad = session;
		((uint8_t *)&bad)[i] ^= 2;
		assert_int_equal(receive_start(&p.dst, POLICY_NODBG, &p.src_pdh, &bad, &handle),
				 PSP_BAD_MEASUREMENT);
		p.dst.next -= 2 * 4096;
	}
	/* a host that would rather have a guest that may be debugged */
	assert_int_equal(receive_start(&p.dst, 0, &p.src_pdh, &session, &handle),
			 PSP_BAD_MEASUREMENT);
	/* another sender, and no certificate at all */
	assert_int_equal(receive_start(&p.dst, POLICY_NODBG, &p.target.pdh, &session, &handle),
			 PSP_BAD_MEASUREMENT);
	memset(&bad_pdh, 0xff, sizeof(bad_pdh));
	assert_int_equal(receive_start(&p.dst, POLICY_NODBG, &bad_pdh, &session, &handle),
			 PSP_INVALID_CERTIFICATE);
	assert_int_equal(receive_start(&p.dst, POLICY_ES, &p.src_pdh, &session, &handle),
			 PSP_UNSUPPORTED);
	assert_int_equal(receive_start(&p.dst, 0xffff0000u, &p.src_pdh, &session, &handle),
			 PSP_POLICY_FAILURE);
	/* not the chip it was wrapped for */
	assert_int_equal(receive_start(&p.src, POLICY_NODBG, &p.src_pdh, &session, &handle),
			 PSP_BAD_MEASUREMENT);
	assert_int_equal(platform_status(&p.dst).guest_count, 0);
	assert_int_equal(platform_status(&p.dst).state, PLATFORM_INIT);
	assert_int_equal(receive_start(&p.dst, POLICY_NODBG, &p.src_pdh, &session, &handle),
			 PSP_OK);
	pair_down(&p);
}

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
	ALTER(bad.chain.oca = foreign.chain.oca, PSP_BAD_SIGNATURE);
	ALTER(bad.chain.cek = foreign.chain.cek, PSP_BAD_SIGNATURE);
	ALTER(bad.chain.pek.sig[0].ec.s[0] ^= 1, PSP_BAD_SIGNATURE);
	ALTER(bad.chain.pek.sig[1].ec.s[0] ^= 1, PSP_BAD_SIGNATURE);
	ALTER(bad.chain.oca.sig[0].ec.s[0] ^= 1, PSP_BAD_SIGNATURE);
	ALTER(bad.chain.cek.sig[0].rsa[9] ^= 1, PSP_BAD_SIGNATURE);
	ALTER(bad.chain.cek.sig[0].algo = ALGO_RSA_SHA256, PSP_BAD_SIGNATURE);
	ALTER(bad.chain.pek.pubkey_usage = USAGE_OCA, PSP_INVALID_CERTIFICATE);
	ALTER(bad.chain.cek.pubkey_usage = USAGE_PEK, PSP_INVALID_CERTIFICATE);
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
	assert_int_equal(send_start(&p.src, p.handle, &p.target, &session), PSP_OK);
	pair_down(&p);
}

/* Without the policy's SEV bit the chip need not be genuine. */
static void test_no_sev_bit(void **state)
{
	static struct pair p;
	struct session session;

	pair_up(&p, 0);
	memset(&p.target.vendor, 0, sizeof(p.target.vendor));
	memset(&p.target.chain.cek, 0, sizeof(p.target.chain.cek));
	assert_int_equal(send_start(&p.src, p.handle, &p.target, &session), PSP_OK);
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
static void own(struct machine *m, EVP_PKEY *oca_key)
{
	struct sev_cert pek, oca;
	struct cmd_buffer csr = { .addr = put(m, NULL, 4096), .len = 4096 };
	struct cmd_pek_cert_import cmd = { .pek_len = sizeof(pek), .oca_len = sizeof(oca) };

	assert_int_equal(RUN(m, PSP_CMD_PEK_CSR, &csr), PSP_OK);
	memcpy(&pek, at(m, csr.addr), sizeof(pek));
	ossl_cert_sign(&pek, 0, USAGE_OCA, oca_key);
	ossl_cert_make(&oca, USAGE_OCA, ALGO_ECDSA_SHA256, oca_key, USAGE_OCA, oca_key);
	cmd.pek_addr = put(m, &pek, sizeof(pek));
	cmd.oca_addr = put(m, &oca, sizeof(oca));
	assert_int_equal(RUN(m, PSP_CMD_PEK_CERT_IMPORT, &cmd), PSP_OK);
}

static void test_domain(void **state)
{
	EVP_PKEY *oca = ossl_p384_generate();
	static struct pair p;
	struct session session;

	pair_up(&p, POLICY_DOMAIN | POLICY_SEV);
	send_refused(&p, &p.target, PSP_POLICY_FAILURE);
	own(&p.dst, oca);
	target_certs(&p.dst, &p.target);
	send_refused(&p, &p.target, PSP_POLICY_FAILURE);
	release(&p.src, p.handle);
	own(&p.src, oca);
	wbinvd(&p.src);
	assert_int_equal(run(&p.src, PSP_CMD_DF_FLUSH, NULL, 0), PSP_OK);
	p.handle = launch(&p.src, p.policy, 5, p.image, BYTES);
	assert_int_equal(send_start(&p.src, p.handle, &p.target, &session), PSP_OK);
	EVP_PKEY_free(oca);
	pair_down(&p);
}

static void test_target_too_old(void **state)
{
	EVP_PKEY *pdh_key = ossl_p384_generate(), *pek_key = ossl_p384_generate();
	static struct pair p;
	struct target_certs *t = &p.target;
	struct session session;

	pair_up(&p, (uint32_t)PSP_API_MINOR << 24);
	for (int newer = -1; newer <= 1; newer++) {
		ossl_cert_make(&t->chain.oca, USAGE_OCA, ALGO_ECDSA_SHA256, pek_key, USAGE_OCA,
			       pek_key);
		ossl_cert_make(&t->chain.pek, USAGE_PEK, ALGO_ECDSA_SHA256, pek_key, USAGE_OCA,
			       pek_key);
		t->chain.pek.api_minor = PSP_API_MINOR + newer;
		ossl_cert_sign(&t->chain.pek, 0, USAGE_OCA, pek_key);
		ossl_cert_make(&t->pdh, USAGE_PDH, ALGO_ECDH_SHA256, pdh_key, USAGE_PEK, pek_key);
		if (newer < 0) {
			send_refused(&p, t, PSP_POLICY_FAILURE);
			continue;
		}
		assert_int_equal(send_start(&p.src, p.handle, t, &session), PSP_OK);
		assert_int_equal(run_handle(&p.src, PSP_CMD_SEND_CANCEL, p.handle), PSP_OK);
	}
	EVP_PKEY_free(pdh_key);
	EVP_PKEY_free(pek_key);
	pair_down(&p);
}

static void test_cancel(void **state)
{
	static struct pair p;
	struct session session, again;
	struct packet_header hdr;
	uint8_t payload[16];

	pair_up(&p, 0);
	assert_int_equal(send_start(&p.src, p.handle, &p.target, &session), PSP_OK);
	assert_int_equal(run_handle(&p.src, PSP_CMD_SEND_CANCEL, p.handle), PSP_OK);
	assert_int_equal(guest_status(&p.src, p.handle).state, GUEST_RUNNING);
	assert_int_equal(send_data(&p.src, p.handle, p.image, 16, &hdr, payload),
			 PSP_INVALID_GUEST_STATE);
	assert_int_equal(send_start(&p.src, p.handle, &p.target, &again), PSP_OK);
	assert_memory_not_equal(session.wrapped, again.wrapped, sizeof(session.wrapped));
	pair_down(&p);
}

/* What KVM's length queries send, and what they must get back. */
static void test_send_lengths(void **state)
{
	static struct pair p;
	struct cmd_send_start start = { 0 };
	struct cmd_packet cmd = { 0 };
	struct session session;
	struct snapshot *before;

	pair_up(&p, POLICY_NODBG);
	before = snapshot_take(&p.src);
	start.handle = p.handle;
	assert_int_equal(RUN(&p.src, PSP_CMD_SEND_START, &start), PSP_INVALID_LEN);
	assert_int_equal(start.session_len, 128);
	assert_int_equal(start.policy, POLICY_NODBG);
	snapshot_check(before, &p.src);
	start.session_addr = put(&p.src, NULL, 128);
	assert_int_equal(RUN(&p.src, PSP_CMD_SEND_START, &start), PSP_INVALID_LEN);

	assert_int_equal(send_start(&p.src, p.handle, &p.target, &session), PSP_OK);
	before = snapshot_take(&p.src);
	cmd.handle = p.handle;
	assert_int_equal(RUN(&p.src, PSP_CMD_SEND_UPDATE_DATA, &cmd), PSP_INVALID_LEN);
	assert_int_equal(cmd.hdr_len, 52);
	assert_int_equal(cmd.trans_len, 4096);
	cmd = (struct cmd_packet){ p.handle, 0, p.image, 52, 0, p.image, 64, 0, p.image, 48 };
	assert_int_equal(RUN(&p.src, PSP_CMD_SEND_UPDATE_DATA, &cmd), PSP_INVALID_LEN);
	assert_int_equal(cmd.trans_len, 64);
	snapshot_check(before, &p.src);
	assert_int_equal(run_handle(&p.src, PSP_CMD_DEACTIVATE, p.handle), PSP_OK);
	assert_int_equal(RUN(&p.src, PSP_CMD_SEND_UPDATE_DATA, &cmd), PSP_INACTIVE);
	pair_down(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_migration),	cmocka_unit_test(test_known_answers),
		cmocka_unit_test(test_packet_tampered), cmocka_unit_test(test_session_tampered),
		cmocka_unit_test(test_target_chain),	cmocka_unit_test(test_no_sev_bit),
		cmocka_unit_test(test_nosend),		cmocka_unit_test(test_domain),
		cmocka_unit_test(test_target_too_old),	cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_send_lengths),
	};

	return cmocka_run_group_tests_name("psp_transport", tests, NULL, NULL);
}
