/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Launching: the owner's session, measurement, secrets, the attestation report, debugging,
 * policies. OpenSSL plays the owner.
 */
#include <string.h>

#include <openssl/rand.h>

#include "tests/unit/cmocka_all.h"
#include "tests/unit/psp_machine.h"
#include "tests/unit/psp_openssl.h"

#define IMAGE_BYTES (3 * 4096 + 256)

static int up(void **state)
{
	static struct machine m;

	machine_up(&m, 1);
	machine_init(&m);
	*state = &m;
	return 0;
}

static int up_in_place(void **state)
{
	static struct machine m;

	memset(&m, 0, sizeof(m));
	machine_up(&m, 1);
	m.encrypt_in_place = true;
	machine_power_cycle(&m);
	machine_init(&m);
	*state = &m;
	return 0;
}

static int down(void **state)
{
	machine_down(*state);
	return 0;
}

static uint64_t put_image(struct machine *m, uint8_t plain[IMAGE_BYTES])
{
	RAND_bytes(plain, IMAGE_BYTES);
	return put(m, plain, IMAGE_BYTES);
}

static void owner_for(struct machine *m, struct owner *owner, uint32_t policy)
{
	struct cert_chain chain;
	struct sev_cert pdh;

	pdh_export(m, &pdh, &chain);
	owner_create(owner, &pdh, policy);
}

static struct cmd_start start_cmd(struct machine *m, const struct owner *owner, uint32_t policy)
{
	return (struct cmd_start){
		.policy = policy,
		.dh_cert_addr = put(m, &owner->cert, sizeof(owner->cert)),
		.dh_cert_len = sizeof(owner->cert),
		.session_addr = put(m, &owner->session, sizeof(owner->session)),
		.session_len = sizeof(owner->session),
	};
}

static void expected_measurement(const uint8_t tik[16], uint32_t policy, const uint8_t ld[32],
				 const uint8_t mnonce[16], uint8_t mac[32])
{
	uint8_t msg[4 + 4 + 32 + 16] = { 4, PSP_API_MAJOR, PSP_API_MINOR, PSP_BUILD };

	memcpy(msg + 4, &policy, 4);
	memcpy(msg + 8, ld, 32);
	memcpy(msg + 40, mnonce, 16);
	ossl_hmac(tik, 16, msg, sizeof(msg), mac);
}

static uint32_t inject(struct machine *m, uint32_t handle, const struct packet_header *hdr,
		       const void *payload, uint64_t gpa, uint32_t len)
{
	struct cmd_packet cmd = {
		.handle = handle,
		.hdr_addr = put(m, hdr, sizeof(*hdr)),
		.hdr_len = sizeof(*hdr),
		.guest_addr = gpa,
		.guest_len = len,
		.trans_addr = put(m, payload, len),
		.trans_len = len,
	};

	return RUN(m, PSP_CMD_LAUNCH_UPDATE_SECRET, &cmd);
}

/*
 * The whole of a launch by an owner: only the owner can know that the measurement is right, and
 * only the guest sees the secret.
 */
