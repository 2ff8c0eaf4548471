/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VMM learns of the pages that a mirror in another process wrote: from one that answers, one
 * that is silent, one that is gone.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/mirror/link.h"
#include "tests/unit/cmocka_all.h"

#define MIB	 (1ULL << 20)
#define LOW	 (8 * MIB)
#define HIGH	 (4 * MIB)
#define NPAGES	 ((LOW + HIGH) / 4096)
#define WORDS	 (NPAGES / 64)
#define REGION	 (LOW - 2 * MIB) /* at the end of RAM below 4 GiB */
#define SILENCE	 50 /* ms: nobody answers, so the machine's load does not matter */
#define PATIENCE 60000 /* ms */

struct ends {
	struct mirror_link *link;
	int peer;
	struct mirror_offer got; /* at the other end */
	uint64_t *dirty; /* mapped there */
	uint64_t bitmap[WORDS]; /* fetched */
};

static void open_link(struct ends *e, bool writes)
{
	struct mirror_offer offer = {
		.primary_fd = -1,
		.region_fd = -1,
		.nram = 2,
		.ram = { { .gpa = 0, .bytes = LOW },
			 { .gpa = 1ULL << 32, .bytes = HIGH, .offset = LOW } },
		.workload = { .gpa = REGION,
			      .bytes = 2 * MIB,
			      .cr3 = REGION,
			      .rip = PAYLOAD_BASE,
			      .writes_memory = writes,
			      .name = "test" },
	};
	int fd = memfd_create("ram", MFD_CLOEXEC);
	void *at;

	memset(e, 0, sizeof(*e));
	assert_true(fd >= 0);
	offer.ram[0].fd = offer.ram[1].fd = fd;
	assert_int_equal(mirror_link_open(&e->link, &offer, &e->peer), 0);
	close(fd);
	assert_int_equal(mirror_offer_receive(e->peer, 60000, &e->got), 0);
	assert_string_equal(e->got.workload.name, "test");
	assert_int_equal(e->got.workload.writes_memory, writes);
	at = mmap(NULL, WORDS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, e->got.dirty_fd, 0);
	assert_true(at != MAP_FAILED);
	e->dirty = at;
	assert_false(mirror_link_ended(e->link));
}

static void close_link(struct ends *e)
{
	mirror_link_close(e->link);
	munmap(e->dirty, WORDS * 8);
	mirror_offer_close(&e->got);
	if (e->peer >= 0)
		close(e->peer);
}

static void hang_up(struct ends *e)
{
	close(e->peer);
	e->peer = -1;
}

static int fetch(struct ends *e, int timeout_ms)
{
	memset(e->bitmap, 0, sizeof(e->bitmap));
	return mirror_link_fetch(e->link, e->bitmap, NPAGES, timeout_ms);
}

static uint64_t count(const struct ends *e)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < WORDS; i++)
		n += (uint64_t)__builtin_popcountll(e->bitmap[i]);
	return n;
}

static void assert_region(const struct ends *e)
{
	for (uint64_t i = 0; i < NPAGES; i++)
		assert_int_equal(e->bitmap[i / 64] >> i % 64 & 1,
				 i >= REGION / 4096 && i < LOW / 4096);
}

/* The answer may be there before it is asked for: the socket keeps it. */
static void what_it_wrote_is_told_once(void **state)
{
	struct ends e;

	(void)state;
	open_link(&e, true);
	e.dirty[3] = 5;
	e.dirty[WORDS - 1] = 1ULL << 63;
	assert_int_equal(mirror_link_answer(e.peer, MIRROR_LINK_FETCHED), 0);
	assert_int_equal(fetch(&e, PATIENCE), 0);
	assert_int_equal(mirror_link_read(e.peer), MIRROR_LINK_FETCH);
	assert_int_equal(count(&e), 3);
	assert_true(e.bitmap[3] == 5 && e.bitmap[WORDS - 1] == 1ULL << 63);
	mirror_link_answer(e.peer, MIRROR_LINK_FETCHED);
	assert_int_equal(fetch(&e, PATIENCE), 0);
	assert_int_equal(count(&e), 0);
	assert_int_equal(mirror_link_fetch(e.link, e.bitmap, NPAGES - 64, PATIENCE), -EINVAL);
	close_link(&e);
}

