/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The target's side of a migration, from the first connection until the guest runs. Top to bottom
 * is the order in which it happens.
 */
#include "lib/migrate/target_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util/clock.h"
#include "lib/migrate/message.h"
#include "lib/migrate/postcopy_in.h"
#include "lib/migrate/sealing.h"

static void count_came(struct target *t)
{
	struct streams_in_count now;

	if (!t->streams)
		return;
	now = streams_in_count(t->streams);
	t->came =
		(struct streams_in_count){ t->before.pages + now.pages, t->before.bytes + now.bytes,
					   t->before.stale + now.stale };
}

void target_report(struct target *t)
{
	struct sevmirror_migration *m = t->m;
	enum sevmirror_phase phase = session_phase(m);
	struct postcopy_in *postcopy = atomic_load(&m->postcopy);
	uint64_t now = clock_ns();
	struct sevmirror_progress p;

	count_came(t);
	if (!m->ops->progress)
		return;
	/* Unauthenticated peers wake the target, too. They must not cause an event each. */
	if (t->reported && phase == t->reported_phase &&
	    now - t->reported < TARGET_REPORT_MS * NS_PER_MS)
		return;
	t->reported = now;
	t->reported_phase = phase;
	p = (struct sevmirror_progress){
		.phase = phase,
		.round = t->rounds,
		.pages_total = m->numbering.npages,
		.pages_sent = t->came.pages,
		.bytes_sent = t->came.bytes,
		.rate = t->streams ? meter_read(&t->meter, now, t->came.bytes) : 0,
		.elapsed = now - t->begin,
	};
	if (phase == SEVMIRROR_PHASE_BROKEN)
		snprintf(p.reason, sizeof(p.reason), "%.*s", (int)sizeof(p.reason) - 1,
			 m->why.text);
	if (postcopy) {
		struct sevmirror_postcopy numbers;

		postcopy_in_numbers(postcopy, &numbers);
		p.pages_left = postcopy_in_left(postcopy);
		p.faults = numbers.faults;
		p.fault_p95 = numbers.fault_p95;
	}
	m->ops->progress(m->opaque, &p);
}

/*
 * A failure at the control connection may only be the echo of a stream's: that one is the reason,
 * or what the source says about it.
 */
static void find_reason(struct target *t, int err)
{
	struct sevmirror_migration *m = t->m;
	struct why why;

	if (!t->streams || err == MESSAGE_PEER_ABORTED || atomic_load(&m->cancelled))
		return;
	if (!streams_in_error(t->streams, &why))
		return;
	m->why = why;
	if (why.err == -ECONNRESET)
		(void)session_why_peer_left(m, why.err);
}

/* Wait for the source; a peer that cannot authenticate is disconnected and the target waits on. */
static int accept_control(struct sevmirror_migration *m)
{
	struct accept_queue queue;
	struct newcomer source;
	int err = accept_queue_init(&queue, m->target.listen_fd, m->cancel_fd, &m->security, 0);

	if (err)
		session_fail(m, err, "the target cannot wait for the source: %s", strerror(-err));
	queue.rejected = session_unauthenticated_peer;
	queue.opaque = m;
	if (!err)
		err = session_accept(m, &queue, &source);
	accept_queue_close(&queue);
	if (err)
		return err;
	session_set_control(m, source.channel);
	session_step(m, TARGET_CONNECT);
	return 0;
}

static int establish(struct target *t)
{
	struct sevmirror_migration *m = t->m;
	int err = handshake_target(m);

	if (err)
		return err;
	session_step(m, TARGET_BUILD);
	target_report(t);
	err = sealing_receive_core(m);
	if (!err)
		err = session_send(m, WIRE_CORE_DONE, NULL, 0);
	if (err)
		return err;
	session_step(m, TARGET_HELPER_RUNS);
	return streams_in_create(&t->streams, m, m->target.listen_fd);
}

