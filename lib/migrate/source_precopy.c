/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The source's rounds of pages, while the guest runs and for the last time when it has stopped. */
#include "lib/migrate/source_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <sevmirror/pagemap.h>

#include "lib/util/clock.h"

/* In a STATE message: what the map of shared pages leaves for vCPUs, devices and chips. */
#define STATE_ROOM_BYTES (2u << 20)
#define STATE_MAP_BYTES	 (WIRE_MAX_SECTION - STATE_ROOM_BYTES)

/*
 * The map of shared pages is a part of the guest's state, and the guest alone decides how many runs
 * it has. One that has become too large is refused while the guest runs, not after all pages went.
 */
int source_check_map(struct sevmirror_migration *m)
{
	size_t bytes = m->vm.pagemap ? sev_pagemap_save(m->vm.pagemap, NULL, 0) : 0;

	if (bytes <= STATE_MAP_BYTES)
		return 0;
	return session_fail_because(
		m, SEVMIRROR_REASON_GUEST, -E2BIG,
		"the guest's map of shared pages has %zu bytes, and a migration can send at most "
		"%u: its shared and private pages alternate, and only the guest can change that",
		bytes, STATE_MAP_BYTES);
}

/* Ask the target to say when everything of the round is in place. */
static int close_round(struct source *s)
{
	struct sevmirror_migration *m = s->m;
	struct wire_round round = { .round = s->round, .streams = m->hello.streams };

	memcpy(round.frames, s->frames, sizeof(round.frames));
	return session_why_peer_left(m, session_send(m, WIRE_ROUND, &round, sizeof(round)));
}

int source_await_round(struct source *s)
{
	struct wire_round answer;
	int err = session_recv(s->m, WIRE_ROUND, &answer, sizeof(answer));

	if (!err && answer.round != s->round)
		err = session_fail(s->m, -EPROTO, "the target answered for round %u, not %u",
				   answer.round, s->round);
	return err;
}

/* The time for the migration is over, and the guest still runs. */
static bool overtime(const struct source *s)
{
	uint64_t most = s->m->source.max_time;

	return most && !s->stopped && clock_ns() - s->begin >= most;
}

int source_fetch_dirty(struct source *s)
{
	struct sevmirror_migration *m = s->m;
	int err;

	memset(s->bitmap, 0, m->numbering.npages / 8);
	err = m->ops->dirty_fetch(m->opaque, s->bitmap, m->numbering.npages);
	if (err)
		return session_fail(
			m, err, "the source cannot read the log of pages that the guest wrote: %s",
			strerror(-err));
	page_set_add_bitmap(s->dirty, s->bitmap);
	return 0;
}

/*
 * Send what is dirty, or as much of it as there is time for, and say how that goes meanwhile. The
 * target has been asked for its answer.
 */
int source_send_round(struct source *s)
{
	bool halted = false;
	int err;

	s->round++;
	streams_out_begin(s->streams, false);
	source_report(s);
	while ((err = streams_out_wait(s->streams, SOURCE_REPORT_MS, s->frames)) == -EINPROGRESS) {
		/* A stream that waits for the network would do so for the whole timeout. */
		if (session_cancelled(s->m))
			streams_out_cancel(s->streams);
		if (overtime(s)) {
			streams_out_halt(s->streams);
			halted = true;
		}
		/* With the guest stopped there is no limit. */
		if (!s->stopped)
			streams_out_limit(s->streams, atomic_load(&s->m->bandwidth));
		source_report(s);
	}
	err = session_why_peer_left(s->m, err);
	source_count_sent(s);
	if (s->round == 1)
		s->first_pages = halted ? s->m->numbering.npages : s->sent.pages;
	return err ? err : close_round(s);
}

/* How long it takes to write back what the guest's disks have in the host's cache: ns. */
static uint64_t flush_disks(struct source *s)
{
	uint64_t begin = clock_ns();

	if (!s->m->ops->disks_flush)
		return 0;
	s->m->ops->disks_flush(s->m->opaque);
	return clock_ns() - begin;
}

/* One round of pre-copy; *verdict says how to continue. */
static int run_round(struct source *s, enum converge_verdict *verdict)
{
	struct sevmirror_migration *m = s->m;
	uint64_t begin = clock_ns(), before = s->sent.bytes;
	struct converge_round round;
	uint64_t flush = 0;
	int err = source_send_round(s);

	if (!err)
		err = source_await_round(s);
	if (!err) {
		flush = flush_disks(s);
		err = source_fetch_dirty(s);
	}
	if (!err)
		err = source_check_map(m);
	if (err)
		return err;
	round = (struct converge_round){ .bytes = s->sent.bytes - before,
					 .time = clock_ns() - begin - flush,
					 .pages_left = page_set_count(s->dirty),
					 .flush = flush,
					 .overtime = overtime(s) };
	s->converge.limits.max_downtime = atomic_load(&m->max_downtime);
	*verdict = converge_judge(&s->converge, &round);
	m->ops->throttle(m->opaque, s->converge.throttle);
	source_report(s);
	return 0;
}

/* Post-copy was ordered, and its time has come. */
static bool postcopy_due(const struct source *s)
{
	return s->m->source.postcopy == SEVMIRROR_POSTCOPY_ALWAYS &&
	       s->round >= s->m->source.postcopy_after;
}

static int not_converged(const struct source *s)
{
	char after[64];

	snprintf(after, sizeof(after), "after %u rounds", s->round);
	if (overtime(s))
		snprintf(after, sizeof(after), "after the %llu s that it may take",
			 (unsigned long long)(s->m->source.max_time / NS_PER_S));
	return session_fail_because(
		s->m, SEVMIRROR_REASON_CONVERGENCE, -EBUSY,
		"the migration does not converge: %s a stop would take %llu ms, and the limit is "
		"%llu ms; allow a longer downtime, throttling, post-copy, or more bandwidth",
		after, (unsigned long long)(s->converge.expected_downtime / NS_PER_MS),
		(unsigned long long)(atomic_load(&s->m->max_downtime) / NS_PER_MS));
}

/* Rounds until the guest may stop: *postcopy says with pages missing. */
int source_precopy(struct source *s, bool *postcopy)
{
	struct sevmirror_migration *m = s->m;
	enum converge_verdict verdict = CONVERGE_ANOTHER_ROUND;
	int err = m->ops->dirty_start(m->opaque);

	if (err)
		return session_fail(
			m, err, "the source cannot start to log which pages the guest writes: %s",
			strerror(-err));
	session_step(m, SOURCE_LOG);
	page_set_fill(s->dirty);
	while (!err && verdict == CONVERGE_ANOTHER_ROUND && !postcopy_due(s)) {
		if (session_cancelled(m))
			return -ECANCELED;
		err = run_round(s, &verdict);
		/* It may be about to converge, but that is not what was ordered. */
		if (m->source.postcopy == SEVMIRROR_POSTCOPY_ALWAYS && !overtime(s))
			verdict = CONVERGE_ANOTHER_ROUND;
	}
	*postcopy = verdict == CONVERGE_POSTCOPY || postcopy_due(s);
	if (!err && verdict == CONVERGE_GIVE_UP)
		err = not_converged(s);
	return err;
}
