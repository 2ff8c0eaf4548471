/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The source's data streams. Each has a thread, a connection and a ring of the helper, and serves
 * the 2 MiB chunks that are bound to it: it takes pages out of the set of what is to go, has
 * private ones sealed in the guest by the helper and sends the ciphertext as it is in the
 * window; shared ones it reads and seals itself. While one batch is on its way the next ones are
 * being sealed.
 *
 * In post-copy one more stream with a connection of its own has the pages that something waits for,
 * so that these never wait for others.
 */
#ifndef LIB_MIGRATE_STREAM_OUT_H
#define LIB_MIGRATE_STREAM_OUT_H

#include <stdint.h>

#include "lib/migrate/pages.h"
#include "lib/migrate/session.h"

struct streams_out;

struct streams_out_count {
	uint64_t pages;
	uint64_t bytes;
};

/*
 * Connect m->hello.streams data connections and prove to the target that they belong to the
 * session. The pages of `set` are served; it is borrowed. 0 or a negative errno with m->why set.
 */
int streams_out_create(struct streams_out **streams, struct sevmirror_migration *m,
		       struct page_set *set);

/* Stops the threads, closes the connections. NULL is allowed. */
void streams_out_destroy(struct streams_out *streams);

/*
 * Begin to send until the set is empty (pages that are added meanwhile may or may not go).
 * postcopy: nothing is added any more, and pages are asked for by streams_out_request().
 */
void streams_out_begin(struct streams_out *streams, bool postcopy);

/*
 * End the round early: what is in the helper still goes, and the rest stays in the set for the next
 * one. Not in post-copy. Any thread.
 */
void streams_out_halt(struct streams_out *streams);

/*
 * Wait for that at most timeout_ms: -EINPROGRESS if it continues. When everything is in the
 * sockets, frames gets the count of frames that each stream has sent since the beginning, and 0 is
 * returned; or the first stream's error, with m->why set.
 */
int streams_out_wait(struct streams_out *streams, int timeout_ms,
		     uint64_t frames[WIRE_MAX_STREAMS]);

/* Readable when streams_out_wait() may have something else to say than -EINPROGRESS. */
int streams_out_fd(const struct streams_out *streams);

/*
 * Something waits for these pages on the target: if they are still in the set they go now, on the
 * priority stream, with some around them. Each page of the set goes once. Any thread.
 */
void streams_out_request(struct streams_out *streams, const uint64_t *numbers, unsigned int n);

/* Bytes a second of all streams together; 0: as fast as it goes. Any time. */
void streams_out_limit(struct streams_out *streams, uint64_t bytes_per_second);

/* What was sent so far. Any thread. */
struct streams_out_count streams_out_count(const struct streams_out *streams);

/* Wake everything that waits; the round returns -ECANCELED. Any thread. */
void streams_out_cancel(struct streams_out *streams);

#endif
