/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The target's data streams: each has a thread, a connection and a ring of the helper. Bodies of
 * private records are received straight into the window, opened by the helper, verified, and only
 * then written to the guest's pages; shared pages are opened here and written through the mirror's
 * mapping, after everything that came before them on the stream.
 *
 * In post-copy each page comes once, on the stream of its chunk or on the priority stream; one that
 * is there already is refused before it is touched.
 */
#ifndef LIB_MIGRATE_STREAM_IN_H
#define LIB_MIGRATE_STREAM_IN_H

#include <stdint.h>

#include "lib/migrate/session.h"

struct streams_in;

struct streams_in_count {
	uint64_t pages;
	uint64_t bytes;
	uint64_t stale; /* records that were not newer than what is there */
};

/*
 * Take m->hello.streams connections from the listening socket and start serving each; a connection
 * that cannot prove that it belongs to the session is closed and does not count. 0 or a negative
 * errno with m->why set.
 */
int streams_in_create(struct streams_in **streams, struct sevmirror_migration *m, int listen_fd);
void streams_in_destroy(struct streams_in *streams);

/*
 * Wait until stream i has put frames[i] frames in place, for each i. 0, or the first stream's error
 * with m->why set. A stream that makes no progress for the migration's timeout is an error.
 */
int streams_in_wait(struct streams_in *streams, const uint64_t frames[WIRE_MAX_STREAMS]);

/*
 * Bring all streams to rest: nothing of theirs is in the helper, and what comes waits. Only then
 * may somebody else use the rings. It continues with streams_in_go_on(); or not at all any more,
 * with streams_in_shut(): whatever comes then is an error. 0, or a negative errno with m->why set,
 * as streams_in_wait().
 */
int streams_in_hold(struct streams_in *streams);
void streams_in_go_on(struct streams_in *streams);
int streams_in_shut(struct streams_in *streams);

/*
 * The first stream's failure so far, in words, or 0. A failing stream also wakes a thread that
 * waits at the control connection.
 */
int streams_in_error(struct streams_in *streams, struct why *why);

/* Readable once a stream has failed. */
int streams_in_failed_fd(const struct streams_in *streams);

struct streams_in_count streams_in_count(const struct streams_in *streams);

/* Changes as long as anything at all is received. */
uint64_t streams_in_moved(const struct streams_in *streams);

/* Any thread: all waiting ends with -ECANCELED. */
void streams_in_cancel(struct streams_in *streams);

#endif
