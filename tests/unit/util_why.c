/* SPDX-License-Identifier: Apache-2.0 */
/* How an error is carried: words, errno, firmware status and reason go together. */
#include <errno.h>
#include <string.h>

#include "cmocka_all.h"
#include "lib/util/why.h"

static void test_reason_follows_from_errno(void **state)
{
	struct why why;

	assert_int_equal(why_set(&why, -ETIMEDOUT, "waiting for %s", "it"), -ETIMEDOUT);
	assert_string_equal(why.text, "waiting for it");
	assert_int_equal(why.err, -ETIMEDOUT);
	assert_int_equal(why.fw, SEV_FW_NO_CALL);
	assert_int_equal(why.reason, SEVMIRROR_REASON_TIMEOUT);
	why_set(&why, -ENOMEM, "x");
	assert_int_equal(why.reason, SEVMIRROR_REASON_NO_MEMORY);
	why_set(&why, -EREMOTEIO, "x");
	assert_int_equal(why.reason, SEVMIRROR_REASON_PEER);
	why_set(&why, -EINVAL, "x");
	assert_int_equal(why.reason, SEVMIRROR_REASON_INTERNAL);
	why_because(&why, SEVMIRROR_REASON_DISK, -EIO, "x");
	assert_int_equal(why.reason, SEVMIRROR_REASON_DISK);
	errno = ENOENT;
	assert_int_equal(why_errno(&why, "opening"), -ENOENT);
	assert_string_equal(why.text, "opening: No such file or directory");
	why_clear(&why);
	assert_string_equal(why.text, "");
	assert_int_equal(why.reason, SEVMIRROR_REASON_NONE);
}

static void test_reason_follows_from_firmware(void **state)
{
	static const struct {
		uint32_t fw;
		enum sevmirror_reason reason;
	} cases[] = {
		{ 0x07, SEVMIRROR_REASON_POLICY }, /* POLICY_FAILURE */
		{ 0x06, SEVMIRROR_REASON_CERTIFICATES }, /* INVALID_CERTIFICATE */
		{ 0x0a, SEVMIRROR_REASON_CERTIFICATES }, /* BAD_SIGNATURE */
		{ 0x02, SEVMIRROR_REASON_FIRMWARE }, /* INVALID_GUEST_STATE */
		{ SEV_FW_NO_CALL, SEVMIRROR_REASON_INTERNAL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sev_error error = { .err = -EIO,
					   .fw = cases[i].fw,
					   .message = "SEND_START" };
		struct why why;

		assert_int_equal(why_sev(&why, -EIO, &error), -EIO);
		assert_int_equal(why.fw, cases[i].fw);
		assert_int_equal(why.reason, cases[i].reason);
		assert_string_equal(why.text, "SEND_START");
	}
}

static void test_words_before_and_after(void **state)
{
	struct why why;
	char many[2000];

	why_because(&why, SEVMIRROR_REASON_DISK, -EIO, "flushing");
	why_prefix(&why, "%u: ", 7);
	why_append(&why, " (%s)", "twice");
	assert_string_equal(why.text, "7: flushing (twice)");
	assert_int_equal(why.reason, SEVMIRROR_REASON_DISK);
	memset(many, 'x', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	why_append(&why, "%s", many);
	why_prefix(&why, "%s", many);
	why_append(&why, "%s", many);
	assert_int_equal(strlen(why.text), sizeof(why.text) - 1);
	why_prefix(NULL, "x");
	why_append(NULL, "x");
	assert_int_equal(why_set(NULL, -EIO, "x"), -EIO);
	assert_int_equal(why_because(NULL, SEVMIRROR_REASON_DISK, -EIO, "x"), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reason_follows_from_errno),
		cmocka_unit_test(test_reason_follows_from_firmware),
		cmocka_unit_test(test_words_before_and_after),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
