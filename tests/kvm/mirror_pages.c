/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helper in a mirror VM on this machine's /dev/kvm: pages sealed in one guest, opened in
 * another.
 */
#include "tests/kvm/mirror_rig.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/cmocka_all.h"

#define MIB (1ULL << 20)
#define N   HELPER_BATCH_MAX

/* Every page of both, sealed here and opened there, and the manifest. */
static void carry_all(struct rig *source, struct rig *target)
{
	struct helper_batch batch;
	uint64_t gpa[N], at, end;
	unsigned int n, part;

	for (part = 0; part < source->nram; part++) {
		end = source->ram[part].gpa + source->ram[part].bytes;
		for (at = source->ram[part].gpa; at < end; at += (uint64_t)n * 4096) {
			for (n = 0; n < N && at + n * 4096ULL < end; n++) {
				gpa[n] = at + n * 4096ULL;
				if (rings_of(source->rings, gpa[n]) != rings_of(source->rings, at))
					break;
			}
			assert_int_equal(rig_seal(source, gpa, n, &batch), HELPER_OK);
			rig_carry(source, target, &batch, n);
			assert_int_equal(rig_open(target, rings_of(target->rings, at), n, &batch),
					 HELPER_OK);
			assert_memory_equal(rig_at(source, at), rig_at(target, at), n * 4096ULL);
		}
	}
}

static void all_memory(unsigned int nrings)
{
	struct rig source, target;
	struct rings_manifest *manifest;
	struct helper_batch batch;
	struct helper_statistics sum;
	uint64_t gpa[1], touched;
	uint32_t differing, first;

	rig_init(&source, 8 * MIB, 4 * MIB, 1);
	rig_init(&target, 8 * MIB, 4 * MIB, 2);
	rig_start(&source, nrings);
	assert_int_equal(rings_touch(source.rings, 0, &touched), 0);
	assert_int_equal(touched, source.bytes / 4096);
	rig_connect(&source, &target);
	assert_int_equal(rings_touch(target.rings, HELPER_SESSION_ZERO_MARKS, &touched), 0);
	carry_all(&source, &target);
	manifest = test_calloc(1, sizeof(*manifest) + rings_manifest_spans(source.rings) *
							      sizeof(manifest->span[0]));
	assert_int_equal(rings_manifest_make(source.rings, manifest), 0);
	assert_int_equal(rings_manifest_check(target.rings, manifest, &differing, &first), 0);
	/* One more seal that never arrives. */
	gpa[0] = 4096;
	assert_int_equal(rig_seal(&source, gpa, 1, &batch), HELPER_OK);
	assert_int_equal(rings_manifest_make(source.rings, manifest), 0);
	assert_int_equal(rings_manifest_check(target.rings, manifest, &differing, &first),
			 -EBADMSG);
	assert_int_equal(differing, 1);
	assert_int_equal(first, 0);
	test_free(manifest);
	assert_int_equal(rings_statistics(target.rings, &sum), 0);
	assert_int_equal(sum.opened, source.bytes / 4096);
	assert_int_equal(sum.bad_tag + sum.stale + sum.refused, 0);
	rig_fini(&source);
	rig_fini(&target);
}

/*
 * What other VMMs' guests have: flash of an odd size below 4 GiB, holes of pages, RAM in several
 * slots of 512 GiB. Sparse, so that a small machine can; also with RAM that has no file.
 */
