/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helper region's plan and the measured bytes of its core; the page tables in it are walked as
 * a CPU would.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "helper/helper_private.h"
#include "lib/mirror/region.h"
#include "tests/unit/cmocka_all.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)
#define C   (1ULL << 47)

void hw_event(struct helper_vcpu *v, uint32_t value)
{
	(void)v;
	(void)value;
}

void hw_doorbell(struct helper_vcpu *v)
{
	(void)v;
}

#define PRESENT 1ULL
#define USER	4ULL

static const uint64_t address_bits = 0x000ffffffffff000ULL;

/* RAM as the reference VMM lays it out: up to 3 GiB below the hole, the rest from 4 GiB. */
static unsigned int ram_of(struct sevmirror_ram_range ram[2], uint64_t bytes)
{
	uint64_t low = bytes < 3 * GIB ? bytes : 3 * GIB;

	ram[0] = (struct sevmirror_ram_range){ .gpa = 0, .bytes = low, .fd = -1 };
	ram[1] = (struct sevmirror_ram_range){
		.gpa = 4 * GIB, .bytes = bytes - low, .fd = -1, .offset = low
	};
	return bytes > low ? 2 : 1;
}

static const uint64_t sizes[] = { 4 * MIB, 64 * MIB, 256 * MIB, 850 * MIB, GIB,	      1300 * MIB,
				  3 * GIB, 4 * GIB,  8 * GIB,	64 * GIB,  500 * GIB, 1000 * GIB };

static void size_and_place(void **state)
{
	struct sevmirror_ram_range ram[2];
	struct region_plan plan;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		unsigned int nram = ram_of(ram, sizes[i]);
		uint64_t end = ram[nram - 1].gpa + ram[nram - 1].bytes;

		assert_int_equal(region_plan(&plan, ram, nram, C), 0);
		assert_true(plan.bytes <= 2 * MIB + sizes[i] / 500);
		/* Above everything, the window included. */
		assert_true(plan.gpa >= mirror_window_place(end) + HELPER_WINDOW_MAX);
		assert_int_equal(plan.gpa % (2 * MIB), 0);
		assert_true(plan.core_bytes <= 512 * 1024 + HELPER_CORE_IMAGE * 4096);
		assert_true(plan.epoch_offset + plan.epoch_bytes <= plan.bytes);
		assert_true(plan.epoch_bytes >= sizes[i] / 4096 * 4);
	}
}

static void refuses_bad_layouts(void **state)
{
	struct sevmirror_ram_range ram[REGION_RAM_MAX + 1];
	struct region_plan plan;
	unsigned int i;

	(void)state;
	ram_of(ram, 8 * GIB);
	assert_int_equal(region_plan(&plan, ram, 0, 0), -EINVAL);
	ram[1].gpa = 2 * GIB; /* overlap */
	assert_int_equal(region_plan(&plan, ram, 2, 0), -EINVAL);
	ram[1].gpa = 4 * GIB + 2048;
	assert_int_equal(region_plan(&plan, ram, 2, 0), -EINVAL);
	ram[1].gpa = 4 * GIB;
	ram[1].bytes = 0;
	assert_int_equal(region_plan(&plan, ram, 2, 0), -EINVAL);
	ram[1].bytes = UINT64_MAX - 4095;
	assert_int_equal(region_plan(&plan, ram, 2, 0), -EINVAL);
	ram_of(ram, 1024 * GIB);
	assert_int_equal(region_plan(&plan, ram, 2, 0), -E2BIG);
	ram[0] = (struct sevmirror_ram_range){ .gpa = HELPER_GPA_LIMIT, .bytes = 4096 };
	assert_int_equal(region_plan(&plan, ram, 1, 0), -E2BIG);
	for (i = 0; i < REGION_RAM_MAX + 1; i++)
		ram[i] = (struct sevmirror_ram_range){ .gpa = i * 8192, .bytes = 4096 };
	assert_int_equal(region_plan(&plan, ram, REGION_RAM_MAX, 0), 0);
	assert_int_equal(region_plan(&plan, ram, REGION_RAM_MAX + 1, 0), -EINVAL);
}

