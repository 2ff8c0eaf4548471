/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest owner (lib/sev, OpenSSL) and the firmware (emulator/psp, nettle) talk to each other:
 * sessions, measurement, secrets.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/sev/measurement.h"
#include "lib/sev/policy.h"
#include "lib/sev/secret.h"
#include "lib/sev/owner_session.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/sev_firmware.h"

#define BAD_MEASUREMENT	    0x0b
#define INVALID_CERTIFICATE 0x06

struct platform {
	struct firmware *fw;
	struct sev_cert pdh;
	struct sev_cert chain[3];
	struct sev_measured version; /* API and build, policy */
};

static int platform_up(void **state)
{
	struct platform *p = calloc(1, sizeof(*p));

	p->fw = firmware_up(1);
	firmware_certs(p->fw, &p->pdh, p->chain);
	firmware_version(p->fw, &p->version.api_major, &p->version.api_minor, &p->version.build);
	p->version.policy = SEV_POLICY_DEFAULT;
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

static struct sev_owner_session new_session(const struct sev_cert *pdh, uint32_t policy)
{
	struct sev_owner_session session;
	struct sev_error error = { 0 };

	assert_int_equal(sev_owner_session_create(&session, pdh, policy, &error), 0);
	return session;
}

/* Launch image: three pieces, so that their order counts. */
static const char pieces[3][64] = { "the first piece of the image", "the second",
				    "and the third one" };

static uint32_t launch(struct platform *p, const struct sev_owner_session *session,
		       uint8_t measurement[SEV_MEASUREMENT_BYTES])
{
	uint32_t handle;

	assert_int_equal(firmware_launch_start(p->fw, p->version.policy, session->start.dh_cert,
					       &session->start.session, &handle),
			 0);
	for (int i = 0; i < 3; i++)
		firmware_launch_data(p->fw, handle, pieces[i], sizeof(pieces[i]));
	firmware_launch_measure(p->fw, handle, measurement);
	return handle;
}

static void digest_of(const char *const *data, int n, uint8_t out[SEV_DIGEST_BYTES])
{
	struct sev_digest *digest;

	assert_int_equal(sev_digest_create(&digest), 0);
	for (int i = 0; i < n; i++)
		assert_int_equal(sev_digest_update(digest, data[i], 64), 0);
	assert_int_equal(sev_digest_final(digest, out), 0);
	sev_digest_destroy(digest);
}

static void expect_pieces(struct sev_measured *expected, int a, int b, int c)
{
	const char *data[] = { pieces[a], pieces[b], pieces[c] };

	digest_of(data, 3, expected->digest);
}

static void the_measurement_is_the_expected_one(void **state)
{
	struct platform *p = *state;
	struct sev_owner_session session = new_session(&p->pdh, SEV_POLICY_DEFAULT);
	struct sev_measured expected = p->version;
	uint8_t m[SEV_MEASUREMENT_BYTES];
	struct sev_error error;

	launch(p, &session, m);
	expect_pieces(&expected, 0, 1, 2);
	assert_int_equal(sev_measurement_verify(&expected, session.tik, m, &error), 0);
	for (size_t bit = 0; bit < 8 * sizeof(m); bit++) {
		m[bit / 8] ^= 1 << bit % 8;
		assert_int_equal(sev_measurement_verify(&expected, session.tik, m, &error),
				 -EBADMSG);
		m[bit / 8] ^= 1 << bit % 8;
	}
	expected.policy ^= SEV_POLICY_NOSEND;
	assert_int_equal(sev_measurement_verify(&expected, session.tik, m, &error), -EBADMSG);
	expected = p->version;
	expected.build++;
	expect_pieces(&expected, 0, 1, 2);
	assert_int_equal(sev_measurement_verify(&expected, session.tik, m, &error), -EBADMSG);
	expected.build--;
	expected.api_minor++;
	assert_int_equal(sev_measurement_verify(&expected, session.tik, m, &error), -EBADMSG);
	expected.api_minor--;
	session.tik[0] ^= 1;
	assert_int_equal(sev_measurement_verify(&expected, session.tik, m, &error), -EBADMSG);
	assert_non_null(strstr(error.message, "measurement"));
}

static void another_image_is_found_out(void **state)
{
	struct platform *p = *state;
	struct sev_owner_session session = new_session(&p->pdh, SEV_POLICY_DEFAULT);
	struct sev_measured expected = p->version;
	uint8_t m[SEV_MEASUREMENT_BYTES];

	launch(p, &session, m);
	expect_pieces(&expected, 0, 2, 1); /* order */
	assert_int_equal(sev_measurement_verify(&expected, session.tik, m, NULL), -EBADMSG);
	expect_pieces(&expected, 0, 1, 1);
	assert_int_equal(sev_measurement_verify(&expected, session.tik, m, NULL), -EBADMSG);
	expect_pieces(&expected, 0, 1, 2);
	assert_int_equal(sev_measurement_verify(&expected, session.tik, m, NULL), 0);
}

static uint32_t start_status(struct platform *p, uint32_t policy,
			     const struct sev_owner_start *start)
{
	uint32_t handle;

	return firmware_launch_start(p->fw, policy, start->dh_cert, &start->session, &handle);
}

static void a_session_is_for_one_policy(void **state)
{
	struct platform *p = *state;
	struct sev_owner_session session = new_session(&p->pdh, SEV_POLICY_DEFAULT);

	assert_int_equal(start_status(p, SEV_POLICY_NOKS, &session.start), BAD_MEASUREMENT);
	assert_int_equal(start_status(p, SEV_POLICY_DEFAULT, &session.start), 0);
}

static void a_session_is_for_one_platform(void **state)
{
	struct platform *p = *state;
	struct firmware *other = firmware_up(2);
	struct sev_owner_session session;
	struct sev_cert pdh, chain[3];

	firmware_certs(other, &pdh, chain);
	session = new_session(&pdh, SEV_POLICY_DEFAULT);
	assert_int_equal(start_status(p, SEV_POLICY_DEFAULT, &session.start), BAD_MEASUREMENT);
	firmware_down(other);
}

static void a_session_dies_with_the_pdh(void **state)
{
	struct platform *p = *state;
	struct sev_owner_session session = new_session(&p->pdh, SEV_POLICY_DEFAULT);

	firmware_new_pdh(p->fw);
	assert_int_equal(start_status(p, SEV_POLICY_DEFAULT, &session.start), BAD_MEASUREMENT);
}

static void a_changed_session_is_refused(void **state)
{
	struct platform *p = *state;
	struct sev_owner_session session = new_session(&p->pdh, SEV_POLICY_DEFAULT);
	uint8_t *bytes = (uint8_t *)&session.start.session;

	for (size_t i = 0; i < sizeof(session.start.session); i++) {
		bytes[i] ^= 0x10;
		assert_int_equal(start_status(p, SEV_POLICY_DEFAULT, &session.start),
				 BAD_MEASUREMENT);
		bytes[i] ^= 0x10;
	}
	session.start.dh_cert[offsetof(struct sev_cert, key.x)] ^= 1;
	assert_int_equal(start_status(p, SEV_POLICY_DEFAULT, &session.start), INVALID_CERTIFICATE);
}

static void sessions_are_fresh(void **state)
{
	struct platform *p = *state;
	struct sev_owner_session a = new_session(&p->pdh, SEV_POLICY_DEFAULT);
	struct sev_owner_session b = new_session(&p->pdh, SEV_POLICY_DEFAULT);

	assert_memory_not_equal(a.tek, b.tek, SEV_KEY_BYTES);
	assert_memory_not_equal(a.tik, b.tik, SEV_KEY_BYTES);
	assert_memory_not_equal(a.tek, a.tik, SEV_KEY_BYTES);
	assert_memory_not_equal(a.start.session.nonce, b.start.session.nonce, 16);
	assert_memory_not_equal(a.start.session.wrap_iv, b.start.session.wrap_iv, 16);
	sev_owner_session_wipe(&a);
	assert_memory_equal(a.tek, a.tik, SEV_KEY_BYTES);
}

static void a_bad_pdh_makes_no_session(void **state)
{
	struct platform *p = *state;
	struct sev_owner_session session;
	struct sev_error error;
	struct sev_cert pdh = p->pdh;

	pdh.key.x[3] ^= 1;
	assert_int_equal(sev_owner_session_create(&session, &pdh, 0, &error), -EBADMSG);
	assert_non_null(strstr(error.message, "PDH"));
	assert_int_equal(sev_owner_session_create(&session, &p->chain[0], 0, &error), -EBADMSG);
	assert_non_null(strstr(error.message, "PEK"));
}

static void secrets_of_every_length_arrive(void **state)
{
	struct platform *p = *state;
	struct sev_owner_session session = new_session(&p->pdh, SEV_POLICY_DEFAULT);
	static uint8_t secret[SEV_SECRET_BYTES_MAX], payload[SEV_SECRET_BYTES_MAX],
		guest[SEV_SECRET_BYTES_MAX], zeros[16];
	uint8_t m[SEV_MEASUREMENT_BYTES];
	struct sev_packet_header header;
	uint32_t handle = launch(p, &session, m);

	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] = (uint8_t)(i * 7 + 1);
	for (size_t len = 1; len <= 64; len++) {
		size_t bytes = SEV_SECRET_PAYLOAD_BYTES(len);

		assert_int_equal(sev_secret_seal(session.tek, session.tik, m, secret, len, &header,
						 payload, NULL),
				 0);
		assert_int_equal(
			firmware_launch_secret(p->fw, handle, &header, payload, bytes, guest), 0);
		assert_memory_equal(guest, secret, len);
		assert_memory_equal(guest + len, zeros, bytes - len);
	}
	assert_int_equal(
		sev_secret_seal(session.tek, session.tik, m, secret, 4096, &header, payload, NULL),
		0);
	assert_int_equal(firmware_launch_secret(p->fw, handle, &header, payload, 4096, guest), 0);
	assert_memory_equal(guest, secret, 4096);
	assert_memory_not_equal(payload, secret, 16);
}

