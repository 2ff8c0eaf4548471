/* SPDX-License-Identifier: Apache-2.0 */
#include "service/state.h"

#include <errno.h>
#include <string.h>

#define N(array) (sizeof(array) / sizeof(*(array)))

static const struct {
	enum service_state from;
	enum service_event event;
	enum service_state to;
} transitions[] = {
	{ SERVICE_EMPTY, SERVICE_HOLD, SERVICE_HELD },
	{ SERVICE_EMPTY, SERVICE_START, SERVICE_HERE },
	{ SERVICE_EMPTY, SERVICE_AWAIT, SERVICE_AWAITED },
	{ SERVICE_HELD, SERVICE_START, SERVICE_HERE },

	{ SERVICE_HERE, SERVICE_MIGRATE, SERVICE_LEAVING },
	{ SERVICE_LEAVING, SERVICE_END_MIGRATED, SERVICE_GONE },
	{ SERVICE_LEAVING, SERVICE_END_FAILED, SERVICE_HERE },
	{ SERVICE_LEAVING, SERVICE_END_CANCELLED, SERVICE_HERE },
	{ SERVICE_LEAVING, SERVICE_END_UNKNOWN, SERVICE_UNDECIDED },
	{ SERVICE_LEAVING, SERVICE_END_BROKEN, SERVICE_BROKEN },
	{ SERVICE_LEAVING, SERVICE_END_LOST, SERVICE_LOST },
	{ SERVICE_UNDECIDED, SERVICE_DECIDE, SERVICE_HERE },
	{ SERVICE_UNDECIDED, SERVICE_RECOVER, SERVICE_RECOVERING },
	{ SERVICE_BROKEN, SERVICE_RECOVER, SERVICE_RECOVERING },
	{ SERVICE_RECOVERING, SERVICE_END_MIGRATED, SERVICE_GONE },
	{ SERVICE_RECOVERING, SERVICE_END_FAILED, SERVICE_HERE },
	{ SERVICE_RECOVERING, SERVICE_END_CANCELLED, SERVICE_UNDECIDED },
	{ SERVICE_RECOVERING, SERVICE_END_UNKNOWN, SERVICE_UNDECIDED },
	{ SERVICE_RECOVERING, SERVICE_END_BROKEN, SERVICE_BROKEN },
	{ SERVICE_RECOVERING, SERVICE_END_LOST, SERVICE_LOST },

	{ SERVICE_AWAITED, SERVICE_RESUME, SERVICE_ARRIVED },
	{ SERVICE_AWAITED, SERVICE_END_FAILED, SERVICE_NONE_CAME },
	{ SERVICE_AWAITED, SERVICE_END_CANCELLED, SERVICE_NONE_CAME },
	{ SERVICE_AWAITED, SERVICE_END_LOST, SERVICE_NONE_CAME },
	{ SERVICE_ARRIVED, SERVICE_FILL, SERVICE_FILLING },
	{ SERVICE_ARRIVED, SERVICE_BREAK, SERVICE_CUT },
	{ SERVICE_ARRIVED, SERVICE_END_MIGRATED, SERVICE_HERE },
	{ SERVICE_ARRIVED, SERVICE_END_FAILED, SERVICE_HERE },
	{ SERVICE_ARRIVED, SERVICE_END_CANCELLED, SERVICE_HERE },
	{ SERVICE_ARRIVED, SERVICE_END_LOST, SERVICE_LOST },
	{ SERVICE_FILLING, SERVICE_BREAK, SERVICE_CUT },
	{ SERVICE_FILLING, SERVICE_END_MIGRATED, SERVICE_HERE },
	{ SERVICE_FILLING, SERVICE_END_LOST, SERVICE_LOST },
	{ SERVICE_CUT, SERVICE_FILL, SERVICE_FILLING },
	{ SERVICE_CUT, SERVICE_END_MIGRATED, SERVICE_HERE },
	{ SERVICE_CUT, SERVICE_END_LOST, SERVICE_LOST },
};

