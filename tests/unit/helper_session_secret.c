/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session: its states, what may be asked in each, the core's MAC, and that nothing is left of
 * it.
 */
#include "tests/unit/cmocka_all.h"

#include <string.h>

#include "tests/unit/helper_rig.h"

#define BATCH 16

static uint32_t events, doorbells;

void hw_event(struct helper_vcpu *v, uint32_t value)
{
	(void)v;
	assert_int_equal(value, HELPER_EVENT_SLEEP);
	events++;
}

void hw_doorbell(struct helper_vcpu *v)
{
	(void)v;
	doorbells++;
}

static struct helper_completion ask(struct helper_rig *rig, uint16_t op)
{
	struct helper_request request = { .op = op, .page = BATCH };
	struct helper_batch *batch = helper_rig_page(rig, BATCH);

	if (op != HELPER_OP_TOUCH && op != HELPER_OP_MISSING)
		request.count = 1;
	memset(batch, 0, sizeof(*batch));
	batch->record[0].slot = BATCH + 1;
	if (op == HELPER_OP_DATA_SEAL || op == HELPER_OP_DATA_OPEN)
		batch->record[0].kind = HELPER_DATA;
	return helper_rig_call(rig, 0, &request);
}

/*
 * Which requests each state allows. OPEN and MANIFEST_CHECK of nonsense are allowed and fail
 * (MISMATCH).
 */
static const struct {
	uint16_t op;
	uint8_t expected[4]; /* without a session, as source, as target, in post-copy */
} allowed[] = {
	{ HELPER_OP_HELLO, { HELPER_OK, HELPER_OK, HELPER_OK, HELPER_OK } },
	{ HELPER_OP_TOUCH, { HELPER_OK, HELPER_OK, HELPER_OK, HELPER_OK } },
	{ HELPER_OP_STATISTICS, { HELPER_OK, HELPER_OK, HELPER_OK, HELPER_OK } },
	{ HELPER_OP_SEAL, { HELPER_BAD_STATE, HELPER_OK, HELPER_BAD_STATE, HELPER_BAD_STATE } },
	{ HELPER_OP_OPEN,
	  { HELPER_BAD_STATE, HELPER_BAD_STATE, HELPER_MISMATCH, HELPER_MISMATCH } },
	{ HELPER_OP_MANIFEST_MAKE,
	  { HELPER_BAD_STATE, HELPER_OK, HELPER_BAD_STATE, HELPER_BAD_STATE } },
	{ HELPER_OP_MANIFEST_CHECK,
	  { HELPER_BAD_STATE, HELPER_BAD_STATE, HELPER_MISMATCH, HELPER_MISMATCH } },
	{ HELPER_OP_DATA_SEAL,
	  { HELPER_BAD_STATE, HELPER_OK, HELPER_BAD_STATE, HELPER_BAD_STATE } },
	{ HELPER_OP_DATA_OPEN,
	  { HELPER_BAD_STATE, HELPER_BAD_STATE, HELPER_MISMATCH, HELPER_MISMATCH } },
	{ HELPER_OP_EPOCHS_EXPORT,
	  { HELPER_BAD_STATE, HELPER_OK, HELPER_BAD_STATE, HELPER_BAD_STATE } },
	{ HELPER_OP_EPOCHS_IMPORT,
	  { HELPER_BAD_STATE, HELPER_BAD_STATE, HELPER_MISMATCH, HELPER_BAD_STATE } },
	{ HELPER_OP_MISSING, { HELPER_BAD_STATE, HELPER_BAD_STATE, HELPER_OK, HELPER_BAD_STATE } },
};

static void in_state(struct helper_rig *rig, uint32_t state, size_t column)
{
	size_t i;

	for (i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
		struct helper_completion c = ask(rig, allowed[i].op);

		assert_int_equal(c.status, allowed[i].expected[column]);
		assert_int_equal(c.state, state);
	}
	assert_int_equal(ask(rig, 0).status, HELPER_BAD_REQUEST);
	assert_int_equal(ask(rig, 17).status, HELPER_BAD_REQUEST);
	assert_int_equal(ask(rig, 0xffff).status, HELPER_BAD_REQUEST);
	assert_int_equal(session_state(&rig->helper), state);
}

