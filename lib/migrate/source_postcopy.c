/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The source's side of post-copy: the guest goes over with pages missing, which follow as they are
 * asked for, the rest behind. Until COMMIT everything fails back to this host; from RUNNING on a
 * failure is a break that can be mended, as nothing here is thrown away.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sevmirror/pagemap.h>

#include "lib/util/clock.h"
#include "lib/migrate/message.h"
#include "lib/migrate/recover.h"
#include "lib/migrate/sealing.h"
#include "lib/migrate/source_private.h"
#include "lib/util/page.h"

/* PAGE_REQUEST: what something waits for on the target. */
static int take_requests(struct source *s, const void *body, size_t len)
{
	const struct page_numbering *numbering = &s->m->numbering;
	uint64_t numbers[WIRE_MAX_REQUESTS];
	unsigned int n = (unsigned int)(len / sizeof(uint64_t));

	if (len % sizeof(uint64_t))
		return session_fail(s->m, -EPROTO,
				    "the target sent a PAGE_REQUEST message of %zu bytes", len);
	for (unsigned int i = 0; i < n; i++) {
		uint64_t gfn;

		memcpy(&gfn, (const char *)body + i * sizeof(gfn), sizeof(gfn));
		numbers[i] = page_number(numbering, gfn);
		if (numbers[i] == UINT64_MAX)
			return session_fail(
				s->m, -EPROTO,
				"the target asked for page %#llx, which is not the guest's memory",
				(unsigned long long)gfn);
	}
	streams_out_request(s->streams, numbers, n);
	return 0;
}

/*
 * One message: 0 for requests, which are served, 1 for one of this type (its body is copied into at
 * most max bytes), or an error.
 */
static int take_message(struct source *s, enum wire_type type, void *buf, size_t max)
{
	struct sevmirror_migration *m = s->m;
	uint16_t got;
	void *body;
	size_t len;
	int err = session_recv_any(m, &got, &body, &len);

	if (err)
		return err;
	if (got == WIRE_PAGE_REQUEST) {
		err = take_requests(s, body, len);
	} else if (got != type || len != max) {
		err = session_fail(m, -EPROTO, "the target sent %s (%zu bytes) during post-copy",
				   wire_type_text(got), len);
	} else {
		if (len)
			memcpy(buf, body, len);
		err = 1;
	}
	free(body);
	return err;
}

/* Serve requests until a message of this type comes, with a body of max bytes into buf. */
static int await(struct source *s, enum wire_type type, void *buf, size_t max)
{
	struct sevmirror_migration *m = s->m;
	int fd = streams_out_fd(s->streams), err = 0;

	while (err == 0) {
		int ready = channel_wait_any(m->control, &fd, 1, m->timeout_ms);

		if (ready == 0) {
			err = take_message(s, type, buf, max);
		} else if (ready == 1) {
			/* All pages are sent (then that is that), or a stream has failed. */
			err = streams_out_wait(s->streams, 0, s->frames);
			fd = err ? fd : -1;
			err = err == -EINPROGRESS ? 0 : err;
			/* A failure may be the echo of what the target has said before. */
			if (err && channel_readable(m->control))
				err = take_message(s, type, buf, max);
		} else {
			err = session_fail(m, ready, "the target did not send %s: %s",
					   wire_type_text((uint16_t)type), strerror(-ready));
		}
	}
	return err < 0 ? err : 0;
}

/* The missing pages as two bitmaps, private and shared. */
static int send_missing(struct source *s)
{
	struct sevmirror_migration *m = s->m;
	uint64_t words = m->numbering.npages / 64;
	uint64_t *bitmaps = calloc(2 * words, sizeof(*bitmaps));
	int err;

	if (!bitmaps)
		return session_fail(m, -ENOMEM,
				    "the source is out of memory for the missing pages");
	page_set_copy(s->dirty, bitmaps);
	for (uint64_t i = 0; m->vm.pagemap && i < m->numbering.npages; i++) {
		uint64_t bit = 1ULL << i % 64;

		if (!(bitmaps[i / 64] & bit) ||
		    sev_pagemap_is_private(m->vm.pagemap, page_gfn(&m->numbering, i)))
			continue;
		bitmaps[i / 64] &= ~bit;
		bitmaps[words + i / 64] |= bit;
	}
	err = session_send(m, WIRE_MISSING, bitmaps, 2 * words * sizeof(*bitmaps));
	free(bitmaps);
	return err;
}

/* The target arms the guest's memory. */
static int agree_to_postcopy(struct sevmirror_migration *m)
{
	int err = session_send(m, WIRE_POSTCOPY, NULL, 0);

	return err ? err : session_recv(m, WIRE_POSTCOPY, NULL, 0);
}

/* The guest stops, and its state goes with the word of what is missing. From then on pages go. */
static int stop_and_go(struct source *s)
{
	struct sevmirror_migration *m = s->m;
	void *state = NULL;
	size_t len = 0;
	int err = agree_to_postcopy(m);

	if (err)
		return err;
	err = source_stop(s, &state, &len);
	if (!err)
		err = send_missing(s);
	source_part(s, &s->parts.pages);
	if (!err)
		err = session_send(m, WIRE_STATE, state, len);
	source_part(s, &s->parts.manifest);
	if (!err)
		streams_out_begin(s->streams, true);
	source_drop_state(state, len);
	return err;
}