static void test_owner_launch(void **state)
{
	struct machine *m = *state;
	const uint32_t policy = POLICY_NODBG | POLICY_NOKS | POLICY_SEV;
	uint8_t plain[IMAGE_BYTES], ld[32], mac[32], seen[IMAGE_BYTES], secret[64], payload[64];
	uint64_t image = put_image(m, plain), page = put(m, NULL, 4096);
	struct packet_header hdr = { 0 };
	struct launch_measure measure;
	struct cmd_start start;
	struct owner owner;

	owner_for(m, &owner, policy);
	start = start_cmd(m, &owner, policy);
	assert_int_equal(RUN(m, PSP_CMD_LAUNCH_START, &start), PSP_OK);
	assert_int_equal(platform_status(m).state, PLATFORM_WORKING);
	activate(m, start.handle, 3);
	launch_update(m, start.handle, image, 4096 + 128);
	launch_update(m, start.handle, image + 4096 + 128, IMAGE_BYTES - 4096 - 128);
	assert_memory_not_equal(at(m, image), plain, 16);
	guest_sees(m, 3, image, seen, sizeof(seen));
	assert_memory_equal(seen, plain, sizeof(plain));

	launch_measure(m, start.handle, &measure);
	ossl_sha256(plain, sizeof(plain), ld);
	expected_measurement(owner.tik, policy, ld, measure.mnonce, mac);
	assert_memory_equal(measure.mac, mac, sizeof(mac));

	RAND_bytes(secret, sizeof(secret));
	RAND_bytes(hdr.iv, sizeof(hdr.iv));
	memcpy(payload, secret, sizeof(secret));
	ossl_ctr(owner.tek, hdr.iv, payload, sizeof(payload));
	ossl_packet_mac(owner.tik, 1, 0, hdr.iv, 64, 64, payload, measure.mac, 32, hdr.mac);
	assert_int_equal(inject(m, start.handle, &hdr, payload, page + 128, 64), PSP_OK);
	guest_sees(m, 3, page + 128, seen, 64);
	assert_memory_equal(seen, secret, 64);
	assert_memory_not_equal(at(m, page + 128), secret, 64);

	assert_int_equal(run_handle(m, PSP_CMD_LAUNCH_FINISH, start.handle), PSP_OK);
	assert_int_equal(guest_status(m, start.handle).state, GUEST_RUNNING);
	assert_int_equal(guest_status(m, start.handle).policy, policy);
	assert_int_equal(guest_status(m, start.handle).asid, 3);
	release(m, start.handle);
	assert_int_equal(platform_status(m).state, PLATFORM_INIT);
	owner_destroy(&owner);
}

static void test_secret_refused(void **state)
{
	struct machine *m = *state;
	struct packet_header good = { 0 }, hdr;
	static uint8_t payload[PACKET_MAX_BYTES + 16] = { 1, 2, 3 };
	uint8_t zero[32] = { 0 };
	struct launch_measure measure;
	uint64_t page = put(m, NULL, 4096);
	struct cmd_start start;
	struct owner owner;

	owner_for(m, &owner, 0);
	start = start_cmd(m, &owner, 0);
	assert_int_equal(RUN(m, PSP_CMD_LAUNCH_START, &start), PSP_OK);
	launch_measure(m, start.handle, &measure);
	ossl_packet_mac(owner.tik, 1, 0, good.iv, 32, 32, payload, measure.mac, 32, good.mac);
	assert_int_equal(inject(m, start.handle, &good, payload, page, 32), PSP_INACTIVE);
	activate(m, start.handle, 1);

	for (size_t bit = 0; bit < 8 * sizeof(hdr); bit += 7) {
		hdr = good;
		((uint8_t *)&hdr)[bit / 8] ^= 1 << bit % 8;
		assert_int_equal(inject(m, start.handle, &hdr, payload, page, 32),
				 PSP_BAD_MEASUREMENT);
		m->next -= 2 * 4096;
	}
	payload[31] ^= 1;
	assert_int_equal(inject(m, start.handle, &good, payload, page, 32), PSP_BAD_MEASUREMENT);
	payload[31] ^= 1;
	assert_int_equal(inject(m, start.handle, &good, payload, page, 16), PSP_BAD_MEASUREMENT);
	/* the tag of a packet between platforms, and a packet for another measurement */
	hdr = good;
	ossl_packet_mac(owner.tik, 2, 0, hdr.iv, 32, 32, payload, measure.mac, 32, hdr.mac);
	assert_int_equal(inject(m, start.handle, &hdr, payload, page, 32), PSP_BAD_MEASUREMENT);
	measure.mac[0] ^= 1;
	ossl_packet_mac(owner.tik, 1, 0, hdr.iv, 32, 32, payload, measure.mac, 32, hdr.mac);
	assert_int_equal(inject(m, start.handle, &hdr, payload, page, 32), PSP_BAD_MEASUREMENT);
	measure.mac[0] ^= 1;
	/* compression, authentic but not supported */
	hdr.flags = PACKET_COMPRESSED;
	ossl_packet_mac(owner.tik, 1, 1, hdr.iv, 32, 32, payload, measure.mac, 32, hdr.mac);
	assert_int_equal(inject(m, start.handle, &hdr, payload, page, 32), PSP_UNSUPPORTED);

	assert_int_equal(inject(m, start.handle, &good, payload, page + 8, 32),
			 PSP_INVALID_ADDRESS);
	assert_int_equal(inject(m, start.handle, &good, payload, NOT_RAM, 32), PSP_INVALID_ADDRESS);
	assert_int_equal(inject(m, start.handle, &good, payload, page, 8), PSP_INVALID_LEN);
	assert_int_equal(inject(m, start.handle, &good, payload, page, 0), PSP_INVALID_LEN);
	assert_int_equal(inject(m, start.handle, &good, payload, page, PACKET_MAX_BYTES + 16),
			 PSP_INVALID_LEN);
	assert_memory_equal(at(m, page), zero, sizeof(zero));
	assert_int_equal(inject(m, start.handle, &good, payload, page, 32), PSP_OK);
	owner_destroy(&owner);
}

