/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory dirtier: writes pages of its work area with numbers that it can compute again, at a
 * given rate, and checks that each page holds what it wrote there last. What a migration loses,
 * doubles or delays, it finds.
 *
 * Each vCPU has an equal part of the work area: a table of generations (how often it wrote each
 * page), then the pages. The contents of a page follow from seed, address and generation. In
 * generation 0 a page is as launched: zeros.
 */
#ifndef PAYLOADS_DIRTIER_H
#define PAYLOADS_DIRTIER_H

enum dirtier_arg {
	DIRTIER_ARG_SEED,
	/* pages a second, all vCPUs together; 0: as fast as it goes */
	DIRTIER_ARG_RATE,
	/* bytes that are written again and again, all vCPUs together; 0: the whole work area */
	DIRTIER_ARG_WORKING_SET,
	DIRTIER_ARG_PATTERN, /* enum dirtier_pattern */
	/*
	 * 8-byte words written to a page in a later generation, 1 to 512; 0: all. The first writes
	 * all.
	 */
	DIRTIER_ARG_WORDS,
	DIRTIER_ARG_VERIFY, /* enum dirtier_verify */
	/*
	 * 1: begin by writing the whole work area once, so that no page is zero (nor compressible)
	 */
	DIRTIER_ARG_FILL,
	/* finish after so many writes, all vCPUs together; 0: when told to */
	DIRTIER_ARG_WRITES,
	/*
	 * 1: vCPU 0 dirties and verifies the shared area behind struct payload_shared too, one page
	 * for each of its private ones
	 */
	DIRTIER_ARG_SHARED,
};

enum dirtier_pattern {
	DIRTIER_SEQUENTIAL = 0,
	DIRTIER_RANDOM = 1,
	DIRTIER_HOT = 2, /* nine of ten writes go to the first tenth of the working set */
};

enum dirtier_verify {
	DIRTIER_VERIFY_WRITE = 0, /* each page before it is written again, and all at the end */
	DIRTIER_VERIFY_END = 1, /* all at the end only: for the rate alone */
	/* as VERIFY_WRITE, and the vCPU's whole part over and over, a page for each page written */
	DIRTIER_VERIFY_SWEEP = 2,
};

/* Of each vCPU. */
enum dirtier_counter {
	DIRTIER_COUNT_PAGES, /* in its part */
	DIRTIER_COUNT_WRITES,
	DIRTIER_COUNT_VERIFIED, /* pages compared */
	DIRTIER_COUNT_SWEEPS, /* times the whole part was compared, the last time included */
	DIRTIER_COUNT_FILLED, /* pages of the initial fill */
	DIRTIER_COUNT_SHARED_PAGES,
};

enum dirtier_error {
	DIRTIER_ERROR_NONE = 0,
	DIRTIER_ERROR_PAGE = 1, /* info: address of the word, expected, found, generation */
	/* the generations do not add up to the writes; info: part, sum, writes, 0 */
	DIRTIER_ERROR_TABLE = 2,
	DIRTIER_ERROR_ARGS = 3, /* no sense in the parameters; info: 0 */
};

#endif
