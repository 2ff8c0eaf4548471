/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/meter.h"

#include "lib/util/clock.h"

#define APART                                                                                    \
	(20 * NS_PER_MS) /* readings closer together tell more of the scheduler than of the wire \
			  */

uint64_t meter_read(struct meter *meter, uint64_t time, uint64_t amount)
{
	double seconds = (double)(time - meter->time) / NS_PER_S, now;

	if (!meter->time) {
		*meter = (struct meter){ .time = time, .amount = amount };
		return 0;
	}
	if (time - meter->time < APART)
		return meter->rate;
	now = (double)(amount - meter->amount) / seconds;
	if (meter->rate)
		now = (double)meter->rate + (now - (double)meter->rate) * seconds / (seconds + 1);
	*meter = (struct meter){ .time = time, .amount = amount, .rate = (uint64_t)now };
	return meter->rate;
}
