/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target's side of post-copy: which pages are missing, which vCPUs wait for them, and how they
 * are mapped. With a real userfaultfd; the tests are skipped where the process may not have one.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "lib/migrate/postcopy_in.h"
#include "lib/migrate/uffd.h"
#include "tests/unit/migrate_half.h"

#define PAGE  SEVMIRROR_PAGE_BYTES
#define WORDS (RIG_PAGES / 64)

struct bitmaps {
	uint64_t private[WORDS], shared[WORDS];
};

static void set(uint64_t *bitmap, uint64_t number)
{
	bitmap[number / 64] |= 1ULL << number % 64;
}

static struct postcopy_in *create(struct half *h)
{
	struct postcopy_in *p;

	half_need_userfaultfd();
	half_open(h, false, WIRE_F_POSTCOPY);
	h->m.uffd = uffd_open(-1, NULL);
	assert_int_equal(postcopy_in_create(&p, &h->m), 0);
	assert_int_equal(h->m.uffd, -1);
	return p;
}

/* Pages 10 to 12 are private and missing, page 600 is shared and missing; the others are there. */
static struct postcopy_in *begin(struct half *h)
{
	struct postcopy_in *p = create(h);
	struct bitmaps b = { 0 };

	for (uint64_t i = 10; i < 13; i++)
		set(b.private, i);
	set(b.shared, 600);
	assert_int_equal(postcopy_in_begin(p, b.private, b.shared), 0);
	return p;
}

static void end(struct half *h, struct postcopy_in *p)
{
	postcopy_in_destroy(p);
	half_close(h);
}

/* A vCPU. */
static void *touch(void *at)
{
	return (void *)(uintptr_t) * (volatile uint8_t *)at;
}

static uint8_t *guest_page(const struct half *h, uint64_t gfn)
{
	return (uint8_t *)h->m.vm.ranges[0].hva + gfn * PAGE;
}

static bool readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, timeout_ms) == 1;
}

static void what_is_missing_is_what_the_source_said(void **state)
{
	struct postcopy_in *p;
	struct bitmaps b;
	struct half h;

	p = begin(&h);
	assert_int_equal(postcopy_in_left(p), 4);
	assert_int_equal(rig_lacking(), 3);
	assert_false(postcopy_in_lacks_shared(p, 10));
	assert_true(postcopy_in_lacks_shared(p, 600));
	assert_false(postcopy_in_lacks_shared(p, 601));
	postcopy_in_bitmaps(p, b.private, b.shared);
	assert_int_equal(b.private[0], 7 << 10);
	assert_int_equal(b.shared[600 / 64], 1ULL << 600 % 64);
	end(&h, p);
}

static void a_page_that_is_private_and_shared_is_refused(void **state)
{
	struct postcopy_in *p;
	struct bitmaps b = { 0 };
	struct half h;

	p = create(&h);
	set(b.private, 700);
	set(b.shared, 700);
	assert_int_equal(postcopy_in_begin(p, b.private, b.shared), -EPROTO);
	half_assert_why(&h.m.why, SEVMIRROR_REASON_PROTOCOL, "private and as shared");
	end(&h, p);
}

static void nothing_is_missing(void **state)
{
	struct postcopy_in *p;
	struct bitmaps b = { 0 };
	struct half h;

	p = create(&h);
	assert_int_equal(postcopy_in_begin(p, b.private, b.shared), 0);
	assert_true(readable(postcopy_in_fd(p), 0));
	end(&h, p);
}

static void pages_that_are_there_are_mapped_without_the_source(void **state)
{
	struct postcopy_in *p;
	struct half h;

	p = begin(&h);
	rig_ram()[1000 * PAGE] = 88;
	assert_int_equal((uintptr_t)touch(guest_page(&h, 1000)), 88);
	/* Not even in the file: nobody ever wrote it. */
	assert_int_equal((uintptr_t)touch(guest_page(&h, 1500)), 0);
	end(&h, p);
}

static void assert_asked_for(struct half *h, uint64_t page)
{
	uint64_t gfn;

	assert_int_equal(half_hear(h, WIRE_PAGE_REQUEST, &gfn, sizeof(gfn)), sizeof(gfn));
	assert_int_equal(gfn, page);
}

/* The vCPU's page is asked for; when it has arrived, the vCPU reads it. */
static void bring(struct half *h, struct postcopy_in *p, uint64_t page, pthread_t vcpu)
{
	void *seen;

	assert_asked_for(h, page);
	rig_ram()[page * PAGE] = 99;
	assert_int_equal(postcopy_in_installed(p, &page, 1, true), 0);
	pthread_join(vcpu, &seen);
	assert_int_equal((uintptr_t)seen, 99);
}

static void a_missing_page_is_asked_for_and_waited_for(void **state)
{
	struct sevmirror_postcopy numbers;
	struct postcopy_in *p;
	pthread_t vcpu;
	struct half h;

	p = begin(&h);
	postcopy_in_started(p);
	assert_int_equal(pthread_create(&vcpu, NULL, touch, guest_page(&h, 11)), 0);
	bring(&h, p, 11, vcpu);
	postcopy_in_numbers(p, &numbers);
	assert_int_equal(numbers.pages, 4);
	assert_int_equal(numbers.faults, 1);
	assert_int_equal(numbers.prefetched, 0);
	assert_true(numbers.fault_max > 0 && numbers.fault_p50 == numbers.fault_max);
	assert_int_equal(postcopy_in_left(p), 3);
	end(&h, p);
}