static int take_round(struct target *t, const void *body, size_t len)
{
	struct sevmirror_migration *m = t->m;
	struct wire_round round;
	int err;

	if (len != sizeof(round))
		return session_fail(m, -EPROTO, "the source sent a ROUND message of %zu bytes",
				    len);
	memcpy(&round, body, sizeof(round));
	if (round.streams != m->hello.streams)
		return session_fail(m, -EPROTO,
				    "the source sent a round of %u streams instead of %u",
				    round.streams, m->hello.streams);
	err = streams_in_wait(t->streams, round.frames);
	if (err)
		return err;
	t->rounds = round.round;
	target_report(t);
	return session_send(m, WIRE_ROUND, &round, sizeof(round));
}

/*
 * Until there is a message. A source from which nothing comes any more, on no connection, is gone,
 * whether it closed the connection or not.
 */
static int await_message(struct target *t)
{
	struct sevmirror_migration *m = t->m;
	uint64_t moved = 0, moved_at = clock_ns();

	while (channel_wait(m->control, target_tick(m)) == -ETIMEDOUT) {
		uint64_t now = clock_ns(), before = moved;

		target_report(t);
		moved = streams_in_moved(t->streams);
		if (moved != before)
			moved_at = now;
		if (now - moved_at > (uint64_t)m->timeout_ms * NS_PER_MS)
			return session_fail(m, -ETIMEDOUT, "the source sent nothing for %d ms",
					    m->timeout_ms);
	}
	return 0;
}

/* Rounds of pages until the state comes. */
static int receive_guest(struct target *t)
{
	struct sevmirror_migration *m = t->m;
	int err = 0;

	while (!err && !t->state) {
		uint16_t type;
		void *body;
		size_t len;

		err = await_message(t);
		if (err)
			return err;
		err = session_recv_any(m, &type, &body, &len);
		if (err)
			return err;
		if (type == WIRE_STATE) {
			t->state = body;
			t->state_bytes = len;
			session_step(m, TARGET_STATE);
			return 0;
		}
		if (type == WIRE_ROUND)
			err = take_round(t, body, len);
		else if (type == WIRE_POSTCOPY && m->hello.flags & WIRE_F_POSTCOPY && !m->postcopy)
			err = target_postcopy_begin(t);
		else
			err = session_fail(m, -EPROTO,
					   "the source sent %s instead of a round or the state",
					   wire_type_text(type));
		free(body);
	}
	return err;
}

struct load {
	const struct target *t;
	char why[HOST_WORDS_BYTES];
};

static int run_load(void *arg)
{
	struct load *load = arg;
	const struct target *t = load->t;

	return t->m->ops->state_load(t->m->opaque, t->state, t->state_bytes, load->why,
				     sizeof(load->why));
}

static int load_state(struct target *t)
{
	struct sevmirror_migration *m = t->m;
	struct load load = { .t = t };
	int err = m->postcopy ? target_postcopy_load(t, run_load, &load) : run_load(&load);

	return err ? session_host_failed(m, SEVMIRROR_REASON_GUEST, err,
					 "the target cannot load the guest's state", load.why) :
		     0;
}

/* In post-copy the fault service writes to the connection, too. */
static int say(struct sevmirror_migration *m, enum wire_type type)
{
	struct postcopy_in *postcopy = atomic_load(&m->postcopy);

	if (postcopy)
		return postcopy_in_send(postcopy, type, NULL, 0);
	return session_send(m, type, NULL, 0);
}

