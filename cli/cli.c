/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include "cli/help_page.h"

#define OPTIONS_MAX 48 /* of one command */

static int find_and_run(const struct cli_command *group, int argc, char **argv)
{
	char name[128];

	for (const struct cli_command *const *c = group->commands; *c; c++) {
		if (strcmp(argv[1], (*c)->name) != 0)
			continue;
		snprintf(name, sizeof(name), "%s %s", argv[0], argv[1]);
		argv[1] = name;
		optind = 0; /* glibc: start from the beginning, this is another vector */
		if ((*c)->commands)
			return cli_dispatch(*c, argc - 1, argv + 1);
		return (*c)->run(argc - 1, argv + 1);
	}
	return cli_usage(argv[0], "unknown command '%s'", argv[1]);
}

int cli_dispatch(const struct cli_command *group, int argc, char **argv)
{
	if (argc < 2)
		return cli_usage(argv[0], "a command is needed");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
	    (!strcmp(argv[1], "help") && group != &cli_sevmirror)) {
		page_print(argv[0], group);
		return cli_finish(CLI_OK);
	}
	return find_and_run(group, argc, argv);
}

static void vsay(const char *before, const char *format, va_list args)
{
	fflush(stdout);
	fprintf(stderr, "sevmirror: %s", before);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

void cli_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsay("", format, args);
	va_end(args);
}

void cli_warning(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsay("warning: ", format, args);
	va_end(args);
}

int cli_usage(const char *command, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsay("", format, args);
	va_end(args);
	fprintf(stderr, "Try '%s --help'.\n", command);
	return CLI_USAGE;
}

/* As getopt_long() wants them. */
static void list_options(const struct cli_command *command, struct option list[OPTIONS_MAX + 2])
{
	size_t n = 0;

	for (const struct cli_option_group *g = command->groups; g->options; g++) {
		for (const struct cli_option *o = g->options; o->name; o++) {
			if (n == OPTIONS_MAX)
				abort(); /* a table in this program is too long */
			list[n++] = (struct option){
				.name = o->name,
				.has_arg = o->value ? required_argument : no_argument,
				.val = o->id,
			};
		}
	}
	list[n++] = (struct option){ .name = "help", .val = CLI_OPT_HELP };
	list[n] = (struct option){ 0 };
}

int cli_getopt(const struct cli_command *command, int argc, char **argv)
{
	struct option list[OPTIONS_MAX + 2];
	int c;

	list_options(command, list);
	opterr = 0;
	c = getopt_long(argc, argv, ":h", list, NULL);
	switch (c) {
	case 'h':
		page_print(argv[0], command);
		return cli_finish(CLI_OK) == CLI_OK ? CLI_OPT_HELP : CLI_OPT_BAD;
	case ':':
		cli_usage(argv[0], "%s needs a value", argv[optind - 1]);
		return CLI_OPT_BAD;
	case '?':
		cli_usage(argv[0], "unknown option '%s'", argv[optind - 1]);
		return CLI_OPT_BAD;
	default:
		return c;
	}
}

int cli_no_operands(int argc, char **argv)
{
	return optind < argc ? cli_usage(argv[0], "unexpected argument '%s'", argv[optind]) :
			       CLI_OK;
}

int cli_print_json(json_t *value)
{
	int err;

	if (!value) {
		cli_error("out of memory");
		return CLI_FAILURE;
	}
	err = json_dumpf(value, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(value);
	return cli_finish(err ? CLI_FAILURE : CLI_OK);
}

int cli_finish(int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	cli_error("standard output cannot be written");
	return CLI_FAILURE;
}

int cli_take_signals(int *fd)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	*fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return *fd < 0 ? -errno : 0;
}
