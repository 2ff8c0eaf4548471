/* SPDX-License-Identifier: Apache-2.0 */
/* lib/util/number.c */
#include <errno.h>
#include <stdint.h>

#include "lib/util/number.h"
#include "tests/unit/cmocka_all.h"

static void numbers_are_taken_whole_or_not_at_all(void **state)
{
	static const char *const bad[] = { "",	 " 1", "1 ",  "+1", "-1",
					   "1x", "0x", "0xg", "x1", "1.0" };
	uint64_t value = 77;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(util_parse_number(bad[i], 0, UINT64_MAX, &value), -EINVAL);
	assert_int_equal(util_parse_number("65536", 0, 65535, &value), -ERANGE);
	assert_int_equal(util_parse_number("0", 1, 65535, &value), -ERANGE);
	assert_int_equal(util_parse_number("18446744073709551616", 0, UINT64_MAX, &value), -ERANGE);
	assert_int_equal(value, 77);
	assert_int_equal(util_parse_number("18446744073709551615", 0, UINT64_MAX, &value), 0);
	assert_true(value == UINT64_MAX);
	assert_int_equal(util_parse_number("0x1F", 0, 31, &value), 0);
	assert_int_equal(value, 31);
	assert_int_equal(util_parse_number("010", 0, 31, &value), 0);
	assert_int_equal(value, 10);
}

static void sizes_have_units_and_fractions(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "0", 0 },
		{ "7", 7 },
		{ "7B", 7 },
		{ "1K", 1024 },
		{ "1kib", 1024 },
		{ "1KB", 1000 },
		{ "256M", 256 << 20 },
		{ "1.5G", 3ULL << 29 },
		{ "1GiB", 1 << 30 },
		{ "2gb", 2000000000 },
		{ "0.25MB", 250000 },
		{ "3TiB", 3ULL << 40 },
		{ "4TB", 4000000000000 },
		{ "0.5K", 512 },
	};
	static const char *const bad[] = { "",	 "G",	"1.",	 "1.G", ".5G", "1 G",  "-1G",
					   "1X", "1Gi", "1GiBs", "1e3", "1.5", "0.3K", "1KK" };
	uint64_t bytes;
	char text[24];

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		bytes = 1;
		if (util_parse_size(good[i].text, 0, UINT64_MAX, &bytes) || bytes != good[i].bytes)
			fail_msg("%s is read as %llu", good[i].text, (unsigned long long)bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		if (util_parse_size(bad[i], 0, UINT64_MAX, &bytes) != -EINVAL)
			fail_msg("'%s' is taken", bad[i]);
	}
	assert_int_equal(util_parse_size("16777216T", 0, UINT64_MAX, &bytes), -ERANGE);
	assert_int_equal(util_parse_size("99999999999999999999", 0, UINT64_MAX, &bytes), -ERANGE);
	assert_int_equal(util_parse_size("1M", 2 << 20, 1 << 30, &bytes), -ERANGE);
	assert_string_equal(util_size_text(256 << 20, text), "256M");
	assert_string_equal(util_size_text(3ULL << 29, text), "1536M");
	assert_string_equal(util_size_text(1000, text), "1000");
	assert_string_equal(util_size_text(0, text), "0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_taken_whole_or_not_at_all),
		cmocka_unit_test(sizes_have_units_and_fractions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