/* All pages are sent: send the manifest, and wait until the target has verified them by it. */
static int send_last_page(struct source *s)
{
	struct sevmirror_postcopy *numbers = &s->m->summary->postcopy;
	int err = manifest_send(s->m);

	if (!err)
		err = session_send(s->m, WIRE_LAST_PAGE, NULL, 0);
	return err ? err : await(s, WIRE_LAST_PAGE, numbers, sizeof(*numbers));
}

/* Until the target has the last page and the manifest holds. */
static int finish(struct source *s)
{
	struct sevmirror_migration *m = s->m;
	int fd = streams_out_fd(s->streams), err = -EINPROGRESS;

	while (err == -EINPROGRESS) {
		int ready = channel_wait_any(m->control, &fd, 1, SOURCE_REPORT_MS);

		if (ready == 0) {
			int got = take_message(s, WIRE_PAGE_REQUEST, NULL, 0);

			err = got ? got : err;
		} else if (ready == 1) {
			err = streams_out_wait(s->streams, 0, s->frames);
		} else if (ready != -ETIMEDOUT) {
			err = ready;
		}
		source_report(s);
	}
	if (!err)
		err = send_last_page(s);
	if (!err)
		session_step(m, SOURCE_LAST_PAGE);
	else if (atomic_load(&m->cancelled))
		return session_fail(m, -ECANCELED,
				    "the source cancelled the migration during post-copy");
	/* A target that gives up ends it. Anything else can be tried again. */
	return session_why_peer_left(m, err);
}

int source_postcopy(struct source *s)
{
	struct sevmirror_migration *m = s->m;
	int err = stop_and_go(s);

	if (!err)
		err = await(s, WIRE_READY, NULL, 0);
	err = session_why_peer_left(m, err);
	if (!err)
		err = source_let_go(s, SOURCE_COMMIT_WITHOUT);
	if (err)
		return err;
	m->kept = s;
	source_report(s);
	err = session_send(m, WIRE_COMMIT, NULL, 0);
	if (!err)
		err = await(s, WIRE_RUNNING, NULL, 0);
	if (err)
		return err;
	source_part(s, &s->parts.start);
	s->running = s->part_begin;
	session_step(m, SOURCE_RUNNING);
	return finish(s);
}

/* Prove to be the source that left, have the target prove the same. */
static int meet_again(struct sevmirror_migration *m)
{
	struct wire_recover mine, theirs;
	int err = recover_make(m, m->control, &mine);

	if (err)
		return session_fail(
			m, err, "the source cannot prove to the target which migration this is: %s",
			strerror(-err));
	err = session_send(m, WIRE_RECOVER, &mine, sizeof(mine));
	if (err)
		return err;
	err = session_recv(m, WIRE_RECOVER, &theirs, sizeof(theirs));
	if (err)
		return err;
	if (memcmp(mine.nonce, theirs.nonce, sizeof(mine.nonce)) != 0 ||
	    recover_check(m, m->control, &theirs))
		return session_fail_because(m, SEVMIRROR_REASON_AUTHENTICATION, -EPERM,
					    "the host that answers is not this migration's target");
	return recover_name_streams(m, &mine);
}

/* What the target lacks is what is to go, whatever was sent before. */
static int take_missing(struct source *s)
{
	struct sevmirror_migration *m = s->m;
	size_t bytes = m->numbering.npages / 8, len;
	void *body;
	int err = session_recv_alloc(m, WIRE_MISSING, &body, &len);

	if (err)
		return err;
	page_set_clear(s->dirty);
	if (len == 2 * bytes) {
		page_set_add_bitmap(s->dirty, body);
		page_set_add_bitmap(s->dirty, (const uint64_t *)body + bytes / 8);
	} else {
		err = session_fail(m, -EPROTO, "the target sent a MISSING message of %zu bytes",
				   len);
	}
	free(body);
	return err;
}

/* The target says that it runs the guest as soon as it does: its start may have waited for a page.
 */
static int await_running(struct source *s)
{
	int err = await(s, WIRE_RUNNING, NULL, 0);

	if (err)
		return err;
	if (!s->running) {
		source_part(s, &s->parts.start);
		s->running = s->part_begin;
	}
	session_step(s->m, SOURCE_RUNNING);
	return 0;
}

int source_postcopy_again(struct source *s)
{
	struct sevmirror_migration *m = s->m;
	int err;

	sealing_forget(m);
	source_report(s);
	err = source_connect(m);
	if (!err)
		err = meet_again(m);
	if (!err)
		err = take_missing(s);
	if (!err)
		err = streams_out_create(&s->streams, m, s->dirty);
	/* A target that answers so early gives up this connection, not the guest. */
	if (err)
		return err == MESSAGE_PEER_ABORTED ? -ECONNABORTED : err;
	streams_out_limit(s->streams, atomic_load(&m->bandwidth));
	streams_out_begin(s->streams, true);
	err = await_running(s);
	return err ? err : finish(s);
}
