/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The counter: ticks at a given rate and shows each tick to the host, so that its heartbeat and
 * max_gap_tsc tell how long the guest was stopped. Between ticks it keeps known values in all
 * general and SSE registers and checks them, because a migration has to carry those.
 */
#ifndef PAYLOADS_COUNTER_H
#define PAYLOADS_COUNTER_H

enum counter_arg {
	COUNTER_ARG_RATE, /* ticks a second of each vCPU; 0: as fast as it goes */
	COUNTER_ARG_TICKS, /* finish after so many; 0: when told to */
};

/* Of each vCPU. */
enum counter_counter {
	COUNTER_COUNT_TICKS,
	COUNTER_COUNT_TSC_BACKWARDS, /* times the TSC was lower than at the tick before */
};

enum counter_error {
	COUNTER_ERROR_NONE = 0,
	COUNTER_ERROR_REGISTERS = 1, /* a register changed under the payload; info: tick, 0, 0, 0 */
	/* the count in memory is not the one in the register; info: tick, found, 0, 0 */
	COUNTER_ERROR_TICKS = 2,
};

#endif