static void same_arguments_same_bytes(void **state)
{
	struct sevmirror_ram_range ram[2];
	struct region_plan plan, again;
	uint8_t *a, *b;

	(void)state;
	ram_of(ram, 4 * GIB);
	assert_int_equal(region_plan(&plan, ram, 2, C), 0);
	ram[0].fd = 42; /* files are the host's business */
	ram[1].offset = 7;
	assert_int_equal(region_plan(&again, ram, 2, C), 0);
	a = malloc(plan.core_bytes);
	b = malloc(plan.core_bytes);
	assert_non_null(a);
	assert_non_null(b);
	memset(a, 0x55, plan.core_bytes);
	memset(b, 0xaa, plan.core_bytes);
	assert_int_equal(region_build(&plan, a, plan.core_bytes - 1), -ENOBUFS);
	assert_int_equal(region_build(&plan, a, plan.core_bytes), 0);
	assert_int_equal(region_build(&again, b, plan.core_bytes), 0);
	assert_memory_equal(a, b, plan.core_bytes);
	assert_int_equal(region_plan(&again, ram, 2, 0), 0);
	assert_int_equal(region_build(&again, b, plan.core_bytes), 0);
	assert_int_not_equal(memcmp(a, b, plan.core_bytes), 0);
	free(a);
	free(b);
}

/*
 * Walk from cr3; the tables are in the region, whose bytes are at region. The leaf entry, or 0.
 * Checks C and U on the way.
 */
static uint64_t walk(const struct region_plan *plan, const uint8_t *region, uint64_t cr3,
		     uint64_t va, uint64_t *gpa)
{
	uint64_t entry = cr3 | plan->cbit_mask | PRESENT | USER | 2;
	int level;

	for (level = 3; level >= 0; level--) {
		uint64_t table = entry & address_bits & ~plan->cbit_mask;
		unsigned int shift = 12 + 9 * (unsigned int)level;

		assert_true(entry & USER && entry & 2);
		assert_int_equal(entry & plan->cbit_mask, plan->cbit_mask);
		assert_true(table >= plan->gpa && table < plan->gpa + plan->bytes);
		entry = *(const uint64_t *)(region + (table - plan->gpa) + (va >> shift & 511) * 8);
		if (!(entry & PRESENT))
			return 0;
		assert_true(entry & 0x20);
		if (level == 0 || entry & 0x80) {
			uint64_t mask = (1ULL << shift) - 1;

			assert_true(entry & 0x40 && entry & USER);
			*gpa = (entry & address_bits & ~plan->cbit_mask & ~mask) | (va & mask);
			return entry;
		}
	}
	return 0;
}

static void bootstrap_tables(void **state)
{
	struct sevmirror_ram_range ram[2];
	struct region_plan plan;
	uint64_t offset, gpa = 0, entry;
	unsigned int guards = 0;
	uint8_t *core;

	(void)state;
	ram_of(ram, 8 * GIB);
	assert_int_equal(region_plan(&plan, ram, 2, C), 0);
	core = malloc(plan.core_bytes);
	assert_non_null(core);
	assert_int_equal(region_build(&plan, core, plan.core_bytes), 0);
	for (offset = 0; offset < plan.bytes; offset += 4096) {
		bool writable, executable;

		entry = walk(&plan, core, plan.gpa + HELPER_CORE_PML4 * 4096,
			     HELPER_REGION_VA + offset, &gpa);
		if (!entry) {
			guards++;
			assert_true(offset >= plan.core_bytes && offset < plan.run_tables_offset);
			continue;
		}
		writable = entry & 2;
		executable = !(entry >> 63);
		assert_int_equal(gpa, plan.gpa + offset);
		assert_true(entry & C);
		assert_false(writable && executable);
		assert_int_equal(writable,
				 offset >= plan.core_bytes || offset == HELPER_CORE_KEYS * 4096);
		if (executable)
			assert_true(offset >= HELPER_CORE_IMAGE * 4096 && offset < plan.core_bytes);
	}
	assert_int_equal(guards, HELPER_VCPUS_MAX);
	assert_int_equal(walk(&plan, core, plan.gpa + HELPER_CORE_PML4 * 4096, 0, &gpa), 0);
	assert_int_equal(walk(&plan, core, plan.gpa + HELPER_CORE_PML4 * 4096, HELPER_RAM_VA, &gpa),
			 0);
	free(core);
}

