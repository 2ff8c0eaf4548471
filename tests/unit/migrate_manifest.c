/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest: what is not the source's, span by span, does not run. */
#include <errno.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/manifest.h"
#include "tests/unit/migrate_half.h"

static void the_helper_s_manifest_is_sent(void **state)
{
	struct wire_manifest span;
	struct half h;

	half_open(&h, true, 0);
	assert_int_equal(manifest_send(&h.m), 0);
	assert_int_equal(half_hear(&h, WIRE_MANIFEST, &span, sizeof(span)), sizeof(span));
	assert_int_equal(span.tag[15], RIG_MANIFEST_TAG);
	half_close(&h);
}

static void a_manifest_that_holds_is_accepted(void **state)
{
	struct wire_manifest span;
	struct half h;

	half_open(&h, false, 0);
	memset(&span, RIG_MANIFEST_TAG, sizeof(span));
	half_say(&h, WIRE_MANIFEST, &span, sizeof(span));
	assert_int_equal(manifest_receive(&h.m), 0);
	half_close(&h);
}

static void another_manifest_is_refused(void **state)
{
	struct wire_manifest spans[2];
	struct half h;

	half_open(&h, false, 0);
	memset(spans, RIG_MANIFEST_TAG, sizeof(spans));
	assert_int_equal(manifest_check(&h.m, spans, sizeof(spans)), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PROTOCOL, "MANIFEST message of 80 bytes");
	session_notice(&h.m);
	assert_int_equal(manifest_check(&h.m, spans, 0), -EPROTO);
	session_notice(&h.m);
	spans[0].tag[3] ^= 1;
	half_say(&h, WIRE_MANIFEST, spans, sizeof(spans[0]));
	assert_int_equal(manifest_receive(&h.m), -EBADMSG);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_MANIFEST,
			"1 ranges of 128 MiB differ, the first from 0 on");
	half_close(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_helper_s_manifest_is_sent),
		cmocka_unit_test(a_manifest_that_holds_is_accepted),
		cmocka_unit_test(another_manifest_is_refused),
	};

	return cmocka_run_group_tests_name("migrate_manifest", tests, NULL, NULL);
}
