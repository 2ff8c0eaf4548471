/* SPDX-License-Identifier: Apache-2.0 */
#include "service/migrate_options.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/net/address.h"
#include "lib/util/clock.h"
#include "lib/util/number.h"

#define ARGS_MAX 32

/* In the order of enum sevmirror_postcopy_mode. */
static const char *const postcopy_words[] = { "never", "auto", "always", NULL };

/* In the order of enum sevmirror_overtime. */
static const char *const overtime_words[] = { "cancel", "postcopy", "force", NULL };

#define FIELD(member) offsetof(struct sevmirror_source_options, member)

/* What the service does itself, not the engine. */
static const char *const priority_words[] = { "low", "normal", NULL };
#define NO_FIELD SIZE_MAX

static const struct migrate_option options[] = {
	{ .name = "to",
	  .argument = "address",
	  .kind = MIGRATE_ADDRESS,
	  .value = "ADDRESS",
	  .help = "where the target listens: HOST:PORT, [IPv6]:PORT or unix:PATH",
	  .offset = FIELD(address) },
	{ .name = "streams",
	  .argument = "streams",
	  .kind = MIGRATE_COUNT,
	  .value = "N",
	  .help = "data connections, and CPUs for sealing (default: 2)",
	  .min = 1,
	  .max = 16,
	  .offset = FIELD(streams) },
	{ .name = "max-downtime",
	  .argument = "max-downtime-ms",
	  .kind = MIGRATE_TIME,
	  .value = "MS",
	  .help = "the guest may be stopped for this many milliseconds (default: 300)",
	  .min = 1,
	  .max = 3600000,
	  .tunable = true,
	  .offset = FIELD(max_downtime) },
	{ .name = "bandwidth",
	  .argument = "bandwidth",
	  .kind = MIGRATE_SIZE,
	  .value = "RATE",
	  .help = "send at most this many bytes a second, as in 100M",
	  .min = 1,
	  .max = INT64_MAX,
	  .tunable = true,
	  .offset = FIELD(bandwidth) },
	{ .name = "throttle",
	  .argument = "throttle",
	  .kind = MIGRATE_FLAG,
	  .help = "slow the guest down if it writes memory faster than the link sends it",
	  .offset = FIELD(throttle) },
	{ .name = "zero-marks",
	  .argument = "zero-marks",
	  .kind = MIGRATE_FLAG,
	  .help = "send a mark for a private page of zeros: faster where much memory is free, but "
		  "both hosts learn which pages are zeros",
	  .offset = FIELD(zero_marks) },
	{ .name = "priority",
	  .argument = "priority",
	  .kind = MIGRATE_WORD,
	  .value = "LEVEL",
	  .complete = "low normal",
	  .help = "low or normal: with low, the threads that seal and send pages yield to the "
		  "guest where both want the same CPU (default: low)",
	  .words = priority_words,
	  .offset = NO_FIELD },
	{ .name = "max-rounds",
	  .argument = "max-rounds",
	  .kind = MIGRATE_COUNT,
	  .value = "N",
	  .help = "give up after this many rounds (default: 30)",
	  .min = 1,
	  .max = 10000,
	  .offset = FIELD(max_rounds) },
	{ .name = "max-time",
	  .argument = "max-time-ms",
	  .kind = MIGRATE_TIME,
	  .value = "SECONDS",
	  .help = "a migration whose guest has not stopped after this long ends as --on-max-time "
		  "says (default: no limit)",
	  .min = 1,
	  .max = 604800000,
	  .seconds = true,
	  .offset = FIELD(max_time) },
	{ .name = "on-max-time",
	  .argument = "on-max-time",
	  .kind = MIGRATE_WORD,
	  .value = "ACTION",
	  .complete = "cancel force postcopy",
	  .help = "cancel, postcopy or force: give up, begin post-copy (needs --postcopy), or stop "
		  "the guest for as long as the rest takes (default: cancel)",
	  .words = overtime_words,
	  .offset = FIELD(overtime) },
	{ .name = "postcopy",
	  .argument = "postcopy",
	  .kind = MIGRATE_WORD,
	  .value = "MODE",
	  .complete = "auto always never",
	  .help = "auto, always or never: start the guest on the target before all of its memory "
		  "has arrived; the other pages follow. auto: only if pre-copy does not converge "
		  "(default: never)",
	  .words = postcopy_words,
	  .offset = FIELD(postcopy) },
	{ .name = "postcopy-after",
	  .argument = "postcopy-after",
	  .kind = MIGRATE_COUNT,
	  .value = "N",
	  .help = "begin post-copy after N rounds; needs --postcopy",
	  .min = 1,
	  .max = 10000,
	  .offset = FIELD(postcopy_after) },
	{ .name = "timeout",
	  .argument = "timeout-ms",
	  .kind = MIGRATE_TIME,
	  .value = "SECONDS",
	  .help = "give up when the connection makes no progress for this long (default: 10)",
	  .min = 1,
	  .max = 86400000,
	  .seconds = true,
	  .offset = FIELD(timeout) },
	{ .name = "vendor-chain",
	  .argument = "vendor-chain",
	  .kind = MIGRATE_FILE,
	  .value = "FILE",
	  .complete = "@file",
	  .help = "ASK and ARK of the target's chip in AMD's format, instead of those that the "
		  "target sends" },
};

