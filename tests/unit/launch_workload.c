/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A workload in the launch image, looked at as its mirror does, through its page tables; and
 * programs that are not workloads. The ELF files are those of payloads/: COUNTER (no workload),
 * MEMSCAN, SCRIBBLE (asks for writing).
 */
#include "tests/unit/cmocka_all.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "launch/launch_helper.h"
#include "launch/guest_layout.h"
#include "launch/launch_workload.h"
#include "lib/mirror/mirror.h"
#include "lib/util/file.h"

#define MIB  (1ULL << 20)
#define GIB  (1ULL << 30)
#define C    (1ULL << 47)
#define P    1ULL
#define W    2ULL
#define U    4ULL
#define PS   (1ULL << 7)
#define NX   (1ULL << 63)
#define ADDR 0x000ffffffffff000ULL

struct launched {
	struct launch_config config;
	struct launch_helper helper;
	struct launch_workload workload;
	struct launch_image *image;
};

static struct launch_blob read_elf(const char *variable)
{
	void *bytes = NULL;
	struct launch_blob elf;

	assert_non_null(getenv(variable));
	assert_int_equal(util_read_file(getenv(variable), 1 << 20, &bytes, &elf.len), 0);
	elf.bytes = bytes;
	return elf;
}

static int make(struct launched *l, uint64_t memory, struct launch_blob elf, struct why *why)
{
	memset(l, 0, sizeof(*l));
	l->config = (struct launch_config){
		.memory_bytes = memory, .cpus = 1, .c_mask = C, .mirror_payload = elf
	};
	assert_int_equal(launch_helper_make(&l->helper, &l->config, why), 0);
	return launch_workload_make(&l->workload, &l->config, why);
}

static void drop(struct launched *l)
{
	launch_image_destroy(l->image);
	launch_workload_free(&l->workload);
	launch_helper_free(&l->helper);
	free((void *)l->config.mirror_payload.bytes);
	free((void *)l->config.payload.bytes);
}

static void launch(struct launched *l, uint64_t memory, const char *variable)
{
	struct why why = { "" };

	assert_int_equal(make(l, memory, read_elf(variable), &why), 0);
	l->config.payload = read_elf("COUNTER");
	assert_int_equal(launch_image_create(&l->image, &l->config, &why), 0);
}

/* What is launched at gpa; NULL: nothing. */
static const void *at(const struct launched *l, uint64_t gpa)
{
	for (unsigned int i = 0; i < l->image->nsegments; i++) {
		const struct launch_segment *s = &l->image->segments[i];

		if (gpa >= s->gpa && gpa - s->gpa < s->len)
			return s->bytes + (gpa - s->gpa);
	}
	return NULL;
}

/* The entry that maps va, 0 if none does; *gpa is where. */
static uint64_t walk(const struct launched *l, uint64_t va, uint64_t *gpa)
{
	uint64_t table = l->workload.plan.cr3;

	for (unsigned int shift = 39;; shift -= 9) {
		const uint64_t *entries = at(l, table);
		uint64_t entry;

		assert_non_null(entries);
		/* Tables are the region's own, so that the mirror's memslots can hold them. */
		assert_in_range(table, l->workload.plan.gpa,
				l->workload.plan.gpa + l->workload.plan.bytes - 4096);
		entry = entries[va >> shift & 511];
		if (!(entry & P))
			return 0;
		assert_true(entry & U);
		if (shift == 12 || entry & PS) {
			uint64_t offset = va & ((1ULL << shift) - 1);

			*gpa = (entry & ADDR & ~C & ~((1ULL << shift) - 1)) + offset;
			return entry;
		}
		assert_true(entry & C);
		table = entry & ADDR & ~C;
	}
}

static void assert_own(const struct launched *l, uint64_t va, uint64_t rights)
{
	uint64_t gpa = 0, entry = walk(l, va, &gpa);

	assert_int_equal(entry & (W | NX | C), rights | C);
	assert_in_range(gpa, l->workload.plan.gpa,
			l->workload.plan.gpa + l->workload.plan.bytes - 1);
}

