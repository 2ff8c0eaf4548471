/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The migration's sealing session (<sevmirror/seal.h>) and its messages on the control connection.
 * Lane i is stream i's; the lane after them is the priority stream's. All functions that can fail
 * return 0 or a negative errno with m->why set.
 */
#ifndef LIB_MIGRATE_SEALING_H
#define LIB_MIGRATE_SEALING_H

#include "lib/migrate/session.h"

/* From the description of the VM and what was agreed on; nothing of either changes yet. */
int sealing_create(struct sevmirror_migration *m);

/* ACCEPT, with the target's offer. Received: allocated, the caller's to free. */
int sealing_send_offer(struct sevmirror_migration *m);
int sealing_receive_offer(struct sevmirror_migration *m, struct sevmirror_blob *offer);

/*
 * CORE: the source starts its helper, has it make a session, and has its core sent to the host of
 * the offer. The target receives it and starts the helper in it.
 */
int sealing_send_core(struct sevmirror_migration *m, const struct sevmirror_blob *offer);
int sealing_receive_core(struct sevmirror_migration *m);

/*
 * MANIFEST, so that the target does not run a guest whose private memory is not, page for page,
 * what the source sealed last. No stream may be at work. manifest_receive() takes the next message;
 * manifest_check() is for one that came before.
 */
int manifest_send(struct sevmirror_migration *m);
int manifest_receive(struct sevmirror_migration *m);
int manifest_check(struct sevmirror_migration *m, const void *manifest, size_t len);

/*
 * Target: from now on the helper opens only the private pages that are set in bitmap, each once. No
 * stream may be at work.
 */
int sealing_postcopy(struct sevmirror_migration *m, const uint64_t *bitmap);

/* The connection is a new one: what failed before is no reason for what fails from now on. */
void sealing_forget(struct sevmirror_migration *m);

/* Returns of the helper's vCPUs to user space. 0 when it was never started. */
uint64_t sealing_helper_exits(const struct sevmirror_migration *m);

/*
 * Put into the summary how many commands the secure processor had in this session, those before a
 * recovery included.
 */
void sealing_count_commands(struct sevmirror_migration *m);

/*
 * Source: the guest will run here again. The secure processor sends it no more; the helper is not
 * touched.
 */
void sealing_take_back(struct sevmirror_migration *m);

/*
 * End the session: keys are wiped, the mirror ends. moved: the guest runs on the target. A firmware
 * that does not finish sending it is a warning in the summary. Idempotent.
 */
void sealing_end(struct sevmirror_migration *m, bool moved);

#endif
