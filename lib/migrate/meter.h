/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The speed of something that is counted: how fast it goes now, for people, smoothed over about a
 * second.
 */
#ifndef LIB_MIGRATE_METER_H
#define LIB_MIGRATE_METER_H

#include <stdint.h>

/* All zeros is a meter that has read nothing yet. */
struct meter {
	uint64_t time; /* ns: of the last reading that counted */
	uint64_t amount; /* then */
	uint64_t rate; /* a second */
};

/*
 * The amount has grown so far at this time (ns, not 0). Returns the rate a second; 0 until two
 * readings are far enough apart.
 */
uint64_t meter_read(struct meter *meter, uint64_t time, uint64_t amount);

#endif
