/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#ifndef LIB_MIGRATE_TARGET_H
#define LIB_MIGRATE_TARGET_H

#include "lib/migrate/session.h"

/* Run the target's side to its end; m->summary is filled, m->why says what went wrong. */
enum sevmirror_outcome target_run(struct sevmirror_migration *m);

#endif
