/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The source's and the target's life, each as one state and a table of transitions. docs/hacking.md
 * ("States") draws both; tests/unit/migrate_state_machine.c compares the tables with the diagrams.
 * What depends on the state (the phase that is reported, whether cancelling is possible) is in the
 * table of states. session_step() takes the steps.
 */
#ifndef LIB_MIGRATE_STATE_MACHINE_H
#define LIB_MIGRATE_STATE_MACHINE_H

#include <stdbool.h>

#include <sevmirror/host.h>

/* In the order in which a migration comes through them: <= compares how far it is. */
enum source_state {
	SOURCE_CONNECTING, /* connection and handshake */
	SOURCE_SETTING_UP, /* the helper starts and makes its session */
	SOURCE_SENDING_CORE, /* the guest's firmware context may be in SUPDATE */
	SOURCE_PRECOPY, /* dirty pages are logged */
	SOURCE_STOPPED, /* the guest is paused, or about to be */
	SOURCE_RELEASED, /* the disks are, or are about to be */
	SOURCE_COMMITTED, /* COMMIT is said: the guest must not run here */
	SOURCE_COMMITTED_MISSING, /* the same with pages missing */
	SOURCE_POSTCOPY, /* the guest runs on the target, pages follow */
	SOURCE_BROKEN, /* the same, and the connection is lost */
	SOURCE_UNDECIDED, /* the connection was lost before RUNNING, pages may be missing there */
	SOURCE_RECOVERING, /* from BROKEN: connecting again */
	SOURCE_ASKING, /* the same from UNDECIDED: does the target run the guest? */
	SOURCE_MIGRATED,
	SOURCE_FAILED, /* the guest is this host's again */
	SOURCE_UNKNOWN, /* the connection was lost before RUNNING; nothing can be recovered */
	SOURCE_LOST, /* post-copy failed for good */
	SOURCE_STATES
};

enum source_event {
	SOURCE_AGREE, /* the handshake went well */
	SOURCE_SEND_CORE,
	SOURCE_LOG,
	SOURCE_STOP,
	SOURCE_RELEASE,
	SOURCE_COMMIT,
	SOURCE_COMMIT_WITHOUT, /* with pages missing */
	SOURCE_RUNNING, /* the target says so */
	SOURCE_LAST_PAGE, /* the target has all pages and the manifest holds */
	SOURCE_ABORT, /* the target says that it gives up */
	SOURCE_BREAK, /* any other failure, cancelling among them */
	SOURCE_RECOVER,
	SOURCE_EVENTS
};

enum target_state {
	TARGET_LISTENING,
	TARGET_HANDSHAKE,
	TARGET_SETTING_UP, /* the VM is built, the helper's core arrives and starts */
	TARGET_RECEIVING, /* pages arrive */
	TARGET_ARMED, /* post-copy is ordered: missing pages are known, faults are served */
	TARGET_LOADING, /* all pages and the guest's state are here */
	TARGET_LOADING_MISSING, /* the same with pages missing; likewise below */
	TARGET_READY, /* the source is told */
	TARGET_READY_MISSING,
	TARGET_TAKING, /* COMMIT has come; the disks are opened */
	TARGET_TAKING_MISSING,
	TARGET_STARTING, /* the guest may run from here on */
	TARGET_STARTING_MISSING,
	TARGET_STARTING_BROKEN, /* the same, and the connection is lost */
	TARGET_POSTCOPY, /* the guest runs, pages follow */
	TARGET_BROKEN, /* the same, and the connection is lost */
	TARGET_MIGRATED,
	TARGET_FAILED, /* the guest has not run here and will not */
	TARGET_LOST, /* post-copy failed for good */
	TARGET_STATES
};

enum target_event {
	TARGET_CONNECT, /* the source is authenticated */
	TARGET_BUILD,
	TARGET_HELPER_RUNS,
	TARGET_ARM,
	TARGET_STATE, /* the guest's state has come */
	TARGET_LOADED,
	TARGET_COMMIT,
	TARGET_START, /* the last step that cannot be taken back */
	TARGET_RUN, /* resume() has returned */
	TARGET_START_FAILED,
	TARGET_LAST_PAGE, /* all pages are here and the manifest holds */
	TARGET_BREAK, /* a failure: before START the end, after it the loss of the connection */
	TARGET_RECOVER, /* the source is back */
	TARGET_GIVE_UP, /* pages will not come any more, or are not what they should be */
	TARGET_EVENTS
};

struct state_machine_state {
	const char *name;
	enum sevmirror_phase phase;
	bool can_cancel;
	bool at_rest; /* the run ends here, another one may follow: no cancelling is kept */
};

struct state_machine_transition {
	unsigned char from, event, to;
};

struct state_machine {
	const struct state_machine_state *state;
	unsigned int nstates;
	const char *const *event;
	unsigned int nevents;
	const struct state_machine_transition *transition;
	unsigned int ntransitions;
};

extern const struct state_machine source_life, target_life;

/* The state that follows, or -EINVAL if the table has no such transition. */
int state_machine_next(const struct state_machine *machine, unsigned int state, unsigned int event);

/*
 * For tests: called with each step that a migration takes, on the thread that takes it, with a lock
 * of the migration. NULL in other programs.
 */
extern void (*state_machine_trace)(const struct state_machine *machine, unsigned int from,
				   unsigned int event, unsigned int to);

#endif
