/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's state, saved and loaded into another VM: the guest must not notice; and what a stranger
 * may have written is refused.
 */
#include "tests/kvm/vmm_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "payloads/counter.h"
#include "payloads/dirtier.h"
#include "vmm/memory.h"
#include "vmm/vm/vm_private.h"
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

/*
 * Every MSR that KVM lets us read, by address. What differs between two VMs by its nature is left
 * out: the TSC and what follows from it, which other tests hold to the clock.
 */
#define MSR_ENTRIES 4096

static const uint32_t msr_ranges[][2] = {
	{ 0, 0x1fff },
	{ 0x40000000, 0x400001ff },
	{ 0x4b564d00, 0x4b564dff },
	{ 0xc0000000, 0xc0001fff },
	{ 0xc0010000, 0xc0011fff },
};

static bool msr_moves_by_itself(uint32_t index)
{
	return index == 0x10 || index == 0x3b || index == 0x6e0 || index == 0xe7 || index == 0xe8 ||
	       (index >= 0x40000000 && index <= 0x400001ff);
}

/* Changing these would start something, or make the next entry into the guest fail. */
static bool msr_is_dangerous(uint32_t index)
{
	return msr_moves_by_itself(index) || index == 0x1b || (index & ~0xffu) == 0x800 ||
	       index == 0xc0000080 || (index & ~0xffu) == 0x4b564d00;
}

static bool msr_access(struct vm *vm, unsigned long request, struct kvm_msr_entry *entry)
{
	union {
		struct kvm_msrs msrs;
		uint8_t room[sizeof(struct kvm_msrs) + sizeof(*entry)];
	} one = { .msrs.nmsrs = 1 };
	bool done;

	one.msrs.entries[0] = *entry;
	done = ioctl(vm->vcpus[0].fd, request, &one) == 1;
	*entry = one.msrs.entries[0];
	return done;
}

static unsigned int msr_scan(struct vm *vm, struct kvm_msr_entry *entries)
{
	unsigned int i, n = 0;
	uint32_t index;

	for (i = 0; i < sizeof(msr_ranges) / sizeof(*msr_ranges); i++) {
		for (index = msr_ranges[i][0]; index <= msr_ranges[i][1]; index++) {
			struct kvm_msr_entry entry = { .index = index };

			if (msr_moves_by_itself(index) || !msr_access(vm, KVM_GET_MSRS, &entry))
				continue;
			assert_true(n < MSR_ENTRIES);
			entries[n++] = entry;
		}
	}
	return n;
}

/* Another value for each MSR that takes one and keeps it. Returns how many did. */
static unsigned int msr_change(struct vm *vm, const struct kvm_msr_entry *entries, unsigned int n)
{
	static const uint64_t flips[] = { ~0ULL, 0x806, 1, 0x800 };
	unsigned int i, k, changed = 0;

	for (i = 0; i < n; i++) {
		for (k = 0; k < 4 && !msr_is_dangerous(entries[i].index); k++) {
			struct kvm_msr_entry entry = entries[i];
			uint64_t value = entry.data ^ flips[k];

			entry.data = value;
			if (!msr_access(vm, KVM_SET_MSRS, &entry))
				continue;
			if (msr_access(vm, KVM_GET_MSRS, &entry) && entry.data == value)
				break;
			entry.data = entries[i].data;
			msr_access(vm, KVM_SET_MSRS, &entry);
		}
		changed += k < 4 && !msr_is_dangerous(entries[i].index);
	}
	return changed;
}

static void every_msr_survives(void **state)
{
	static struct kvm_msr_entry before[MSR_ENTRIES], after[MSR_ENTRIES];
	uint64_t args[PAYLOAD_ARGS] = { 0 };
	unsigned int i, n, lost = 0;
	struct vm *vm;

	(void)state;
	rig_need_kvm();
	vm = rig_payload("COUNTER", 1, args);
	vm_resume(vm);
	rig_wait_heartbeats(vm, 0, 10);
	assert_int_equal(vm_pause(vm), 0);
	n = msr_scan(vm, before);
	/* Else nothing is compared but zeros: the MTRRs and the machine-check banks are more. */
	assert_true(msr_change(vm, before, n) > 100);
	n = msr_scan(vm, before);
	vm = move(vm);
	assert_int_equal(msr_scan(vm, after), n);
	for (i = 0; i < n; i++) {
		assert_int_equal(before[i].index, after[i].index);
		if (before[i].data == after[i].data)
			continue;
		print_error("MSR 0x%x was 0x%llx, is 0x%llx\n", before[i].index,
			    (unsigned long long)before[i].data, (unsigned long long)after[i].data);
		lost++;
	}
	assert_int_equal(lost, 0);
	vm_destroy(vm);
}

/* The dirtier is stopped anywhere in its loops; each page must be there afterwards. */
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
		cmocka_unit_test(every_msr_survives),
		cmocka_unit_test(a_busy_guest_survives),
		cmocka_unit_test(the_state_can_be_saved_twice),
		cmocka_unit_test(other_configurations_are_refused),
		cmocka_unit_test(a_truncated_state_is_refused),
		cmocka_unit_test(a_damaged_state_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