static void states(void **unused)
{
	struct helper_rig source, target;
	struct helper_completion c;

	(void)unused;
	helper_rig_init(&source, 3, 1);
	helper_rig_init(&target, 3, 2);
	in_state(&source, HELPER_EMPTY, 0);
	assert_int_equal(ask(&source, HELPER_OP_POSTCOPY).status, HELPER_BAD_STATE);
	helper_rig_connect(&source, &target);
	in_state(&source, HELPER_SOURCE, 1);
	assert_int_equal(ask(&source, HELPER_OP_POSTCOPY).status, HELPER_BAD_STATE);
	assert_int_equal(ask(&source, HELPER_OP_SESSION_MAKE).status, HELPER_BAD_STATE);
	in_state(&target, HELPER_TARGET, 2);
	assert_int_equal(ask(&target, HELPER_OP_SESSION_MAKE).status, HELPER_BAD_STATE);
	c = ask(&target, HELPER_OP_HELLO);
	assert_int_equal(c.count, HELPER_ABI_VERSION);
	assert_memory_equal(c.session, source.helper.keys->session, 16);
	assert_int_equal(ask(&target, HELPER_OP_POSTCOPY).status, HELPER_OK);
	in_state(&target, HELPER_POSTCOPY, 3);
	assert_int_equal(ask(&target, HELPER_OP_SESSION_WIPE).status, HELPER_OK);
	in_state(&target, HELPER_EMPTY, 0);
	helper_rig_fini(&source);
	helper_rig_fini(&target);
}

static void reserved_and_flags_are_checked(void **unused)
{
	struct helper_request request = { .op = HELPER_OP_HELLO };
	struct helper_rig rig;

	(void)unused;
	helper_rig_init(&rig, 1, 1);
	request.reserved[8] = 1;
	assert_int_equal(helper_rig_call(&rig, 0, &request).status, HELPER_BAD_REQUEST);
	request = (struct helper_request){ .op = HELPER_OP_SESSION_MAKE, .flags = 4 };
	assert_int_equal(helper_rig_call(&rig, 0, &request).status, HELPER_BAD_REQUEST);
	request = (struct helper_request){ .op = HELPER_OP_TOUCH, .count = HELPER_TOUCH_MAX + 1 };
	assert_int_equal(helper_rig_call(&rig, 0, &request).status, HELPER_BAD_REQUEST);
	request =
		(struct helper_request){ .op = HELPER_OP_TOUCH, .gpa = RIG_LOW - 4096, .count = 3 };
	assert_int_equal(helper_rig_call(&rig, 0, &request).status, HELPER_MISMATCH);
	helper_rig_fini(&rig);
}

static bool holds(const uint8_t *memory, uint64_t bytes, const void *what, size_t n)
{
	return memmem(memory, bytes, what, n) != NULL;
}

static void wipe_leaves_nothing(void **unused)
{
	struct helper_rig source, target;
	uint8_t secret[32];
	uint64_t i;

	(void)unused;
	helper_rig_init(&source, 2, 1);
	helper_rig_init(&target, 2, 2);
	helper_rig_connect(&source, &target);
	memcpy(secret, source.helper.keys->secret, 32);
	assert_int_equal(ask(&source, HELPER_OP_SEAL).status, HELPER_OK);
	/* Even within a session a batch's key does not outlive the batch. */
	for (i = 0; i < sizeof(source.vcpus[0].gcm); i++)
		assert_int_equal(source.vcpus[0].gcm.opaque[i], 0);
	assert_true(holds(source.helper.region, source.plan.bytes, secret, 32));
	assert_int_equal(ask(&source, HELPER_OP_SESSION_WIPE).status, HELPER_OK);
	assert_false(holds(source.helper.region, source.plan.bytes, secret, 32));
	for (i = 0; i < 4096; i++)
		assert_int_equal(((uint8_t *)source.helper.keys)[i], 0);
	for (i = 0; i < sizeof(source.helper.record_key); i++)
		assert_int_equal(((uint8_t *)&source.helper.record_key)[i], 0);
	for (i = 0; i < source.plan.epoch_bytes / 4; i++)
		assert_int_equal(source.helper.epochs[i], 0);
	assert_int_equal(ask(&source, HELPER_OP_SESSION_MAKE).status, HELPER_OK);
	assert_memory_not_equal(secret, source.helper.keys->secret, 32);
	helper_rig_fini(&source);
	helper_rig_fini(&target);
}

