/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The target's side of post-copy: which pages are missing, what waits for them, and how they come
 * to be mapped. The primary's mapping is armed (uffd.h); the helper and the streams work through
 * the mirror's mapping, so that nothing here ever touches the primary's mapping of a page. A thread
 * of its own reads the faults and asks the source.
 *
 * Pages are named by number (pages.h).
 */
#ifndef LIB_MIGRATE_POSTCOPY_IN_H
#define LIB_MIGRATE_POSTCOPY_IN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/migrate/session.h"

struct postcopy_in;

/*
 * Arm the primary's mapping with m->uffd, which it takes over. The VM must not run and nobody may
 * touch the mapping meanwhile. 0 or a negative errno with m->why set.
 */
int postcopy_in_create(struct postcopy_in **postcopy, struct sevmirror_migration *m);

/*
 * Ends the service and closes the userfaultfd: whatever still waits for a page continues with what
 * is there. NULL is allowed.
 */
void postcopy_in_destroy(struct postcopy_in *postcopy);

/*
 * These pages are to come (npages bits each, numbered): the private ones, which the helper is told
 * of, and the shared ones. From now on faults are served, over m->control. No stream may be at
 * work. 0, or a negative errno with m->why set: -EPROTO for a page that is said to be both.
 */
int postcopy_in_begin(struct postcopy_in *postcopy, const uint64_t *private_pages,
		      const uint64_t *shared_pages);

/* Whether a shared page is missing: for a record that is to be written by the caller. */
bool postcopy_in_lacks_shared(const struct postcopy_in *postcopy, uint64_t number);

/*
 * These pages, at most WIRE_MAX_RECORDS, were missing and are now as they should be: let the
 * primary have them. Any thread.
 */
int postcopy_in_installed(struct postcopy_in *postcopy, const uint64_t *numbers, unsigned int n,
			  bool priority);

/*
 * The connection is gone: faults are kept. And there is another: ask for what is waited for. Called
 * with no stream at work.
 */
void postcopy_in_disconnect(struct postcopy_in *postcopy);
void postcopy_in_connect(struct postcopy_in *postcopy);

/* A message on m->control, which faults are asked over as well. As message_send_one(). */
int postcopy_in_send(struct postcopy_in *postcopy, enum wire_type type, const void *body,
		     size_t len);

/*
 * Whatever waits for a page, or will, continues with what is there: for a VM that has not run,
 * and will be thrown away. What could not end otherwise, as a state that is being loaded, ends.
 */
void postcopy_in_release(struct postcopy_in *postcopy);

/* How many pages are missing, and a descriptor that is readable when none is. */
uint64_t postcopy_in_left(const struct postcopy_in *postcopy);
int postcopy_in_fd(const struct postcopy_in *postcopy);

/* The missing pages in the form of postcopy_in_begin(). */
void postcopy_in_bitmaps(const struct postcopy_in *postcopy, uint64_t *private_pages,
			 uint64_t *shared_pages);

/* The guest was started just now. */
void postcopy_in_started(struct postcopy_in *postcopy);

void postcopy_in_numbers(struct postcopy_in *postcopy, struct sevmirror_postcopy *numbers);

#endif
