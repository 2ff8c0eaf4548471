/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of a migration, once: the arguments of the control command `migrate`, the options of
 * `sevmirror migrate`, and the fields of struct sevmirror_source_options follow from this table. A
 * new option is a field there, a row here, and the code in the library that reads the field.
 */
#ifndef SERVICE_MIGRATE_OPTIONS_H
#define SERVICE_MIGRATE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sevmirror/migrate.h>

#include "control/control.h"
#include "lib/util/why.h"

enum migrate_kind {
	MIGRATE_ADDRESS, /* const char * */
	MIGRATE_WORD, /* an enum: the n-th of words */
	MIGRATE_FLAG, /* bool */
	MIGRATE_COUNT, /* unsigned int */
	MIGRATE_SIZE, /* uint64_t */
	MIGRATE_TIME, /* uint64_t, nanoseconds; milliseconds on the socket */
	MIGRATE_FILE, /* not a field: the service reads it */
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): in the order of reading */
struct migrate_option {
	const char *name; /* of the command line, without the two dashes */
	const char *argument; /* of the control command */
	enum migrate_kind kind;
	const char *value, *complete; /* as in struct cli_option */
	const char *help;
	/* as the socket takes it; a time in milliseconds */
	uint64_t min, max;
	bool seconds; /* a time that the command line takes in seconds, with a fraction */
	bool tunable; /* migrate-set changes it while the migration runs */
	const char *const *words; /* NULL at the end */
	size_t offset; /* in struct sevmirror_source_options */
};

/* The n-th option, below MIGRATE_OPTIONS_MAX; NULL at the end. */
#define MIGRATE_OPTIONS_MAX 24
const struct migrate_option *migrate_option(unsigned int n);

/*
 * The arguments of the commands `migrate` and `migrate-set`, the security's included, ending with a
 * NULL name. Made at the first call, which is before the control thread.
 */
const struct control_arg *migrate_option_args(bool tunable_only);

/* Fields of *options from the arguments of a command. 0, or -EINVAL with the range in err. */
int migrate_options_take(struct sevmirror_source_options *options, const json_t *args,
			 struct control_error *err);

/*
 * An option's text on the command line into args. path: of a MIGRATE_FILE, the caller's full one.
 * 0, or -EINVAL with what is expected.
 */
int migrate_option_parse(const struct migrate_option *option, const char *text, json_t *args,
			 struct why *why);

#endif