/* Everything is here and right: say so, and run the guest once the source has let go of it. */
static int take_over(struct target *t)
{
	struct sevmirror_migration *m = t->m;
	char why[HOST_WORDS_BYTES] = "";
	int err = say(m, WIRE_READY);

	if (!err)
		err = session_recv(m, WIRE_COMMIT, NULL, 0);
	if (err)
		return err;
	session_step(m, TARGET_COMMIT);
	err = m->ops->disks_acquire(m->opaque, why, sizeof(why));
	if (err)
		return session_host_failed(m, SEVMIRROR_REASON_DISK, err,
					   "the target cannot open the guest's disks", why);
	t->disks = true;
	err = session_step_or_cancelled(m, TARGET_START);
	if (err)
		return err;
	if (atomic_load(&m->postcopy))
		return target_postcopy_start(t);
	err = m->ops->resume(m->opaque);
	session_step(m, err ? TARGET_START_FAILED : TARGET_RUN);
	if (err)
		return session_host_failed(m, SEVMIRROR_REASON_GUEST, err,
					   "the target cannot start the guest", NULL);
	/* The guest runs; whether the source hears of it does not change that. */
	(void)say(m, WIRE_RUNNING);
	return 0;
}

static void summarize(struct target *t)
{
	struct sevmirror_summary *sum = t->m->summary;

	sum->total_time = clock_ns() - t->begin;
	sum->rounds = t->rounds;
	sum->helper_exits = sealing_helper_exits(t->m);
	sealing_count_commands(t->m);
	count_came(t);
	sum->pages = t->came.pages;
	sum->bytes = t->came.bytes;
}

void target_abort(struct target *t)
{
	struct sevmirror_migration *m = t->m;

	if (t->disks)
		(void)m->ops->disks_release(m->opaque);
	t->disks = false;
	if (m->control)
		message_abort(m->control, m->why.text);
}

void target_disconnect(struct target *t)
{
	count_came(t);
	t->before = t->came;
	streams_in_destroy(t->streams);
	t->streams = NULL;
}

/*
 * The guest's memory is what the source sealed last. In post-copy it is not complete yet, and is
 * checked when it is.
 */
static int check_memory(struct target *t)
{
	int err;

	if (t->m->postcopy)
		return 0;
	/* Nothing may change what the manifest is held against. */
	err = streams_in_shut(t->streams);
	return err ? err : manifest_receive(t->m);
}

/* Up to the moment when the guest runs; in post-copy, when it is being started. */
static int run(struct target *t)
{
	struct sevmirror_migration *m = t->m;
	int err = accept_control(m);

	t->begin = clock_ns();
	if (err)
		goto out;
	err = establish(t);
	if (err)
		goto out;
	err = receive_guest(t);
	if (!err)
		err = check_memory(t);
	if (!err)
		err = load_state(t);
	if (err)
		goto out;
	session_step(m, TARGET_LOADED);
	err = take_over(t);
out:
	if (!err)
		return 0;
	find_reason(t, err);
	if (m->postcopy)
		postcopy_in_disconnect(m->postcopy); /* the fault service says nothing in between */
	target_abort(t);
	return err;
}

enum sevmirror_outcome target_run(struct sevmirror_migration *m)
{
	struct target t = { .m = m, .begin = clock_ns(), .newcomers = { .epoll_fd = -1 } };
	enum sevmirror_outcome outcome = SEVMIRROR_MIGRATED;

	if (run(&t)) {
		if (atomic_load(&m->state) != TARGET_FAILED)
			session_step(m, TARGET_BREAK);
		outcome = atomic_load(&m->cancelled) ? SEVMIRROR_CANCELLED : SEVMIRROR_FAILED;
	} else if (m->postcopy) {
		outcome = target_postcopy_finish(&t);
	}
	accept_queue_close(&t.newcomers);
	summarize(&t);
	target_disconnect(&t);
	if (outcome != SEVMIRROR_LOST) {
		/* A guest that lost pages still faults on those that it has. */
		postcopy_in_destroy(m->postcopy);
		atomic_store(&m->postcopy, NULL);
		sealing_end(m, outcome == SEVMIRROR_MIGRATED);
	}
	if (t.state) {
		explicit_bzero(t.state, t.state_bytes);
		free(t.state);
	}
	target_report(&t);
	return outcome;
}
