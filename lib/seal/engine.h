/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* What lib/migrate uses of a sealing session beyond the public header. */
#ifndef LIB_SEAL_ENGINE_H
#define LIB_SEAL_ENGINE_H

#include "lib/seal/seal_private.h"

/*
 * The first failure since the last call: true, with it in why (which may be NULL). It is forgotten,
 * as a session continues after a failure when a migration recovers. Any thread.
 */
bool seal_take_why(struct sevmirror_seal *seal, struct why *why);

/* Take the answers of all batches; their owners finish them later, without waiting. */
int seal_drain(struct sevmirror_seal *seal);

/*
 * Before this side makes a blob: *blob is empty, the helper runs on the source, and all batches are
 * answered. 0, or the error of seal_need() or seal_drain().
 */
int seal_begin_blob(struct sevmirror_seal *seal, struct sevmirror_blob *blob);

/* As sevmirror_lane_open_finish(), with the helper's own word (enum helper_status) on each record.
 */
int seal_lane_open_statuses(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot,
			    uint32_t status[SEVMIRROR_BATCH_MAX], unsigned int *count);

/*
 * Target: from now on only the pages set in bitmap may be opened, each once, as rings_postcopy().
 * All lanes must be at rest.
 */
int seal_postcopy(struct sevmirror_seal *seal, const uint64_t *bitmap, uint64_t npages);

/*
 * Source: SEND_CANCEL, if the firmware may be sending the guest. The guest is as it was, and
 * the helper keeps running until the session is aborted.
 */
void seal_stop_sending(struct sevmirror_seal *seal);

/* Commands that the secure processor was given for this session, on this side. */
uint64_t seal_commands(const struct sevmirror_seal *seal);

#endif