static void start_refused(struct machine *m, struct cmd_start cmd, uint32_t expected)
{
	struct snapshot *before = snapshot_take(m);

	assert_int_equal(RUN(m, PSP_CMD_LAUNCH_START, &cmd), expected);
	/* the random generator moved on, the rest did not */
	snapshot_check(before, m);
}

static void test_session_refused(void **state)
{
	struct machine *m = *state;
	struct owner owner;
	struct cmd_start good, cmd;
	struct session *session;
	struct sev_cert *cert;
	uint32_t policy = 1;

	owner_for(m, &owner, policy);
	good = start_cmd(m, &owner, policy);
	session = at(m, good.session_addr);
	cert = at(m, good.dh_cert_addr);

	cmd = good;
	cmd.policy ^= POLICY_NOKS;
	start_refused(m, cmd, PSP_BAD_MEASUREMENT);
	for (size_t i = 0; i < sizeof(*session); i += 5) {
		((uint8_t *)session)[i] ^= 0x10;
		start_refused(m, good, PSP_BAD_MEASUREMENT);
		((uint8_t *)session)[i] ^= 0x10;
	}
	cert->pubkey.qx[3] ^= 1;
	start_refused(m, good, PSP_INVALID_CERTIFICATE);
	cert->pubkey.qx[3] ^= 1;
	cert->pubkey_usage = USAGE_PEK;
	start_refused(m, good, PSP_INVALID_CERTIFICATE);
	cert->pubkey_usage = USAGE_PDH;
	cert->pubkey_algo = ALGO_ECDSA_SHA256;
	start_refused(m, good, PSP_INVALID_CERTIFICATE);
	cert->pubkey_algo = ALGO_ECDH_SHA256;
	cert->version = 0;
	start_refused(m, good, PSP_INVALID_CERTIFICATE);
	cert->version = 1;
	cmd = good;
	cmd.dh_cert_len--;
	start_refused(m, cmd, PSP_INVALID_LEN);
	cmd = good;
	cmd.session_len--;
	start_refused(m, cmd, PSP_INVALID_LEN);
	cmd = good;
	cmd.session_addr = 0;
	start_refused(m, cmd, PSP_INVALID_ADDRESS);
	cmd = good;
	cmd.dh_cert_addr = NOT_RAM;
	start_refused(m, cmd, PSP_INVALID_ADDRESS);

	/* A session for the old PDH is void after PDH_GEN. */
	assert_int_equal(RUN(m, PSP_CMD_LAUNCH_START, &good), PSP_OK);
	good.handle = 0;
	assert_int_equal(run(m, PSP_CMD_PDH_GEN, NULL, 0), PSP_OK);
	start_refused(m, good, PSP_BAD_MEASUREMENT);
	owner_destroy(&owner);
}

