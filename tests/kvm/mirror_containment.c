/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mirror that crashes, loops or is taken away never disturbs the primary. The primary here is a
 * VM of its own with a ring-3 loop that counts in guest memory; mirrors over the same memory run
 * code that does what it must not.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "helper/layout.h"
#include "tests/kvm/mirror_rig.h"
#include "tests/unit/cmocka_all.h"

#define MIB	   (1ULL << 20)
#define TABLES	   0x1000 /* PML4, PDPT, PD: maps the first GiB one to one */
#define TSS	   0x4000
#define COUNTER	   0x8000
#define CODE	   0x10000 /* one page for each piece of code */
#define TIMEOUT_MS 60000

enum code { COUNT, CRASH, LOOP, WRITE, OUT, FORBIDDEN_PORT, CODES };

static const uint8_t code_count[] = { 0x48, 0xff, 0x07, 0xeb, 0xfb }; /* 1: incq (%rdi); jmp 1b */
static const uint8_t code_crash[] = { 0x0f, 0x0b }; /* ud2 */
static const uint8_t code_loop[] = { 0xeb, 0xfe }; /* 1: jmp 1b */
static const uint8_t code_write[] = { 0x48, 0x89, 0x37, 0x89, 0xf0, 0x66,
				      0xba, 0xe0, 0x00, 0xef, 0xeb, 0xfe };
/* mov %rsi,(%rdi); mov %esi,%eax; mov $0xe0,%dx; out %eax,%dx; loop */
static const uint8_t code_out[] = {
	0x89, 0xf8, 0x66, 0xba, 0xe0, 0x00, 0xef, 0xff, 0xc0, 0xeb, 0xfb
};
/* mov %edi,%eax; mov $0xe0,%dx; 1: out %eax,%dx; inc %eax; jmp 1b */
static const uint8_t code_port[] = {
	0x66, 0xba, 0x70, 0x00, 0xef, 0xeb, 0xfe
}; /* mov $0x70,%dx; out %eax,%dx */

struct world {
	struct rig rig; /* memory only */
	struct mirror *primary; /* a VM like any other: what matters is that it is another one */
};

static void put_code(struct world *w, enum code which, const uint8_t *bytes, size_t n)
{
	memcpy(rig_at(&w->rig, CODE + which * 4096ULL), bytes, n);
}

static void put_tables(struct world *w)
{
	uint64_t *at = (uint64_t *)rig_at(&w->rig, TABLES);
	uint64_t i;

	memset(at, 0, 3 * 4096);
	at[0] = (TABLES + 0x1000) | 7;
	at[512] = (TABLES + 0x2000) | 7;
	for (i = 0; i < 512; i++)
		at[1024 + i] = i << 21 | 0x87;
	memset(rig_at(&w->rig, TSS), 0, 4096);
	rig_at(&w->rig, TSS)[0x66] = HELPER_TSS_BITMAP;
	memset(rig_at(&w->rig, TSS) + HELPER_TSS_BITMAP, 0xff, 0x21);
	rig_at(&w->rig, TSS)[HELPER_TSS_BITMAP + 0xe0 / 8] = 0xf0;
}

static struct mirror_entry entry_of(enum code which, uint64_t rdi, uint64_t rsi)
{
	return (struct mirror_entry){
		.cr3 = TABLES,
		.tss = TSS,
		.tss_limit = HELPER_TSS_LIMIT,
		.rip = CODE + which * 4096ULL,
		.rsp = 0x20000,
		.rdi = rdi,
		.rsi = rsi,
	};
}

/* What a handler saw, and a descriptor that becomes readable at the end. */
struct seen {
	struct mirror_exit last;
	uint32_t exits;
	bool go_on;
	int ended;
};

static bool watch(void *opaque, unsigned int vcpu, const struct mirror_exit *exit)
{
	struct seen *seen = opaque;
	uint64_t one = 1;

	(void)vcpu;
	seen->last = *exit;
	__atomic_fetch_add(&seen->exits, 1, __ATOMIC_SEQ_CST);
	if (exit->kind == MIRROR_EXIT_OUT && seen->go_on)
		return true;
	assert_int_equal(write(seen->ended, &one, sizeof(one)), sizeof(one));
	return false;
}

static void await(struct seen *seen)
{
	struct pollfd wait = { .fd = seen->ended, .events = POLLIN };

	assert_int_equal(poll(&wait, 1, TIMEOUT_MS), 1);
}

static struct mirror *new_mirror(struct world *w, bool read_only, bool log_dirty)
{
	struct mirror_config config = {
		.kvm_fd = -1,
		.primary_fd = -1,
		.ram = w->rig.ram,
		.nram = 1,
		.window_bytes = 2 * MIB,
		.nvcpus = 1,
		.read_only = read_only,
		.log_dirty = log_dirty,
	};
	struct why why;
	struct mirror *m;
	int error = mirror_create(&m, &config, &why);

