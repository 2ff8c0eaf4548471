/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host that puts old memory of the helper back, on either side and at each step of a migration,
 * and one that brings what is of another session of the same guest. On the source no key and nonce
 * come twice. On the target a guest may get an older page, as under SEV without a helper, but the
 * manifest then differs.
 */
#include "tests/unit/cmocka_all.h"

#include <string.h>

#include "tests/unit/helper_rig.h"

#define BATCH 16 /* window pages: batch, then bodies */
#define SLOT  17
#define GPA   0x1000
#define STEPS 4

void hw_event(struct helper_vcpu *v, uint32_t value)
{
}

void hw_doorbell(struct helper_vcpu *v)
{
}

struct pair {
	struct helper_rig source, target;
};

static int connect(void **state)
{
	struct pair *p = test_calloc(1, sizeof(*p));

	helper_rig_init(&p->source, 1, 1);
	helper_rig_init(&p->target, 1, 2);
	helper_rig_connect(&p->source, &p->target);
	*state = p;
	return 0;
}

static int disconnect(void **state)
{
	struct pair *p = *state;

	helper_rig_fini(&p->source);
	helper_rig_fini(&p->target);
	test_free(p);
	return 0;
}

/* A sealed page. */
struct record {
	struct helper_batch batch;
	uint8_t body[4096];
};

static void seal(struct helper_rig *rig, struct record *record)
{
	const struct helper_request request = { .op = HELPER_OP_SEAL, .count = 1, .page = BATCH };
	struct helper_batch *there = helper_rig_page(rig, BATCH);

	memset(there, 0, sizeof(*there));
	there->record[0].gpa = GPA;
	there->record[0].slot = SLOT;
	assert_int_equal(helper_rig_call(rig, 0, &request).status, HELPER_OK);
	record->batch = *there;
	memcpy(record->body, helper_rig_page(rig, SLOT), sizeof(record->body));
}

static uint32_t open_(struct helper_rig *rig, const struct record *record)
{
	const struct helper_request request = { .op = HELPER_OP_OPEN, .count = 1, .page = BATCH };
	struct helper_batch *there = helper_rig_page(rig, BATCH);

	*there = record->batch;
	memcpy(helper_rig_page(rig, SLOT), record->body, sizeof(record->body));
	(void)helper_rig_call(rig, 0, &request);
	return there->record[0].status;
}

static struct helper_manifest make_manifest(struct helper_rig *rig)
{
	const struct helper_request make = { .op = HELPER_OP_MANIFEST_MAKE,
					     .count = 1,
					     .page = BATCH };

	assert_int_equal(helper_rig_call(rig, 0, &make).status, HELPER_OK);
	return *(struct helper_manifest *)helper_rig_page(rig, BATCH);
}

static enum helper_status check_manifest(struct helper_rig *rig,
					 const struct helper_manifest *manifest)
{
	const struct helper_request check = { .op = HELPER_OP_MANIFEST_CHECK,
					      .count = 1,
					      .page = BATCH };

	*(struct helper_manifest *)helper_rig_page(rig, BATCH) = *manifest;
	return helper_rig_call(rig, 0, &check).status;
}

/* The helper as it was: its region, its vCPUs' state, its rings. */
struct memory {
	struct helper helper;
	struct helper_vcpu *vcpus;
	uint8_t *region, rings[3 * 4096];
};

static void keep(const struct helper_rig *rig, struct memory *m)
{
	m->helper = rig->helper;
	m->vcpus = test_malloc(HELPER_VCPUS_MAX * sizeof(*m->vcpus));
	m->region = test_malloc(rig->plan.bytes);
	memcpy(m->vcpus, rig->vcpus, HELPER_VCPUS_MAX * sizeof(*m->vcpus));
	memcpy(m->region, rig->region, rig->plan.bytes);
	memcpy(m->rings, rig->window, sizeof(m->rings));
}

static void put_back(struct helper_rig *rig, const struct memory *m)
{
	rig->helper = m->helper;
	memcpy(rig->vcpus, m->vcpus, HELPER_VCPUS_MAX * sizeof(*m->vcpus));
	memcpy(rig->region, m->region, rig->plan.bytes);
	memcpy(rig->window, m->rings, sizeof(m->rings));
}

static void forget(struct memory *m)
{
	test_free(m->vcpus);
	test_free(m->region);
}

/* Before the first record, after each, and after the manifest: whatever follows is under new salt.
 */