static void run_time_tables(void **state)
{
	const uint64_t window = 64 * GIB;
	struct sevmirror_ram_range ram[2];
	struct region_plan plan;
	uint64_t cr3, gpa = 0, at, entry;
	uint8_t *region;
	size_t i;

	(void)state;
	for (i = 0; i < 7; i++) {
		unsigned int nram = ram_of(ram, sizes[i + 2]);

		assert_int_equal(region_plan(&plan, ram, nram, i % 3 ? C : 0), 0);
		region = malloc(plan.bytes);
		assert_non_null(region);
		memset(region, 0xff, plan.bytes); /* what is not launched may hold anything */
		assert_int_equal(region_build(&plan, region, plan.bytes), 0);
		assert_true(tables_fill((struct helper_layout *)region, region, window, 4 * MIB));
		cr3 = plan.gpa + plan.run_tables_offset;
		for (at = 0; at < 10 * GIB; at += 2 * MIB) {
			bool in_ram = at < ram[0].bytes || (nram == 2 && at >= ram[1].gpa &&
							    at < ram[1].gpa + ram[1].bytes);

			entry = walk(&plan, region, cr3, HELPER_RAM_VA + at, &gpa);
			if (!in_ram) {
				assert_int_equal(entry, 0);
				continue;
			}
			assert_int_equal(gpa, at);
			assert_int_equal(entry & C, plan.cbit_mask);
			assert_true(entry >> 63);
		}
		for (at = 0; at < 8 * MIB; at += 4096) {
			entry = walk(&plan, region, cr3, HELPER_WINDOW_VA + at, &gpa);
			if (at >= 4 * MIB) {
				assert_int_equal(entry, 0);
				continue;
			}
			assert_int_equal(gpa, window + at);
			assert_int_equal(entry & C, 0);
		}
		assert_true(walk(&plan, region, cr3, HELPER_REGION_VA, &gpa));
		assert_int_equal(gpa, plan.gpa);
		free(region);
	}
}

/*
 * What QEMU's guests have, and worse: holes of single pages, flash below 4 GiB, RAM in several
 * slots of 512 GiB, ranges that share 2 MiB. Each page is mapped to its own place, and nothing
 * around it.
 */
static void any_ranges(void **state)
{
	static const struct sevmirror_ram_range ram[] = {
		{ .gpa = 0, .bytes = 0xa0000 },
		{ .gpa = 0xc0000, .bytes = 2 * MIB },
		{ .gpa = 4 * MIB - 4096, .bytes = 8192 },
		{ .gpa = 16 * MIB, .bytes = 6 * MIB + 4096 },
		{ .gpa = 4 * GIB - 0x37c000, .bytes = 0x37c000 },
		{ .gpa = 4 * GIB, .bytes = 4 * MIB },
		{ .gpa = 512 * GIB - 4096, .bytes = 2 * MIB },
		{ .gpa = 600 * GIB + 4096, .bytes = 4096 },
		{ .gpa = 5000 * GIB, .bytes = 2 * MIB },
		{ .gpa = HELPER_GPA_LIMIT - 2 * MIB - 4096, .bytes = 2 * MIB + 4096 },
	};
	const unsigned int nram = sizeof(ram) / sizeof(ram[0]);
	const struct helper_layout *layout;
	uint64_t cr3, at, gpa = 0;
	struct region_plan plan;
	uint8_t *region;
	unsigned int i;

	(void)state;
	assert_int_equal(region_plan(&plan, ram, nram, C), 0);
	region = test_malloc(plan.bytes);
	memset(region, 0xff, plan.bytes);
	assert_int_equal(region_build(&plan, region, plan.bytes), 0);
	layout = (const struct helper_layout *)region;
	assert_true(tables_fill(layout, region, mirror_window_place(HELPER_GPA_LIMIT), 4 * MIB));
	cr3 = plan.gpa + plan.run_tables_offset;
	for (i = 0; i < nram; i++) {
		uint64_t end = ram[i].gpa + ram[i].bytes;
		bool follows = i && ram[i - 1].gpa + ram[i - 1].bytes == ram[i].gpa;
		bool followed = i + 1 < nram && ram[i + 1].gpa == end;

		for (at = ram[i].gpa; at < end; at += 4096) {
			assert_true(walk(&plan, region, cr3, HELPER_RAM_VA + at, &gpa) & C);
			assert_int_equal(gpa, at);
			assert_int_equal(epoch_index(layout, at),
					 layout->ram[i].first + (at - ram[i].gpa) / 4096);
		}
		if (ram[i].gpa && !follows)
			assert_int_equal(
				walk(&plan, region, cr3, HELPER_RAM_VA + ram[i].gpa - 4096, &gpa),
				0);
		if (!followed)
			assert_int_equal(walk(&plan, region, cr3, HELPER_RAM_VA + end, &gpa), 0);
		assert_true(followed || epoch_index(layout, end) == UINT64_MAX);
	}
	/* Room for the tables is counted exactly: one less, and the helper does not start. */
	((struct helper_layout *)region)->run_tables_bytes -= 4096;
	assert_false(tables_fill(layout, region, mirror_window_place(HELPER_GPA_LIMIT), 4 * MIB));
	test_free(region);
}

