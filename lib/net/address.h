/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Where a migration listens and connects to: "HOST:PORT", "[IPv6]:PORT", "tcp:HOST:PORT" or
 * "unix:PATH". Names resolve to every address they have, tried in order.
 */
#ifndef LIB_NET_ADDRESS_H
#define LIB_NET_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/util/why.h"

/*
 * Both return a close-on-exec socket that the caller closes, or a negative errno with the reason in
 * why. listen: a stale unix socket at PATH is replaced, a live one is
 * -EADDRINUSE; port 0 picks a free one. connect gives up after timeout_ms (-ETIMEDOUT).
 */
int address_listen(const char *address, struct why *why);
int address_connect(const char *address, int timeout_ms, struct why *why);

/*
 * Whether the text is an address at all; names are not resolved. listening: port 0 and an empty
 * host are good. 0, or -EINVAL with what is expected in why.
 */
int address_check(const char *address, bool listening, struct why *why);

/*
 * The address that a socket listens at, in the form that address_connect() takes. 0 or a negative
 * errno.
 */
int address_of(int fd, char *out, size_t max);

/* Likewise who is connected there, for people: "HOST:PORT", or "a local socket". Never fails. */
void address_of_peer(int fd, char *out, size_t max);

/*
 * Take one connection from a listening socket. A socket the caller closes, -ETIMEDOUT after
 * timeout_ms (-1: never), or -errno.
 */
int address_accept(int listen_fd, int timeout_ms);

#endif