static void secrets_have_limits(void **state)
{
	static uint8_t secret[SEV_SECRET_BYTES_MAX + 1], payload[SEV_SECRET_BYTES_MAX];
	uint8_t key[SEV_KEY_BYTES] = { 0 }, m[SEV_MEASUREMENT_BYTES] = { 0 };
	struct sev_packet_header header;
	struct sev_error error;

	assert_int_equal(sev_secret_seal(key, key, m, secret, 0, &header, payload, &error),
			 -EINVAL);
	assert_int_equal(
		sev_secret_seal(key, key, m, secret, sizeof(secret), &header, payload, &error),
		-EINVAL);
	assert_int_equal(
		sev_secret_seal(key, key, m, secret, sizeof(payload), &header, payload, &error), 0);
}

static void a_changed_secret_is_refused(void **state)
{
	struct platform *p = *state;
	struct sev_owner_session session = new_session(&p->pdh, SEV_POLICY_DEFAULT);
	uint8_t m[SEV_MEASUREMENT_BYTES], payload[32], guest[32];
	struct sev_packet_header header;
	uint32_t handle = launch(p, &session, m);

	assert_int_equal(sev_secret_seal(session.tek, session.tik, m,
					 "thirty-two bytes of a secret...", 32, &header, payload,
					 NULL),
			 0);
	for (size_t i = 0; i < sizeof(header) + sizeof(payload); i++) {
		uint8_t *at =
			i < sizeof(header) ? (uint8_t *)&header + i : payload + i - sizeof(header);

		*at ^= 4;
		assert_int_not_equal(
			firmware_launch_secret(p->fw, handle, &header, payload, 32, guest), 0);
		*at ^= 4;
	}
	assert_int_equal(firmware_launch_secret(p->fw, handle, &header, payload, 32, guest), 0);
}