/* A launch that put the region into RAM, or ranges out of order: the helper does not start. */
static void refuses_bad_places(void **state)
{
	struct sevmirror_ram_range ram[2];
	struct helper_layout *layout;
	struct region_plan plan;
	uint8_t *region;

	(void)state;
	ram_of(ram, 8 * GIB);
	assert_int_equal(region_plan(&plan, ram, 2, C), 0);
	region = test_calloc(1, plan.bytes);
	assert_int_equal(region_build(&plan, region, plan.bytes), 0);
	layout = (struct helper_layout *)region;
	assert_true(tables_fill(layout, region, 64 * GIB, 2 * MIB));
	assert_false(tables_fill(layout, region, plan.gpa, 2 * MIB));
	layout->region_gpa = 2 * GIB;
	assert_false(tables_fill(layout, region, 64 * GIB, 2 * MIB));
	layout->region_gpa = plan.gpa;
	layout->ram[1].gpa = 2 * GIB;
	assert_false(tables_fill(layout, region, 64 * GIB, 2 * MIB));
	layout->ram[1].gpa = 4 * GIB;
	layout->ram[1].npages = UINT64_MAX;
	assert_false(tables_fill(layout, region, 64 * GIB, 2 * MIB));
	layout->ram[1].npages = ram[1].bytes / 4096;
	layout->nram = HELPER_RAM_MAX + 1;
	assert_false(tables_fill(layout, region, 64 * GIB, 2 * MIB));
	test_free(region);
}

static void refuses_windows_in_ram(void **state)
{
	struct sevmirror_ram_range ram[2];
	struct region_plan plan;
	struct helper_layout *layout;
	uint8_t *region;

	(void)state;
	ram_of(ram, 4 * GIB);
	assert_int_equal(region_plan(&plan, ram, 2, C), 0);
	region = calloc(1, plan.bytes);
	assert_non_null(region);
	assert_int_equal(region_build(&plan, region, plan.bytes), 0);
	layout = (struct helper_layout *)region;
	assert_true(tables_fill(layout, region, 3 * GIB, 2 * MIB));
	assert_true(tables_fill(layout, region, 5 * GIB, 1 * GIB));
	assert_false(tables_fill(layout, region, 0, 2 * MIB));
	assert_false(tables_fill(layout, region, 3 * GIB - 2 * MIB, 4 * MIB));
	assert_false(tables_fill(layout, region, 4 * GIB - 2 * MIB, 4 * MIB));
	assert_false(tables_fill(layout, region, 5 * GIB, 0));
	assert_false(tables_fill(layout, region, 5 * GIB, 1 * GIB + 2 * MIB));
	assert_false(tables_fill(layout, region, 5 * GIB + 4096, 2 * MIB));
	assert_false(tables_fill(layout, region, 5 * GIB, 2 * MIB + 4096));
	assert_false(tables_fill(layout, region, C - 2 * MIB, 4 * MIB));
	assert_false(tables_fill(layout, region, 0 - 2 * MIB, 4 * MIB));
	free(region);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(size_and_place),
		cmocka_unit_test(refuses_bad_layouts),
		cmocka_unit_test(same_arguments_same_bytes),
		cmocka_unit_test(bootstrap_tables),
		cmocka_unit_test(run_time_tables),
		cmocka_unit_test(any_ranges),
		cmocka_unit_test(refuses_bad_places),
		cmocka_unit_test(refuses_windows_in_ram),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
