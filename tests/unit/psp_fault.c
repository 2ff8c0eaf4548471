/* SPDX-License-Identifier: Apache-2.0 */
/* The firmware that fails when it is told to. */
#include <stdio.h>
#include <string.h>

#include "emulator/psp/fault.h"
#include "tests/unit/cmocka_all.h"

static void test_none(void **state)
{
	struct psp_faults faults;
	const char *why = NULL;

	for (int i = 0; i < 2; i++) {
		memset(&faults, 0xff, sizeof(faults));
		assert_true(psp_faults_parse(i ? "none" : "", &faults, &why));
		assert_int_equal(faults.count, 0);
		for (uint32_t cmd = 0; cmd < 0x100; cmd++)
			assert_int_equal(psp_faults_next(&faults, cmd), 0);
		assert_int_equal(psp_faults_next(&faults, UINT32_MAX), 0);
	}
}

static void test_counts(void **state)
{
	struct psp_faults faults;
	const char *why = NULL;

	assert_true(psp_faults_parse("0x30:2:0x13/48:4:23/0x61:0:1", &faults, &why));
	assert_int_equal(psp_faults_next(&faults, 0x30), 0);
	assert_int_equal(psp_faults_next(&faults, 0x31), 0);
	assert_int_equal(psp_faults_next(&faults, 0x30), 0x13);
	assert_int_equal(psp_faults_next(&faults, 0x30), 0);
	assert_int_equal(psp_faults_next(&faults, 0x30), 23);
	assert_int_equal(psp_faults_next(&faults, 0x30), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(psp_faults_next(&faults, 0x61), 1);
	/* new faults count from one again */
	assert_true(psp_faults_parse("0x30:1:5", &faults, &why));
	assert_int_equal(psp_faults_next(&faults, 0x30), 5);
	assert_int_equal(psp_faults_next(&faults, 0x61), 0);
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{ "LAUNCH_START:1:1", "CMD" },
		{ "0x80:1:1", "CMD" },
		{ ":1:1", "CMD" },
		{ "-1:1:1", "CMD" },
		{ " 1:1:1", "CMD" },
		{ "1", "CMD" },
		{ "1:", "N of" },
		{ "1:x:1", "N of" },
		{ "1:4294967296:1", "N of" },
		{ "1:-1:1", "N of" },
		{ "1:1", "N of" },
		{ "1:1:0", "STATUS" },
		{ "1:1:0x10000", "STATUS" },
		{ "1:1:", "STATUS" },
		{ "1:1:1:1", "STATUS" },
		{ "1:1:1/", "CMD" },
		{ "1:1:1,", "STATUS" },
	};
	struct psp_faults faults, before;
	char many[PSP_FAULTS_MAX * 6 + 8] = "1:1:1";
	const char *why;

	assert_true(psp_faults_parse("1:1:1", &faults, &why));
	before = faults;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why = "";
		assert_false(psp_faults_parse(bad[i].text, &faults, &why));
		assert_non_null(strstr(why, bad[i].why));
	}
	for (int i = 1; i < PSP_FAULTS_MAX; i++)
		strcat(many, "/1:1:1");
	assert_true(psp_faults_parse(many, &faults, &why));
	assert_int_equal(faults.count, PSP_FAULTS_MAX);
	faults = before;
	strcat(many, "/1:1:1");
	assert_false(psp_faults_parse(many, &faults, &why));
	assert_memory_equal(&faults, &before, sizeof(faults));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("psp_fault", tests, NULL, NULL);
}
