/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/channel_pair.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "tests/unit/cmocka_all.h"

#define PATIENCE_MS 5000

void channel_pair_open(struct channel_pair *pair)
{
	static const struct channel_security bare = { .insecure = true };
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(channel_open(&pair->source, fds[0], false, &bare, PATIENCE_MS, NULL), 0);
	assert_int_equal(channel_open(&pair->target, fds[1], true, &bare, PATIENCE_MS, NULL), 0);
}

void channel_pair_close(struct channel_pair *pair)
{
	channel_close(pair->source);
	channel_close(pair->target);
}

int channel_pair_setup(void **state)
{
	struct channel_pair *pair = calloc(1, sizeof(*pair));

	assert_non_null(pair);
	channel_pair_open(pair);
	*state = pair;
	return 0;
}

int channel_pair_teardown(void **state)
{
	channel_pair_close(*state);
	free(*state);
	return 0;
}
