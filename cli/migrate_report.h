/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `sevmirror migrate --report`: a migration as one HTML page that needs no other file and no
 * network. The page is cli/report.html with the migration in it as JSON; its script draws.
 */
#ifndef CLI_MIGRATE_REPORT_H
#define CLI_MIGRATE_REPORT_H

#include <time.h>

#include "cli/migrate_record.h"

struct migrate_report {
	const char *name; /* of the VM */
	const char *host; /* that it was on */
	time_t started;
	const json_t *args; /* of the command `migrate` (docs/control.md) */
	/* of the event `migration-end`; NULL: the VM's process went away before it */
	const json_t *result;
	const struct migrate_record *record;
};

/* The page around the JSON (cli/embed-report makes them). */
extern const char migrate_report_before[], migrate_report_after[];

/* The page: text to be freed, and its length. 0 or -ENOMEM. */
int migrate_report_make(const struct migrate_report *report, char **text, size_t *len);

#endif