static void core_mac_covers_every_page(void **unused)
{
	struct helper_rig source, target;
	uint64_t npages, i, at;
	uint8_t *core;

	(void)unused;
	helper_rig_init(&source, 2, 1);
	helper_rig_init(&target, 2, 2);
	helper_rig_connect(&source, &target);
	core = target.helper.region;
	npages = source.plan.core_bytes / 4096;
	for (i = 0; i < npages; i++) {
		memcpy(core, source.helper.region, source.plan.core_bytes);
		at = i * 4096 + (i * 37) % 4000;
		if (i == HELPER_CORE_LAYOUT)
			at = i * 4096 + 4095; /* the fields before it are what the test runs on */
		core[at] ^= 4;
		assert_int_equal(helper_rig_boot(&target, 2), HELPER_BAD_CORE);
		assert_int_equal(session_state(&target.helper), HELPER_FAILED);
		assert_false(holds(core, source.plan.core_bytes, source.helper.keys->secret, 32));
	}
	/* Two pages exchanged: PSP packets carry no address. */
	memcpy(core, source.helper.region, source.plan.core_bytes);
	memcpy(core + 20 * 4096, source.helper.region + 21 * 4096, 4096);
	memcpy(core + 21 * 4096, source.helper.region + 20 * 4096, 4096);
	assert_int_equal(helper_rig_boot(&target, 2), HELPER_BAD_CORE);
	/* And whole. */
	memcpy(core, source.helper.region, source.plan.core_bytes);
	assert_int_equal(helper_rig_boot(&target, 2), HELPER_OK);
	assert_int_equal(session_state(&target.helper), HELPER_TARGET);
	helper_rig_fini(&source);
	helper_rig_fini(&target);
}

static void nonsense_on_the_ring(void **unused)
{
	struct helper_rig rig;
	struct helper_ring_control *control;
	struct helper_vcpu *v;

	(void)unused;
	helper_rig_init(&rig, 1, 1);
	control = helper_rig_page(&rig, 0);
	v = rig.helper.vcpus[0];
	control->spin = 3;
	events = 0;
	assert_false(helper_poll(&rig.helper, v));
	control->submitted = HELPER_RING_ENTRIES + 1; /* more than there is room for */
	assert_false(helper_poll(&rig.helper, v));
	control->submitted = UINT32_MAX;
	assert_false(helper_poll(&rig.helper, v));
	assert_false(helper_poll(&rig.helper, v));
	assert_int_equal(events, 1); /* it went to sleep over it */
	control->submitted = 1;
	control->taken = 1 - HELPER_RING_ENTRIES - 1; /* completions never read */
	assert_false(helper_poll(&rig.helper, v));
	control->taken = 0;
	control->host_sleeps = 1;
	doorbells = 0;
	assert_true(helper_poll(&rig.helper, v));
	assert_int_equal(doorbells, 1);
	assert_int_equal(control->completed, 1);
	helper_rig_fini(&rig);
}

static void busy_vcpu_holds_up_the_wipe(void **unused)
{
	struct helper_rig rig;
	uint32_t state;

	(void)unused;
	helper_rig_init(&rig, 2, 1);
	assert_int_equal(ask(&rig, HELPER_OP_SESSION_MAKE).status, HELPER_OK);
	assert_true(session_enter(&rig.helper, rig.helper.vcpus[1], &state));
	assert_int_equal(ask(&rig, HELPER_OP_SESSION_WIPE).status, HELPER_BUSY);
	assert_int_equal(session_state(&rig.helper), HELPER_SOURCE);
	session_leave(rig.helper.vcpus[1]);
	assert_int_equal(ask(&rig, HELPER_OP_SESSION_WIPE).status, HELPER_OK);
	helper_rig_fini(&rig);
}

static void broken_random_is_for_good(void **unused)
{
	struct helper_rig rig;

	(void)unused;
	helper_rig_init(&rig, 1, 1);
	assert_int_equal(ask(&rig, HELPER_OP_SESSION_MAKE).status, HELPER_OK);
	assert_int_equal(session_broken(&rig.helper), HELPER_NO_RANDOM);
	assert_int_equal(ask(&rig, HELPER_OP_SEAL).status, HELPER_BAD_STATE);
	assert_int_equal(ask(&rig, HELPER_OP_SESSION_WIPE).status, HELPER_OK);
	assert_int_equal(ask(&rig, HELPER_OP_SESSION_MAKE).status, HELPER_BAD_STATE);
	assert_int_equal(ask(&rig, HELPER_OP_HELLO).state, HELPER_FAILED);
	helper_rig_fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states),
		cmocka_unit_test(reserved_and_flags_are_checked),
		cmocka_unit_test(wipe_leaves_nothing),
		cmocka_unit_test(core_mac_covers_every_page),
		cmocka_unit_test(nonsense_on_the_ring),
		cmocka_unit_test(busy_vcpu_holds_up_the_wipe),
		cmocka_unit_test(broken_random_is_for_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