	if (error)
		print_error("%s\n", why.text);
	assert_int_equal(error, 0);
	return m;
}

static void run(struct mirror *m, struct mirror_entry entry, struct seen *seen)
{
	memset(seen, 0, sizeof(*seen));
	seen->ended = eventfd(0, EFD_CLOEXEC);
	assert_true(seen->ended >= 0);
	assert_int_equal(mirror_vcpu_enter(m, 0, &entry), 0);
	assert_int_equal(mirror_vcpu_start(m, 0, watch, seen), 0);
}

static uint64_t counter(const struct world *w)
{
	return __atomic_load_n((uint64_t *)rig_at(&w->rig, COUNTER), __ATOMIC_RELAXED);
}

/* The primary keeps counting: the test waits for it, however long that takes. */
static void primary_lives(const struct world *w)
{
	uint64_t before = counter(w);

	while (counter(w) == before)
		usleep(100);
}

static struct seen primary_seen;

static int begin(void **state)
{
	struct world *w = test_calloc(1, sizeof(*w));

	rig_init(&w->rig, 8 * MIB, 0, 1);
	put_tables(w);
	put_code(w, COUNT, code_count, sizeof(code_count));
	put_code(w, CRASH, code_crash, sizeof(code_crash));
	put_code(w, LOOP, code_loop, sizeof(code_loop));
	put_code(w, WRITE, code_write, sizeof(code_write));
	put_code(w, OUT, code_out, sizeof(code_out));
	put_code(w, FORBIDDEN_PORT, code_port, sizeof(code_port));
	w->primary = new_mirror(w, false, false);
	run(w->primary, entry_of(COUNT, COUNTER, 0), &primary_seen);
	primary_lives(w);
	*state = w;
	return 0;
}

static int end(void **state)
{
	struct world *w = *state;

	mirror_destroy(w->primary);
	close(primary_seen.ended);
	rig_fini(&w->rig);
	test_free(w);
	return 0;
}

static void crash_stays_in_the_mirror(void **state)
{
	struct world *w = *state;
	struct mirror *m = new_mirror(w, false, false);
	struct seen seen;

	run(m, entry_of(CRASH, 0, 0), &seen);
	await(&seen);
	assert_int_equal(seen.last.kind, MIRROR_EXIT_CRASHED);
	primary_lives(w);
	mirror_destroy(m);
	close(seen.ended);
	primary_lives(w);
}

static void ports_not_allowed_are_a_crash(void **state)
{
	struct world *w = *state;
	struct mirror *m = new_mirror(w, false, false);
	struct seen seen;

	run(m, entry_of(FORBIDDEN_PORT, 0, 0), &seen);
	await(&seen);
	assert_int_equal(seen.last.kind, MIRROR_EXIT_CRASHED);
	mirror_destroy(m);
	close(seen.ended);
	primary_lives(w);
}

static void endless_loop_is_stopped(void **state)
{
	struct world *w = *state;
	struct mirror *m = new_mirror(w, false, false);
	struct seen seen;
	struct mirror_entry entry = entry_of(LOOP, 0, 0);

	run(m, entry, &seen);
	assert_int_equal(mirror_vcpu_enter(m, 0, &entry), -EBUSY);
	usleep(1000);
	mirror_vcpu_stop(m, 0);
	mirror_vcpu_stop(m, 0);
	assert_int_equal(seen.last.kind, MIRROR_EXIT_STOPPED);
	/* It can be used again, and taken away while it runs. */
	close(seen.ended);
	run(m, entry_of(LOOP, 0, 0), &seen);
	mirror_destroy(m);
	assert_int_equal(seen.last.kind, MIRROR_EXIT_STOPPED);
	close(seen.ended);
	primary_lives(w);
}

static void ports_carry_values(void **state)
{
	struct world *w = *state;
	struct mirror *m = new_mirror(w, false, false);
	struct seen seen;

	memset(&seen, 0, sizeof(seen));
	run(m, entry_of(OUT, 0xfffffff0, 0), &seen);
	await(&seen);
	assert_int_equal(seen.last.kind, MIRROR_EXIT_OUT);
	assert_int_equal(seen.last.port, 0xe0);
	assert_int_equal(seen.last.value, 0xfffffff0);
	mirror_destroy(m);
	close(seen.ended);
}

static void read_only_mirrors_cannot_write(void **state)
{
	struct world *w = *state;
	struct mirror *m = new_mirror(w, true, false);
	uint64_t before = *(uint64_t *)rig_at(&w->rig, 0x9000);
	struct seen seen;

	run(m, entry_of(WRITE, 0x9000, ~before), &seen);
	await(&seen);
	assert_int_not_equal(seen.last.kind, MIRROR_EXIT_OUT);
	assert_int_equal(*(uint64_t *)rig_at(&w->rig, 0x9000), before);
	mirror_destroy(m);
	close(seen.ended);
	primary_lives(w);
}

