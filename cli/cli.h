/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the subcommands of `sevmirror` have in common: exit codes, dispatch, options, and how errors and JSON are printed. Each
 * subcommand is a file with one function of the type cli_run_fn, listed in main.c.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

/* Exit codes, a promise to scripts: `sevmirror --help` lists them. */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILURE = 1, /* what was asked did not work */
	CLI_USAGE = 2, /* wrong or missing arguments */
	CLI_REFUSED = 3, /* certificates, measurement or policy do not hold */
	CLI_UNSUPPORTED = 4, /* this host lacks what is needed: KVM, SEV, a limit, a permission */
	CLI_GUEST_REBOOT = 5, /* an SEV guest asked for a reboot, which ends it */
	CLI_GUEST_CRASH =
		6, /* the guest stopped by a fault of its own (triple fault, KVM internal error) */
	CLI_GUEST_STOPPED = 7, /* from outside: a signal, Ctrl-] or `sevmirror stop` */
	CLI_GUEST_MIGRATED = 8, /* it runs at another host now */
	CLI_UNDECIDED =
		9, /* a migration broke off in its hand-over: nobody knows where the guest is */
};

/* argv[0] is the whole command ("sevmirror owner session"), the arguments follow. Returns enum cli_exit. */
typedef int (*cli_run_fn)(int argc, char **argv);

struct cli_command {
	const char *name;
	const char *summary; /* for the list of commands */
	cli_run_fn run;
};

/*
 * Run the command of the table (ends with a NULL name) that argv[1] names. help is printed, with the list of commands,
 * for --help and for "help"; it is a usage error to name none.
 */
int cli_dispatch(const struct cli_command *table, const char *help, int argc, char **argv);

/* "sevmirror: MESSAGE" on standard error. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cli_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same with a pointer to the command's --help. Returns CLI_USAGE. */
int cli_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * getopt_long() for long options with values in argv; short ones only -h. Returns the option's val, -1 at the end;
 * CLI_OPT_BAD after it has said what is wrong (return CLI_USAGE), CLI_OPT_HELP after it has printed help (return
 * CLI_OK).
 */
#define CLI_OPT_BAD  '?'
#define CLI_OPT_HELP 'h'
int cli_getopt(int argc, char **argv, const struct option *options, const char *help);

/* Print value, indented, with a newline, and release it. CLI_OK, or CLI_FAILURE (out of memory, or standard output is broken). */
int cli_print_json(json_t *value);

/*
 * Flush standard output: code, or CLI_FAILURE when it cannot be written (a full disk, a closed pipe). The last thing a
 * command does.
 */
int cli_finish(int code);

int cli_run(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_pause(int argc, char **argv);
int cli_resume(int argc, char **argv);
int cli_stop(int argc, char **argv);
int cli_measurement(int argc, char **argv);
int cli_inject_secret(int argc, char **argv);
int cli_migrate(int argc, char **argv);
int cli_receive(int argc, char **argv);
int cli_owner(int argc, char **argv);
int cli_platform(int argc, char **argv);
int cli_doctor(int argc, char **argv);

#endif
