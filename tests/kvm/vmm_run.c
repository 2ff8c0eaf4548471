/* SPDX-License-Identifier: Apache-2.0 */
/* Payload guests from launch to end: running, paused, crashing, being stopped. */
#include "tests/kvm/vmm_rig.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "payloads/counter.h"
#include "payloads/dirtier.h"
#include "launch/guest_layout.h"
#include "vmm/memory.h"

#define TICKS 200

static void runs_to_its_end(void **state)
{
	uint64_t args[PAYLOAD_ARGS] = { [COUNTER_ARG_TICKS] = TICKS };
	unsigned int i;
	struct vm *vm;

	(void)state;
	rig_need_kvm();
	vm = rig_payload("COUNTER", 3, args);
	assert_int_equal(vm_cpus_parked(vm), 3);
	vm_resume(vm);
	assert_int_equal(rig_end(vm), VM_POWEROFF);
	assert_int_equal(vm_payload_shared(vm)->state, PAYLOAD_DONE);
	for (i = 0; i < 3; i++)
		assert_int_equal(vm_payload_shared(vm)->vcpu[i].counters[COUNTER_COUNT_TICKS],
				 TICKS);
	vm_destroy(vm);
}

/* While paused no vCPU writes anything; after it all is as it was. */
static void pausing_stops_every_write(void **state)
{
	uint64_t args[PAYLOAD_ARGS] = { [DIRTIER_ARG_SEED] = 11, [DIRTIER_ARG_FILL] = 1 };
	const size_t bytes = RIG_MEMORY;
	uint8_t *before = malloc(bytes);
	const uint8_t *ram;
	struct vm *vm;
	int i;

	(void)state;
	rig_need_kvm();
	assert_non_null(before);
	vm = rig_payload("DIRTIER", 2, args);
	ram = guest_memory_hva(vm_memory(vm), 0, bytes);
	for (i = 0; i < 10; i++) {
		vm_resume(vm);
		vm_resume(vm);
		rig_wait_heartbeats(vm, i % 2, 20);
		assert_int_equal(vm_pause(vm), 0);
		assert_int_equal(vm_pause(vm), 0);
		assert_true(vm_paused(vm));
		assert_int_equal(vm_cpus_parked(vm), 2);
		memcpy(before, ram, bytes);
		assert_memory_equal(before, ram, bytes);
	}
	rig_tell_stop(vm);
	vm_resume(vm);
	assert_int_equal(rig_end(vm), VM_POWEROFF);
	assert_int_equal(vm_payload_shared(vm)->vcpu[0].errors, 0);
	assert_true(vm_payload_shared(vm)->vcpu[1].counters[DIRTIER_COUNT_VERIFIED] > 0);
	vm_destroy(vm);
	free(before);
}

/* A paused payload that sleeps must not make the pause wait, nor the stop. */
static void a_sleeping_payload_is_paused_at_once(void **state)
{
	/* One tick in ten seconds: the rest of the time it sleeps. */
	uint64_t args[PAYLOAD_ARGS] = { [COUNTER_ARG_RATE] = 1 };
	struct vm *vm;

	(void)state;
	rig_need_kvm();
	vm = rig_payload("COUNTER", 2, args);
	vm_resume(vm);
	rig_wait_heartbeats(vm, 0, 1);
	assert_int_equal(vm_pause(vm), 0);
	assert_int_equal(vm_cpus_parked(vm), 2);
	vm_resume(vm);
	vm_request_pause(vm);
	assert_int_equal(vm_pause(vm), 0);
	vm_stop(vm);
	assert_int_equal(rig_end(vm), VM_STOPPED);
	vm_destroy(vm);
}

static void what_ends_first_counts(void **state)
{
	uint64_t args[PAYLOAD_ARGS] = { 0 };
	struct vm *vm;

	(void)state;
	rig_need_kvm();
	vm = rig_payload("COUNTER", 1, args);
	vm_resume(vm);
	vm_stop(vm);
	vm_stop(vm);
	assert_int_equal(rig_end(vm), VM_STOPPED);
	assert_int_equal(vm_pause(vm), 0);
	vm_resume(vm);
	vm_destroy(vm);

	vm = rig_vm(4, RIG_MEMORY);
	vm_destroy(vm); /* never launched, never started */
	vm_destroy(NULL);
}

static void a_payloads_error_is_reported(void **state)
{
	uint64_t args[PAYLOAD_ARGS] = { [DIRTIER_ARG_PATTERN] = 99 };
	struct vm *vm;

	(void)state;
	rig_need_kvm();
	vm = rig_payload("DIRTIER", 1, args);
	vm_resume(vm);
	assert_int_equal(rig_end(vm), VM_CRASH);
	assert_non_null(strstr(vm_end_report(vm), "its error 3"));
	vm_destroy(vm);
}