static void writes_are_logged_when_asked(void **state)
{
	struct world *w = *state;
	struct mirror *m = new_mirror(w, false, true);
	uint64_t bitmap[8 * MIB / 4096 / 64] = { 0 };
	struct seen seen;

	assert_int_equal(mirror_dirty_fetch(m, bitmap, 8 * MIB / 4096), 0);
	run(m, entry_of(WRITE, 0x9000, 42), &seen);
	await(&seen);
	assert_int_equal(seen.last.kind, MIRROR_EXIT_OUT);
	assert_int_equal(seen.last.value, 42);
	assert_int_equal(*(uint64_t *)rig_at(&w->rig, 0x9000), 42);
	assert_int_equal(mirror_dirty_fetch(m, bitmap, 8 * MIB / 4096), 0);
	assert_true(bitmap[0] & 1ULL << 9);
	assert_false(bitmap[0] & 1ULL << 10);
	assert_int_equal(mirror_dirty_fetch(m, bitmap, 100), -ENOBUFS);
	mirror_destroy(m);
	close(seen.ended);
	m = new_mirror(w, false, false);
	assert_int_equal(mirror_dirty_fetch(m, bitmap, 8 * MIB / 4096), -EINVAL);
	mirror_destroy(m);
}

static void many_mirrors_in_any_order(void **state)
{
	struct world *w = *state;
	struct mirror *m[4];
	struct seen seen[4];
	static const int order[4] = { 2, 0, 3, 1 };
	int i;

	for (i = 0; i < 4; i++) {
		m[i] = new_mirror(w, false, false);
		run(m[i], entry_of(LOOP, 0, 0), &seen[i]);
	}
	for (i = 0; i < 4; i++) {
		mirror_destroy(m[order[i]]);
		close(seen[order[i]].ended);
		primary_lives(w);
	}
}

static void primary_first(void **state)
{
	struct world *w = *state;
	struct mirror *m = new_mirror(w, false, false);
	struct seen seen;

	run(m, entry_of(COUNT, COUNTER + 8, 0), &seen);
	mirror_destroy(w->primary);
	w->primary = NULL;
	while (*(volatile uint64_t *)rig_at(&w->rig, COUNTER + 8) < 1000)
		usleep(100);
	mirror_destroy(m);
	close(seen.ended);
}

static void bad_configurations(void **state)
{
	struct world *w = *state;
	struct mirror_config good = {
		.kvm_fd = -1,
		.primary_fd = -1,
		.ram = w->rig.ram,
		.nram = 1,
		.window_bytes = 2 * MIB,
		.nvcpus = 1,
	};
	struct mirror_config bad;
	struct sevmirror_ram_range ram = w->rig.ram[0];
	struct why why;
	struct mirror *m;

	bad = good;
	bad.nvcpus = 0;
	assert_int_equal(mirror_create(&m, &bad, NULL), -EINVAL);
	bad = good;
	bad.window_bytes = 4096;
	assert_int_equal(mirror_create(&m, &bad, NULL), -EINVAL);
	bad = good;
	bad.nram = 0;
	assert_int_equal(mirror_create(&m, &bad, NULL), -EINVAL);
	bad = good;
	ram.fd = 1 << 20; /* not open */
	bad.ram = &ram;
	assert_int_equal(mirror_create(&m, &bad, &why), -EBADF);
	assert_non_null(strstr(why.text, "cannot map guest RAM a second time"));
	assert_null(m);
	/* Without a file RAM has an address. */
	ram.fd = -1;
	ram.hva = NULL;
	assert_int_equal(mirror_create(&m, &bad, &why), -EINVAL);
	/* No SEV here: the primary has no context to share. */
	bad = good;
	bad.primary_fd = mirror_vm_fd(w->primary);
	assert_true(mirror_create(&m, &bad, &why) < 0);
	assert_non_null(strstr(why.text, "encryption context"));
	assert_null(mirror_hva(w->primary, 8 * MIB - 4096, 4097));
	assert_null(mirror_hva(w->primary, UINT64_MAX, 2));
	assert_non_null(mirror_hva(w->primary, 8 * MIB - 4096, 4096));
}

int main(void)
{
#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
		WORLD_TEST(crash_stays_in_the_mirror),
		WORLD_TEST(ports_not_allowed_are_a_crash),
		WORLD_TEST(endless_loop_is_stopped),
		WORLD_TEST(ports_carry_values),
		WORLD_TEST(read_only_mirrors_cannot_write),
		WORLD_TEST(writes_are_logged_when_asked),
		WORLD_TEST(many_mirrors_in_any_order),
		WORLD_TEST(primary_first),
		WORLD_TEST(bad_configurations),
	};

	rig_need_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
