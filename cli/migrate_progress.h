/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A migration's progress on standard error: on a terminal one line that is drawn again and again,
 * elsewhere a line now and then.
 */
#ifndef CLI_MIGRATE_PROGRESS_H
#define CLI_MIGRATE_PROGRESS_H

#include <stdbool.h>

#include "cli/migrate_record.h"

struct migrate_progress {
	bool live; /* a terminal */
	bool shown; /* there is a line on it */
	unsigned int round; /* of the last line elsewhere */
	double seconds; /* likewise */
};

void migrate_progress_init(struct migrate_progress *progress);
void migrate_progress_show(struct migrate_progress *progress, const struct migrate_sample *sample);

/* Before anything else is said: the line goes away. */
void migrate_progress_clear(struct migrate_progress *progress);

/* The line in words, cut to max - 1 characters. Returns text. */
char *migrate_progress_line(const struct migrate_sample *sample, char *text, size_t max);

#endif
