/* SPDX-License-Identifier: Apache-2.0 */
/* Faults on armed memory: a thread that touches a page waits until it is mapped, and then reads
 * what is in the file. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/uffd.h"
#include "lib/util/page.h"

#define PAGES	    8
#define BYTES	    (PAGES * PAGE_BYTES)
#define PATIENCE_MS 10000

/* Memory mapped twice, as a VMM has it: armed for the guest, open for the thread that fills it. */
struct memory {
	int file, uffd;
	uint8_t *guest, *filler;
};

static int setup(void **state)
{
	struct memory *m = calloc(1, sizeof(*m));
	struct why why;

	m->uffd = uffd_open(-1, &why);
	if (m->uffd < 0)
		print_message("# skip: %s\n", why.text);
	m->file = memfd_create("uffd", MFD_CLOEXEC);
	assert_true(m->file >= 0);
	assert_int_equal(ftruncate(m->file, BYTES), 0);
	m->guest = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, m->file, 0);
	m->filler = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, m->file, 0);
	assert_true(m->guest != MAP_FAILED && m->filler != MAP_FAILED);
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	struct memory *m = *state;

	munmap(m->guest, BYTES);
	munmap(m->filler, BYTES);
	close(m->file);
	if (m->uffd >= 0)
		close(m->uffd);
	free(m);
	return 0;
}

static struct memory *armed(void **state)
{
	struct memory *m = *state;

	if (m->uffd < 0)
		skip();
	assert_int_equal(uffd_arm(m->uffd, m->guest, BYTES), 0);
	return m;
}

static void *read_byte(void *at)
{
	return (void *)(uintptr_t) * (volatile uint8_t *)at;
}

/* Wait for one fault: its address. */
static void *next_fault(struct memory *m)
{
	struct pollfd p = { .fd = m->uffd, .events = POLLIN };
	void *addr = NULL;

	assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
	assert_int_equal(uffd_read(m->uffd, &addr, 1), 1);
	return addr;
}

static void a_page_that_is_touched_waits_for_what_comes(void **state)
{
	struct memory *m = armed(state);
	pthread_t thread;
	void *addr, *seen;

	assert_int_equal(uffd_read(m->uffd, &addr, 1), 0);
	assert_int_equal(pthread_create(&thread, NULL, read_byte, m->guest + PAGE_BYTES + 5), 0);
	assert_ptr_equal(next_fault(m), m->guest + PAGE_BYTES);
	m->filler[PAGE_BYTES + 5] = 77;
	assert_int_equal(uffd_continue(m->uffd, m->guest + PAGE_BYTES, PAGE_BYTES), 0);
	pthread_join(thread, &seen);
	assert_int_equal((uintptr_t)seen, 77);
}

static void a_page_that_was_there_is_a_fault_all_the_same(void **state)
{
	struct memory *m = *state;
	pthread_t thread;
	void *seen;

	m->guest[0] = 7; /* mapped, and in the file */
	m = armed(state);
	assert_int_equal(pthread_create(&thread, NULL, read_byte, m->guest), 0);
	assert_ptr_equal(next_fault(m), m->guest);
	assert_int_equal(uffd_continue(m->uffd, m->guest, PAGE_BYTES), 0);
	pthread_join(thread, &seen);
	assert_int_equal((uintptr_t)seen, 7);
}

/* A page that is not in the file must not read as zeros; pages that are mapped are passed over. */
static void a_run_is_mapped_as_far_as_it_is_in_the_file(void **state)
{
	struct memory *m = armed(state);

	assert_int_equal(uffd_continue(m->uffd, m->guest, PAGE_BYTES), -EFAULT);
	memset(m->filler, 3, 4 * PAGE_BYTES);
	assert_int_equal(uffd_continue(m->uffd, m->guest + PAGE_BYTES, PAGE_BYTES), 0);
	assert_int_equal(uffd_continue(m->uffd, m->guest, 4 * PAGE_BYTES), 0);
	assert_int_equal(m->guest[3 * PAGE_BYTES], 3);
	assert_int_equal(uffd_continue(m->uffd, m->guest, BYTES), -EFAULT);
}

static void disarming_lets_all_go(void **state)
{
	struct memory *m = armed(state);
	pthread_t thread;
	void *seen;

	assert_int_equal(pthread_create(&thread, NULL, read_byte, m->guest), 0);
	assert_ptr_equal(next_fault(m), m->guest);
	assert_int_equal(uffd_disarm(m->uffd, m->guest, BYTES), 0);
	pthread_join(thread, &seen);
	assert_int_equal((uintptr_t)seen, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_page_that_is_touched_waits_for_what_comes, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_page_that_was_there_is_a_fault_all_the_same,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_run_is_mapped_as_far_as_it_is_in_the_file, setup,
						teardown),
		cmocka_unit_test_setup_teardown(disarming_lets_all_go, setup, teardown),
	};

	return cmocka_run_group_tests_name("migrate_uffd", tests, NULL, NULL);
}