/* An ELF program of these bytes at PAYLOAD_BASE. */
static struct launch_blob tiny_elf(const void *code, size_t len)
{
	size_t bytes = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr) + len;
	uint8_t *file = calloc(1, bytes);
	Elf64_Ehdr *ehdr = (void *)file;
	Elf64_Phdr *phdr = (void *)(ehdr + 1);

	assert_non_null(file);
	memcpy(ehdr->e_ident, ELFMAG, SELFMAG);
	ehdr->e_ident[EI_CLASS] = ELFCLASS64;
	ehdr->e_ident[EI_DATA] = ELFDATA2LSB;
	ehdr->e_machine = EM_X86_64;
	ehdr->e_type = ET_EXEC;
	ehdr->e_phentsize = sizeof(*phdr);
	ehdr->e_phnum = 1;
	ehdr->e_phoff = sizeof(*ehdr);
	ehdr->e_entry = PAYLOAD_BASE;
	phdr->p_type = PT_LOAD;
	phdr->p_paddr = phdr->p_vaddr = PAYLOAD_BASE;
	phdr->p_offset = sizeof(*ehdr) + sizeof(*phdr);
	phdr->p_filesz = phdr->p_memsz = len;
	memcpy(phdr + 1, code, len);
	return (struct launch_blob){ file, bytes };
}

/* ud2 with no IDT is a triple fault; the report says where. */
static void a_triple_fault_is_a_crash_with_registers(void **state)
{
	static const uint8_t code[] = { 0x0f, 0x0b };
	struct launch_blob elf = tiny_elf(code, sizeof(code));
	struct vm *vm;

	(void)state;
	rig_need_kvm();
	vm = rig_vm(1, RIG_MEMORY);
	rig_launch(vm, 1, elf, NULL);
	vm_resume(vm);
	assert_int_equal(rig_end(vm), VM_CRASH);
	assert_non_null(strstr(vm_end_report(vm), "triple fault"));
	assert_non_null(strstr(vm_end_report(vm), "cr3"));
	vm_destroy(vm);
	free((void *)elf.bytes);
}

/* RAM above 4 GiB is a slot of its own, and reachable. */
static void memory_above_the_hole(void **state)
{
	/* mov $0x123456789abc, %rax; mov $4 GiB + 8, %rbx; mov %rax, (%rbx); then ud2 */
	static const uint8_t code[] = { 0x48, 0xb8, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12, 0,
					0,    0x48, 0xbb, 8,	0,    0,    0,	  1,	0,
					0,    0,    0x48, 0x89, 0x03, 0x0f, 0x0b };
	struct launch_blob elf = tiny_elf(code, sizeof(code));
	const struct launch_config config = { .memory_bytes = GUEST_LOW_RAM_MAX + (2 << 20),
					      .cpus = 1,
					      .payload = elf };
	uint8_t measurement[SEV_MEASUREMENT_BYTES];
	struct launch_image *image;
	struct why why = { "" };
	struct vm *vm;

	(void)state;
	rig_need_kvm();
	vm = rig_vm(1, config.memory_bytes);
	assert_int_equal(launch_image_create(&image, &config, &why), 0);
	assert_int_equal(vm_launch(vm, image, NULL, 0, NULL, measurement, &why), 0);
	launch_image_destroy(image);
	assert_int_equal(vm_start(vm, &why), 0);
	vm_resume(vm);
	assert_int_equal(rig_end(vm), VM_CRASH);
	assert_true(*(uint64_t *)guest_memory_hva(vm_memory(vm), GUEST_HIGH_RAM_GPA + 8, 8) ==
		    0x123456789abc);
	vm_destroy(vm);
	free((void *)elf.bytes);
}

static void impossible_configurations_are_refused(void **state)
{
	struct vm_config config = { .memory_bytes = RIG_MEMORY, .cpus = LAUNCH_MAX_CPUS + 1 };
	struct why why = { "" };
	struct vm *vm = NULL;

	(void)state;
	rig_need_kvm();
	assert_int_equal(vm_create(&vm, &config, &why), -EINVAL);
	assert_non_null(strstr(why.text, "CPUs"));
	config.cpus = 1;
	config.memory_bytes = (2 << 20) + 4096;
	assert_int_equal(vm_create(&vm, &config, &why), -EINVAL);
	assert_null(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_to_its_end),
		cmocka_unit_test(pausing_stops_every_write),
		cmocka_unit_test(a_sleeping_payload_is_paused_at_once),
		cmocka_unit_test(what_ends_first_counts),
		cmocka_unit_test(a_payloads_error_is_reported),
		cmocka_unit_test(a_triple_fault_is_a_crash_with_registers),
		cmocka_unit_test(memory_above_the_hole),
		cmocka_unit_test(impossible_configurations_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
