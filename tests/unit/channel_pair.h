/* SPDX-License-Identifier: Apache-2.0 */
/* The two ends of a connection without TLS, within the process. */
#ifndef TESTS_UNIT_CHANNEL_PAIR_H
#define TESTS_UNIT_CHANNEL_PAIR_H

#include "lib/net/channel.h"

struct channel_pair {
	struct channel *source, *target; /* the one that connected, the one that accepted */
};

void channel_pair_open(struct channel_pair *pair);

/* Ends that are NULL are closed already. */
void channel_pair_close(struct channel_pair *pair);

/* The same as cmocka's fixtures: *state is a struct channel_pair. */
int channel_pair_setup(void **state);
int channel_pair_teardown(void **state);

#endif
