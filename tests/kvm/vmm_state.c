/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's state, saved and loaded into another VM: the guest must not notice; and what a stranger
 * may have written is refused.
 */
#include "tests/kvm/vmm_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "payloads/counter.h"
#include "payloads/dirtier.h"
#include "vmm/memory.h"
#include "vmm/vm/vm_state.h"

static void save(struct vm *vm, uint8_t **buf, size_t *len)
{
	struct why why = { "" };

	if (vm_state_save(vm, buf, len, &why))
		fail_msg("%s", why.text);
}

/*
 * What a migration does, without the network: a new VM with the memory and the state of the old
 * one, which goes.
 */
static struct vm *move(struct vm *from)
{
	struct vm *to = rig_vm(vm_cpus(from), RIG_MEMORY);
	struct why why = { "" };
	uint8_t *buf;
	size_t len;

	save(from, &buf, &len);
	memcpy(guest_memory_hva(vm_memory(to), 0, RIG_MEMORY),
	       guest_memory_hva(vm_memory(from), 0, RIG_MEMORY), RIG_MEMORY);
	vm_destroy(from);
	if (vm_state_load(to, buf, len, &why) || vm_start(to, &why))
		fail_msg("%s", why.text);
	free(buf);
	return to;
}

/* The counter checks its general and SSE registers at each tick. */
static void registers_survive(void **state)
{
	uint64_t args[PAYLOAD_ARGS] = { 0 };
	unsigned int i;
	struct vm *vm;

	(void)state;
	rig_need_kvm();
	vm = rig_payload("COUNTER", 2, args);
	for (i = 0; i < 12; i++) {
		vm_resume(vm);
		rig_wait_heartbeats(vm, i % 2, 50 + i * 37);
		assert_int_equal(vm_pause(vm), 0);
		vm = move(vm);
	}
	rig_tell_stop(vm);
	vm_resume(vm);
	assert_int_equal(rig_end(vm), VM_POWEROFF);
	for (i = 0; i < 2; i++) {
		const struct payload_vcpu *vcpu = &vm_payload_shared(vm)->vcpu[i];

		assert_int_equal(vcpu->errors, 0);
		assert_int_equal(vcpu->counters[COUNTER_COUNT_TSC_BACKWARDS], 0);
	}
	vm_destroy(vm);
}

/* The dirtier stands still anywhere in its loops; each page must be there afterwards. */
static void a_busy_guest_survives(void **state)
{
	uint64_t args[PAYLOAD_ARGS] = {
		[DIRTIER_ARG_SEED] = 5, [DIRTIER_ARG_PATTERN] = DIRTIER_RANDOM
	};
	unsigned int i;
	struct vm *vm;

	(void)state;
	rig_need_kvm();
	vm = rig_payload("DIRTIER", 2, args);
	for (i = 0; i < 6; i++) {
		vm_resume(vm);
		rig_wait_heartbeats(vm, i % 2, 30);
		assert_int_equal(vm_pause(vm), 0);
		vm = move(vm);
	}
	rig_tell_stop(vm);
	vm_resume(vm);
	assert_int_equal(rig_end(vm), VM_POWEROFF);
	vm_destroy(vm);
}

static void the_state_can_be_saved_twice(void **state)
{
	uint64_t args[PAYLOAD_ARGS] = { 0 };
	struct why why = { "" };
	uint8_t *first, *second;
	size_t first_len, second_len;
	struct vm *vm;

	(void)state;
	rig_need_kvm();
	vm = rig_payload("COUNTER", 1, args);
	vm_resume(vm);
	rig_wait_heartbeats(vm, 0, 10);
	assert_int_equal(vm_state_save(vm, &first, &first_len, &why), -EBUSY);
	assert_int_equal(vm_pause(vm), 0);
	save(vm, &first, &first_len);
	save(vm, &second, &second_len);
	assert_int_equal(first_len, second_len);
	free(first);
	free(second);
	vm_resume(vm);
	rig_wait_heartbeats(vm, 0, 10);
	rig_tell_stop(vm);
	assert_int_equal(rig_end(vm), VM_POWEROFF);
	vm_destroy(vm);
}

/* A state of a paused guest, for the tests that damage it. */
static void some_state(uint8_t **buf, size_t *len)
{
	uint64_t args[PAYLOAD_ARGS] = { 0 };
	struct vm *vm = rig_payload("COUNTER", 2, args);

	vm_resume(vm);
	rig_wait_heartbeats(vm, 0, 10);
	assert_int_equal(vm_pause(vm), 0);
	save(vm, buf, len);
	vm_destroy(vm);
}

static void other_configurations_are_refused(void **state)
{
	struct why why = { "" };
	uint8_t *buf;
	size_t len;
	struct vm *vm;

	(void)state;
	rig_need_kvm();
	some_state(&buf, &len);
	vm = rig_vm(3, RIG_MEMORY);
	assert_int_equal(vm_state_load(vm, buf, len, &why), -ENODEV);
	assert_non_null(strstr(why.text, "another VM"));
	vm_destroy(vm);
	vm = rig_vm(2, 2 * RIG_MEMORY);
	assert_int_equal(vm_state_load(vm, buf, len, &why), -ENODEV);
	vm_destroy(vm);
	vm = rig_vm(2, RIG_MEMORY);
	buf[4]++; /* the version */
	assert_int_equal(vm_state_load(vm, buf, len, &why), -ENODEV);
	assert_non_null(strstr(why.text, "version"));
	vm_destroy(vm);
	free(buf);
}

/*
 * Cut anywhere: always refused. The copy is as long as the cut, so that a sanitizer sees a read
 * beyond it.
 */
static void a_truncated_state_is_refused(void **state)
{
	struct why why;
	uint8_t *buf, *cut;
	size_t len, i;
	struct vm *vm;

	(void)state;
	rig_need_kvm();
	some_state(&buf, &len);
	vm = rig_vm(2, RIG_MEMORY);
	for (i = 0; i < len; i += i < 200 ? 1 : 97) {
		cut = malloc(i ? i : 1);
		assert_non_null(cut);
		memcpy(cut, buf, i);
		assert_true(vm_state_load(vm, cut, i, &why) < 0);
		assert_true(*why.text);
		free(cut);
	}
	vm_destroy(vm);
	free(buf);
}

/*
 * Bytes changed at random: refused or taken, but nothing worse. Which ones follows from the seed.
 */
static void a_damaged_state_does_no_harm(void **state)
{
	unsigned int seed = 20240607, i, j, refused = 0;
	struct why why;
	uint8_t *buf, *bad;
	size_t len;
	struct vm *vm;

	(void)state;
	rig_need_kvm();
	some_state(&buf, &len);
	bad = malloc(len);
	assert_non_null(bad);
	for (i = 0; i < 300; i++) {
		memcpy(bad, buf, len);
		for (j = 0; j < 1 + i % 4; j++)
			bad[(size_t)rand_r(&seed) % (i % 2 ? len : 600)] ^=
				(uint8_t)(1 + rand_r(&seed) % 255);
		vm = rig_vm(2, RIG_MEMORY);
		refused += vm_state_load(vm, bad, len, &why) < 0;
		vm_destroy(vm);
	}
	assert_true(refused > 50);
	free(bad);
	free(buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registers_survive),
		cmocka_unit_test(a_busy_guest_survives),
		cmocka_unit_test(the_state_can_be_saved_twice),
		cmocka_unit_test(other_configurations_are_refused),
		cmocka_unit_test(a_truncated_state_is_refused),
		cmocka_unit_test(a_damaged_state_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
