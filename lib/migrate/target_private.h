/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the target's side share: target.c until the guest runs, target_postcopy.c while pages are missing. */
#ifndef LIB_MIGRATE_TARGET_PRIVATE_H
#define LIB_MIGRATE_TARGET_PRIVATE_H

#include "lib/migrate/meter.h"
#include "lib/migrate/stream_in.h"
#include "lib/migrate/target.h"

#define TARGET_REPORT_MS 100 /* while pages come */

struct target {
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
	bool describes; /* config_load() has built a VM */
};

void target_report(struct target *t, const char *phase);

/* End the data streams; everything that they brought is in its place. */
void target_disconnect(struct target *t);

/* The source will stop the guest with pages missing: arm its memory, hear which ones, and serve faults from then on. */
int target_postcopy_begin(struct target *t);

/* After the state was loaded: -EPIPE if that had to be cut short. */
int target_postcopy_check(struct target *t);

/* The guest runs. Until the last page is there, over as many connections as it takes. */
enum sevmirror_outcome target_postcopy_finish(struct target *t);

#endif