_Static_assert(sizeof(options) / sizeof(*options) <= MIGRATE_OPTIONS_MAX, "room for all");

const struct migrate_option *migrate_option(unsigned int n)
{
	return n < sizeof(options) / sizeof(*options) ? &options[n] : NULL;
}

static enum control_type type_of(enum migrate_kind kind)
{
	switch (kind) {
	case MIGRATE_FLAG:
		return CONTROL_BOOL;
	case MIGRATE_COUNT:
	case MIGRATE_SIZE:
	case MIGRATE_TIME:
		return CONTROL_UINT;
	default:
		return CONTROL_STRING;
	}
}

/* How the two hosts authenticate each other (cli/migrate_security.c, service/migrate_run.c). */
static const struct control_arg security_args[] = {
	{ "tls-cert", CONTROL_STRING, false, "this host's certificate, PEM; with tls-key, tls-ca" },
	{ "tls-key", CONTROL_STRING, false, "its private key" },
	{ "tls-ca", CONTROL_STRING, false, "the CA that signed the target's certificate" },
	{ "tls-peer-name", CONTROL_STRING, false, "the name in the target's certificate" },
	{ "psk-file", CONTROL_STRING, false,
	  "instead of certificates: a key that both hosts "
	  "have" },
	{ "allow-weak-policy", CONTROL_BOOL, false,
	  "send the guest even if its policy permits any receiver, or key sharing" },
	{ "insecure", CONTROL_BOOL, false,
	  "instead of certificates: neither authentication nor "
	  "encryption" },
};

const struct control_arg *migrate_option_args(bool tunable_only)
{
	static struct control_arg lists[2][ARGS_MAX];
	struct control_arg *list = lists[tunable_only];
	unsigned int i, n = 0;

	for (i = 0; migrate_option(i); i++) {
		const struct migrate_option *o = migrate_option(i);

		if (!tunable_only || o->tunable)
			list[n++] =
				(struct control_arg){ o->argument, type_of(o->kind),
						      !strcmp(o->argument, "address"), o->help };
	}
	for (i = 0; !tunable_only && i < sizeof(security_args) / sizeof(*security_args); i++)
		list[n++] = security_args[i];
	_Static_assert(sizeof(options) / sizeof(*options) +
				       sizeof(security_args) / sizeof(*security_args) <
			       ARGS_MAX,
		       "the list ends with a NULL name");
	list[n] = (struct control_arg){ 0 };
	return list;
}

static int word_of(const struct migrate_option *o, const char *text)
{
	int i = 0;

	while (o->words[i] && strcmp(o->words[i], text) != 0)
		i++;
	return o->words[i] ? i : -EINVAL;
}

/* Zero is the default of every number. */
static int take_number(const struct migrate_option *o, void *field, uint64_t value,
		       struct control_error *err)
{
	if (value && (value < o->min || value > o->max))
		return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
				    "%s: %" PRIu64 " is not from %" PRIu64 " to %" PRIu64,
				    o->argument, value, o->min, o->max);
	if (o->kind == MIGRATE_COUNT)
		*(unsigned int *)field = (unsigned int)value;
	else
		*(uint64_t *)field = o->kind == MIGRATE_TIME ? value * NS_PER_MS : value;
	return 0;
}

