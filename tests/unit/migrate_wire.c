/* SPDX-License-Identifier: Apache-2.0 */
/* The protocol's tables: names and limits of the messages, headers that are refused. */
#include <errno.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/wire.h"

static void test_frame_headers(void **state)
{
	const struct wire_frame good = { .magic = WIRE_MAGIC,
					 .type = 1,
					 .records = 1,
					 .directory_bytes = 32,
					 .payload_bytes = 0 };
	struct wire_frame h;
	struct why why;

	assert_int_equal(wire_check_frame(&good, 0, &why), 0);
#define REFUSED(field, value)                                             \
	do {                                                              \
		h = good;                                                 \
		h.field = value;                                          \
		assert_int_equal(wire_check_frame(&h, 0, &why), -EPROTO); \
	} while (0)
	REFUSED(magic, 0);
	REFUSED(type, 0);
	REFUSED(type, WIRE_FRAME_TYPES);
	REFUSED(records, 0);
	REFUSED(records, WIRE_MAX_RECORDS + 1);
	REFUSED(directory_bytes, 0xffffffff);
	REFUSED(payload_bytes, WIRE_MAX_PAYLOAD_BYTES + 1);
	REFUSED(sequence, 1);
}

static void test_every_type_has_a_name(void **state)
{
	bool known;

	for (unsigned int t = 1; t < WIRE_TYPES; t++) {
		bool old = t == 5 || t == 6; /* of versions before 4 */

		wire_limit((uint16_t)t, &known);
		assert_int_equal(known, !old);
		if (old)
			assert_string_equal(wire_type_name((uint16_t)t), "unknown");
		else
			assert_string_not_equal(wire_type_name((uint16_t)t), "unknown");
	}
	wire_limit(0, &known);
	assert_false(known);
	assert_string_equal(wire_type_name(WIRE_TYPES), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frame_headers),
		cmocka_unit_test(test_every_type_has_a_name),
	};

	return cmocka_run_group_tests_name("migrate_wire", tests, NULL, NULL);
}
