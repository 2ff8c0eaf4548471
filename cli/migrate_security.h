/* SPDX-License-Identifier: Apache-2.0 */
/* What the command lines of `migrate` and `receive` have in common. */
#ifndef CLI_MIGRATE_SECURITY_H
#define CLI_MIGRATE_SECURITY_H

#include <sevmirror/migrate.h>

#include "cli/cli.h"
#include "lib/util/why.h"

enum {
	MIGRATE_OPT_CERT = 256,
	MIGRATE_OPT_KEY,
	MIGRATE_OPT_CA,
	MIGRATE_OPT_PEER,
	MIGRATE_OPT_PSK,
	MIGRATE_OPT_INSECURE,
	MIGRATE_OPT_FIRST, /* the command's own begin here */
};

/* The group of options by which the two hosts know each other. */
#define MIGRATE_SECURITY_TITLE \
	"SECURITY is how the two hosts authenticate each other: certificates, a key, or nothing."
extern const struct cli_option migrate_security_options[];

/* 0, or -EINVAL: not one of the ids above. arg is borrowed. */
int migrate_security_take(struct sevmirror_security *security, int id, const char *arg);

/* Exactly one way, in full. 0 or -EINVAL. */
int migrate_security_check(const struct sevmirror_security *security, struct why *why);

#endif