static void a_secret_is_for_one_launch(void **state)
{
	struct platform *p = *state;
	struct sev_owner_session session = new_session(&p->pdh, SEV_POLICY_DEFAULT);
	uint8_t m[SEV_MEASUREMENT_BYTES], payload[16], guest[16];
	struct sev_packet_header header;
	uint32_t handle = launch(p, &session, m);

	m[0] ^= 1; /* the measurement of another launch */
	assert_int_equal(
		sev_secret_seal(session.tek, session.tik, m, "secret", 6, &header, payload, NULL),
		0);
	assert_int_equal(firmware_launch_secret(p->fw, handle, &header, payload, 16, guest),
			 BAD_MEASUREMENT);
}

#define test(f) cmocka_unit_test_setup_teardown(f, platform_up, platform_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(the_measurement_is_the_expected_one),
		test(another_image_is_found_out),
		test(a_session_is_for_one_policy),
		test(a_session_is_for_one_platform),
		test(a_session_dies_with_the_pdh),
		test(a_changed_session_is_refused),
		test(sessions_are_fresh),
		test(a_bad_pdh_makes_no_session),
		test(secrets_of_every_length_arrive),
		cmocka_unit_test(secrets_have_limits),
		test(a_changed_secret_is_refused),
		test(a_secret_is_for_one_launch),
	};

	return cmocka_run_group_tests_name("sev_owner", tests, NULL, NULL);
}
