/* SPDX-License-Identifier: Apache-2.0 */
/* What a payload logs, for people. */
#ifndef SERVICE_PAYLOAD_LOG_H
#define SERVICE_PAYLOAD_LOG_H

#include <stdint.h>
#include <stdio.h>

#include "payloads/sdk/payload.h"

/*
 * Print what was logged since *shown (bytes ever logged), which is moved to now; what the log has
 * lost meanwhile is passed over.
 */
void payload_log_show(const struct payload_shared *shared, uint64_t *shown, FILE *stream);

#endif
