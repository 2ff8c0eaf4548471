/* SPDX-License-Identifier: Apache-2.0 */
/* What the command lines of `migrate` and `receive` have in common. */
#ifndef CLI_MIGRATE_OPTIONS_H
#define CLI_MIGRATE_OPTIONS_H

#include <sevmirror/migrate.h>

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

/* clang-format off */
#define MIGRATE_SECURITY_OPTIONS                                                                   \
	{ "tls-cert", required_argument, NULL, MIGRATE_OPT_CERT },                                 \
	{ "tls-key", required_argument, NULL, MIGRATE_OPT_KEY },                                   \
	{ "tls-ca", required_argument, NULL, MIGRATE_OPT_CA },                                     \
	{ "tls-peer-name", required_argument, NULL, MIGRATE_OPT_PEER },                            \
	{ "psk-file", required_argument, NULL, MIGRATE_OPT_PSK },                                  \
	{ "insecure", no_argument, NULL, MIGRATE_OPT_INSECURE }

#define MIGRATE_SECURITY_HELP                                                                      \
	"\n"                                                                                       \
	"SECURITY, how the two hosts know each other, is one of\n"                                  \
	"  --tls-cert FILE --tls-key FILE --tls-ca FILE   certificates (PEM) on both sides; with\n"  \
	"  --tls-peer-name NAME                           the name that the peer's must bear\n"      \
	"  --psk-file FILE   a key that both have: 32 to 64 bytes in hexadecimal, mode 0600\n"       \
	"  --insecure        neither: for tests\n"                                                  \
	"\n"
/* clang-format on */

/* 0, or -EINVAL: not one of the ids above. arg is borrowed. */
int migrate_security_take(struct sevmirror_security *security, int id, const char *arg);

/* Exactly one way, in full. 0 or -EINVAL. */
int migrate_security_check(const struct sevmirror_security *security, struct why *why);

/* "2.5": 0 or -EINVAL; what is the option's name. */
int migrate_parse_seconds(const char *what, const char *text, uint64_t *nanoseconds,
			  struct why *why);

#endif
