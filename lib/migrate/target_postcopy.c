/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The target's side of post-copy: the guest runs here, and missing pages come as it touches
 * them, the rest behind. When a connection breaks the guest continues with what it has, and the
 * same source may come back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/util/clock.h"
#include "lib/migrate/message.h"
#include "lib/net/accept_queue.h"
#include "lib/migrate/postcopy_in.h"
#include "lib/migrate/recover.h"
#include "lib/migrate/sealing.h"
#include "lib/migrate/target_private.h"

#define RESUME_MS 1000 /* resume() takes less, unless it waits for a page */

/* What a source that comes back sends first. */
struct recover_message {
	struct wire_header header;
	struct wire_recover proof;
};

int target_postcopy_begin(struct target *t)
{
	struct sevmirror_migration *m = t->m;
	size_t words = m->numbering.npages / 64, len;
	struct postcopy_in *postcopy;
	uint64_t *bitmaps;
	/* The first frames may come before MISSING: they wait. */
	int err = streams_in_hold(t->streams);

	if (err)
		return err;
	/* Now: once the guest runs here, a lack of memory or descriptors would lose it. */
	err = accept_queue_init(&t->newcomers, m->target.listen_fd, m->cancel_fd, &m->security,
				sizeof(struct recover_message));
	if (err)
		return session_fail(m, err, "the target cannot wait for a recovery: %s",
				    strerror(-err));
	err = postcopy_in_create(&postcopy, m);
	if (err)
		return err;
	atomic_store(&m->postcopy, postcopy);
	err = session_send(m, WIRE_POSTCOPY, NULL, 0);
	if (err)
		return err;
	err = session_recv_alloc(m, WIRE_MISSING, (void **)&bitmaps, &len);
	if (err)
		return err;
	if (len == 2 * words * sizeof(*bitmaps))
		err = postcopy_in_begin(postcopy, bitmaps, bitmaps + words);
	else
		err = session_fail(m, -EPROTO, "the source sent a MISSING message of %zu bytes",
				   len);
	free(bitmaps);
	if (err)
		return err;
	session_step(m, TARGET_ARM);
	streams_in_go_on(t->streams);
	return 0;
}

/* Until the call returns: 0. Or until there is no hope of the pages that it may wait for. */
static int watch_load(struct target *t, const struct host_call *call)
{
	struct sevmirror_migration *m = t->m;
	const int fds[2] = { host_call_fd(call), streams_in_failed_fd(t->streams) };
	uint64_t moved = streams_in_moved(t->streams), moved_at = clock_ns();

	for (;;) {
		int ready = channel_wait_any(m->control, fds, 2, target_tick(m));
		uint64_t before = moved, now = clock_ns();

		if (ready == 1)
			return 0;
		if (ready == 0)
			return session_recv_unexpected(m); /* it is the end */
		if (ready != -ETIMEDOUT)
			return session_cancelled(m) ? -ECANCELED : -EIO;
		moved = streams_in_moved(t->streams);
		if (moved != before)
			moved_at = now;
		if (now - moved_at > (uint64_t)m->timeout_ms * NS_PER_MS)
			return session_fail(
				m, -ETIMEDOUT,
				"the source did not send in time a page that the guest's state "
				"needs");
	}
}

int target_postcopy_load(struct target *t, int (*load)(void *arg), void *arg)
{
	struct sevmirror_migration *m = t->m;
	struct host_call call;
	int err = host_call_start(&call, load, arg), trouble;

	if (err)
		return session_fail(m, err,
				    "the target cannot start the thread that loads the guest's "
				    "state: %s",
				    strerror(-err));
	trouble = watch_load(t, &call);
	if (trouble)
		postcopy_in_release(m->postcopy);
	err = host_call_end(&call);
	return trouble ? trouble : err;
}

static int run_resume(void *arg)
{
	const struct sevmirror_migration *m = arg;

	return m->ops->resume(m->opaque);
}

int target_postcopy_start(struct target *t)
{
	struct sevmirror_migration *m = t->m;
	int err;

	postcopy_in_started(m->postcopy);
	err = host_call_start(&m->resume, run_resume, m);
	if (!err)
		return 0;
	session_step(m, TARGET_START_FAILED);
	return session_fail(m, err, "the target cannot start the thread that starts the guest: %s",
			    strerror(-err));
}

/* resume() has returned. The source hears that the guest runs when there is a source. */
static int hear_started(struct sevmirror_migration *m)
{
	int err = host_call_end(&m->resume);

	session_step(m, err ? TARGET_START_FAILED : TARGET_RUN);
	if (!err) {
		(void)postcopy_in_send(m->postcopy, WIRE_RUNNING, NULL, 0);
		return 0;
	}
	session_notice(m);
	return session_host_failed(m, SEVMIRROR_REASON_GUEST, err,
				   "the target cannot start the guest", NULL);
}