static void the_mirror_finds_what_it_needs(void **state)
{
	const struct payload_params *params;
	const struct workload_plan *plan;
	uint64_t gpa = 0, entry;
	struct launched l;

	(void)state;
	launch(&l, 64 * MIB, "MEMSCAN");
	plan = &l.workload.plan;
	assert_string_equal(plan->name, "memscan");
	assert_false(plan->writes_memory);
	assert_true(workload_plan_ok(plan, 64 * MIB));
	assert_int_equal(plan->bytes, 2 * MIB);

	assert_own(&l, WORKLOAD_PARAMS_VA, NX);
	assert_own(&l, WORKLOAD_TSS_VA, NX);
	assert_own(&l, WORKLOAD_TSS_VA + WORKLOAD_TSS_BYTES - 1, NX);
	assert_own(&l, plan->rip, 0);
	assert_own(&l, WORKLOAD_WORK_VA, W | NX);

	walk(&l, WORKLOAD_PARAMS_VA, &gpa);
	params = at(&l, gpa);
	assert_int_equal(params->magic, PAYLOAD_PARAMS_MAGIC);
	assert_int_equal(params->flags, PAYLOAD_IN_MIRROR);
	assert_int_equal(params->vcpus, 1);
	assert_int_equal(params->nram, 1);
	assert_int_equal(params->ram[0].bytes, plan->gpa);
	assert_own(&l, params->work_va + params->work_bytes - 1, W | NX);
	walk(&l, params->work_va + params->work_bytes - 1, &gpa);
	assert_int_equal(gpa, 64 * MIB - 1);

	entry = walk(&l, params->shared_va, &gpa);
	assert_int_equal(entry & (W | NX | C), W | NX);
	assert_int_equal(gpa, mirror_window_place(64 * MIB));
	drop(&l);
}

/* The program's variables follow its constants, and are not launched. */
static void variables_are_writable_and_code_is_not(void **state)
{
	uint64_t gpa = 0, entry, va = PAYLOAD_BASE;
	struct launched l;

	(void)state;
	launch(&l, 64 * MIB, "MEMSCAN");
	for (; ((entry = walk(&l, va, &gpa)) & NX) == 0; va += 4096) {
		assert_int_equal(entry & (W | C), C);
		assert_non_null(at(&l, gpa));
	}
	assert_true(va > PAYLOAD_BASE);
	for (; (entry = walk(&l, va, &gpa)); va += 4096) {
		assert_int_equal(entry & (W | NX | C), W | NX | C);
		assert_null(at(&l, gpa));
		if (va + 4096 == WORKLOAD_WORK_VA)
			break;
	}
	assert_true(va < PAYLOAD_BASE + PAYLOAD_IMAGE_MAX);
	drop(&l);
}

static void check_memory(uint64_t memory, const char *variable, uint64_t rights)
{
	uint64_t low_end = memory < GUEST_LOW_RAM_MAX ? memory : GUEST_LOW_RAM_MAX;
	uint64_t high_end = GUEST_HIGH_RAM_GPA + (memory - low_end), gpa, found, entry;
	struct launched l;

	launch(&l, memory, variable);
	for (gpa = 0; gpa < high_end + GIB; gpa += 2 * MIB) {
		bool own = gpa >= l.workload.plan.gpa && gpa < low_end;
		bool ram = gpa < low_end || (gpa >= GUEST_HIGH_RAM_GPA && gpa < high_end);

		entry = walk(&l, WORKLOAD_RAM_VA + gpa + 4096, &found);
		assert_int_equal(entry != 0, ram && !own);
		if (entry) {
			assert_int_equal(entry & (W | NX | C), rights | NX | C);
			assert_int_equal(found, gpa + 4096);
		}
	}
	drop(&l);
}

static void the_guests_memory_is_there_but_for_the_region(void **state)
{
	(void)state;
	check_memory(64 * MIB, "MEMSCAN", 0);
	check_memory(6 * GIB, "MEMSCAN", 0);
	check_memory(64 * MIB, "SCRIBBLE", W);
}

/* The guest's own things end in front of the region, so its memory map reserves it. */
static void the_guest_keeps_away_from_it(void **state)
{
	const struct payload_params *params;
	struct launched l;

	(void)state;
	launch(&l, 64 * MIB, "MEMSCAN");
	params = at(&l, LAYOUT_PAYLOAD_PARAMS_GPA);
	assert_int_equal(params->work_va + params->work_bytes, l.workload.plan.gpa);
	assert_int_equal(params->flags, 0);
	drop(&l);
}

