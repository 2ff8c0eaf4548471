/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* What lib/migrate uses of lanes beyond the public header. */
#ifndef LIB_SEAL_LANE_H
#define LIB_SEAL_LANE_H

#include "lib/seal/seal_private.h"

/* Take the answers of all batches; their owners finish them later, without waiting. */
int seal_drain(struct sevmirror_seal *seal);

/* As sevmirror_lane_open_finish(), with the helper's own word (enum helper_status) on each record.
 */
int seal_lane_open_statuses(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot,
			    uint32_t status[SEVMIRROR_BATCH_MAX], unsigned int *count);

/* Something was submitted in the slot and not finished. By the lane's thread. */
bool seal_lane_pending(struct sevmirror_seal *seal, unsigned int lane, unsigned int slot);

#endif