static int send_missing(struct sevmirror_migration *m)
{
	size_t words = m->numbering.npages / 64;
	uint64_t *bitmaps = calloc(2 * words, sizeof(*bitmaps));
	int err;

	if (!bitmaps)
		return session_fail(m, -ENOMEM,
				    "the target is out of memory for the missing pages");
	postcopy_in_bitmaps(m->postcopy, bitmaps, bitmaps + words);
	err = session_send(m, WIRE_MISSING, bitmaps, 2 * words * sizeof(*bitmaps));
	free(bitmaps);
	return err;
}

/*
 * A peer has authenticated; only the source itself can prove that it is the source. A channel and
 * its proof, or NULL.
 */
static struct channel *hear_newcomer(struct sevmirror_migration *m, const struct newcomer *newcomer,
				     struct wire_recover *proof)
{
	struct recover_message said;
	bool recover;

	memcpy(&said, newcomer->first, sizeof(said));
	*proof = said.proof;
	recover = wire_check_header(&said.header, NULL) == 0 && said.header.type == WIRE_RECOVER &&
		  said.header.bytes == sizeof(*proof);
	if (recover && recover_check(m, newcomer->channel, proof) == 0)
		return newcomer->channel;
	if (recover)
		message_abort(newcomer->channel, "the guest arrived here by another migration");
	channel_close(newcomer->channel);
	return NULL;
}

/* The source is back: say who this is and what is missing, and take its streams. */
static int adopt(struct target *t, struct channel *channel, struct wire_recover *proof)
{
	struct sevmirror_migration *m = t->m;
	int err;

	session_set_control(m, channel);
	err = recover_name_streams(m, proof);
	if (err)
		return err;
	if (recover_make(m, channel, proof))
		return session_fail(m, -EIO, "the target cannot prove which migration this is");
	err = session_send(m, WIRE_RECOVER, proof, sizeof(*proof));
	if (err)
		return err;
	err = send_missing(m);
	if (err)
		return err;
	if (!host_call_pending(&m->resume))
		err = session_send(m, WIRE_RUNNING, NULL, 0);
	if (err)
		return err;
	err = streams_in_create(&t->streams, m, m->target.listen_fd);
	if (err)
		return err;
	postcopy_in_connect(m->postcopy);
	return 0;
}

/* Let go of a connection that broke; what it brought is kept. */
static void let_go(struct target *t)
{
	session_interrupt(t->m); /* also the fault service, if it is just writing */
	postcopy_in_disconnect(t->m->postcopy);
	target_disconnect(t);
	session_drop_control(t->m);
	free(t->manifest);
	t->manifest = NULL;
	t->reported = 0; /* that it broke is told at once, and each time */
}

/*
 * Until the source is back, for as long as that takes. newcomer: one that is here already, or NULL.
 * 0, or an error if it is waited for no more: somebody cancelled, or the guest could not be
 * started.
 */
static int await_source(struct target *t, struct channel *newcomer, struct wire_recover *proof)
{
	struct sevmirror_migration *m = t->m;
	const struct why why = m->why;

	for (;;) {
		if (newcomer) {
			session_notice(m);
			sealing_forget(m);
			if (adopt(t, newcomer, proof) == 0) {
				session_step(m, TARGET_RECOVER);
				return 0;
			}
			let_go(t);
			newcomer = NULL;
		}
		target_report(t);
		while (!newcomer) {
			struct newcomer peer;
			int err;

			t->newcomers.wake =
				(struct pollfd){ .fd = host_call_fd(&m->resume), .events = POLLIN };
			err = session_accept(m, &t->newcomers, &peer);
			if (session_cancelled(m)) {
				m->why = why;
				return -ECANCELED;
			}
			if (err == -EINTR && hear_started(m))
				return -ECHILD;
			if (!err)
				newcomer = hear_newcomer(m, &peer, proof);
		}
	}
}

/* A message of the source: 1 for its last, 0, or an error. */
static int take_message(struct target *t)
{
	struct sevmirror_migration *m = t->m;
	uint16_t type;
	void *body;
	size_t len;
	int err = session_recv_any(m, &type, &body, &len);

	if (err)
		return err;
	if (type == WIRE_MANIFEST) {
		free(t->manifest);
		t->manifest = body;
		t->manifest_bytes = len;
		return 0;
	}
	free(body);
	if (type == WIRE_LAST_PAGE && t->manifest)
		return 1;
	return session_fail(m, -EPROTO, "the source sent %s during post-copy",
			    wire_type_text(type));
}

/*
 * Why the connection is of no use any more, if a stream knows better than the control connection.
 */
static int break_reason(struct target *t, int err)
{
	struct sevmirror_migration *m = t->m;
	struct why why;

	if (err != MESSAGE_PEER_ABORTED && !session_cancelled(m) &&
	    streams_in_error(t->streams, &why))
		m->why = why;
	return session_fail_because(m, SEVMIRROR_REASON_CONNECTION, err,
				    "the connection to the source failed: %s", strerror(-err));
}

/*
 * One connection, to its end: 0 when the last page is there and the source has said that it was the
 * last. *newcomer: the source came by another before this one was seen to be broken.
 */
