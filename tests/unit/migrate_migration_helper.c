/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Migration Helper as the engine uses it: what becomes of a session that is there already, and
 * of the keys of a helper that does not answer. lib/mirror, which needs KVM, is this test's.
 */
#include <errno.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"

#include "helper/layout.h"
#include "lib/migrate/migration_helper.h"
#include "lib/mirror/calls.h"
#include "lib/mirror/mirror.h"
#include "lib/mirror/rings.h"
#include "lib/util/page.h"

#define RINGS	     2
#define REGION_PAGES 32
#define CORE_PAGES   16

/* The helper: its state, what it fails with, and what it was asked. */
static struct {
	enum helper_state state;
	int hello_err, wipe_err, make_err, create_err;
	unsigned int wiped, made, stopped, destroyed;
} helper;

static uint8_t region[REGION_PAGES * PAGE_BYTES];
static char handle; /* only its address is used */

int rings_create(struct rings **rings, const struct rings_config *config, struct why *why)
{
	assert_int_equal(config->nrings, RINGS);
	if (helper.create_err)
		return why_set(why, helper.create_err, "no mirror");
	*rings = (struct rings *)&handle;
	return 0;
}

void rings_destroy(struct rings *rings)
{
	helper.destroyed++;
}

void rings_spin(struct rings *rings, unsigned int helper_polls, unsigned int host_polls)
{
}

uint32_t rings_count(const struct rings *rings)
{
	return RINGS;
}

struct mirror *rings_mirror(const struct rings *rings)
{
	return NULL;
}

uint64_t mirror_exits(const struct mirror *mirror)
{
	return 77;
}

void mirror_vcpu_stop(struct mirror *mirror, unsigned int index)
{
	assert_int_equal(index, helper.stopped);
	helper.stopped++;
}

const char *rings_explain(const struct rings *rings, int err)
{
	return strerror(-err);
}

int rings_hello(struct rings *rings, enum helper_state *state, uint8_t session[16])
{
	*state = helper.state;
	return helper.hello_err;
}

int rings_session_wipe(struct rings *rings)
{
	helper.wiped++;
	return helper.wipe_err;
}

int rings_session_make(struct rings *rings, uint16_t flags, uint8_t session[16])
{
	helper.made++;
	return helper.make_err;
}

/* A migration whose helper runs. */
static struct sevmirror_migration running(bool is_source)
{
	struct sevmirror_migration m = { .is_source = is_source,
					 .hello.streams = RINGS,
					 .rings = (struct rings *)&handle,
					 .vm.helper.hva = region,
					 .core_bytes = CORE_PAGES * PAGE_BYTES,
					 .helper_bytes = sizeof(region) };

	memset(&helper, 0, sizeof(helper));
	memset(region, 'k', sizeof(region));
	return m;
}

static void a_session_that_is_left_over_is_wiped_first(void **state)
{
	struct sevmirror_migration m = running(true);

	helper.state = HELPER_EMPTY;
	assert_int_equal(migration_helper_make_session(&m), 0);
	assert_int_equal(helper.wiped, 0);
	assert_int_equal(helper.made, 1);
	helper.state = HELPER_SOURCE;
	assert_int_equal(migration_helper_make_session(&m), 0);
	assert_int_equal(helper.wiped, 1);
	helper.wipe_err = -EIO;
	assert_int_equal(migration_helper_make_session(&m), -EIO);
	assert_int_equal(helper.made, 2);
	assert_int_equal(m.why.reason, SEVMIRROR_REASON_HELPER);
}

static void the_target_s_helper_must_hold_a_session(void **state)
{
	struct sevmirror_migration m = running(false);

	helper.state = HELPER_TARGET;
	assert_int_equal(migration_helper_check_session(&m), 0);
	helper.state = HELPER_EMPTY;
	assert_int_equal(migration_helper_check_session(&m), -EPROTO);
	assert_int_equal(m.why.reason, SEVMIRROR_REASON_HELPER);
}

static void a_mirror_that_cannot_be_made_is_the_reason(void **state)
{
	struct sevmirror_migration m = running(false);

	m.rings = NULL;
	m.vm.nranges = 1;
	m.vm.ranges[0].bytes = 2 << 20;
	helper.create_err = -EBUSY;
	assert_int_equal(migration_helper_start(&m), -EBUSY);
	assert_string_equal(m.why.text,
			    "the Migration Helper cannot start at the target: no mirror");
	assert_int_equal(migration_helper_exits(&m), 0);
	helper.create_err = 0;
	assert_int_equal(migration_helper_start(&m), 0);
	assert_int_equal(migration_helper_exits(&m), 77);
}

static bool wiped(size_t from_page, size_t to_page)
{
	for (size_t i = from_page * PAGE_BYTES; i < to_page * PAGE_BYTES; i++)
		if (region[i])
			return false;
	return true;
}

static void a_helper_that_answers_wipes_its_keys_itself(void **state)
{
	struct sevmirror_migration m = running(true);

	migration_helper_stop(&m);
	migration_helper_stop(&m);
	assert_int_equal(helper.wiped, 1);
	assert_int_equal(helper.stopped, 0);
	assert_int_equal(helper.destroyed, 1);
	assert_int_equal(region[HELPER_CORE_KEYS * PAGE_BYTES], 'k');
}

/* Without SEV the host can do it: once no vCPU runs, the keys and what was made from them. */
static void the_host_wipes_for_a_helper_that_does_not(void **state)
{
	struct sevmirror_migration m = running(true);

	helper.wipe_err = -EPROTO;
	migration_helper_stop(&m);
	assert_int_equal(helper.stopped, RINGS);
	assert_true(wiped(HELPER_CORE_KEYS, HELPER_CORE_KEYS + 1));
	assert_true(wiped(CORE_PAGES, REGION_PAGES));
	assert_false(wiped(0, 1));
	m = running(true);
	helper.wipe_err = -EPROTO;
	m.vm.sev = (struct sev_guest *)&handle;
	migration_helper_stop(&m);
	assert_int_equal(helper.stopped, 0);
	assert_int_equal(helper.destroyed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_that_is_left_over_is_wiped_first),
		cmocka_unit_test(the_target_s_helper_must_hold_a_session),
		cmocka_unit_test(a_mirror_that_cannot_be_made_is_the_reason),
		cmocka_unit_test(a_helper_that_answers_wipes_its_keys_itself),
		cmocka_unit_test(the_host_wipes_for_a_helper_that_does_not),
	};

	return cmocka_run_group_tests_name("migrate_migration_helper", tests, NULL, NULL);
}
