/* SPDX-License-Identifier: Apache-2.0 */
/* The helper in a mirror VM on this machine's /dev/kvm: pages sealed in one guest, opened in another. */
#include "tests/kvm/mirror_rig.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <string.h>

#define MIB (1ULL << 20)
#define N   HELPER_BATCH_MAX

static void all_memory(unsigned int nrings)
{
	struct rig source, target;
	struct rings_manifest *manifest;
	struct helper_batch batch;
	struct helper_statistics sum;
	uint64_t gpa[N], touched, at;
	uint32_t differing, first;
	unsigned int i, part;

	rig_init(&source, 8 * MIB, 4 * MIB, 1);
	rig_init(&target, 8 * MIB, 4 * MIB, 2);
	rig_start(&source, nrings);
	assert_int_equal(rings_touch(source.rings, false, &touched), 0);
	assert_int_equal(touched, (source.bytes - source.plan.bytes) / 4096);
	rig_connect(&source, &target);
	assert_int_equal(rings_touch(target.rings, true, &touched), 0);
	for (part = 0; part < source.nram; part++) {
		for (at = 0; at < source.ram[part].bytes; at += N * 4096) {
			for (i = 0; i < N; i++)
				gpa[i] = source.ram[part].gpa + at + i * 4096;
			if (gpa[0] - source.plan.gpa < source.plan.bytes)
				continue;
			assert_int_equal(rig_seal(&source, gpa, N, &batch), HELPER_OK);
			rig_carry(&source, &target, &batch, N);
			assert_int_equal(
				rig_open(&target, rings_of(target.rings, gpa[0]), N, &batch),
				HELPER_OK);
			assert_memory_equal(rig_at(&source, gpa[0]), rig_at(&target, gpa[0]),
					    N * 4096);
		}
	}
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
	assert_int_equal(sum.opened, (source.bytes - source.plan.bytes) / 4096);
	assert_int_equal(sum.bad_tag + sum.stale + sum.refused, 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_vcpu),
		cmocka_unit_test(two_vcpus),
		cmocka_unit_test(five_vcpus),
	};

	rig_need_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
