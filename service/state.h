/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a VM's process as one state, and all that a client is told because of it. The table
 * of transitions is drawn in docs/hacking.md ("States"); tests/unit/service_state.c compares both.
 * Everything here is pure.
 */
#ifndef SERVICE_STATE_H
#define SERVICE_STATE_H

#include <stdbool.h>

#include <sevmirror/migrate.h>

#include "vmm/vm/vm.h"

enum service_state {
	SERVICE_EMPTY, /* no guest yet: files are read, memory is populated */
	SERVICE_HELD, /* launched and measured; the first `resume` starts it */
	SERVICE_HERE, /* the guest is here, running or paused by its user */
	SERVICE_LEAVING, /* a migration to a target is under way */
	SERVICE_UNDECIDED, /* the hand-over broke: the guest is paused here, may run there */
	/* post-copy broke: the guest was running on the target, pages that it needs are here */
	SERVICE_BROKEN,
	SERVICE_RECOVERING, /* `migrate --recover` is under way */
	SERVICE_GONE, /* the target has the guest */
	SERVICE_AWAITED, /* the source is waited for, or the guest is on its way */
	SERVICE_NONE_CAME, /* and it did not arrive */
	SERVICE_ARRIVED, /* the guest may run here; the migration has not ended */
	SERVICE_FILLING, /* post-copy: pages are still to come, nobody may wait for a vCPU */
	SERVICE_CUT, /* the same, and the connection is broken */
	SERVICE_LOST, /* post-copy failed for good: the guest's memory is complete nowhere */
	SERVICE_STATES
};

enum service_event {
	SERVICE_HOLD, /* launched with --hold */
	SERVICE_START, /* the guest runs for the first time */
	SERVICE_AWAIT, /* `receive` waits for the source */
	SERVICE_MIGRATE, /* `migrate` */
	SERVICE_RECOVER, /* `migrate --recover` */
	SERVICE_DECIDE, /* `resume` after an unknown outcome: the target does not have it */
	SERVICE_RESUME, /* the library lets an incoming guest run */
	SERVICE_FILL, /* post-copy begins or is recovered */
	SERVICE_BREAK, /* post-copy's connection breaks */
	/* The outcomes of a migration, in the library's order. */
	SERVICE_END_MIGRATED,
	SERVICE_END_FAILED,
	SERVICE_END_CANCELLED,
	SERVICE_END_UNKNOWN,
	SERVICE_END_BROKEN,
	SERVICE_END_LOST,
	SERVICE_EVENTS
};

/* "AWAITED", "END_LOST": as the diagram has them. */
const char *service_state_name(enum service_state state);
const char *service_event_name(enum service_event event);

/* The event by which a migration with this outcome ends. */
enum service_event service_end_event(enum sevmirror_outcome outcome);

/* 0 and the new state in *state; -EINVAL: the table has no such transition, *state stays. */
int service_state_step(enum service_state *state, enum service_event event);

/* A migration's thread is at work. */
bool service_state_migrates(enum service_state state);

/* The guest runs here while pages may be missing: nobody may wait for a vCPU. */
bool service_state_fills(enum service_state state);

/* The states that a client sees, as query-status and the event 'state' name them. */
enum client_state {
	CLIENT_STARTING,
	CLIENT_RUNNING,
	CLIENT_PAUSED,
	CLIENT_INCOMING, /* waits for a migration to arrive */
	CLIENT_MIGRATED, /* runs at another host */
	CLIENT_STOPPING,
	CLIENT_CRASHED,
	CLIENT_STATES
};

const char *client_state_name(enum client_state state);

/* Commands that depend on the state, as bits. */
enum service_permit {
	SERVICE_MAY_LOOK = 1 << 0, /* query-memory-map and others that need a guest */
	SERVICE_MAY_INJECT = 1 << 1,
	SERVICE_MAY_PAUSE = 1 << 2,
	SERVICE_MAY_RESUME = 1 << 3,
	SERVICE_MAY_STOP = 1 << 4, /* without force; with it always */
	SERVICE_MAY_MIGRATE = 1 << 5,
	SERVICE_MAY_CANCEL = 1 << 6,
	SERVICE_MAY_TUNE = 1 << 7, /* migrate-set */
	SERVICE_MAY_RECOVER = 1 << 8,
	SERVICE_MAY_ATTACH = 1 << 9,
	SERVICE_PERMITS = 10
};

/* The command that the bit permits, as the control socket names it; nth below SERVICE_PERMITS. */
const char *service_permit_command(unsigned int nth);

/* What a client is told. Two sentences for people: the state, and what to do ("" if nothing). */
struct service_view {
	enum client_state client;
	unsigned int permits;
	const char *sentence, *action;
	bool ordinary; /* nothing happens to the guest: a status leaves the sentence out */
};

/* paused: the guest is paused by its user; recoverable: service_result_recoverable(). */
struct service_view service_view(enum service_state state, enum vm_end end, bool paused,
				 bool recoverable);

/*
 * A migration's result as the source tells it: the library's outcomes, and one more, when the guest
 * came to its end meanwhile.
 */
enum service_result {
	RESULT_MIGRATED = SEVMIRROR_MIGRATED,
	RESULT_FAILED = SEVMIRROR_FAILED,
	RESULT_CANCELLED = SEVMIRROR_CANCELLED,
	RESULT_UNKNOWN = SEVMIRROR_UNKNOWN,
	RESULT_BROKEN = SEVMIRROR_BROKEN,
	RESULT_LOST = SEVMIRROR_LOST,
	RESULT_ENDED,
	SERVICE_RESULTS
};

enum service_result service_result(enum sevmirror_outcome outcome, enum vm_end end);

/* "migrated"; the reverse, or SERVICE_RESULTS. */
const char *service_result_name(enum service_result result);
enum service_result service_result_of(const char *name);

/*
 * query-migrate's word: "incoming" or "active" while a migration is under way, else the last one's
 * result, or "none" if there was none (any).
 */
const char *service_migration_status(enum service_state state, bool any,
				     enum service_result result);

/*
 * `migrate --recover` may find the outcome out: it is unknown, and the last phase that was reported
 * says that post-copy had begun.
 */
bool service_result_recoverable(enum service_result result, enum sevmirror_phase last);

/*
 * The two sentences about it, on the source or on the target. paused, recoverable: as for a view.
 */
struct service_advice {
	const char *sentence, *action;
};

struct service_advice service_advice(enum service_result result, bool paused, bool recoverable);
struct service_advice service_advice_at_target(enum service_result result, bool paused);

/* For a client: the VM's process ended before it reported a result. */
struct service_advice service_advice_unreported(void);

#endif
