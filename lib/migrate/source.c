/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The source's side of a migration, from the first connection to the hand-over. Top to bottom is
 * the order in which it happens.
 */
#include "lib/migrate/source_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/net/address.h"
#include "lib/util/clock.h"
#include "lib/migrate/message.h"
#include "lib/migrate/sealing.h"

/*
 * What a stop costs without any page (state, manifest, hand-over), before it was ever measured
 * here.
 */
#define DISKS_BACK_NS	  (5000 * NS_PER_MS)
#define DISKS_BACK_TRY_US 100000
#define FIXED_DOWNTIME_NS (30 * NS_PER_MS)
#define PATIENCE_ROUNDS	  3

void source_count_sent(struct source *s)
{
	struct streams_out_count now;

	if (!s->streams)
		return;
	now = streams_out_count(s->streams);
	s->sent = (struct streams_out_count){ s->before.pages + now.pages,
					      s->before.bytes + now.bytes };
}

/* What the rounds after the first one sent had been sent before. */
static uint64_t pages_resent(const struct source *s)
{
	return s->sent.pages > s->first_pages && s->round > 1 ? s->sent.pages - s->first_pages : 0;
}

void source_report(struct source *s)
{
	struct sevmirror_migration *m = s->m;
	enum sevmirror_phase phase = session_phase(m);
	uint64_t now = clock_ns();
	struct sevmirror_progress p;

	if (!m->ops->progress)
		return;
	source_count_sent(s);
	p = (struct sevmirror_progress){
		.phase = phase,
		.round = s->round,
		.pages_total = m->numbering.npages,
		.pages_left = s->dirty ? page_set_count(s->dirty) : 0,
		.pages_sent = s->sent.pages,
		.pages_resent = pages_resent(s),
		.bytes_sent = s->sent.bytes,
		.rate = s->streams ? meter_read(&s->meter, now, s->sent.bytes) : 0,
		.dirty_rate = s->converge.dirty_rate,
		.expected_downtime = s->converge.expected_downtime,
		.throttle = s->converge.throttle,
		.elapsed = now - s->begin,
	};
	if (phase == SEVMIRROR_PHASE_BROKEN)
		snprintf(p.reason, sizeof(p.reason), "%.*s", (int)sizeof(p.reason) - 1,
			 m->why.text);
	m->ops->progress(m->opaque, &p);
}

int source_connect(struct sevmirror_migration *m)
{
	struct channel *channel;
	int fd = address_connect(m->source.address, m->timeout_ms, &m->why);
	int err;

	if (fd < 0)
		return fd;
	err = channel_open(&channel, fd, false, &m->security, m->timeout_ms, &m->why);
	if (!err)
		session_set_control(m, channel);
	return err;
}

/* Until the target's helper runs. */
static int await_helper(struct sevmirror_migration *m)
{
	size_t len;
	void *body;
	int err = session_recv_after_work(m, WIRE_CORE_DONE, &body, &len);

	free(body);
	return err;
}

/* Both helpers hold the session: from here on pages can go. */
static int establish(struct source *s)
{
	struct sevmirror_migration *m = s->m;
	int err;

	source_report(s);
	err = source_connect(m);
	if (!err)
		err = handshake_source(m, &s->offer);
	if (err)
		return err;
	session_step(m, SOURCE_AGREE);
	source_report(s);
	err = sealing_create(m);
	if (err)
		return err;
	session_step(m, SOURCE_SEND_CORE);
	err = sealing_send_core(m, &s->offer);
	if (!err)
		err = await_helper(m);
	if (!err)
		err = streams_out_create(&s->streams, m, s->dirty);
	if (!err)
		streams_out_limit(s->streams, atomic_load(&m->bandwidth));
	return err;
}

void source_part(struct source *s, uint64_t *part)
{
	uint64_t now = clock_ns();

	*part = now - s->part_begin;
	s->part_begin = now;
}

int source_stop(struct source *s, void **state, size_t *len)
{
	struct sevmirror_migration *m = s->m;
	ssize_t n;
	int err;

	*state = malloc(WIRE_MAX_SECTION);
	if (!*state)
		return session_fail(m, -ENOMEM,
				    "the source is out of memory for the guest's state");
	session_step(m, SOURCE_STOP);
	source_report(s);
	s->stopped = s->part_begin = clock_ns();
	err = m->ops->pause(m->opaque);
	source_part(s, &s->parts.stop);
	if (err)
		return session_host_failed(m, SEVMIRROR_REASON_GUEST, err,
					   "the source cannot stop the guest and flush its disks",
					   NULL);
	err = source_check_map(m);
	if (err)
		return err;
	n = m->ops->state_save(m->opaque, *state, WIRE_MAX_SECTION);
	if (n < 0)
		return session_host_failed(m, SEVMIRROR_REASON_GUEST, (int)n,
					   "the source cannot save the guest's state", NULL);
	*len = (size_t)n;
	err = source_fetch_dirty(s);
	source_part(s, &s->parts.state);
	return err;
}