static void the_source_at_each_step(void **state)
{
	struct pair *p = *state;
	struct memory was[STEPS + 1];
	struct record first[STEPS], again;
	struct helper_manifest manifest, other;

	keep(&p->source, &was[0]);
	for (unsigned int i = 0; i < STEPS; i++) {
		helper_rig_at(&p->source, GPA)[0]++;
		seal(&p->source, &first[i]);
		keep(&p->source, &was[i + 1]);
	}
	manifest = make_manifest(&p->source);
	for (unsigned int i = 0; i <= STEPS; i++) {
		put_back(&p->source, &was[i]);
		helper_rig_at(&p->source, GPA)[0]++;
		seal(&p->source, &again);
		assert_int_equal(again.batch.record[0].epoch, i + 1);
		for (unsigned int k = 0; k < STEPS; k++)
			assert_memory_not_equal(again.batch.salt, first[k].batch.salt, 24);
		put_back(&p->source, &was[i]);
		other = make_manifest(&p->source);
		assert_memory_not_equal(other.salt, manifest.salt, 24);
		forget(&was[i]);
	}
}

/*
 * Records of before and after the roll-back have the same epoch and different content. The target
 * takes the one that comes first, and the manifest holds for either: so a source's host can give
 * the guest an older version of its page, as it can without the helper.
 */
static void what_the_source_seals_after_it(void **state)
{
	struct pair *p = *state;
	struct memory was;
	struct record before, after;
	struct helper_manifest manifest;
	struct memory target;

	keep(&p->source, &was);
	keep(&p->target, &target);
	seal(&p->source, &before);
	put_back(&p->source, &was);
	helper_rig_at(&p->source, GPA)[7] ^= 1;
	seal(&p->source, &after);
	assert_int_equal(before.batch.record[0].epoch, after.batch.record[0].epoch);
	assert_int_equal(open_(&p->target, &after), HELPER_OK);
	assert_int_equal(open_(&p->target, &before), HELPER_STALE);
	assert_memory_equal(helper_rig_at(&p->target, GPA), helper_rig_at(&p->source, GPA), 4096);
	manifest = make_manifest(&p->source);
	assert_int_equal(check_manifest(&p->target, &manifest), HELPER_OK);
	put_back(&p->target, &target);
	assert_int_equal(open_(&p->target, &before), HELPER_OK);
	assert_int_equal(open_(&p->target, &after), HELPER_STALE);
	assert_int_equal(check_manifest(&p->target, &manifest), HELPER_OK);
	forget(&was);
	forget(&target);
}

/* The target's helper forgets pages that it has opened, and takes old records of them. */
static void the_target_at_each_step(void **state)
{
	struct pair *p = *state;
	struct memory was[STEPS + 1];
	struct record sealed[STEPS];
	struct helper_manifest manifest;

	for (unsigned int i = 0; i < STEPS; i++) {
		helper_rig_at(&p->source, GPA)[0]++;
		seal(&p->source, &sealed[i]);
	}
	manifest = make_manifest(&p->source);
	for (unsigned int i = 0; i < STEPS; i++) {
		keep(&p->target, &was[i]);
		assert_int_equal(open_(&p->target, &sealed[i]), HELPER_OK);
	}
	keep(&p->target, &was[STEPS]);
	assert_int_equal(check_manifest(&p->target, &manifest), HELPER_OK);
	for (unsigned int i = 0; i < STEPS; i++) {
		put_back(&p->target, &was[i]);
		assert_int_equal(check_manifest(&p->target, &manifest), HELPER_MISMATCH);
		assert_int_equal(open_(&p->target, &sealed[i]), HELPER_OK);
		assert_int_equal(check_manifest(&p->target, &manifest),
				 i + 1 < STEPS ? HELPER_MISMATCH : HELPER_OK);
	}
	/* Memory of after all that holds: there is nothing that an older record could change. */
	put_back(&p->target, &was[STEPS]);
	for (unsigned int i = 0; i < STEPS; i++)
		assert_int_equal(open_(&p->target, &sealed[i]), HELPER_STALE);
	assert_int_equal(check_manifest(&p->target, &manifest), HELPER_OK);
	for (unsigned int i = 0; i <= STEPS; i++)
		forget(&was[i]);
}

