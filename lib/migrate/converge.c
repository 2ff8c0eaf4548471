/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/converge.h"

#include <string.h>

#include <sevmirror/host.h>

#include "lib/util/clock.h"
#include "lib/util/page.h"

/* QEMU's auto-converge begins with 20 % and adds 10; people who know it expect no other numbers. */
#define THROTTLE_FIRST 20
#define THROTTLE_STEP  10
#define THROTTLE_MAX   99

void converge_init(struct converge *c, const struct converge_limits *limits)
{
	memset(c, 0, sizeof(*c));
	c->limits = *limits;
	c->best = UINT64_MAX;
}

/* amount * NS_PER_S / time, in floating point as the product may not fit. */
static uint64_t per_second(uint64_t amount, uint64_t time)
{
	return (uint64_t)((double)amount * NS_PER_S / (double)(time ? time : 1));
}

static void measure(struct converge *c, const struct converge_round *round)
{
	uint64_t left = round->pages_left * PAGE_BYTES;
	uint64_t rate = per_second(round->bytes, round->time);

	/*
	 * Late rounds are short and say more about latency than about bandwidth: smoothed, they
	 * cannot overthrow what the first ones showed.
	 */
	c->rate = c->rate ? (3 * c->rate + rate) / 4 : rate;
	c->dirty_rate = per_second(left, round->time);
	c->expected_downtime = c->limits.fixed_downtime + round->flush;
	if (left)
		c->expected_downtime += c->rate ? per_second(left, c->rate) : UINT64_MAX / 4;
}

static void slow_down(struct converge *c)
{
	c->throttle = c->throttle ? c->throttle + THROTTLE_STEP : THROTTLE_FIRST;
	if (c->throttle > THROTTLE_MAX)
		c->throttle = THROTTLE_MAX;
	c->stuck = 0;
}

enum converge_verdict converge_judge(struct converge *c, const struct converge_round *round)
{
	c->rounds++;
	measure(c, round);
	if (c->expected_downtime <= c->limits.max_downtime)
		return CONVERGE_STOP;
	if (round->overtime)
		return c->limits.overtime;
	if (c->limits.postcopy && c->limits.postcopy_after && c->rounds >= c->limits.postcopy_after)
		return CONVERGE_POSTCOPY;

	if (c->expected_downtime < c->best - c->best / 10) {
		c->best = c->expected_downtime;
		c->stuck = 0;
	} else {
		c->stuck++;
	}
	if (c->stuck >= c->limits.patience && c->limits.throttle && c->throttle < THROTTLE_MAX) {
		slow_down(c);
		return CONVERGE_ANOTHER_ROUND;
	}
	if (c->stuck < c->limits.patience && c->rounds < c->limits.max_rounds)
		return CONVERGE_ANOTHER_ROUND;
	if (c->limits.postcopy)
		return CONVERGE_POSTCOPY;
	return c->rounds < c->limits.max_rounds ? CONVERGE_ANOTHER_ROUND : CONVERGE_GIVE_UP;
}