static void test_policies(void **state)
{
	struct machine *m = *state;

	start_refused(m, (struct cmd_start){ .policy = POLICY_ES }, PSP_UNSUPPORTED);
	start_refused(m, (struct cmd_start){ .policy = (PSP_API_MAJOR + 1u) << 16 },
		      PSP_POLICY_FAILURE);
	start_refused(
		m, (struct cmd_start){ .policy = PSP_API_MAJOR << 16 | (PSP_API_MINOR + 1u) << 24 },
		PSP_POLICY_FAILURE);
	launch_start(m, (uint32_t)PSP_API_MAJOR << 16 | (uint32_t)PSP_API_MINOR << 24);
}

static void test_key_sharing(void **state)
{
	struct machine *m = *state;
	uint8_t plain[IMAGE_BYTES], seen[4096];
	uint64_t image = put_image(m, plain);
	uint32_t first = launch_start(m, 0), noks = launch_start(m, POLICY_NOKS);
	struct cmd_start cmd = { .handle = first };
	struct cmd_activate act;
	uint32_t second;

	start_refused(m, (struct cmd_start){ .handle = 99 }, PSP_INVALID_GUEST);
	start_refused(m, (struct cmd_start){ .handle = noks, .policy = POLICY_NOKS },
		      PSP_POLICY_FAILURE);
	start_refused(m, (struct cmd_start){ .handle = noks }, PSP_POLICY_FAILURE);
	start_refused(m, (struct cmd_start){ .handle = first, .policy = POLICY_NOKS },
		      PSP_POLICY_FAILURE);
	start_refused(m, (struct cmd_start){ .handle = first, .policy = POLICY_NODBG },
		      PSP_POLICY_FAILURE);

	assert_int_equal(RUN(m, PSP_CMD_LAUNCH_START, &cmd), PSP_OK);
	second = cmd.handle;
	assert_int_not_equal(second, first);
	activate(m, first, 2);
	launch_update(m, first, image, 4096);
	/*
	 * the same key may be in two places, and the same ASID in two guests; another guest's may
	 * not
	 */
	activate(m, second, 2);
	act = (struct cmd_activate){ .handle = noks, .asid = 2 };
	assert_int_equal(RUN(m, PSP_CMD_ACTIVATE, &act), PSP_ASID_OWNED);
	assert_int_equal(run_handle(m, PSP_CMD_DEACTIVATE, first), PSP_OK);
	guest_sees(m, 2, image, seen, sizeof(seen));
	assert_memory_equal(seen, plain, sizeof(seen));
	assert_int_equal(run_handle(m, PSP_CMD_DEACTIVATE, second), PSP_OK);
	assert_null(m->slots[2]);
	activate(m, second, 3);
	guest_sees(m, 3, image, seen, sizeof(seen));
	assert_memory_equal(seen, plain, sizeof(seen));
}