static const char *const state_names[SERVICE_STATES] = {
	[SERVICE_EMPTY] = "EMPTY",
	[SERVICE_HELD] = "HELD",
	[SERVICE_HERE] = "HERE",
	[SERVICE_LEAVING] = "LEAVING",
	[SERVICE_UNDECIDED] = "UNDECIDED",
	[SERVICE_BROKEN] = "BROKEN",
	[SERVICE_RECOVERING] = "RECOVERING",
	[SERVICE_GONE] = "GONE",
	[SERVICE_AWAITED] = "AWAITED",
	[SERVICE_NONE_CAME] = "NONE_CAME",
	[SERVICE_ARRIVED] = "ARRIVED",
	[SERVICE_FILLING] = "FILLING",
	[SERVICE_CUT] = "CUT",
	[SERVICE_LOST] = "LOST",
};

static const char *const event_names[SERVICE_EVENTS] = {
	[SERVICE_HOLD] = "HOLD",
	[SERVICE_START] = "START",
	[SERVICE_AWAIT] = "AWAIT",
	[SERVICE_MIGRATE] = "MIGRATE",
	[SERVICE_RECOVER] = "RECOVER",
	[SERVICE_DECIDE] = "DECIDE",
	[SERVICE_RESUME] = "RESUME",
	[SERVICE_FILL] = "FILL",
	[SERVICE_BREAK] = "BREAK",
	[SERVICE_END_MIGRATED] = "END_MIGRATED",
	[SERVICE_END_FAILED] = "END_FAILED",
	[SERVICE_END_CANCELLED] = "END_CANCELLED",
	[SERVICE_END_UNKNOWN] = "END_UNKNOWN",
	[SERVICE_END_BROKEN] = "END_BROKEN",
	[SERVICE_END_LOST] = "END_LOST",
};

const char *service_state_name(enum service_state state)
{
	return state_names[state];
}

const char *service_event_name(enum service_event event)
{
	return event_names[event];
}

enum service_event service_end_event(enum sevmirror_outcome outcome)
{
	_Static_assert(SERVICE_END_LOST - SERVICE_END_MIGRATED == SEVMIRROR_LOST, "outcomes");
	return (enum service_event)(SERVICE_END_MIGRATED + (int)outcome);
}

int service_state_step(enum service_state *state, enum service_event event)
{
	for (size_t i = 0; i < N(transitions); i++) {
		if (transitions[i].from == *state && transitions[i].event == event) {
			*state = transitions[i].to;
			return 0;
		}
	}
	return -EINVAL;
}

static const char *const client_names[CLIENT_STATES] = {
	[CLIENT_STARTING] = "starting", [CLIENT_RUNNING] = "running",
	[CLIENT_PAUSED] = "paused",	[CLIENT_INCOMING] = "incoming",
	[CLIENT_MIGRATED] = "migrated", [CLIENT_STOPPING] = "stopping",
	[CLIENT_CRASHED] = "crashed",
};

const char *client_state_name(enum client_state state)
{
	return client_names[state];
}

const char *service_permit_command(unsigned int nth)
{
	static const char *const commands[SERVICE_PERMITS] = {
		"query-memory-map", "inject-secret", "pause",
		"resume",	    "stop",	     "migrate",
		"migrate-cancel",   "migrate-set",   "migrate-recover",
		"mirror-attach",
	};

	return commands[nth];
}

#define RUNS	 (SERVICE_MAY_LOOK | SERVICE_MAY_PAUSE | SERVICE_MAY_STOP)
#define MIGRATES (RUNS | SERVICE_MAY_RESUME | SERVICE_MAY_CANCEL)

#define CHECK_TARGET \
	"Check the target: if the guest runs there, `stop --force` here; if not, `resume` here."

