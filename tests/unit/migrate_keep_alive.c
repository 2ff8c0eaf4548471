/* SPDX-License-Identifier: Apache-2.0 */
/* A target that works tells the source so, until it has ended, and only a source that understands.
 */
#include <stdlib.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/keep_alive.h"
#include "tests/unit/migrate_half.h"

static void the_source_hears_it_again_and_again(void **state)
{
	struct keep_alive keep_alive;
	struct half h;
	void *body;
	size_t len;

	half_open(&h, false, 0);
	h.m.hello.minor = WIRE_MINOR_WORKING;
	h.m.timeout_ms = 40;
	assert_int_equal(keep_alive_begin(&keep_alive, &h.m), 0);
	for (int i = 0; i < 3; i++)
		half_hear(&h, WIRE_WORKING, NULL, 0);
	keep_alive_end(&keep_alive);
	/* Maybe another one was under way; the target's next message comes right behind it. */
	h.m.timeout_ms = HALF_PATIENCE_MS;
	assert_int_equal(session_send(&h.m, WIRE_CORE_DONE, NULL, 0), 0);
	h.m.control = h.peer;
	h.m.is_source = true;
	assert_int_equal(session_recv_after_work(&h.m, WIRE_CORE_DONE, &body, &len), 0);
	free(body);
	half_close(&h);
}

static void a_source_of_an_older_version_hears_nothing(void **state)
{
	struct keep_alive keep_alive;
	struct half h;

	half_open(&h, false, 0);
	h.m.hello.minor = WIRE_MINOR_WORKING - 1;
	h.m.timeout_ms = 4;
	assert_int_equal(keep_alive_begin(&keep_alive, &h.m), 0);
	assert_false(keep_alive.made);
	keep_alive_end(&keep_alive);
	half_close(&h);
}

static void a_source_that_has_gone_ends_it(void **state)
{
	struct keep_alive keep_alive;
	struct half h;

	half_open(&h, false, 0);
	h.m.hello.minor = WIRE_MINOR_WORKING;
	h.m.timeout_ms = 4;
	channel_close(h.control.source);
	h.control.source = NULL;
	assert_int_equal(keep_alive_begin(&keep_alive, &h.m), 0);
	pthread_join(keep_alive.thread, NULL);
	keep_alive.made = false;
	half_close(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_source_hears_it_again_and_again),
		cmocka_unit_test(a_source_of_an_older_version_hears_nothing),
		cmocka_unit_test(a_source_that_has_gone_ends_it),
	};

	return cmocka_run_group_tests_name("migrate_keep_alive", tests, NULL, NULL);
}