void source_drop_state(void *state, size_t len)
{
	if (state)
		explicit_bzero(state, len ? len : WIRE_MAX_SECTION);
	free(state);
}

/*
 * What is dirty when the guest has stopped goes, with the state of its vCPUs and devices and the
 * manifest: they are on their way while the target puts the last pages in place, and it answers for
 * all of that.
 */
static int stop_and_copy(struct source *s)
{
	void *state;
	size_t len = 0;
	int err = source_stop(s, &state, &len);

	streams_out_limit(s->streams, 0);
	if (!err)
		err = source_send_round(s);
	source_part(s, &s->parts.pages);
	if (!err)
		err = session_send(s->m, WIRE_STATE, state, len);
	source_drop_state(state, len);
	if (!err)
		err = manifest_send(s->m);
	source_part(s, &s->parts.manifest);
	err = session_why_peer_left(s->m, err);
	return err ? err : source_await_round(s);
}

/*
 * A target that has closed the connection or given up while the disks were flushed has not heard
 * COMMIT and never will, so nothing is in doubt: that is the reason to look before COMMIT is said.
 */
static int still_there(struct sevmirror_migration *m)
{
	return channel_readable(m->control) ? session_recv_unexpected(m) : 0;
}

int source_let_go(struct source *s, enum source_event commit)
{
	struct sevmirror_migration *m = s->m;
	int err;

	source_part(s, &s->parts.load);
	session_step(m, SOURCE_RELEASE);
	err = m->ops->disks_release(m->opaque);
	source_part(s, &s->parts.disks);
	if (err)
		return session_host_failed(m, SEVMIRROR_REASON_DISK, err,
					   "the source cannot flush and release the guest's disks",
					   NULL);
	err = still_there(m);
	return err ? err : session_step_or_cancelled(m, commit);
}

/*
 * The hand-over. Before COMMIT any failure leaves the guest here; a target that refuses after it
 * says so, and only silence leaves the outcome unknown.
 */
static int hand_over(struct source *s)
{
	struct sevmirror_migration *m = s->m;
	int err = session_recv(m, WIRE_READY, NULL, 0);

	if (!err)
		err = source_let_go(s, SOURCE_COMMIT);
	if (err)
		return err;
	source_report(s);
	err = session_send(m, WIRE_COMMIT, NULL, 0);
	if (!err)
		err = session_recv(m, WIRE_RUNNING, NULL, 0);
	if (err)
		return err;
	source_part(s, &s->parts.start);
	s->running = s->part_begin;
	session_step(m, SOURCE_RUNNING);
	return 0;
}

void source_fail(struct source *s, int err)
{
	s->failed_in =
		session_step(s->m, err == MESSAGE_PEER_ABORTED ? SOURCE_ABORT : SOURCE_BREAK);
}

static bool was_cancelled(const struct source *s)
{
	return s->failed_in < SOURCE_COMMITTED && atomic_load(&s->m->cancelled);
}

/* What the state comes to, once the run has ended. */
static enum sevmirror_outcome outcome_of(const struct source *s)
{
	switch (atomic_load(&s->m->state)) {
	case SOURCE_MIGRATED:
		return SEVMIRROR_MIGRATED;
	case SOURCE_BROKEN:
		return SEVMIRROR_BROKEN;
	case SOURCE_LOST:
		return SEVMIRROR_LOST;
	case SOURCE_UNKNOWN:
	case SOURCE_UNDECIDED:
		return SEVMIRROR_UNKNOWN;
	default:
		return was_cancelled(s) ? SEVMIRROR_CANCELLED : SEVMIRROR_FAILED;
	}
}

/*
 * A target that failed may hold the disks for a moment longer. A guest whose disks stay locked is
 * not to run without them: every request would be an I/O error to it.
 */
static bool take_disks_back(struct sevmirror_migration *m)
{
	uint64_t until = clock_ns() + DISKS_BACK_NS;
	char why[HOST_WORDS_BYTES] = "";

	while (m->ops->disks_acquire(m->opaque, why, sizeof(why))) {
		if (clock_ns() >= until) {
			why_append(
				&m->why,
				"; and the guest stays paused on the source, which cannot open its "
				"disks again: %s",
				why);
			return false;
		}
		usleep(DISKS_BACK_TRY_US);
	}
	return true;
}

/* Give the guest back to this host as if nothing had happened. */
static void roll_back(struct source *s)
{
	struct sevmirror_migration *m = s->m;

	if (m->control)
		message_abort(m->control, was_cancelled(s) ? "cancelled" : m->why.text);
	sealing_take_back(m);
	if (s->failed_in >= SOURCE_RELEASED && !take_disks_back(m))
		return;
	if (s->failed_in >= SOURCE_STOPPED)
		(void)m->ops->resume(m->opaque);
}