static void test_launch_update_refused(void **state)
{
	struct machine *m = *state;
	uint64_t image = put(m, NULL, 8192);
	uint64_t last = RAM_BASE + RAM_BYTES - 4096;
	uint32_t handle = launch_start(m, 0);
	const struct {
		uint64_t addr;
		uint32_t len;
		uint32_t expected;
	} cases[] = {
		{ image, 0, PSP_INVALID_LEN },
		{ image, 8, PSP_INVALID_LEN },
		{ image, 4100, PSP_INVALID_LEN },
		{ image + 8, 16, PSP_INVALID_ADDRESS },
		{ 0, 16, PSP_INVALID_ADDRESS },
		{ NOT_RAM, 16, PSP_INVALID_ADDRESS },
		{ UINT64_MAX - 15, 16, PSP_INVALID_ADDRESS },
		/* runs out of RAM on the way: nothing before that may be touched */
		{ last, 8192, PSP_INVALID_ADDRESS },
		{ last, 0xfffffff0u, PSP_INVALID_ADDRESS },
	};
	struct cmd_guest_buffer cmd = { .handle = handle, .addr = image, .len = 16 };

	assert_int_equal(RUN(m, PSP_CMD_LAUNCH_UPDATE_DATA, &cmd), PSP_INACTIVE);
	activate(m, handle, 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct snapshot *before = snapshot_take(m);

		cmd.addr = cases[i].addr;
		cmd.len = cases[i].len;
		assert_int_equal(RUN(m, PSP_CMD_LAUNCH_UPDATE_DATA, &cmd), cases[i].expected);
		snapshot_check(before, m);
	}
}

static void test_measure_lengths(void **state)
{
	struct machine *m = *state;
	uint64_t spa = put(m, NULL, 48);
	struct cmd_guest_buffer cmd = { .handle = launch_start(m, 0) };
	struct snapshot *before = snapshot_take(m);

	assert_int_equal(RUN(m, PSP_CMD_LAUNCH_MEASURE, &cmd), PSP_INVALID_LEN);
	assert_int_equal(cmd.len, 48);
	cmd.addr = spa;
	cmd.len = 47;
	assert_int_equal(RUN(m, PSP_CMD_LAUNCH_MEASURE, &cmd), PSP_INVALID_LEN);
	assert_int_equal(cmd.len, 48);
	cmd.addr = NOT_RAM;
	assert_int_equal(RUN(m, PSP_CMD_LAUNCH_MEASURE, &cmd), PSP_INVALID_ADDRESS);
	snapshot_check(before, m);
	cmd.addr = spa;
	cmd.len = 4096;
	assert_int_equal(RUN(m, PSP_CMD_LAUNCH_MEASURE, &cmd), PSP_OK);
	assert_int_equal(cmd.len, 48);
}

static void test_attestation_report(void **state)
{
	struct machine *m = *state;
	uint8_t plain[IMAGE_BYTES], ld[32];
	uint64_t image = put_image(m, plain);
	uint32_t handle = launch(m, 1, 1, image, IMAGE_BYTES);
	struct cmd_attestation_report cmd = { .handle = handle };
	struct attestation_report report;
	struct cert_chain chain;
	struct sev_cert pdh;
	EVP_PKEY *pek;

	memset(cmd.mnonce, 0x77, sizeof(cmd.mnonce));
	assert_int_equal(RUN(m, PSP_CMD_ATTESTATION_REPORT, &cmd), PSP_INVALID_LEN);
	assert_int_equal(cmd.len, sizeof(report));
	cmd.addr = put(m, NULL, sizeof(report));
	assert_int_equal(RUN(m, PSP_CMD_ATTESTATION_REPORT, &cmd), PSP_OK);
	memcpy(&report, at(m, cmd.addr), sizeof(report));

	ossl_sha256(plain, sizeof(plain), ld);
	assert_memory_equal(report.launch_digest, ld, 32);
	assert_memory_equal(report.mnonce, cmd.mnonce, 16);
	assert_int_equal(report.policy, 1);
	assert_int_equal(report.sig_usage, 0x1002);
	assert_int_equal(report.sig_algo, 2);
	pdh_export(m, &pdh, &chain);
	pek = ossl_from_ec_pubkey(&chain.pek.pubkey);
	assert_true(ossl_ecdsa_verify(pek, EVP_sha256(), &report, 52, &report.sig));
	report.policy ^= 1;
	assert_false(ossl_ecdsa_verify(pek, EVP_sha256(), &report, 52, &report.sig));
	EVP_PKEY_free(pek);
}