/* Of the pages that come ahead each eighth is watched: the first one is. */
static void a_page_that_came_ahead_is_seen_to_be_used(void **state)
{
	struct sevmirror_postcopy numbers;
	const uint64_t ahead[] = { 10, 11 };
	struct postcopy_in *p;
	struct half h;

	p = begin(&h);
	rig_ram()[10 * PAGE] = 1;
	rig_ram()[11 * PAGE] = 2;
	assert_int_equal(postcopy_in_installed(p, ahead, 2, true), 0);
	assert_int_equal((uintptr_t)touch(guest_page(&h, 11)), 2);
	postcopy_in_numbers(p, &numbers);
	assert_int_equal(numbers.prefetched, 2);
	assert_int_equal(numbers.prefetch_samples, 1);
	assert_int_equal(numbers.prefetch_used, 0);
	assert_int_equal((uintptr_t)touch(guest_page(&h, 10)), 1);
	postcopy_in_numbers(p, &numbers);
	assert_int_equal(numbers.prefetch_used, 1);
	assert_int_equal(numbers.faults, 0);
	end(&h, p);
}

static void the_last_page_is_noticed(void **state)
{
	struct sevmirror_postcopy numbers;
	const uint64_t most[] = { 10, 11, 12 }, last = 600;
	struct postcopy_in *p;
	struct half h;

	p = begin(&h);
	memset(rig_ram() + 10 * PAGE, 1, 3 * PAGE);
	rig_ram()[600 * PAGE] = 1;
	postcopy_in_started(p);
	assert_int_equal(postcopy_in_installed(p, most, 3, false), 0);
	assert_false(readable(postcopy_in_fd(p), 0));
	assert_int_equal(postcopy_in_installed(p, &last, 1, false), 0);
	assert_true(readable(postcopy_in_fd(p), 0));
	postcopy_in_numbers(p, &numbers);
	assert_true(numbers.last_page > 0);
	end(&h, p);
}

/* The page that a vCPU waits for is asked for on the next connection. */
static void faults_are_kept_over_a_broken_connection(void **state)
{
	struct sevmirror_postcopy numbers;
	struct postcopy_in *p;
	pthread_t vcpu;
	struct half h;

	p = begin(&h);
	postcopy_in_disconnect(p);
	assert_int_equal(postcopy_in_send(p, WIRE_RUNNING, NULL, 0), -ENOTCONN);
	assert_int_equal(pthread_create(&vcpu, NULL, touch, guest_page(&h, 12)), 0);
	do
		postcopy_in_numbers(p, &numbers);
	while (!numbers.faults);
	postcopy_in_connect(p);
	bring(&h, p, 12, vcpu);
	postcopy_in_numbers(p, &numbers);
	assert_int_equal(numbers.recoveries, 1);
	end(&h, p);
}

/* The VM will be thrown away: a vCPU that waits must be able to end. */
static void releasing_lets_waiting_vcpus_go(void **state)
{
	struct postcopy_in *p;
	pthread_t vcpu;
	struct half h;

	p = begin(&h);
	assert_int_equal(pthread_create(&vcpu, NULL, touch, guest_page(&h, 10)), 0);
	assert_asked_for(&h, 10);
	postcopy_in_release(p);
	pthread_join(vcpu, NULL);
	assert_int_equal(postcopy_in_left(p), 4);
	end(&h, p);
}

/*
 * By the streams (stream_in_pages.c): a missing page that comes by the priority stream is mapped; a
 * page that is there already is refused, and stays as it is.
 */
static void streams_bring_only_what_is_missing(void **state)
{
	struct postcopy_in *p;
	struct half h;
	struct why why;

	p = begin(&h);
	atomic_store(&h.m.postcopy, p);
	half_open_streams_in(&h);
	half_say_private(&h, WIRE_PRIORITY_STREAM, 11, 1, HELPER_PAGE, 21);
	assert_int_equal((uintptr_t)touch(guest_page(&h, 11)), 21);
	half_say_shared(&h, 1, 600, 1, 22);
	assert_int_equal((uintptr_t)touch(guest_page(&h, 600)), 22);
	half_say_shared(&h, 1, 600, 1, 23);
	assert_true(readable(streams_in_failed_fd(h.in), HALF_PATIENCE_MS));
	assert_int_equal(streams_in_error(h.in, &why), -EPROTO);
	half_assert_why(&why, SEVMIRROR_REASON_PROTOCOL, "one that is here already");
	assert_int_equal(rig_ram()[600 * PAGE], 22);
	streams_in_destroy(h.in);
	h.in = NULL;
	end(&h, p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_missing_is_what_the_source_said),
		cmocka_unit_test(a_page_that_is_private_and_shared_is_refused),
		cmocka_unit_test(nothing_is_missing),
		cmocka_unit_test(pages_that_are_there_are_mapped_without_the_source),
		cmocka_unit_test(a_missing_page_is_asked_for_and_waited_for),
		cmocka_unit_test(a_page_that_came_ahead_is_seen_to_be_used),
		cmocka_unit_test(the_last_page_is_noticed),
		cmocka_unit_test(faults_are_kept_over_a_broken_connection),
		cmocka_unit_test(releasing_lets_waiting_vcpus_go),
		cmocka_unit_test(streams_bring_only_what_is_missing),
	};

	return cmocka_run_group_tests_name("migrate_postcopy_in", tests, NULL, NULL);
}
