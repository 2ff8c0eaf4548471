/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's control socket: one Unix socket a VM, in the runtime directory (runtime.h), that speaks
 * JSON, one object a line, in the manner of QEMU's QMP. docs/control.md has the protocol. This
 * folder knows nothing of KVM: what a command does is a function that the VMM registers.
 *
 * One thread serves all clients and runs one command after the other, so a command must not wait
 * for the guest. Input lines, output queues and the number of clients are bounded; a client that
 * misbehaves loses its connection, and nothing else happens.
 */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#define CONTROL_PROTOCOL 1 /* changes when a client written for the old one would go wrong */
#define CONTROL_LINE_MAX (128U << 10) /* bytes of a command line, without its newline */
#define CONTROL_FDS_MAX	 8 /* file descriptors with one command or one reply */

struct control;

/* Why a command failed: a class for programs, a sentence for people. */
#define CONTROL_NOT_FOUND     "CommandNotFound"
#define CONTROL_BAD_ARGUMENTS "InvalidArguments"
#define CONTROL_BAD_JSON      "InvalidJSON"
#define CONTROL_WRONG_STATE   "WrongState" /* not now: the VM is not in a state for it */
#define CONTROL_STARTING      "Starting" /* not yet: the VM is being set up */
#define CONTROL_UNSUPPORTED   "Unsupported" /* not with this VM or on this host */
#define CONTROL_FAILED	      "Failed"

struct control_error {
	const char *class; /* one of the above; NULL: CONTROL_FAILED */
	char desc[512];
};

/*
 * A JSON string. Words that quote somebody's may be no UTF-8, or cut in the middle of a character,
 * and json_string() takes neither: then all but ASCII is replaced. NULL when out of memory.
 */
json_t *control_text(const char *text);

/*
 * Fill err; returns code, a negative errno, so that a command can end with "return
 * control_fail(...)".
 */
int control_fail(struct control_error *err, int code, const char *class, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

enum control_type {
	CONTROL_STRING,
	CONTROL_UINT, /* 0 to 2^63 - 1 */
	CONTROL_BOOL,
	CONTROL_OBJECT,
};

/*
 * An argument of a command. Presence, type and unknown names are checked before the command runs.
 */
struct control_arg {
	const char *name;
	enum control_type type;
	bool required;
	const char *help;
};

/* One execution of a command. */
struct control_call {
	const json_t *args; /* an object */
	/*
	 * Came with the command. A command takes one over by setting it to -1; the rest is closed
	 * afterwards.
	 */
	int fds[CONTROL_FDS_MAX];
	unsigned int fd_count;
	json_t *ret; /* the command's: what it returns, a new reference; NULL: an empty object */
	/*
	 * The command's: descriptors to send with the reply, duplicates that are closed when it has
	 * left.
	 */
	int reply_fds[CONTROL_FDS_MAX];
	unsigned int reply_fd_count;
};

struct control_command {
	const char *name;
	const char *help;
	const char *returns; /* what the reply holds, for people; NULL: nothing */
	const struct control_arg *args; /* ends with a NULL name; NULL: none */
	/*
	 * In the control thread. 0 or a negative errno with err filled in. May call
	 * control_event().
	 */
	int (*run)(void *opaque, struct control_call *call, struct control_error *err);
};

/*
 * Claim name in the runtime directory and make the socket; clients can connect, but nothing is
 * answered before control_start(). -EINVAL: not a name; -EADDRINUSE: a VM of this name runs; or
 * what the runtime directory says. err has the sentence.
 */
int control_create(struct control **control, const char *name, struct control_error *err);

/*
 * Register a table, which ends with a NULL name. Before control_start(). 0, -EEXIST (a name is
 * taken) or -ENOMEM.
 */
int control_add_commands(struct control *control, const struct control_command *commands,
			 void *opaque);

/*
 * Say which events there are, for introspection: name and what it means, alternating, ends with
 * NULL. The array must stay.
 */
void control_set_events(struct control *control, const char *const *names_and_help);

/* Serve. 0 or a negative errno. */
int control_start(struct control *control);

/* Tell all clients. Takes data over (an object or NULL). Any thread; never waits. */
void control_event(struct control *control, const char *event, json_t *data);

/*
 * Give replies half a second to leave, close everything, give the name back. NULL is allowed. Not
 * from a command.
 */
void control_destroy(struct control *control);

/* Add a duplicate of fd to the reply. 0, -EMFILE (too many) or what dup says. */
int control_reply_fd(struct control_call *call, int fd);

/* Arguments that were checked; the fallback when an optional one is absent. */
const char *control_arg_string(const struct control_call *call, const char *name,
			       const char *fallback);
uint64_t control_arg_uint(const struct control_call *call, const char *name, uint64_t fallback);
bool control_arg_bool(const struct control_call *call, const char *name, bool fallback);

#endif
