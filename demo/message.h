/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's conversation with the outside: numbered messages on one TCP connection, each sent
 * back as it came.
 */
#ifndef DEMO_MESSAGE_H
#define DEMO_MESSAGE_H

#include <stdint.h>

#define MESSAGE_PORT  7778
#define MESSAGE_WORDS 16

struct message {
	uint64_t number; /* from 1, without a gap */
	uint64_t canary[MESSAGE_WORDS - 1]; /* is in shared pages on its way */
};

#endif
