/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The Migration Helper as the engine uses it: started in a mirror of the VM, one ring a stream; its
 * session; its end.
 */
#ifndef LIB_MIGRATE_MIGRATION_HELPER_H
#define LIB_MIGRATE_MIGRATION_HELPER_H

#include "lib/migrate/session.h"

/*
 * Fill in m->core_bytes and m->helper_bytes from the VM's description. 0 or a negative errno with
 * m->why set, as the others.
 */
int migration_helper_plan(struct sevmirror_migration *m);

/* Plan, create the mirror, boot the helper with m->hello.streams vCPUs. */
int migration_helper_start(struct sevmirror_migration *m);

/*
 * Source: have the helper draw a fresh session secret in the guest. Target: the core that came must
 * hold a session that it accepts.
 */
int migration_helper_make_session(struct sevmirror_migration *m);
int migration_helper_check_session(struct sevmirror_migration *m);

/* Returns of the helper's vCPUs to user space. 0 when it was never started. */
uint64_t migration_helper_exits(const struct sevmirror_migration *m);

/* Wipe the session and end the mirror. Idempotent. */
void migration_helper_stop(struct sevmirror_migration *m);

#endif