#define ASK_TARGET \
	"`migrate --recover` asks the target and continues. If there is no answer: " CHECK_TARGET

/* CLIENT_RUNNING is CLIENT_PAUSED for a guest that its user paused. */
static const struct service_view views[SERVICE_STATES] = {
	[SERVICE_EMPTY] = { CLIENT_STARTING, SERVICE_MAY_STOP, "The VM is being set up.", "" },
	[SERVICE_HELD] = { CLIENT_STARTING,
			   SERVICE_MAY_LOOK | SERVICE_MAY_INJECT | SERVICE_MAY_RESUME |
				   SERVICE_MAY_STOP,
			   "The guest has not started yet.", "`resume` starts it." },
	[SERVICE_HERE] = { CLIENT_RUNNING,
			   RUNS | SERVICE_MAY_RESUME | SERVICE_MAY_MIGRATE | SERVICE_MAY_ATTACH,
			   "The guest is here, and no migration is under way.", "", true },
	[SERVICE_LEAVING] = { CLIENT_RUNNING, MIGRATES | SERVICE_MAY_TUNE,
			      "A migration is under way.", "`migrate --cancel` ends it." },
	[SERVICE_UNDECIDED] = { CLIENT_PAUSED, RUNS | SERVICE_MAY_RESUME,
				"Outcome unknown. The guest is paused here and may be running on "
				"the target.",
				CHECK_TARGET },
	[SERVICE_BROKEN] = { CLIENT_PAUSED,
			     SERVICE_MAY_LOOK | SERVICE_MAY_PAUSE | SERVICE_MAY_RECOVER,
			     "The guest was running on the target when the connection broke, and "
			     "pages that it needs are here.",
			     "`migrate --recover` sends them. If there is no answer: if `status` "
			     "on the target shows the guest and no migration, it has all pages, "
			     "and `stop --force` here ends what is left; if not, `stop --force` "
			     "gives the guest up." },
	[SERVICE_RECOVERING] = { CLIENT_PAUSED,
				 SERVICE_MAY_LOOK | SERVICE_MAY_PAUSE | SERVICE_MAY_CANCEL,
				 "A recovery is under way.", "`migrate --cancel` ends it." },
	[SERVICE_GONE] = { CLIENT_MIGRATED, SERVICE_MAY_STOP, "The guest runs on the target.", "" },
	[SERVICE_AWAITED] = { CLIENT_INCOMING, SERVICE_MAY_STOP | SERVICE_MAY_CANCEL,
			      "The guest has not arrived yet.", "" },
	[SERVICE_NONE_CAME] = { CLIENT_INCOMING, SERVICE_MAY_STOP,
				"No guest arrived, and this host has not run one.",
				"If the source reports an unknown outcome, `resume` there "
				"continues the guest." },
	[SERVICE_ARRIVED] = { CLIENT_RUNNING, MIGRATES,
			      "The guest runs here, and its migration is about to end.", "" },
	[SERVICE_FILLING] = { CLIENT_RUNNING, MIGRATES,
			      "The guest runs here, and the rest of its memory is arriving.", "" },
	[SERVICE_CUT] = { CLIENT_RUNNING, MIGRATES,
			  "The guest runs here, but the connection to the source broke: CPUs that "
			  "need a missing page wait.",
			  "`migrate --recover` on the source continues." },
	[SERVICE_LOST] = { CLIENT_PAUSED, SERVICE_MAY_LOOK | SERVICE_MAY_PAUSE,
			   "The guest is lost: neither host has all of its memory.",
			   "`stop --force` ends what is left of it here." },
};

bool service_state_migrates(enum service_state state)
{
	return views[state].permits & SERVICE_MAY_CANCEL;
}

bool service_state_fills(enum service_state state)
{
	return state == SERVICE_ARRIVED || state == SERVICE_FILLING || state == SERVICE_CUT;
}

