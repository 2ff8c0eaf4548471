/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What the parts of the target's data streams share: stream_in.c has the connections and threads,
 * stream_in_pages.c what comes by them.
 */
#ifndef LIB_MIGRATE_STREAM_IN_PRIVATE_H
#define LIB_MIGRATE_STREAM_IN_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "lib/migrate/page_frame.h"
#include "lib/migrate/record.h"
#include "lib/migrate/stream_in.h"
#include "lib/seal/engine.h"

/* What the helper was asked to open: page numbers. */
struct batch {
	uint64_t number[SEVMIRROR_BATCH_MAX];
};

struct stream_in {
	struct streams_in *all;
	unsigned int number;
	pthread_t thread;
	bool started;
	struct channel *channel;
	struct frame_cipher *cipher;
	unsigned int lane; /* of the sealing session */
	unsigned int head, tail; /* batches handed to the helper, and done: they count up */
	struct batch batch[RECORD_DEPTH];
	uint8_t *directory;
	uint64_t in_place; /* frames; under all->lock */
	bool at_rest; /* nothing is in the helper, and no frame is being taken; as is this */
	int err; /* and this */
	struct why why; /* and this */
};

enum frame_gate { FRAME_GATE_OPEN, FRAME_GATE_HELD, FRAME_GATE_SHUT };

struct streams_in {
	struct sevmirror_migration *m;
	unsigned int n;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum frame_gate frame_gate; /* for frames; under lock */
	struct stream_in *failed; /* the first one that did; under lock */
	int failed_fd; /* eventfd: one has */
	atomic_bool cancelled;
	_Atomic uint64_t pages, bytes, stale;
	_Atomic uint64_t moved; /* receipts, however small: a frame may take long */
	struct stream_in stream[WIRE_MAX_STREAMS + 1];
};

/* Remembers the first reason of the stream's failure. Returns err. */
int stream_in_fail(struct stream_in *s, int err, const char *what);
int stream_in_helper_failed(struct stream_in *s, int err, const char *what);

/*
 * Wait until the helper has opened all that it was given of the stream. 0 or a negative errno: what
 * it refused, or that it is dead.
 */
int stream_in_drain(struct stream_in *s);

/*
 * A frame whose directory, of len bytes in s->directory, is authentic: its pages go to the helper,
 * or into shared memory.
 */
int stream_in_take_frame(struct stream_in *s, const struct wire_frame *header, size_t len);

#endif
