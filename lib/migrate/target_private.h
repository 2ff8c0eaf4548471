/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What the parts of the target's side share: target.c until the guest runs, target_postcopy.c while
 * pages are missing.
 */
#ifndef LIB_MIGRATE_TARGET_PRIVATE_H
#define LIB_MIGRATE_TARGET_PRIVATE_H

#include "lib/migrate/meter.h"
#include "lib/migrate/stream_in.h"
#include "lib/migrate/target.h"
#include "lib/net/accept_queue.h"

#define TARGET_REPORT_MS 100 /* while pages come */

struct target {
	bool disks; /* open and locked here */
	struct sevmirror_migration *m;
	struct streams_in *streams;
	struct streams_in_count before; /* what came by earlier connections */
	struct streams_in_count came; /* that included, as the streams last said */
	struct meter meter;
	uint64_t begin;
	uint32_t rounds;
	void *state; /* the guest's, as it came; wiped */
	size_t state_bytes;
	void *manifest; /* post-copy: as it came */
	size_t manifest_bytes;
	uint64_t reported; /* progress, clock_ns() */
	enum sevmirror_phase reported_phase;
	/* post-copy: peers that connect while the guest runs, maybe the source again */
	struct accept_queue newcomers;
};

/*
 * How long to wait at a time: what people are told stays fresh, and a shorter timeout than that is
 * kept, too.
 */
static inline int target_tick(const struct sevmirror_migration *m)
{
	return m->timeout_ms < TARGET_REPORT_MS ? m->timeout_ms : TARGET_REPORT_MS;
}

void target_report(struct target *t);

/*
 * Tell the source that this host does not run the guest. The disks are released first, as the
 * source opens them when it hears of it.
 */
void target_abort(struct target *t);

/* End the data streams; everything that they brought is in its place. */
void target_disconnect(struct target *t);

/*
 * The source will stop the guest with pages missing: arm its memory, hear which ones, and serve
 * faults from then on.
 */
int target_postcopy_begin(struct target *t);

/*
 * Load the state, by a call that may wait for pages: what it returned, or, if the connection broke
 * or somebody cancelled first, a negative errno with m->why set. The call has returned in either
 * case.
 */
int target_postcopy_load(struct target *t, int (*load)(void *arg), void *arg);

/*
 * Past the hand-over: have the guest started, and do not wait for it. 0, or a negative errno with
 * m->why set; then it was not started.
 */
int target_postcopy_start(struct target *t);

/* Until the guest runs and the last page is there, over as many connections as it takes. */
enum sevmirror_outcome target_postcopy_finish(struct target *t);

#endif
