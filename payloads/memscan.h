/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory scanner: a workload for mirrors that hashes ranges of the guest's private memory from
 * inside, so that the host learns the SHA-256 of a range and not a byte of it. What the host asks
 * for and what it is told are in the shared area behind its first page.
 *
 * Ranges are whole pages: the hash of fewer bytes could be reversed by trying them all. Also of a
 * page it tells whoever can guess all the rest of it; an owner who does not want that does not
 * launch the scanner.
 */
#ifndef PAYLOADS_MEMSCAN_H
#define PAYLOADS_MEMSCAN_H

#include "payloads/sdk/payload.h"

#define MEMSCAN_NAME	   "memscan"
#define MEMSCAN_RANGES_MAX 1024
#define MEMSCAN_PAGE_BYTES 4096

enum memscan_status {
	MEMSCAN_NOT_YET = 0,
	MEMSCAN_GOOD = 1,
	/* not whole pages, or not all of it guest memory outside of the reserved regions */
	MEMSCAN_REFUSED = 2,
};

struct memscan_range {
	uint64_t gpa, bytes; /* host writes */
	uint32_t status; /* enum memscan_status: payload writes this and what follows */
	uint32_t reserved;
	uint8_t sha256[32];
};

/* At the shared area's second page. */
struct memscan_mailbox {
	uint32_t nranges; /* host writes, before the payload starts */
	uint32_t ndone; /* payload writes: ranges that have their status */
	uint64_t bytes_done; /* payload writes: hashed so far */
	struct memscan_range range[MEMSCAN_RANGES_MAX];
};

enum memscan_error {
	MEMSCAN_ERROR_NONE = 0,
	/* not in a mirror, or more ranges than there are; info: their number */
	MEMSCAN_ERROR_REQUEST = 1,
};

#endif