static void wide_ranges(void **state)
{
	static const struct sevmirror_ram_range ranges[] = {
		{ .gpa = 0, .bytes = 4 * MIB + 0xa0000 },
		{ .gpa = 4 * MIB + 0xc0000, .bytes = 2 * MIB },
		{ .gpa = 4096 * MIB - 0x37c000, .bytes = 0x37c000 },
		{ .gpa = 4096 * MIB, .bytes = 2 * MIB },
		{ .gpa = 512 * 1024 * MIB - 4096, .bytes = 8192 },
		{ .gpa = 700 * 1024 * MIB, .bytes = 3 * MIB },
		{ .gpa = 1500 * 1024 * MIB + 4096, .bytes = 4096 },
	};
	const unsigned int n = sizeof(ranges) / sizeof(ranges[0]);
	struct rings_manifest *manifest;
	struct rig source, target;
	uint32_t differing, first;
	uint64_t touched, *missing;
	struct helper_batch batch;
	unsigned int i;

	(void)state;
	rig_init_ranges(&source, ranges, n, 1);
	rig_init_ranges(&target, ranges, n, 2);
	for (i = 0; i < n; i++) {
		target.ram[i].hva = target.memory + target.ram[i].offset;
		target.ram[i].fd = -1;
	}
	rig_start(&source, 3);
	rig_connect(&source, &target);
	assert_int_equal(rings_touch(target.rings, HELPER_SESSION_ZERO_MARKS, &touched), 0);
	assert_int_equal(touched, target.bytes / 4096);
	carry_all(&source, &target);
	manifest = test_calloc(1, sizeof(*manifest) + sizeof(manifest->span[0]));
	assert_int_equal(rings_manifest_make(source.rings, manifest), 0);
	assert_int_equal(rings_manifest_check(target.rings, manifest, &differing, &first), 0);
	test_free(manifest);

	/* Post-copy: of two ranges that meet in one chunk, exactly the pages named are missing. */
	missing = test_calloc(target.bytes / 4096 / 64 + 1, 8);
	for (i = 0; i < n; i++)
		missing[target.ram[i].offset / 4096 / 64] |= 1ULL
							     << target.ram[i].offset / 4096 % 64;
	assert_int_equal(rings_postcopy(target.rings, missing, target.bytes / 4096), 0);
	test_free(missing);
	for (i = 0; i < n; i++) {
		const uint64_t gpa[2] = { ranges[i].gpa, ranges[i].gpa + 4096 };
		unsigned int pages = ranges[i].bytes > 4096 ? 2 : 1;
		unsigned int ring = rings_of(source.rings, gpa[0]);

		if (pages == 2 && rings_of(source.rings, gpa[1]) != ring)
			pages = 1;
		assert_int_equal(rig_seal(&source, gpa, pages, &batch), HELPER_OK);
		rig_carry(&source, &target, &batch, pages);
		rig_open(&target, ring, pages, &batch);
		assert_int_equal(batch.record[0].status, HELPER_OK);
		if (pages == 2)
			assert_int_equal(batch.record[1].status, HELPER_RESIDENT);
	}
	rig_fini(&source);
	rig_fini(&target);
}

static void one_vcpu(void **state)
{
	(void)state;
	all_memory(1);
}

static void two_vcpus(void **state)
{
	(void)state;
	all_memory(2);
}

static void five_vcpus(void **state)
{
	(void)state;
	all_memory(5);
}

/*
 * Refused in the guest as on the host (tests/unit/helper_pages.c has every kind): the page stays as
 * it was, bit for bit.
 */
