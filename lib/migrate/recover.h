/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * How a source that comes back on a new connection proves to be the one that left, and the target
 * to be the one it left.
 */
#ifndef LIB_MIGRATE_RECOVER_H
#define LIB_MIGRATE_RECOVER_H

#include "lib/migrate/session.h"

/* Once the session is agreed on: keep the key for later. 0 or a negative errno with m->why set. */
int recover_prepare(struct sevmirror_migration *m);

/*
 * Make the message for one side of a new connection (not yet m->control). The source's nonce is
 * fresh; the target repeats the source's, which is in message->nonce. 0 or a negative errno.
 */
int recover_make(const struct sevmirror_migration *m, struct channel *channel,
		 struct wire_recover *message);

/* Check the peer's: 0 or -EPERM. */
int recover_check(const struct sevmirror_migration *m, struct channel *channel,
		  const struct wire_recover *message);

/*
 * Give the data streams of the new connection a name of their own, m->stream_session. 0 or a
 * negative errno.
 */
int recover_name_streams(struct sevmirror_migration *m, const struct wire_recover *message);

#endif
