/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A control socket with commands of its own, and clients for it: made for each test by vm_test().
 */
#ifndef TESTS_UNIT_CONTROL_RIG_H
#define TESTS_UNIT_CONTROL_RIG_H

#include "tests/unit/cmocka_all.h"
#include "control/client.h"
#include "control/control.h"
#include "control/runtime.h"

/* What the commands have been told. */
struct vm {
	struct control *control;
	const char *state; /* "running", "paused", "stopping" */
	bool force;
	unsigned int ranges; /* of query-memory-map's list */
	bool not_now;
};

extern char control_rig_dir[]; /* the runtime directory */

/* *state of a test becomes a struct vm that runs, named vm1. */
int control_rig_start(void **state);
/* Fails the test if something is left in the runtime directory. */
int control_rig_end(void **state);
#define vm_test(f) cmocka_unit_test_setup_teardown(f, control_rig_start, control_rig_end)

/* Runs them in a runtime directory of their own; the exit status of main(). */
int control_rig_run(const struct CMUnitTest *tests, size_t count);

/* The caller closes it. */
struct control_client *client_open(void);
/* The command succeeds; its answer is the caller's. */
json_t *call_ok(struct control_client *client, const char *command, json_t *args);
/* The command is refused with an error of this class, which says desc. */
void call_refused(struct control_client *client, const char *command, json_t *args,
		  const char *class, const char *desc);

/* A connection without the client library. */
int raw_connect(void);
void raw_say(int fd, const char *text);
/* One line, without its newline. Returns its length, -1 at the end of the connection. */
int raw_line(int fd, char *line, size_t max);

#endif