/* The same guest is sent a second time: nothing of the first session is good in the second one. */
static void an_earlier_session_of_the_same_guest(void **state)
{
	struct pair *p = *state;
	const struct helper_request wipe = { .op = HELPER_OP_SESSION_WIPE };
	uint8_t *core = test_malloc(p->source.plan.core_bytes), page[4096];
	struct helper_manifest old_manifest, manifest;
	struct record old, new;

	memcpy(core, p->source.region, p->source.plan.core_bytes);
	seal(&p->source, &old);
	old_manifest = make_manifest(&p->source);
	assert_int_equal(helper_rig_call(&p->source, 0, &wipe).status, HELPER_OK);
	assert_int_equal(helper_rig_call(&p->target, 0, &wipe).status, HELPER_OK);
	helper_rig_connect(&p->source, &p->target);
	seal(&p->source, &new);
	manifest = make_manifest(&p->source);
	memcpy(page, helper_rig_at(&p->target, GPA), sizeof(page));
	assert_int_equal(open_(&p->target, &old), HELPER_BAD_TAG);
	assert_memory_equal(page, helper_rig_at(&p->target, GPA), sizeof(page));
	assert_int_equal(open_(&p->target, &new), HELPER_OK);
	assert_int_equal(check_manifest(&p->target, &old_manifest), HELPER_MISMATCH);
	assert_int_equal(check_manifest(&p->target, &manifest), HELPER_OK);
	/* The new core with the old one's session, secret or MAC, or with another image: none. */
	for (unsigned int i = 0; i < 4; i++) {
		const struct helper_keys *was =
			(const struct helper_keys *)(core + HELPER_CORE_KEYS * 4096);
		struct helper_keys *keys =
			(struct helper_keys *)(p->target.region + HELPER_CORE_KEYS * 4096);

		memcpy(p->target.region, p->source.region, p->source.plan.core_bytes);
		if (i == 0)
			memcpy(keys->session, was->session, sizeof(keys->session));
		else if (i == 1)
			memcpy(keys->secret, was->secret, sizeof(keys->secret));
		else if (i == 2)
			memcpy(keys->mac, was->mac, sizeof(keys->mac));
		else
			p->target.region[p->source.plan.core_bytes - 1] ^= 1;
		assert_int_not_equal(helper_rig_boot(&p->target, 1), HELPER_OK);
	}
	test_free(core);
}

/*
 * A host that lies about which pages are shared: it sends bytes of its own for a page that the
 * guest has as private, and the VMM of the target writes them. The helper has not opened such a
 * page, and the manifest is about what it opens: so nobody notices, as nobody notices a host that
 * writes into a running guest.
 */
static void a_private_page_that_is_said_to_be_shared(void **state)
{
	struct pair *p = *state;
	struct helper_manifest manifest;
	struct record record;

	seal(&p->source, &record);
	manifest = make_manifest(&p->source);
	/* In its place: then the record is missing. */
	memset(helper_rig_at(&p->target, GPA), 'h', 4096);
	assert_int_equal(check_manifest(&p->target, &manifest), HELPER_MISMATCH);
	/* After it, or for a page that was never sealed. */
	assert_int_equal(open_(&p->target, &record), HELPER_OK);
	memset(helper_rig_at(&p->target, GPA), 'h', 4096);
	memset(helper_rig_at(&p->target, GPA + 4096), 'h', 4096);
	assert_int_equal(check_manifest(&p->target, &manifest), HELPER_OK);
}

/* What the target sealed for its source, were it asked to: keys are for one direction. */
static void the_other_direction(void **state)
{
	struct pair *p = *state;
	const struct helper_request ask = { .op = HELPER_OP_SEAL, .count = 1, .page = BATCH };
	const struct helper_request make = { .op = HELPER_OP_MANIFEST_MAKE,
					     .count = 1,
					     .page = BATCH };
	const struct helper_request take = { .op = HELPER_OP_OPEN, .count = 1, .page = BATCH };
	struct record record;

	assert_int_equal(helper_rig_call(&p->target, 0, &ask).status, HELPER_BAD_STATE);
	assert_int_equal(helper_rig_call(&p->target, 0, &make).status, HELPER_BAD_STATE);
	/* The source opens nothing, not even its own records, which are still in its window. */
	seal(&p->source, &record);
	helper_rig_at(&p->source, GPA)[0] ^= 1;
	assert_int_equal(helper_rig_call(&p->source, 0, &take).status, HELPER_BAD_STATE);
	assert_memory_not_equal(helper_rig_page(&p->source, SLOT), helper_rig_at(&p->source, GPA),
				4096);
}

int main(void)
{
#define PAIR_TEST(f) cmocka_unit_test_setup_teardown(f, connect, disconnect)
	const struct CMUnitTest tests[] = {
		PAIR_TEST(the_source_at_each_step),
		PAIR_TEST(what_the_source_seals_after_it),
		PAIR_TEST(the_target_at_each_step),
		PAIR_TEST(an_earlier_session_of_the_same_guest),
		PAIR_TEST(a_private_page_that_is_said_to_be_shared),
		PAIR_TEST(the_other_direction),
	};

	return cmocka_run_group_tests_name("helper_rollback", tests, NULL, NULL);
}
