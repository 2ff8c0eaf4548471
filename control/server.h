/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the control server share: server.c (thread, clients), conn.c (one client's
 * bytes), command.c (what a line means).
 */
#ifndef CONTROL_SERVER_H
#define CONTROL_SERVER_H

#include <pthread.h>

#include "control/control.h"
#include "control/runtime.h"

#define CLIENTS_MAX  16
#define COMMANDS_MAX 64

/* One line on its way out. */
struct conn_message {
	struct conn_message *next;
	char *text; /* with its newline */
	size_t len;
	size_t sent;
	int fds[CONTROL_FDS_MAX];
	unsigned int fd_count;
};

/* A client. The control's lock covers the output; the input is the thread's. */
struct conn {
	int fd;
	bool broken; /* to be closed as soon as the thread sees it */
	bool ending; /* to be closed when its output has left */
	char *in;
	size_t in_used;
	int in_fds[CONTROL_FDS_MAX];
	unsigned int in_fd_count;
	struct conn_message *out_first;
	struct conn_message **out_last;
	size_t out_bytes;
};

struct conn *conn_create(int fd);
void conn_destroy(struct conn *conn);

/*
 * Queue a line. Takes text (from json_dumps, without newline) and the descriptors over. A client
 * whose queue is full because it does not read is marked broken.
 */
void conn_queue(struct conn *conn, char *text, const int *fds, unsigned int fd_count);

/* Write what the socket takes. */
void conn_flush(struct conn *conn);

/*
 * Whether the client has read enough of what it was told for the next command to be looked at; and
 * whether a whole one is here.
 */
bool conn_wants_input(const struct conn *conn);
bool conn_has_line(const struct conn *conn);

/*
 * Read once. At the end of the input the connection is ending: what was asked before is still
 * answered.
 */
void conn_receive(struct conn *conn);

/*
 * The next complete line, without its newline, or NULL; it stays valid until conn_line_done(). A
 * line that is too long ends the connection after an error; so that is for the caller to say:
 * *too_long.
 */
char *conn_line(struct conn *conn, size_t *len, bool *too_long);
void conn_line_done(struct conn *conn, size_t len);

struct registered {
	const struct control_command *command;
	void *opaque;
};

struct control {
	struct runtime_claim claim;
	char name[RUNTIME_NAME_MAX + 1];
	uid_t owner; /* who made the socket; the process may have become somebody else since */
	int listen_fd;
	int wake_fd;
	int spare_fd; /* given up for a client that there is no descriptor for, to tell it so */
	bool has_thread;
	pthread_t thread;
	struct registered commands[COMMANDS_MAX];
	unsigned int command_count;
	const char *const *events;

	pthread_mutex_t lock; /* all below, and the clients' output */
	struct conn *clients[CLIENTS_MAX];
	unsigned int client_count;
	bool stop;
};

/*
 * Run the command in a line; returns the reply as text (json_dumps) and its descriptors in call.
 * NULL: out of memory.
 */
char *control_execute(struct control *control, const char *line, size_t len,
		      struct control_call *call);

/* {"error": ...} as text; id is borrowed or NULL. */
char *control_error_text(const struct control_error *err, json_t *id);

char *control_greeting_text(const struct control *control);

/* query-commands and the like, which the server itself answers. */
extern const struct control_command control_own_commands[];

#endif