static void refused_records(void **state)
{
	const uint64_t gpa[2] = { 0x5000, 0x6000 };
	struct rig source, target, foreign;
	struct helper_batch batch, spoilt;
	uint8_t before[2 * 4096];
	unsigned int how;

	(void)state;
	rig_init(&source, 8 * MIB, 0, 1);
	rig_init(&target, 8 * MIB, 0, 2);
	rig_init(&foreign, 8 * MIB, 0, 3);
	rig_start(&source, 1);
	rig_connect(&source, &target);
	memcpy(before, rig_at(&target, 0x5000), sizeof(before));
	assert_int_equal(rig_seal(&source, gpa, 2, &batch), HELPER_OK);
	for (how = 0; how < 4; how++) {
		spoilt = batch;
		if (how == 1)
			spoilt.record[0].gpa = 0x7000;
		if (how == 2)
			spoilt.record[0].tag[3] ^= 0x10;
		rig_carry(&source, &target, &spoilt, 2);
		if (how == 0)
			((uint8_t *)rings_page(target.rings, rig_slot(&target, 0, 0)))[100] ^= 1;
		if (how == 3) /* truncated: the rest of the slot is what was there before */
			memset((uint8_t *)rings_page(target.rings, rig_slot(&target, 0, 0)) + 2048,
			       0, 2048);
		assert_int_equal(rig_open(&target, 0, 1, &spoilt), HELPER_MISMATCH);
		assert_int_equal(spoilt.record[0].status, HELPER_BAD_TAG);
		assert_memory_equal(before, rig_at(&target, 0x5000), sizeof(before));
	}
	rig_carry(&source, &target, &batch, 2);
	assert_int_equal(rig_open(&target, 0, 2, &spoilt), HELPER_OK);
	assert_int_equal(rig_open(&target, 0, 2, &spoilt), HELPER_MISMATCH);
	assert_int_equal(spoilt.record[0].status, HELPER_STALE);

	/* A helper of another guest, with a session of its own. */
	rig_start(&foreign, 1);
	{
		uint8_t session[16];
		struct rig its_target;

		rig_init(&its_target, 8 * MIB, 0, 4);
		rig_connect(&foreign, &its_target);
		assert_int_equal(rings_session_wipe(foreign.rings), 0);
		assert_int_equal(rings_session_make(foreign.rings, 0, session), 0);
		memcpy(before, rig_at(&its_target, 0x5000), sizeof(before));
		rig_carry(&source, &its_target, &batch, 2);
		assert_int_equal(rig_open(&its_target, 0, 2, &spoilt), HELPER_MISMATCH);
		assert_int_equal(spoilt.record[0].status, HELPER_BAD_TAG);
		assert_memory_equal(before, rig_at(&its_target, 0x5000), sizeof(before));
		rig_fini(&its_target);
	}
	rig_fini(&source);
	rig_fini(&target);
	rig_fini(&foreign);
}

static int start_fails(struct rig *rig, struct why *why)
{
	struct rings_config config = {
		.kvm_fd = -1,
		.primary_fd = -1,
		.plan = &rig->plan,
		.region_fd = rig->region.fd,
		.ram = rig->ram,
		.nram = rig->nram,
		.nrings = 1,
		.data_pages = 16,
	};

	struct rings *rings;
	int error = rings_create(&rings, &config, why);

	if (!error)
		rig->rings = rings;
	return error;
}

static void bad_cores(void **state)
{
	struct rig source, target;
	struct why why;

	(void)state;
	rig_init(&source, 8 * MIB, 0, 1);
	rig_init(&target, 8 * MIB, 0, 2);
	rig_start(&source, 1);
	rig_connect(&source, &target);
	rings_destroy(target.rings);
	target.rings = NULL;

	/*
	 * A page of the carried core changed: the last of the image, which start-up does not run
	 * through.
	 */
	((uint8_t *)target.region.hva)[target.plan.core_bytes - 1] ^= 1;
	assert_int_equal(start_fails(&target, &why), -EBADMSG);
	assert_non_null(strstr(why.text, "refuses its core"));
	/* No core at all. */
	memset(target.region.hva, 0, target.plan.core_bytes);
	assert_int_equal(start_fails(&target, &why), -EFAULT);
	assert_non_null(strstr(why.text, "crashed"));
	assert_int_equal(start_fails(&source, &why), -EBUSY);
	assert_non_null(strstr(why.text, "another helper"));
	/* And a good one again, in the same memory. */
	memcpy(target.region.hva, source.region.hva, source.plan.core_bytes);
	assert_int_equal(start_fails(&target, &why), 0);
	rig_fini(&source);
	rig_fini(&target);
}

/*
 * Its code is taken away while it runs (on a SEV host: pages swapped by the host). Its rings say
 * so; everything can be torn down.
 */
