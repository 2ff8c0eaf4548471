/* SPDX-License-Identifier: Apache-2.0 */
/* What a payload says goes to somebody's terminal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"

#include "service/payload_log.h"

static struct payload_shared shared;

static char *show(uint64_t *shown)
{
	char *text = NULL;
	size_t len;
	FILE *stream = open_memstream(&text, &len);

	assert_non_null(stream);
	payload_log_show(&shared, shown, stream);
	fclose(stream);
	return text;
}

static void says(const char *text)
{
	for (; *text; text++)
		shared.log[shared.log_written++ % PAYLOAD_LOG_BYTES] = *text;
}

static void assert_shows(uint64_t *shown, const char *text)
{
	char *said = show(shown);

	assert_string_equal(said, text);
	free(said);
}

static void test_no_commands_to_the_terminal(void **state)
{
	uint64_t shown = 0;

	memset(&shared, 0, sizeof(shared));
	says("one\ttwo\n\033]0;title\007\033[2J\b\177 \302\233\n");
	assert_shows(&shown, "one\ttwo\n?]0;title??[2J?? ??\n");
	assert_shows(&shown, "");
}

/* A counter that jumps, back or far ahead, costs a ring's length at most. */
static void test_a_counter_that_lies(void **state)
{
	const uint64_t lies[] = { 0, 1, PAYLOAD_LOG_BYTES * 5ULL, UINT64_MAX, UINT64_MAX / 2, 3 };
	uint64_t shown = 0;

	memset(&shared, 'x', sizeof(shared));
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		char *said;

		shared.log_written = lies[i];
		said = show(&shown);
		assert_true(strlen(said) <= PAYLOAD_LOG_BYTES);
		assert_int_equal(shown, lies[i]);
		free(said);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_commands_to_the_terminal),
		cmocka_unit_test(test_a_counter_that_lies),
	};

	return cmocka_run_group_tests_name("payload_log", tests, NULL, NULL);
}
