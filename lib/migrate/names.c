/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The one table of names for each public enumeration of a migration. */
#include <sevmirror/migrate.h>

#include <string.h>

static const char *const phases[] = {
	[SEVMIRROR_PHASE_NONE] = "none",	 [SEVMIRROR_PHASE_CONNECT] = "connect",
	[SEVMIRROR_PHASE_SETUP] = "setup",	 [SEVMIRROR_PHASE_PRECOPY] = "precopy",
	[SEVMIRROR_PHASE_STOP] = "stop",	 [SEVMIRROR_PHASE_COMMIT] = "commit",
	[SEVMIRROR_PHASE_POSTCOPY] = "postcopy", [SEVMIRROR_PHASE_BROKEN] = "broken",
	[SEVMIRROR_PHASE_DONE] = "done",	 [SEVMIRROR_PHASE_FAILED] = "failed",
};

_Static_assert(sizeof(phases) / sizeof(phases[0]) == SEVMIRROR_PHASES, "each phase has a name");

const char *sevmirror_phase_name(enum sevmirror_phase phase)
{
	return (unsigned int)phase < SEVMIRROR_PHASES ? phases[phase] : "unknown";
}

static const char *const reasons[] = {
	[SEVMIRROR_REASON_NONE] = "none",
	[SEVMIRROR_REASON_CANCELLED] = "cancelled",
	[SEVMIRROR_REASON_TIMEOUT] = "timeout",
	[SEVMIRROR_REASON_CONNECTION] = "connection",
	[SEVMIRROR_REASON_PEER] = "peer",
	[SEVMIRROR_REASON_AUTHENTICATION] = "authentication",
	[SEVMIRROR_REASON_CERTIFICATES] = "certificates",
	[SEVMIRROR_REASON_POLICY] = "policy",
	[SEVMIRROR_REASON_FIRMWARE] = "firmware",
	[SEVMIRROR_REASON_INCOMPATIBLE] = "incompatible",
	[SEVMIRROR_REASON_POSTCOPY] = "postcopy",
	[SEVMIRROR_REASON_CONVERGENCE] = "convergence",
	[SEVMIRROR_REASON_NO_MEMORY] = "no-memory",
	[SEVMIRROR_REASON_GUEST] = "guest",
	[SEVMIRROR_REASON_DISK] = "disk",
	[SEVMIRROR_REASON_HELPER] = "helper",
	[SEVMIRROR_REASON_MANIFEST] = "manifest",
	[SEVMIRROR_REASON_PROTOCOL] = "protocol",
	[SEVMIRROR_REASON_INTERNAL] = "internal",
};

static const char *const outcomes[] = {
	[SEVMIRROR_MIGRATED] = "migrated",   [SEVMIRROR_FAILED] = "failed",
	[SEVMIRROR_CANCELLED] = "cancelled", [SEVMIRROR_UNKNOWN] = "unknown",
	[SEVMIRROR_BROKEN] = "broken",	     [SEVMIRROR_LOST] = "lost",
};

_Static_assert(sizeof(reasons) / sizeof(reasons[0]) == SEVMIRROR_REASONS, "each reason has a name");
_Static_assert(sizeof(outcomes) / sizeof(outcomes[0]) == SEVMIRROR_OUTCOMES,
	       "each outcome has a name");

const char *sevmirror_reason_name(enum sevmirror_reason reason)
{
	return (unsigned int)reason < SEVMIRROR_REASONS ? reasons[reason] : "unknown";
}

const char *sevmirror_outcome_name(enum sevmirror_outcome outcome)
{
	return (unsigned int)outcome < SEVMIRROR_OUTCOMES ? outcomes[outcome] : "unknown";
}

bool sevmirror_phase_parse(const char *name, enum sevmirror_phase *phase)
{
	for (unsigned int i = 0; i < SEVMIRROR_PHASES; i++) {
		if (strcmp(name, phases[i]) != 0)
			continue;
		*phase = (enum sevmirror_phase)i;
		return true;
	}
	return false;
}
