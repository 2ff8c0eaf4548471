/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#ifndef LIB_MIGRATE_SOURCE_H
#define LIB_MIGRATE_SOURCE_H

#include "lib/migrate/session.h"

/* Run the source's side to its end; m->summary is filled, m->why says what went wrong. */
enum sevmirror_outcome source_run(struct sevmirror_migration *m);

/* Continue after a run that ended with BROKEN, or with UNKNOWN in post-copy. */
enum sevmirror_outcome source_recover(struct sevmirror_migration *m);

/* Free what such a run has kept. */
void source_forget(struct sevmirror_migration *m);

#endif