static void crash_is_reported(void **state)
{
	struct helper_request request = { .op = HELPER_OP_HELLO };
	struct helper_completion c;
	struct rig rig;
	int error;

	(void)state;
	rig_init(&rig, 8 * MIB, 0, 1);
	rig_start(&rig, 2);
	memset((uint8_t *)rig.region.hva + 7 * 4096, 0xff, rig.plan.core_bytes - 7 * 4096);
	while ((error = rings_call(rig.rings, 1, &request, &c, 100000000)) == 0)
		;
	while (error == -ETIMEDOUT)
		error = rings_wait(rig.rings, 1, &c, 100000000);
	assert_int_equal(error, -EFAULT);
	assert_non_null(strstr(rings_error(rig.rings, 1), "crashed"));
	assert_int_equal(rings_submit(rig.rings, 1, &request, NULL), -EFAULT);
	rig_fini(&rig);
}

/* An idle helper sleeps: then it costs no exits, and any request wakes it. */
static void sleeps_and_wakes(void **state)
{
	struct helper_request request = { .op = HELPER_OP_HELLO };
	struct helper_statistics before, after;
	struct helper_completion c;
	struct rig rig;
	unsigned int i;

	(void)state;
	rig_init(&rig, 8 * MIB, 0, 1);
	rig_start(&rig, 2);
	rings_spin(rig.rings, 1, 1);
	assert_int_equal(rings_statistics(rig.rings, &before), 0);
	for (i = 0; i < 500; i++) {
		assert_int_equal(rings_call(rig.rings, i % 2, &request, &c, 30000000000ULL), 0);
		assert_int_equal(c.count, HELPER_ABI_VERSION);
	}
	assert_int_equal(rings_statistics(rig.rings, &after), 0);
	assert_true(after.sleeps > before.sleeps);
	assert_int_equal(rings_wait(rig.rings, 0, &c, 0), -ENOENT);
	rig_fini(&rig);
}

static void postcopy_pages_once(void **state)
{
	const uint64_t gpa[3] = { 0x1000, 0x2000, 0x3000 };
	uint64_t bitmap[8 * MIB / 4096 / 64] = { 1ULL << 1 | 1ULL << 3 };
	struct rig source, target;
	struct helper_batch batch, opened;
	struct rings_manifest *manifest;
	uint32_t differing, first;

	(void)state;
	rig_init(&source, 8 * MIB, 0, 1);
	rig_init(&target, 8 * MIB, 0, 2);
	rig_start(&source, 1);
	rig_connect(&source, &target);
	assert_int_equal(rings_postcopy(target.rings, bitmap, 100), -EINVAL);
	assert_int_equal(rings_postcopy(target.rings, bitmap, 8 * MIB / 4096), 0);
	assert_int_equal(rings_postcopy(target.rings, bitmap, 8 * MIB / 4096), -EPERM);
	assert_int_equal(rings_postcopy(source.rings, bitmap, 8 * MIB / 4096), -EPERM);
	assert_int_equal(rig_seal(&source, gpa, 3, &batch), HELPER_OK);
	rig_carry(&source, &target, &batch, 3);
	assert_int_equal(rig_open(&target, 0, 3, &opened), HELPER_MISMATCH);
	assert_int_equal(opened.record[0].status, HELPER_OK);
	assert_int_equal(opened.record[1].status, HELPER_RESIDENT);
	assert_int_equal(opened.record[2].status, HELPER_OK);
	assert_memory_equal(rig_at(&source, 0x3000), rig_at(&target, 0x3000), 4096);
	manifest = test_calloc(1, sizeof(*manifest) + rings_manifest_spans(source.rings) *
							      sizeof(manifest->span[0]));
	assert_int_equal(rings_manifest_make(source.rings, manifest), 0);
	assert_int_equal(rings_manifest_check(target.rings, manifest, &differing, &first),
			 -EBADMSG);
	test_free(manifest);
	rig_fini(&source);
	rig_fini(&target);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused_records),     cmocka_unit_test(bad_cores),
		cmocka_unit_test(crash_is_reported),   cmocka_unit_test(sleeps_and_wakes),
		cmocka_unit_test(postcopy_pages_once), cmocka_unit_test(one_vcpu),
		cmocka_unit_test(wide_ranges),	       cmocka_unit_test(two_vcpus),
		cmocka_unit_test(five_vcpus),
	};

	rig_need_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
