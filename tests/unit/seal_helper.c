/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Migration Helper of a sealing session: what becomes of a session that is there already, and
 * of the keys of a helper that does not answer. lib/mirror, which needs KVM, is this test's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"

#include "helper/layout.h"
#include "lib/mirror/calls.h"
#include "lib/mirror/mirror.h"
#include "lib/mirror/rings.h"
#include "lib/seal/seal_private.h"
#include "lib/util/page.h"

#define RINGS	     2
#define REGION_BYTES (4ULL << 20)

/* The helper: its state, what it fails with, and what it was asked. */
static struct {
	enum helper_state state;
	int hello_err, wipe_err, make_err, create_err;
	unsigned int wiped, made, stopped, destroyed;
} helper;

static uint8_t region[REGION_BYTES];
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

void rings_spin(struct rings *rings, uint32_t helper_polls, uint32_t host_polls)
{
}

unsigned int rings_count(const struct rings *rings)
{
	return RINGS;
}

struct mirror *rings_mirror(const struct rings *rings)
{
	return NULL;
}

uint32_t rings_data(const struct rings *rings, unsigned int ring, uint32_t *npages)
{
	*npages = 0;
	return 0;
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

/* A session that has not begun. */
static struct sevmirror_seal *fresh(bool is_source)
{
	const struct sevmirror_seal_vm vm = { .kvm_fd = -1,
					      .vm_fd = -1,
					      .sev_fd = -1,
					      .nranges = 1,
					      .ranges = { { .bytes = 2 << 20, .fd = -1 } },
					      .helper = { .fd = -1, .hva = region } };
	const struct sevmirror_seal_config config = {
		.source = is_source, .rings = RINGS, .lanes = 1, .depth = 1
	};
	struct sevmirror_seal *seal;

	memset(&helper, 0, sizeof(helper));
	memset(region, 'k', sizeof(region));
	assert_int_equal(sevmirror_seal_create(&seal, &vm, &config), 0);
	assert_in_range(seal->plan.bytes, 1, sizeof(region));
	return seal;
}

static struct sevmirror_seal *running(bool is_source)
{
	struct sevmirror_seal *seal = fresh(is_source);

	assert_int_equal(seal_start_helper(seal, RINGS), 0);
	return seal;
}

/* A source's core for a host like this one. */
static int core_of(struct sevmirror_seal *seal, struct sevmirror_blob *core)
{
	struct sevmirror_blob offer;
	int err;

	assert_int_equal(sevmirror_seal_offer(seal, &offer), 0);
	err = sevmirror_seal_core(seal, offer.bytes, offer.len, core);
	free(offer.bytes);
	return err;
}

static void a_session_that_is_left_over_is_wiped_first(void **state)
{
	struct sevmirror_seal *seal = fresh(true);
	struct sevmirror_blob core;

	helper.state = HELPER_EMPTY;
	assert_int_equal(core_of(seal, &core), 0);
	assert_int_equal(helper.wiped, 0);
	assert_int_equal(helper.made, 1);
	free(core.bytes);
	sevmirror_seal_destroy(seal);
	seal = fresh(true);
	helper.state = HELPER_SOURCE;
	assert_int_equal(core_of(seal, &core), 0);
	assert_int_equal(helper.wiped, 1);
	free(core.bytes);
	sevmirror_seal_destroy(seal);
	seal = fresh(true);
	helper.state = HELPER_SOURCE;
	helper.wipe_err = -EIO;
	assert_int_equal(core_of(seal, &core), -EIO);
	assert_int_equal(helper.made, 0);
	assert_int_equal(seal->why.reason, SEVMIRROR_REASON_HELPER);
	assert_null(core.bytes);
	sevmirror_seal_destroy(seal);
}

static bool wiped(uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
		if (region[i])
			return false;
	return true;
}

static void the_target_s_helper_must_hold_a_session(void **state)
{
	struct sevmirror_seal *seal = fresh(true);
	struct sevmirror_blob core;

	assert_int_equal(core_of(seal, &core), 0);
	sevmirror_seal_destroy(seal);
	seal = fresh(false);
	helper.state = HELPER_TARGET;
	assert_int_equal(sevmirror_seal_accept(seal, core.bytes, core.len), 0);
	sevmirror_seal_destroy(seal);
	seal = fresh(false);
	helper.state = HELPER_EMPTY;
	assert_int_equal(sevmirror_seal_accept(seal, core.bytes, core.len), -EPROTO);
	assert_int_equal(seal->why.reason, SEVMIRROR_REASON_HELPER);
	assert_true(wiped(HELPER_CORE_KEYS * PAGE_BYTES, (HELPER_CORE_KEYS + 1) * PAGE_BYTES));
	sevmirror_seal_destroy(seal);
	free(core.bytes);
}

static void a_mirror_that_cannot_be_made_is_the_reason(void **state)
{
	struct sevmirror_seal *seal = fresh(false);

	helper.create_err = -EBUSY;
	assert_int_equal(seal_start_helper(seal, RINGS), -EBUSY);
	assert_string_equal(sevmirror_seal_why(seal),
			    "the Migration Helper cannot start on the target: no mirror");
	assert_int_equal(seal->why.reason, SEVMIRROR_REASON_HELPER);
	sevmirror_seal_destroy(seal);
}

static void a_helper_that_answers_wipes_its_keys_itself(void **state)
{
	struct sevmirror_seal *seal = running(true);

	sevmirror_seal_abort(seal);
	sevmirror_seal_abort(seal);
	assert_int_equal(helper.wiped, 1);
	assert_int_equal(helper.stopped, 0);
	assert_int_equal(helper.destroyed, 1);
	assert_int_equal(region[HELPER_CORE_KEYS * PAGE_BYTES], 'k');
	sevmirror_seal_destroy(seal);
}

/* Without SEV the host can do it: once no vCPU runs, the keys and what was made from them. */
static void the_host_wipes_for_a_helper_that_does_not(void **state)
{
	struct sevmirror_seal *seal = running(true);

	helper.wipe_err = -EPROTO;
	sevmirror_seal_abort(seal);
	assert_int_equal(helper.stopped, RINGS);
	assert_true(wiped(HELPER_CORE_KEYS * PAGE_BYTES, (HELPER_CORE_KEYS + 1) * PAGE_BYTES));
	assert_true(wiped(seal->plan.core_bytes, seal->plan.bytes));
	assert_false(wiped(0, PAGE_BYTES));
	sevmirror_seal_destroy(seal);
	seal = running(true);
	helper.wipe_err = -EPROTO;
	seal->sev = (struct sev_guest *)&handle;
	sevmirror_seal_abort(seal);
	assert_int_equal(helper.stopped, 0);
	assert_int_equal(helper.destroyed, 1);
	seal->sev = NULL;
	sevmirror_seal_destroy(seal);
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

	return cmocka_run_group_tests_name("seal_helper", tests, NULL, NULL);
}