/* The guest came to its end in this process. */
static struct service_view view_of_end(enum vm_end end)
{
	struct service_view view = { CLIENT_STOPPING, SERVICE_MAY_STOP, "The guest has ended.",
				     "" };

	if (end == VM_MIGRATED)
		return views[SERVICE_GONE];
	if (end == VM_CRASH || end == VM_FAILED)
		view.client = CLIENT_CRASHED;
	return view;
}

struct service_view service_view(enum service_state state, enum vm_end end, bool paused,
				 bool recoverable)
{
	struct service_view view = views[state];

	if (end != VM_RUNS && state != SERVICE_AWAITED && state != SERVICE_NONE_CAME)
		return view_of_end(end);
	if (paused && view.client == CLIENT_RUNNING)
		view.client = CLIENT_PAUSED;
	if (state == SERVICE_UNDECIDED && recoverable) {
		view.permits |= SERVICE_MAY_RECOVER;
		view.action = ASK_TARGET;
	}
	return view;
}

enum service_result service_result(enum sevmirror_outcome outcome, enum vm_end end)
{
	if ((outcome == SEVMIRROR_FAILED || outcome == SEVMIRROR_CANCELLED) && end != VM_RUNS)
		return RESULT_ENDED;
	return (enum service_result)outcome;
}

const char *service_result_name(enum service_result result)
{
	return result == RESULT_ENDED ? "ended" :
					sevmirror_outcome_name((enum sevmirror_outcome)result);
}

enum service_result service_result_of(const char *name)
{
	unsigned int i = 0;

	while (i < SERVICE_RESULTS &&
	       strcmp(name, service_result_name((enum service_result)i)) != 0)
		i++;
	return (enum service_result)i;
}

const char *service_migration_status(enum service_state state, bool any, enum service_result result)
{
	if (service_state_migrates(state))
		return state == SERVICE_AWAITED ? "incoming" : "active";
	return any ? service_result_name(result) : "none";
}

bool service_result_recoverable(enum service_result result, enum sevmirror_phase last)
{
	return result == RESULT_UNKNOWN && last == SEVMIRROR_PHASE_BROKEN;
}

static struct service_advice advice_of(enum service_state state)
{
	return (struct service_advice){ views[state].sentence, views[state].action };
}

struct service_advice service_advice(enum service_result result, bool paused, bool recoverable)
{
	switch (result) {
	case RESULT_MIGRATED:
		if (paused)
			return (struct service_advice){ "The guest is paused on the target.",
							"`resume` there lets it run." };
		return advice_of(SERVICE_GONE);
	case RESULT_UNKNOWN:
		if (recoverable)
			return (struct service_advice){ views[SERVICE_UNDECIDED].sentence,
							ASK_TARGET };
		return advice_of(SERVICE_UNDECIDED);
	case RESULT_BROKEN:
		return advice_of(SERVICE_BROKEN);
	case RESULT_LOST:
		return advice_of(SERVICE_LOST);
	case RESULT_ENDED:
		return (struct service_advice){
			"The guest ended during the migration, and neither host runs it.", ""
		};
	default:
		return (struct service_advice){ paused ? "The guest is still here, paused." :
							 "The guest still runs here.",
						"" };
	}
}

struct service_advice service_advice_unreported(void)
{
	return (struct service_advice){
		"Outcome unknown. The VM's process ended before it reported the outcome: the guest "
		"no longer runs here, and may be running on the target.",
		"Check the target. If the guest does not run there, start it again."
	};
}

struct service_advice service_advice_at_target(enum service_result result, bool paused)
{
	switch (result) {
	case RESULT_MIGRATED:
		return paused ? (struct service_advice){ "The guest is here, paused.",
							 "`resume` lets it run." } :
				(struct service_advice){ "The guest runs here.", "" };
	case RESULT_LOST:
		return advice_of(SERVICE_LOST);
	default:
		return advice_of(SERVICE_NONE_CAME);
	}
}
