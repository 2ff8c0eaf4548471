/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What the source's background streams (stream_out.c) and its priority stream (priority_out.c)
 * share.
 */
#ifndef LIB_MIGRATE_STREAM_OUT_PRIVATE_H
#define LIB_MIGRATE_STREAM_OUT_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "lib/migrate/prefetch.h"
#include "lib/migrate/record.h"
#include "lib/migrate/stream_out.h"
#include "lib/seal/engine.h"

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
	_Atomic uint64_t hint; /* where to continue, as something waits for pages there */
	uint8_t *shared; /* directory of the frame of shared pages being filled */
	unsigned int nshared;
	uint64_t pace_start, pace_bytes;
	enum command command; /* under all->lock */
	int err; /* as is this */
	struct why why; /* and this */

	unsigned int lane; /* of the sealing session */
	unsigned int head, tail; /* batches handed to the helper, and sent: they count up */
};

/* What the priority stream is asked for; the mutex is that of streams_out. */
struct priority {
	uint64_t queue[WIRE_MAX_REQUESTS];
	unsigned int nqueue;
	bool busy, quit;
	/* somebody waits for a page: the other streams take less at once */
	atomic_bool pressing;
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
	atomic_bool halted; /* what is left in the set stays there */
	_Atomic uint64_t limit, pages, bytes;
	/* bytes that the priority stream sent and the others are to wait for */
	_Atomic uint64_t debt;
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
 * Page `number` goes on stream s: as one more of *count gpas, or if it is shared into s's own
 * frame, which may be sent.
 */
int stream_out_add(struct stream_out *s, uint64_t number, uint64_t gpas[SEVMIRROR_BATCH_MAX],
		   unsigned int *count);
int stream_out_flush_shared(struct stream_out *s);

/* Hand pages of one ring to the helper, by the next slot of s. */
int stream_out_submit(struct stream_out *s, const uint64_t *gpas, unsigned int n);

/* Wait until the oldest batch of s is sealed, and send it. */
int stream_out_finish(struct stream_out *s);

/* The thread of the priority stream. */
void *priority_out_serve(void *arg);

#endif
