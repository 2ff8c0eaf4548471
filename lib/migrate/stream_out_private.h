/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What the source's background streams (stream_out.c) and its priority stream (priority_out.c)
 * share.
 */
#ifndef LIB_MIGRATE_STREAM_OUT_PRIVATE_H
#define LIB_MIGRATE_STREAM_OUT_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "helper/protocol.h"
#include "lib/migrate/prefetch.h"
#include "lib/migrate/record.h"
#include "lib/migrate/stream_out.h"
#include "lib/seal/ring_lock.h"

#define NO_HINT UINT64_MAX

enum command { WAIT, WORK, QUIT };

struct stream_out {
	struct streams_out *all;
	unsigned int number;
	pthread_t thread;
	bool started;
	struct channel *channel;
	struct frame_cipher *cipher;
	uint64_t cursor;
	_Atomic uint64_t hint; /* where to go on, as something waits for pages there */
	uint8_t *shared; /* directory of the frame of shared pages being filled */
	unsigned int nshared;
	uint64_t pace_start, pace_bytes;
	enum command command; /* under all->lock */
	int err; /* as is this */
	struct why why; /* and this */

	/*
	 * The stream's ring: its own batches, from `head` (the next one) back to `sealed` (with the
	 * helper) and `tail` (waiting to be sent). The priority stream uses the ring, too, always
	 * to the end of what it asks, so the lock's holder finds only this stream's batches.
	 */
	struct ring_lock ring_lock;
	uint32_t window; /* first window page of its batches */
	unsigned int head, sealed, tail;
	unsigned int records[RECORD_DEPTH];
};

/* What the priority stream is asked for; the mutex is that of streams_out. */
struct priority {
	uint64_t queue[WIRE_MAX_REQUESTS];
	unsigned int nqueue;
	bool busy, quit;
	pthread_cond_t changed;
	struct prefetch prefetch;
};

struct streams_out {
	struct sevmirror_migration *m;
	struct page_set *set;
	unsigned int n; /* background streams */
	bool postcopy;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct stream_out *failed; /* the first one that did; under lock */
	int done_fd; /* eventfd: a round is over, or a stream has failed */
	atomic_bool cancelled;
	_Atomic uint64_t limit, pages, bytes;
	_Atomic uint64_t
		debt; /* bytes that the priority stream sent and the others are to wait for */
	struct priority priority;
	struct stream_out stream[WIRE_MAX_STREAMS + 1];
};

/* Remembers the first reason of the stream's failure. Returns err. */
int stream_out_fail(struct stream_out *s, int err, const char *what);
int stream_out_helper_failed(struct stream_out *s, int err, const char *what);

/* The stream has failed: what it failed with is the reason of all, if it is the first. */
void stream_out_give_up(struct stream_out *s, int err);

/*
 * With the lock: a stream has nothing to do any more; if it was the last one, whoever waits for
 * that is told.
 */
void stream_out_rests(struct streams_out *all);

/*
 * Page `number` goes on stream s: into *batch (first window page `page`), or if it is shared into
 * s's own frame, which may be sent.
 */
int stream_out_add(struct stream_out *s, uint64_t number, struct helper_batch *batch, uint32_t page,
		   uint32_t *count);
int stream_out_flush_shared(struct stream_out *s);

/*
 * With the ring locked: take the oldest batch back that the helper has. blame: whose error it
 * is.
 */
int stream_out_reap(struct stream_out *s, struct stream_out *blame);

/* Send a sealed batch of n records on s. */
int stream_out_send_batch(struct stream_out *s, const struct helper_batch *batch, unsigned int n,
			  uint32_t page);

/* The thread of the priority stream. */
void *priority_out_serve(void *arg);

#endif
