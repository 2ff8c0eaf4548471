/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The manifest: each helper's MAC over the epochs of its pages, span by span, so that the target
 * does not run a guest whose private memory is not, page for page, what the source sealed last
 * (helper/protocol.h, struct helper_manifest).
 */
#ifndef LIB_MIGRATE_MANIFEST_H
#define LIB_MIGRATE_MANIFEST_H

#include <stddef.h>

#include "lib/migrate/session.h"

/* Have the source's helper make it and send it. No seal may be under way. */
int manifest_send(struct sevmirror_migration *m);

/*
 * Receive it and have the target's helper compare. -EBADMSG with the ranges that differ in m->why.
 */
int manifest_receive(struct sevmirror_migration *m);

/* Target: check one that has come, the body of a MANIFEST message. As above. */
int manifest_check(struct sevmirror_migration *m, const void *spans, size_t len);

#endif