static void one_that_has_finished_leaves_what_it_wrote(void **state)
{
	struct ends e;

	(void)state;
	open_link(&e, true);
	e.dirty[1] = 1;
	assert_int_equal(mirror_link_answer(e.peer, MIRROR_LINK_STOPPED), 0);
	hang_up(&e);
	assert_true(mirror_link_ended(e.link));
	assert_int_equal(fetch(&e, PATIENCE), 0);
	assert_int_equal(count(&e), 1);
	assert_int_equal(fetch(&e, PATIENCE), 0);
	assert_int_equal(count(&e), 0);
	assert_int_equal(mirror_link_stop(e.link, PATIENCE), 0);
	close_link(&e);
}

static void one_that_dies_may_have_written_all_that_it_could(void **state)
{
	struct ends e;

	(void)state;
	open_link(&e, true);
	hang_up(&e);
	assert_int_equal(fetch(&e, PATIENCE), 0);
	assert_int_equal(count(&e), NPAGES);
	assert_int_equal(fetch(&e, PATIENCE), 0);
	assert_int_equal(count(&e), 0);
	close_link(&e);

	open_link(&e, false);
	hang_up(&e);
	assert_int_equal(mirror_link_stop(e.link, PATIENCE), 0);
	assert_int_equal(fetch(&e, PATIENCE), 0);
	assert_region(&e);
	close_link(&e);
}

static void one_that_is_silent_is_given_up_if_it_only_reads(void **state)
{
	struct ends e;

	(void)state;
	open_link(&e, false);
	assert_int_equal(fetch(&e, SILENCE), 0);
	assert_region(&e);
	assert_true(mirror_link_ended(e.link));
	/* It sees that, behind what it was asked. */
	assert_int_equal(mirror_link_read(e.peer), MIRROR_LINK_FETCH);
	assert_int_equal(mirror_link_read(e.peer), -ECONNRESET);
	close_link(&e);

	open_link(&e, true);
	e.dirty[2] = 6;
	assert_int_equal(fetch(&e, SILENCE), -ETIMEDOUT);
	assert_int_equal(count(&e), 2);
	assert_int_equal(mirror_link_stop(e.link, SILENCE), -ETIMEDOUT);
	assert_false(mirror_link_ended(e.link));
	/* Answers that come too late are no answers to what is asked next. */
	mirror_link_answer(e.peer, MIRROR_LINK_FETCHED);
	assert_int_equal(mirror_link_stop(e.link, SILENCE), -ETIMEDOUT);
	mirror_link_answer(e.peer, MIRROR_LINK_STOPPED);
	assert_int_equal(mirror_link_stop(e.link, PATIENCE), 0);
	close_link(&e);
}

/* The VMM maps the bitmap: nobody may cut it off. And an unknown word ends the link. */
static void the_other_process_is_not_trusted(void **state)
{
	struct ends e;

	(void)state;
	open_link(&e, false);
	assert_int_equal(ftruncate(e.got.dirty_fd, 0), -1);
	assert_int_equal(ftruncate(e.got.dirty_fd, 1 << 20), -1);
	assert_int_equal(send(e.peer, "garbage", 7, 0), 7);
	assert_int_equal(fetch(&e, PATIENCE), 0);
	assert_region(&e);
	assert_true(mirror_link_ended(e.link));
	close_link(&e);
	mirror_link_close(NULL);
}

static void offers_of_impossible_workloads_are_refused(void **state)
{
	const struct workload_plan good = {
		.gpa = REGION, .bytes = 2 * MIB, .cr3 = REGION, .rip = PAYLOAD_BASE, .name = "test"
	};
	struct workload_plan bad[8];

	(void)state;
	assert_true(workload_plan_ok(&good, LOW));
	assert_false(workload_plan_ok(&good, LOW + 2 * MIB));
	for (unsigned int i = 0; i < 8; i++)
		bad[i] = good;
	bad[0].bytes = 0;
	bad[1].gpa -= 2 * MIB;
	bad[2].cr3 += 2 * MIB;
	bad[3].cr3 += 1;
	bad[4].rip = 0;
	bad[5].rip = PAYLOAD_BASE + PAYLOAD_IMAGE_MAX;
	memset(bad[6].name, 'x', sizeof(bad[6].name));
	bad[7].name[1] = '\033';
	for (unsigned int i = 0; i < 8; i++)
		assert_false(workload_plan_ok(&bad[i], LOW));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_it_wrote_is_told_once),
		cmocka_unit_test(one_that_has_finished_leaves_what_it_wrote),
		cmocka_unit_test(one_that_dies_may_have_written_all_that_it_could),
		cmocka_unit_test(one_that_is_silent_is_given_up_if_it_only_reads),
		cmocka_unit_test(the_other_process_is_not_trusted),
		cmocka_unit_test(offers_of_impossible_workloads_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
