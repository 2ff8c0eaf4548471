/* SPDX-License-Identifier: Apache-2.0 */
/* What t_send writes to a file and t_receive reads: one guest in transport. */
#ifndef TESTS_EMULATED_TRANSFER_H
#define TESTS_EMULATED_TRANSFER_H

#include "tests/emulated/vm.h"

/* The launch image, GPA_PRIVATE and the stacks page, and more pages from GPA_FREE. */
#define TRANSFER_LOW_PAGES  7
#define TRANSFER_FREE_PAGES 24
#define TRANSFER_PAGES	    (TRANSFER_LOW_PAGES + TRANSFER_FREE_PAGES)
#define TRANSFER_SEED	    4711 /* of the words in GPA_PRIVATE and from GPA_FREE */
#define TRANSFER_SECRET	    "a guest on its way to another machine"

struct packet {
	uint64_t gpa;
	uint8_t header[SEV_HEADER_BYTES];
	uint8_t payload[PAGE_BYTES];
};

struct transfer {
	uint32_t policy;
	uint8_t pdh[SEV_CERT_BYTES]; /* the source's */
	uint8_t session[SEV_SESSION_BYTES];
	struct packet packets[TRANSFER_PAGES];
};

static inline uint64_t transfer_gpa(int i)
{
	return i < TRANSFER_LOW_PAGES ? GPA_CODE + i * PAGE_BYTES :
					GPA_FREE + (i - TRANSFER_LOW_PAGES) * PAGE_BYTES;
}

#endif