static void summarize(struct source *s)
{
	struct sevmirror_summary *sum = s->m->summary;

	sum->total_time = clock_ns() - s->begin;
	if (s->running) {
		sum->downtime = s->running - s->stopped;
		sum->parts = s->parts;
	}
	sum->expected_downtime = s->converge.expected_downtime;
	sum->max_downtime = atomic_load(&s->m->max_downtime);
	source_count_sent(s);
	sum->pages = s->sent.pages;
	sum->bytes = s->sent.bytes;
	sum->pages_resent = pages_resent(s);
	sum->rounds = s->round;
	sum->helper_exits = sealing_helper_exits(s->m);
	sealing_count_commands(s->m);
}

/* What the VM is, and a set of its dirty pages, still empty. */
static int prepare(struct source *s)
{
	struct sevmirror_migration *m = s->m;
	int err = m->ops->describe(m->opaque, &m->vm);

	if (!err)
		err = page_numbering_init(&m->numbering, &m->vm);
	if (!err)
		err = page_set_create(&s->dirty, &m->numbering);
	if (!err) {
		s->bitmap = malloc(m->numbering.npages / 8);
		err = s->bitmap ? 0 : -ENOMEM;
	}
	return err ? session_fail(m, err, "the source cannot prepare the migration: %s",
				  strerror(-err)) :
		     0;
}

/* What follows when the time for the migration is over. */
static enum converge_verdict overtime_verdict(enum sevmirror_overtime overtime)
{
	switch (overtime) {
	case SEVMIRROR_OVERTIME_POSTCOPY:
		return CONVERGE_POSTCOPY;
	case SEVMIRROR_OVERTIME_FORCE:
		return CONVERGE_STOP;
	default:
		return CONVERGE_GIVE_UP;
	}
}

static int run(struct source *s)
{
	struct sevmirror_migration *m = s->m;
	struct converge_limits limits = { .max_downtime = atomic_load(&m->max_downtime),
					  .fixed_downtime = FIXED_DOWNTIME_NS,
					  .throttle = m->source.throttle,
					  .postcopy = m->source.postcopy == SEVMIRROR_POSTCOPY_AUTO,
					  .postcopy_after = m->source.postcopy_after,
					  .patience = PATIENCE_ROUNDS,
					  .max_rounds = m->source.max_rounds,
					  .overtime = overtime_verdict(m->source.overtime) };
	bool postcopy = false;
	int err;

	converge_init(&s->converge, &limits);
	err = prepare(s);
	if (!err)
		err = source_check_map(m);
	if (!err)
		err = establish(s);
	if (!err)
		err = source_precopy(s, &postcopy);
	if (err)
		return err;
	if (postcopy)
		return source_postcopy(s);
	err = stop_and_copy(s);
	return err ? err : hand_over(s);
}

static void source_destroy(struct source *s)
{
	streams_out_destroy(s->streams);
	page_set_destroy(s->dirty);
	free(s->bitmap);
	free(s->offer.bytes);
	free(s);
}

void source_forget(struct sevmirror_migration *m)
{
	if (m->kept)
		source_destroy(m->kept);
	m->kept = NULL;
}

/* Leave nothing of the connection that a later one could meet. */
static void disconnect(struct source *s)
{
	source_count_sent(s);
	s->before = s->sent;
	streams_out_destroy(s->streams);
	s->streams = NULL;
}

/* The guest has left or will not leave. */
static void conclude(struct source *s)
{
	struct sevmirror_migration *m = s->m;
	const enum source_state state = atomic_load(&m->state);

	m->kept = NULL;
	if (state == SOURCE_FAILED)
		roll_back(s);
	source_report(s);
	if (state != SOURCE_FAILED || s->failed_in >= SOURCE_PRECOPY)
		m->ops->dirty_stop(m->opaque);
	sealing_end(m, state == SOURCE_MIGRATED);
	if (state == SOURCE_MIGRATED)
		m->ops->handed_over(m->opaque);
	source_destroy(s);
}

static enum sevmirror_outcome end(struct source *s, int err)
{
	struct sevmirror_migration *m = s->m;
	enum sevmirror_outcome outcome;

	if (err)
		source_fail(s, err);
	outcome = outcome_of(s);
	/* Also if it is open where the guest is: an operator may say that it is here. */
	m->ops->throttle(m->opaque, 0);
	disconnect(s);
	summarize(s);
	if (m->life->state[atomic_load(&m->state)].at_rest)
		source_report(s);
	else
		conclude(s);
	return outcome;
}

enum sevmirror_outcome source_run(struct sevmirror_migration *m)
{
	struct source *s = calloc(1, sizeof(*s));

	if (!s) {
		session_fail(m, -ENOMEM, "the source is out of memory");
		return SEVMIRROR_FAILED;
	}
	s->m = m;
	s->begin = clock_ns();
	return end(s, run(s));
}

enum sevmirror_outcome source_recover(struct sevmirror_migration *m)
{
	struct source *s = m->kept;

	if (!s) {
		session_fail(m, -EINVAL, "there is no interrupted post-copy to recover");
		return m->ended;
	}
	session_step(m, SOURCE_RECOVER);
	return end(s, source_postcopy_again(s));
}