static void test_debug(void **state)
{
	struct machine *m = *state;
	uint8_t plain[IMAGE_BYTES], seen[IMAGE_BYTES];
	uint64_t image = put_image(m, plain), dst = put(m, NULL, IMAGE_BYTES);
	uint32_t handle = launch(m, 0, 1, image, IMAGE_BYTES);
	struct cmd_dbg cmd = { .handle = handle, .src_addr = image | C_BIT, .dst_addr = dst };

	cmd.len = IMAGE_BYTES;
	assert_int_equal(RUN(m, PSP_CMD_DBG_DECRYPT, &cmd), PSP_OK);
	assert_memory_equal(at(m, dst), plain, IMAGE_BYTES);
	memset(at(m, dst), 0x3c, 4096 + 32);
	cmd = (struct cmd_dbg){ handle, 0, dst + 16, (image + 4000) | C_BIT, 4096 };
	assert_int_equal(RUN(m, PSP_CMD_DBG_ENCRYPT, &cmd), PSP_OK);
	guest_sees(m, 1, image, seen, sizeof(seen));
	assert_memory_equal(seen, plain, 4000);
	for (size_t i = 0; i < 4096; i++)
		assert_int_equal(seen[4000 + i], 0x3c);
	assert_memory_equal(seen + 8096, plain + 8096, IMAGE_BYTES - 8096);
}

static void test_debug_refused(void **state)
{
	struct machine *m = *state;
	uint64_t image = put(m, NULL, 4096), dst = put(m, NULL, 4096);
	uint64_t last = RAM_BASE + RAM_BYTES - 4096;
	uint32_t open = launch(m, 0, 1, image, 4096), closed = launch_start(m, POLICY_NODBG);
	const struct {
		struct cmd_dbg cmd;
		uint32_t expected;
	} cases[] = {
		{ { closed, 0, image, dst, 16 }, PSP_POLICY_FAILURE },
		{ { open, 0, image, dst, 0 }, PSP_INVALID_LEN },
		{ { open, 0, image, dst, 24 }, PSP_INVALID_LEN },
		{ { open, 0, image + 4, dst, 16 }, PSP_INVALID_ADDRESS },
		{ { open, 0, image, dst + 4, 16 }, PSP_INVALID_ADDRESS },
		{ { open, 0, NOT_RAM, dst, 16 }, PSP_INVALID_ADDRESS },
		{ { open, 0, image, NOT_RAM, 16 }, PSP_INVALID_ADDRESS },
		{ { open, 0, image, last, 8192 }, PSP_INVALID_ADDRESS },
		{ { 77, 0, image, dst, 16 }, PSP_INVALID_GUEST },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct snapshot *before = snapshot_take(m);
		struct cmd_dbg cmd = cases[i].cmd;

		assert_int_equal(RUN(m, PSP_CMD_DBG_DECRYPT, &cmd), cases[i].expected);
		assert_int_equal(RUN(m, PSP_CMD_DBG_ENCRYPT, &cmd), cases[i].expected);
		snapshot_check(before, m);
	}
	assert_int_equal(run_handle(m, PSP_CMD_DEACTIVATE, open), PSP_OK);
	{
		struct cmd_dbg cmd = { open, 0, image, dst, 16 };

		assert_int_equal(RUN(m, PSP_CMD_DBG_DECRYPT, &cmd), PSP_INACTIVE);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_owner_launch),
		{ "test_owner_launch, encrypting in place", test_owner_launch, up_in_place, down,
		  NULL },
		TEST(test_secret_refused),
		TEST(test_session_refused),
		TEST(test_policies),
		TEST(test_key_sharing),
		TEST(test_launch_update_refused),
		{ "test_launch_update_refused, encrypting in place", test_launch_update_refused,
		  up_in_place, down, NULL },
		TEST(test_measure_lengths),
		TEST(test_attestation_report),
		TEST(test_debug),
		TEST(test_debug_refused),
	};

	return cmocka_run_group_tests_name("psp_launch", tests, NULL, NULL);
}
