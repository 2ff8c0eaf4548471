/* SPDX-License-Identifier: Apache-2.0 */
/* SEND and RECEIVE between two chips, what the policy refuses, and every tampering on the way. */
#include <string.h>

#include "tests/unit/cmocka_all.h"
#include "tests/unit/psp_machine.h"
#include "tests/unit/psp_openssl.h"

/* What the platform says of a guest; all but the signature is looked at. */
static struct attestation_report report_of(struct machine *m, uint32_t handle)
{
	struct attestation_report report;
	struct cmd_attestation_report cmd = {
		.handle = handle,
		.addr = put(m, NULL, sizeof(report)),
		.len = sizeof(report),
	};

	assert_int_equal(RUN(m, PSP_CMD_ATTESTATION_REPORT, &cmd), PSP_OK);
	memcpy(&report, at(m, cmd.addr), sizeof(report));
	return report;
}

static void test_migration(void **state)
{
	static const uint8_t zeros[32];
	const uint32_t policy = POLICY_NODBG | POLICY_NOKS | POLICY_SEV;
	static struct pair p;
	uint64_t there;
	struct session session;
	uint8_t seen[PAIR_BYTES];
	uint32_t handle;

	pair_up(&p, policy);
	there = put(&p.dst, NULL, PAIR_BYTES) + 0x8000; /* another place, so another tweak */
	p.dst.next += 0x8000;
	assert_int_equal(send_start(&p.src, p.handle, &p.target, &session), PSP_OK);
	assert_int_equal(guest_status(&p.src, p.handle).state, GUEST_SUPDATE);
	assert_int_equal(receive_start(&p.dst, policy, &p.src_pdh, &session, &handle), PSP_OK);
	assert_int_equal(guest_status(&p.dst, handle).state, GUEST_RUPDATE);
	activate(&p.dst, handle, 2);
	for (uint32_t i = 0; i < PAIR_BYTES; i += 4096) {
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
	assert_memory_not_equal(report_of(&p.src, p.handle).launch_digest, zeros, sizeof(zeros));
	assert_int_equal(run_handle(&p.dst, PSP_CMD_RECEIVE_FINISH, handle), PSP_OK);
	assert_int_equal(guest_status(&p.dst, handle).state, GUEST_RUNNING);
	assert_int_equal(guest_status(&p.dst, handle).policy, policy);
	/* the digest does not travel */
	assert_memory_equal(report_of(&p.dst, handle).launch_digest, zeros, sizeof(zeros));
	assert_int_equal(report_of(&p.dst, handle).policy, policy);
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
		/* the first bit says that the payload is compressed */
		assert_int_equal(receive_data(&p.dst, handle, there, 64, &bad, payload),
				 bit ? PSP_BAD_MEASUREMENT : PSP_UNSUPPORTED);
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

/* The target remembers nothing: the same session starts a second guest, with the same keys. */
static void test_session_again(void **state)
{
	static struct pair p;
	struct packet_header hdr;
	struct session session;
	uint8_t payload[64], seen[64];
	uint32_t handles[2];
	uint64_t there;

	pair_up(&p, POLICY_NODBG);
	there = put(&p.dst, NULL, 4096);
	assert_int_equal(send_start(&p.src, p.handle, &p.target, &session), PSP_OK);
	assert_int_equal(send_data(&p.src, p.handle, p.image, 64, &hdr, payload), PSP_OK);
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(
			receive_start(&p.dst, POLICY_NODBG, &p.src_pdh, &session, &handles[i]),
			PSP_OK);
		activate(&p.dst, handles[i], 1 + i);
		assert_int_equal(receive_data(&p.dst, handles[i], there, 64, &hdr, payload),
				 PSP_OK);
		guest_sees(&p.dst, 1 + i, there, seen, sizeof(seen));
		assert_memory_equal(seen, p.plain, sizeof(seen));
	}
	/* each has a key of its own */
	guest_sees(&p.dst, 1, there, seen, sizeof(seen));
	assert_memory_not_equal(seen, p.plain, sizeof(seen));
	/* after the first one has run, too */
	assert_int_equal(run_handle(&p.dst, PSP_CMD_RECEIVE_FINISH, handles[0]), PSP_OK);
	assert_int_equal(receive_start(&p.dst, POLICY_NODBG, &p.src_pdh, &session, &handles[1]),
			 PSP_OK);
	pair_down(&p);
}

/* A session outlives the target's power cycle, and ends with its PDH. */
static void test_pdh_lives(void **state)
{
	static struct pair p;
	struct session session;
	uint32_t handle;

	pair_up(&p, POLICY_NODBG);
	assert_int_equal(send_start(&p.src, p.handle, &p.target, &session), PSP_OK);
	machine_power_cycle(&p.dst);
	machine_init(&p.dst);
	assert_int_equal(receive_start(&p.dst, POLICY_NODBG, &p.src_pdh, &session, &handle),
			 PSP_OK);
	/* PDH_GEN with a guest there: WORKING */
	assert_int_equal(run(&p.dst, PSP_CMD_PDH_GEN, NULL, 0), PSP_OK);
	assert_int_equal(receive_start(&p.dst, POLICY_NODBG, &p.src_pdh, &session, &handle),
			 PSP_BAD_MEASUREMENT);
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
		cmocka_unit_test(test_session_again),	cmocka_unit_test(test_pdh_lives),
		cmocka_unit_test(test_cancel),		cmocka_unit_test(test_send_lengths),
	};

	return cmocka_run_group_tests_name("psp_transport", tests, NULL, NULL);
}