static int serve_connection(struct target *t, struct channel **newcomer, struct wire_recover *proof)
{
	struct sevmirror_migration *m = t->m;
	uint64_t quiet_since = clock_ns(), bytes = 0;
	struct newcomer peer;
	bool last = false;

	for (;;) {
		bool whole = postcopy_in_left(m->postcopy) == 0;
		/* That nothing is missing is news only while it is waited for. */
		int fds[4] = { streams_in_failed_fd(t->streams), accept_queue_fd(&t->newcomers),
			       last && !whole ? postcopy_in_fd(m->postcopy) : -1,
			       host_call_fd(&m->resume) };
		int ready, err = 0;

		if (last && whole && !host_call_pending(&m->resume))
			return 0;
		ready = channel_wait_any(m->control, fds, 4, target_tick(m));
		if (ready == 0) {
			err = take_message(t);
			last |= err > 0;
			quiet_since = clock_ns();
		} else if (ready == 1) {
			err = -EIO;
		} else if (ready == 4) {
			err = hear_started(m);
			if (err)
				return err;
		} else if (ready < 0 && ready != -ETIMEDOUT) {
			err = ready;
		}
		if (err >= 0 && accept_queue_turn(&t->newcomers, &peer) == 1) {
			*newcomer = hear_newcomer(m, &peer, proof);
			if (*newcomer)
				return session_fail(m, -EPIPE, "the source connected again");
		}
		target_report(t);
		if (t->came.bytes != bytes)
			quiet_since = clock_ns();
		bytes = t->came.bytes;
		if (err >= 0 && clock_ns() - quiet_since > (uint64_t)m->timeout_ms * NS_PER_MS)
			err = session_fail(m, -ETIMEDOUT, "the source sent nothing for %d ms",
					   m->timeout_ms);
		if (err < 0)
			return break_reason(t, err);
	}
}

/*
 * The guest cannot continue. Its vCPUs are only asked to stop, as they may wait for pages that
 * never come; its start may, too, and then ends only with the migration.
 */
static enum sevmirror_outcome give_up(struct target *t)
{
	struct sevmirror_migration *m = t->m;

	if (m->ops->request_pause)
		m->ops->request_pause(m->opaque);
	return SEVMIRROR_LOST;
}

/* All pages are in place: are they what the source sealed? */
static enum sevmirror_outcome conclude(struct target *t)
{
	struct sevmirror_migration *m = t->m;
	struct sevmirror_postcopy *numbers = &m->summary->postcopy;
	int err;

	target_disconnect(t);
	postcopy_in_numbers(m->postcopy, numbers);
	err = manifest_check(m, t->manifest, t->manifest_bytes);
	if (err) {
		enum sevmirror_outcome outcome = give_up(t);

		postcopy_in_disconnect(m->postcopy);
		message_abort(m->control, m->why.text);
		session_step(m, TARGET_GIVE_UP);
		return outcome;
	}
	session_step(m, TARGET_LAST_PAGE);
	/* The guest is whole here, whether the source hears of it or not. */
	(void)postcopy_in_send(m->postcopy, WIRE_LAST_PAGE, numbers, sizeof(*numbers));
	return SEVMIRROR_MIGRATED;
}

/* The guest could not be started, and the source is told, if it is there: it may have it back. */
static enum sevmirror_outcome bury(struct target *t)
{
	struct sevmirror_migration *m = t->m;

	postcopy_in_disconnect(m->postcopy);
	target_abort(t);
	return SEVMIRROR_FAILED;
}

/* The guest has not run and will not. */
static bool start_failed(const struct sevmirror_migration *m)
{
	return atomic_load(&m->state) == TARGET_FAILED;
}

enum sevmirror_outcome target_postcopy_finish(struct target *t)
{
	struct sevmirror_migration *m = t->m;
	enum sevmirror_outcome outcome = SEVMIRROR_LOST;
	int err;

	for (;;) {
		struct channel *newcomer = NULL;
		struct wire_recover proof;

		err = serve_connection(t, &newcomer, &proof);
		if (!err)
			outcome = conclude(t);
		if (!err || start_failed(m) || err == MESSAGE_PEER_ABORTED || session_cancelled(m))
			break;
		session_step(m, TARGET_BREAK);
		let_go(t);
		if (await_source(t, newcomer, &proof))
			break;
	}
	/* It may have failed to start while the connection broke. */
	if (err && host_call_pending(&m->resume) && host_call_wait(&m->resume, RESUME_MS))
		(void)hear_started(m);
	if (start_failed(m)) {
		outcome = bury(t);
	} else if (err) {
		why_prefix(&m->why,
			   "%llu pages of the guest never arrived, and the target stopped waiting "
			   "for the source: ",
			   (unsigned long long)postcopy_in_left(m->postcopy));
		outcome = give_up(t);
		/*
		 * A source that still listens is told, or it waits for a recovery that cannot be.
		 */
		if (m->control && session_cancelled(m)) {
			postcopy_in_disconnect(m->postcopy);
			message_abort(m->control, m->why.text);
		}
		let_go(t);
		session_step(m, TARGET_GIVE_UP);
	}
	free(t->manifest);
	t->manifest = NULL;
	return outcome;
}
