/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What the parts of the source's side share: source.c up to the hand-over, source_precopy.c its
 * rounds of pages, source_postcopy.c with pages missing.
 */
#ifndef LIB_MIGRATE_SOURCE_PRIVATE_H
#define LIB_MIGRATE_SOURCE_PRIVATE_H

#include <sevmirror/seal.h>

#include "lib/migrate/converge.h"
#include "lib/migrate/meter.h"
#include "lib/migrate/source.h"
#include "lib/migrate/stream_out.h"

#define SOURCE_REPORT_MS 100 /* while pages go */

struct source {
	struct sevmirror_migration *m;
	struct sevmirror_blob offer; /* the target's */
	struct page_set *dirty;
	struct streams_out *streams;
	struct streams_out_count before; /* what the streams of earlier connections sent */
	struct streams_out_count sent; /* those included, as the streams last said */
	uint64_t first_pages; /* what the first round sent: every page once */
	struct meter meter;
	struct converge converge;
	uint64_t *bitmap; /* what dirty_fetch() fills */
	uint64_t frames[WIRE_MAX_STREAMS];
	uint32_t round;
	uint64_t begin, stopped, running; /* ns */
	struct sevmirror_downtime parts;
	uint64_t part_begin; /* of the part of the downtime that is under way */
	enum source_state failed_in; /* where it was before FAILED: how far it is to be undone */
};

void source_report(struct source *s);

/* s->sent becomes what the streams have sent so far. */
void source_count_sent(struct source *s);
int source_connect(struct sevmirror_migration *m);

/*
 * The guest stops: *state (WIRE_MAX_SECTION bytes, for source_drop_state()) gets its state, *len
 * its length; s->dirty is complete.
 */
int source_stop(struct source *s, void **state, size_t *len);

/*
 * Wipe and free it. Only what was written: to wipe all of the buffer while the guest is stopped
 * would fault in pages that nobody has touched, some 10 ms of them. len: 0 if it could not be
 * saved; then nobody knows how much was written.
 */
void source_drop_state(void *state, size_t len);

/*
 * The map of shared pages is a part of the guest's state: 0 as long as it fits into a STATE
 * message, else -E2BIG.
 */
int source_check_map(struct sevmirror_migration *m);

/* Add to s->dirty what the guest wrote since the last time. */
int source_fetch_dirty(struct source *s);

/*
 * One round: send what is in s->dirty and ask the target for its answer; and wait for that, after
 * which the target has everything in place.
 */
int source_send_round(struct source *s);
int source_await_round(struct source *s);

/*
 * Rounds until the guest may stop: *postcopy says with pages missing. 0 or a negative errno with
 * m->why set.
 */
int source_precopy(struct source *s, bool *postcopy);

/* With the guest stopped: what happened since the last part, or the stop, was this one. */
void source_part(struct source *s, uint64_t *part);

/*
 * Disks are flushed and released, and the step `commit` is taken: from a 0 on there is no way back.
 */
int source_let_go(struct source *s, enum source_event commit);

/*
 * Go over with what is in s->dirty missing, to the last page (source_postcopy.c). 0, or a negative
 * errno after which source_fail() says where this leaves the guest.
 */
int source_postcopy(struct source *s);

/* Continue with that after the connection broke. Likewise. */
int source_postcopy_again(struct source *s);

/* Take the step of a failure: MESSAGE_PEER_ABORTED is the target's own word, all else a break. */
void source_fail(struct source *s, int err);

#endif
