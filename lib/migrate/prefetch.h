/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Which pages to send ahead when one is waited for. As in a file's read-ahead: a walk through
 * memory is recognised by asking for the page behind the ones that were just sent, and doubles the
 * window; a lone access halves it. Some walks are remembered, as each vCPU may be on its own.
 */
#ifndef LIB_MIGRATE_PREFETCH_H
#define LIB_MIGRATE_PREFETCH_H

#include <stdint.h>

#define PREFETCH_WALKS 16
#define PREFETCH_MIN   4
#define PREFETCH_MAX   64

struct prefetch_walk {
	/* page numbers that were sent ahead: the next fault of a walk is there or just behind */
	uint64_t first, end;
	uint64_t used; /* when it was last continued */
	unsigned int window;
};

struct prefetch {
	struct prefetch_walk walk[PREFETCH_WALKS];
	uint64_t clock;
	unsigned int window; /* with which a new walk begins: what the last ones came to */
};

void prefetch_init(struct prefetch *prefetch);

/*
 * Page `number` is waited for: send [return value, return value + *n) ahead, as far as it is still
 * to be sent.
 */
uint64_t prefetch_fault(struct prefetch *prefetch, uint64_t number, unsigned int *n);

#endif
