/* SPDX-License-Identifier: Apache-2.0 */
/* The other end of a VM's control socket, for the command line and for tests. Not thread-safe. */
#ifndef CONTROL_CLIENT_H
#define CONTROL_CLIENT_H

#include "control/control.h"

struct control_client;

/*
 * Connect to the VM name and read its greeting. 0; -ENOENT: no such VM; -ECONNREFUSED: it died;
 * -EPROTO: it speaks something else;
 * -ETIMEDOUT. err has the sentence. control_client_close() ends it; NULL is allowed.
 */
int control_client_open(struct control_client **client, const char *name,
			struct control_error *err);
/* The same, and the connection and the greeting take at most timeout_ms together. */
int control_client_open_within(struct control_client **client, const char *name, int timeout_ms,
			       struct control_error *err);
void control_client_close(struct control_client *client);

/* The greeting, borrowed. */
const json_t *control_client_greeting(const struct control_client *client);

/* File descriptors that come with a reply; the caller's. */
struct control_fds {
	int fd[CONTROL_FDS_MAX];
	unsigned int count;
};

/*
 * Run a command and wait for its reply, timeout_ms at most (-1: for ever). Takes args over (NULL:
 * none). send: descriptors to go with it (NULL: none; they stay the caller's). *ret: what it
 * returned, a new reference. received: where descriptors go (NULL: closed). 0, or a negative errno
 * with err filled in: -EREMOTEIO when the VM refused (class and sentence are its own).
 */
int control_client_call(struct control_client *client, const char *command, json_t *args,
			const struct control_fds *send, int timeout_ms, json_t **ret,
			struct control_fds *received, struct control_error *err);

/*
 * The next event, waiting timeout_ms at most: 0 and a new reference; -ETIMEDOUT; -ECONNRESET: the
 * VM is gone.
 */
int control_client_event(struct control_client *client, int timeout_ms, json_t **event);

#endif
