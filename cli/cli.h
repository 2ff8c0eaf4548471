/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the subcommands of `sevmirror` have in common: exit codes, dispatch, options, and how errors
 * and JSON are printed. Each subcommand is a file with one struct cli_command, listed in main.c.
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
	/* the guest stopped by a fault of its own (triple fault, KVM internal error) */
	CLI_GUEST_CRASH = 6,
	CLI_GUEST_STOPPED = 7, /* from outside: a signal, Ctrl-] or `sevmirror stop` */
	CLI_GUEST_MIGRATED = 8, /* it runs at another host now */
	/* a migration broke off in its hand-over: nobody knows where the guest is */
	CLI_UNDECIDED = 9,
	/* post-copy broke off: the guest runs at the other host and lacks pages that are here */
	CLI_BROKEN = 10,
	/* migrate: the guest came to its end meanwhile, so neither host runs it */
	CLI_GUEST_ENDED = 11,
	/* migrate: it ended as printed, but the file of --report could not be written */
	CLI_REPORT = 12,
};

/*
 * argv[0] is the whole command ("sevmirror owner session"), the arguments follow. Returns enum
 * cli_exit.
 */
typedef int (*cli_run_fn)(int argc, char **argv);

/* Long options only; --help, which every command has, is not listed. */
struct cli_option {
	const char *name; /* "kernel"; NULL ends a list */
	int id; /* what cli_getopt() returns */
	const char *value; /* "FILE"; NULL: it takes none */
	/*
	 * What a shell may offer for the value: words, and of @file, @folder, @vm (names of running
	 * VMs), @interface (of the network); NULL: nothing.
	 */
	const char *complete;
	const char *help;
};

struct cli_option_group {
	const char *title; /* NULL: none */
	const struct cli_option *options; /* NULL ends the groups */
};

struct cli_status_text {
	enum cli_exit code;
	const char *meaning; /* NULL ends a list */
};

struct cli_section {
	const char *title; /* NULL ends a list */
	const char *text;
};

/*
 * All that is known of a command: dispatch, getopt, --help, the manual page and shell completion
 * read it. Texts have paragraphs with an empty line between; they are filled to the width at hand,
 * but lines that begin with two spaces stay as they are.
 */
struct cli_command {
	const char *name;
	const char *summary; /* one line, for lists of commands */
	const char *synopsis[3]; /* what follows the name, one for each way to use it */
	const char *about;
	struct cli_option_group groups[5];
	const char *operands; /* as cli_option's complete */
	const struct cli_status_text *statuses;
	const struct cli_section *sections; /* more, for the manual page only */
	const struct cli_command *const
		*commands; /* a group of commands (ends with NULL): no run */
	cli_run_fn run;
};

/*
 * Run the command of the group that argv[1] names, or print the group's help for --help and for
 * "help".
 */
int cli_dispatch(const struct cli_command *group, int argc, char **argv);

/* "sevmirror: MESSAGE" on standard error. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cli_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same with a pointer to the command's --help. Returns CLI_USAGE. */
int cli_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * getopt_long() with the command's options and values in argv; short ones only -h. Returns the
 * option's id, -1 at the end; CLI_OPT_BAD after it has said what is wrong (return CLI_USAGE),
 * CLI_OPT_HELP after it has printed help (return CLI_OK).
 */
#define CLI_OPT_BAD  '?'
#define CLI_OPT_HELP 'h'
int cli_getopt(const struct cli_command *command, int argc, char **argv);

/*
 * After the options, of a command without operands. CLI_OK, or CLI_USAGE after it has said which
 * argument is one too many.
 */
int cli_no_operands(int argc, char **argv);

/*
 * Print value, indented, with a newline, and release it. CLI_OK, or CLI_FAILURE (out of memory, or
 * standard output is broken).
 */
int cli_print_json(json_t *value);

/*
 * Flush standard output: code, or CLI_FAILURE when it cannot be written (a full disk, a closed
 * pipe). The last thing a command does.
 */
int cli_finish(int code);

/* main.c: the command itself; then one of its commands a file. */
extern const struct cli_command cli_sevmirror;
extern const struct cli_command cli_run;
extern const struct cli_command cli_status;
extern const struct cli_command cli_pause;
extern const struct cli_command cli_resume;
extern const struct cli_command cli_stop;
extern const struct cli_command cli_measurement;
extern const struct cli_command cli_inject_secret;
extern const struct cli_command cli_migrate;
void migrate_command_prepare(void); /* fills its list of options: before all else */
extern const struct cli_command cli_receive;
extern const struct cli_command cli_mirror;
extern const struct cli_command cli_owner;
extern const struct cli_command cli_platform;
extern const struct cli_command cli_doctor;
extern const struct cli_command cli_exporter;
extern const struct cli_command cli_help;

#define CLI_WEAK_POLICY_HELP                                                                \
	"take a policy that permits sending the guest without SEV, or one for SEV-ES that " \
	"permits key sharing"

/*
 * SIGINT, SIGTERM and SIGHUP end nothing any more: *fd is readable when one has come (signalfd). 0,
 * or a negative errno.
 */
int cli_take_signals(int *fd);

#endif
