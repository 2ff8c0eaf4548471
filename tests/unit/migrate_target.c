/* SPDX-License-Identifier: Apache-2.0 */
/* The target: it runs a guest that came whole, and keeps nothing of one that did not. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "lib/net/address.h"
#include "lib/util/clock.h"
#include "tests/unit/migrate_pair.h"

static const struct pair *under_test;

static void assert_nothing_ran(const struct pair_end *target)
{
	assert_int_equal(target->rig.resumed, 0);
	assert_int_equal(target->rig.acquired, target->rig.released);
}

static void a_guest_arrives(void **state)
{
	struct pair *p = *state;

	pair_run(p);
	pair_assert_ended(&p->target, SEVMIRROR_MIGRATED, SEVMIRROR_REASON_NONE, "");
	assert_true(p->target.memory_good);
	assert_int_equal(p->target.rig.built, 1);
	assert_int_equal(p->target.rig.loaded, 1);
	assert_int_equal(p->target.rig.acquired, 1);
	assert_int_equal(p->target.rig.released, 0);
	assert_int_equal(p->target.rig.resumed, 1);
	assert_int_equal(p->target.summary[0].pages, RIG_PAGES);
	assert_int_equal(p->target.summary[0].rounds, 2);
	assert_true(pair_saw(&p->target, SEVMIRROR_PHASE_DONE));
	assert_false(pair_saw(&p->target, SEVMIRROR_PHASE_POSTCOPY));
}

static int refuse(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	snprintf(why, max, "a register is odd");
	return -EINVAL;
}

static void a_state_that_cannot_be_loaded_is_refused_in_the_vmm_s_words(void **state)
{
	struct pair *p = *state;

	p->target.ops.state_load = refuse;
	pair_run(p);
	pair_assert_ended(&p->target, SEVMIRROR_FAILED, SEVMIRROR_REASON_GUEST,
			  "the target cannot load the guest's state: a register is odd");
	assert_nothing_ran(&p->target);
	pair_assert_ended(&p->source, SEVMIRROR_FAILED, SEVMIRROR_REASON_PEER, "a register is odd");
	assert_int_equal(p->source.rig.resumed, 1);
}

static int no_disks(void *opaque, char *why, size_t max)
{
	snprintf(why, max, "it is locked");
	return -EAGAIN;
}

static void disks_that_cannot_be_opened_are_the_reason(void **state)
{
	struct pair *p = *state;

	p->target.ops.disks_acquire = no_disks;
	pair_run(p);
	pair_assert_ended(&p->target, SEVMIRROR_FAILED, SEVMIRROR_REASON_DISK,
			  "the target cannot open the guest's disks: it is locked");
	assert_nothing_ran(&p->target);
	assert_int_equal(p->source.rig.resumed, 1);
}

/* The source opens the disks when it hears of it, so they are released first. */
static void a_guest_that_cannot_start_gives_the_disks_back(void **state)
{
	struct pair *p = *state;

	p->target.rig.refuses = true;
	pair_run(p);
	pair_assert_ended(&p->target, SEVMIRROR_FAILED, SEVMIRROR_REASON_GUEST,
			  "the target cannot start the guest");
	assert_int_equal(p->target.rig.acquired, 1);
	assert_nothing_ran(&p->target);
}

static void a_source_that_dies_leaves_nothing_here(void **state)
{
	struct pair *p = *state;

	p->source.dies_in = SEVMIRROR_PHASE_PRECOPY;
	pair_run(p);
	pair_assert_ended(&p->target, SEVMIRROR_FAILED, SEVMIRROR_REASON_CONNECTION, "");
	assert_int_equal(p->target.rig.loaded, 0);
	assert_nothing_ran(&p->target);
}

#define SHORT_MS 300

/* In the source's process, until the target's has ended. */
static void fall_silent(struct pair_end *end, enum sevmirror_phase phase)
{
	const volatile bool *ended = &under_test->target.ended;

	while (phase == SEVMIRROR_PHASE_PRECOPY && !*ended)
		usleep(1000);
}

static void a_source_that_says_nothing_is_given_up(void **state)
{
	struct pair *p = *state;

	under_test = p;
	p->source.phase = fall_silent;
	p->target_options.timeout = SHORT_MS * NS_PER_MS;
	pair_run(p);
	pair_assert_ended(&p->target, SEVMIRROR_FAILED, SEVMIRROR_REASON_TIMEOUT,
			  "the source sent nothing");
	assert_nothing_ran(&p->target);
	assert_int_equal(p->source.rig.paused, p->source.rig.resumed);
}

static void cancelling_here_tells_the_source(void **state)
{
	struct pair *p = *state;

	p->target.cancels_in = SEVMIRROR_PHASE_PRECOPY;
	pair_run(p);
	pair_assert_ended(&p->target, SEVMIRROR_CANCELLED, SEVMIRROR_REASON_CANCELLED, "cancelled");
	pair_assert_ended(&p->source, SEVMIRROR_FAILED, SEVMIRROR_REASON_PEER,
			  "the target gave up: cancelled");
	assert_nothing_ran(&p->target);
}

/* ---- another peer connects ---- */

static char psk[] = "/tmp/sevmirror-target-XXXXXX";

/* In the source's process, before it migrates: a peer that does not know the key. */
static void call_as_stranger(struct pair_end *end)
{
	int fd = address_connect(under_test->source_options.address, 5000, NULL);
	char byte;

	(void)!write(fd, "hello?", 6);
	(void)!read(fd, &byte, 1); /* until the target has seen what it is */
	close(fd);
}

static void a_stranger_is_sent_away_and_the_source_is_awaited(void **state)
{
	struct pair *p = *state;
	int fd = mkstemp(psk);

	assert_true(fd >= 0);
	dprintf(fd, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n");
	close(fd);
	under_test = p;
	p->source_options.security = (struct sevmirror_security){ .psk_file = psk };
	p->target_options.security = p->source_options.security;
	p->source.prepare = call_as_stranger;
	pair_run(p);
	unlink(psk);
	assert_int_equal(p->target.strangers, 1);
	pair_assert_ended(&p->target, SEVMIRROR_MIGRATED, SEVMIRROR_REASON_NONE, "");
	assert_true(p->target.memory_good);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		pair_test(a_guest_arrives),
		pair_test(a_state_that_cannot_be_loaded_is_refused_in_the_vmm_s_words),
		pair_test(disks_that_cannot_be_opened_are_the_reason),
		pair_test(a_guest_that_cannot_start_gives_the_disks_back),
		pair_test(a_source_that_dies_leaves_nothing_here),
		pair_test(a_source_that_says_nothing_is_given_up),
		pair_test(cancelling_here_tells_the_source),
		pair_test(a_stranger_is_sent_away_and_the_source_is_awaited),
	};

	return cmocka_run_group_tests_name("migrate_target", tests, NULL, NULL);
}