static int take(const struct migrate_option *o, struct sevmirror_source_options *into,
		const json_t *value, struct control_error *err)
{
	uint64_t nowhere;
	void *field = o->offset == NO_FIELD ? (void *)&nowhere : (char *)into + o->offset;
	int word;

	switch (o->kind) {
	case MIGRATE_ADDRESS:
		*(const char **)field = json_string_value(value);
		return 0;
	case MIGRATE_FLAG:
		*(bool *)field = json_is_true(value);
		return 0;
	case MIGRATE_WORD:
		word = word_of(o, json_string_value(value));
		if (word < 0)
			return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
					    "%s: invalid value '%.40s'; %s", o->argument,
					    json_string_value(value), o->help);
		if (o->offset != NO_FIELD)
			*(unsigned int *)field = (unsigned int)word;
		return 0;
	case MIGRATE_FILE:
		return 0;
	default:
		return take_number(o, field, (uint64_t)json_integer_value(value), err);
	}
}

int migrate_options_take(struct sevmirror_source_options *into, const json_t *args,
			 struct control_error *err)
{
	unsigned int i;

	_Static_assert(sizeof(enum sevmirror_postcopy_mode) == sizeof(unsigned int) &&
			       sizeof(enum sevmirror_overtime) == sizeof(unsigned int),
		       "words");
	for (i = 0; migrate_option(i); i++) {
		const json_t *value = json_object_get(args, migrate_option(i)->argument);
		int ret = value ? take(migrate_option(i), into, value, err) : 0;

		if (ret)
			return ret;
	}
	if (into->postcopy_after && into->postcopy == SEVMIRROR_POSTCOPY_NEVER)
		return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
				    "postcopy-after needs postcopy: auto or always");
	if (into->overtime == SEVMIRROR_OVERTIME_POSTCOPY &&
	    into->postcopy == SEVMIRROR_POSTCOPY_NEVER)
		return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
				    "on-max-time: postcopy needs postcopy: auto or always");
	return 0;
}

static int parse_seconds(const struct migrate_option *o, const char *text, uint64_t *ms)
{
	char *end;
	double seconds = strtod(text, &end);

	if (text[0] < '0' || text[0] > '9' || *end)
		return -EINVAL;
	if (seconds * 1000 < (double)o->min || seconds * 1000 > (double)o->max)
		return -ERANGE;
	*ms = (uint64_t)(seconds * 1000);
	return 0;
}

static int parse_number(const struct migrate_option *o, const char *text, json_t *args,
			struct why *why)
{
	uint64_t value = 0;
	int err;

	if (o->kind == MIGRATE_SIZE) {
		err = util_parse_size(text, o->min, o->max, &value);
		if (err)
			return why_set(why, -EINVAL,
				       "--%s %s: expected bytes a second from 1 to 8191P, as in "
				       "100M, 1.5G, 1GiB or 100MB",
				       o->name, text);
	} else {
		err = o->seconds ? parse_seconds(o, text, &value) :
				   util_parse_number(text, o->min, o->max, &value);
	}
	if (err && o->seconds)
		return why_set(why, -EINVAL,
			       "--%s %s: expected seconds from 0.001 to %" PRIu64 ", as in 2.5",
			       o->name, text, o->max / 1000);
	if (err)
		return why_set(why, -EINVAL,
			       "--%s %s: expected a number%s from %" PRIu64 " to %" PRIu64, o->name,
			       text, o->kind == MIGRATE_TIME ? " of milliseconds" : "", o->min,
			       o->max);
	json_object_set_new(args, o->argument, json_integer((json_int_t)value));
	return 0;
}

int migrate_option_parse(const struct migrate_option *o, const char *text, json_t *args,
			 struct why *why)
{
	char full[PATH_MAX];

	switch (o->kind) {
	case MIGRATE_FLAG:
		json_object_set_new(args, o->argument, json_true());
		return 0;
	case MIGRATE_FILE:
		/* The VM's process has another working directory. */
		if (!realpath(text, full))
			return why_errno(why, "--%s %s", o->name, text);
		json_object_set_new(args, o->argument, json_string(full));
		return 0;
	case MIGRATE_WORD:
		if (word_of(o, text) < 0)
			return why_set(why, -EINVAL, "--%s %s: expected %s%s%s or %s", o->name,
				       text, o->words[1], o->words[2] ? ", " : "",
				       o->words[2] ? o->words[2] : "", o->words[0]);
		json_object_set_new(args, o->argument, json_string(text));
		return 0;
	case MIGRATE_ADDRESS:
		if (address_check(text, false, why))
			return -EINVAL;
		json_object_set_new(args, o->argument, json_string(text));
		return 0;
	default:
		return parse_number(o, text, args, why);
	}
}