static void it_is_a_function_of_the_configuration(void **state)
{
	struct launched one, two;

	(void)state;
	launch(&one, 64 * MIB, "MEMSCAN");
	launch(&two, 64 * MIB, "MEMSCAN");
	assert_int_equal(one.workload.len, two.workload.len);
	assert_memory_equal(one.workload.bytes, two.workload.bytes, one.workload.len);
	drop(&two);
	launch(&two, 66 * MIB, "MEMSCAN");
	assert_int_equal(two.workload.plan.gpa, one.workload.plan.gpa + 2 * MIB);
	assert_memory_not_equal(one.workload.bytes, two.workload.bytes, one.workload.len);
	drop(&one);
	drop(&two);
}

static Elf64_Phdr *header(struct launch_blob elf, uint32_t type, uint32_t flags)
{
	uint8_t *file = (uint8_t *)elf.bytes;
	const Elf64_Ehdr *ehdr = (const void *)file;
	Elf64_Phdr *phdr = (void *)(file + ehdr->e_phoff);

	for (unsigned int i = 0; i < ehdr->e_phnum; i++)
		if (phdr[i].p_type == type && (phdr[i].p_flags & flags) == flags)
			return &phdr[i];
	fail_msg("no such program header");
	return NULL;
}

static struct payload_note *note_of(struct launch_blob elf)
{
	uint8_t *at_note = (uint8_t *)elf.bytes + header(elf, PT_NOTE, 0)->p_offset;

	return (void *)(at_note + sizeof(Elf64_Nhdr) + ((sizeof(PAYLOAD_NOTE_OWNER) + 3) & ~3UL));
}

/* Takes elf over. */
static void refused(struct launch_blob elf, uint64_t memory, int err, const char *word)
{
	struct why why = { "" };
	struct launched l;

	assert_int_equal(make(&l, memory, elf, &why), err);
	if (!strstr(why.text, word))
		fail_msg("'%s' does not say '%s'", why.text, word);
	drop(&l);
}

static void programs_that_are_no_workloads_are_named(void **state)
{
	struct launch_blob elf;

	(void)state;
	refused(read_elf("COUNTER"), 64 * MIB, -ENOEXEC, "PAYLOAD_NOTE");
	elf = read_elf("MEMSCAN");
	header(elf, PT_LOAD, PF_W)->p_filesz = 8;
	refused(elf, 64 * MIB, -ENOEXEC, "initial values");
	elf = read_elf("MEMSCAN");
	note_of(elf)->version++;
	refused(elf, 64 * MIB, -ENOEXEC, "another version");
	elf = read_elf("MEMSCAN");
	note_of(elf)->flags = 2;
	refused(elf, 64 * MIB, -ENOEXEC, "asks for an unknown feature");
	elf = read_elf("MEMSCAN");
	memset(note_of(elf)->name, 'n', PAYLOAD_NAME_BYTES);
	refused(elf, 64 * MIB, -ENOEXEC, "asks for an unknown feature");
	elf = read_elf("MEMSCAN");
	note_of(elf)->name[0] = '\n';
	refused(elf, 64 * MIB, -ENOEXEC, "not printable");
	elf = read_elf("MEMSCAN");
	header(elf, PT_NOTE, 0)->p_filesz -= 4;
	refused(elf, 64 * MIB, -ENOEXEC, "a note is outside");
	elf = read_elf("MEMSCAN");
	header(elf, PT_NOTE, 0)->p_offset = elf.len;
	refused(elf, 64 * MIB, -ENOEXEC, "outside of the file");
	refused(read_elf("MEMSCAN"), 2 * MIB, -ENOSPC, "no room");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_mirror_finds_what_it_needs),
		cmocka_unit_test(variables_are_writable_and_code_is_not),
		cmocka_unit_test(the_guests_memory_is_there_but_for_the_region),
		cmocka_unit_test(the_guest_keeps_away_from_it),
		cmocka_unit_test(it_is_a_function_of_the_configuration),
		cmocka_unit_test(programs_that_are_no_workloads_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
