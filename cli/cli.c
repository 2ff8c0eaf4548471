/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int find_and_run(const struct cli_command *table, int argc, char **argv)
{
	char name[128];

	for (const struct cli_command *c = table; c->name; c++) {
		if (strcmp(argv[1], c->name) != 0)
			continue;
		snprintf(name, sizeof(name), "%s %s", argv[0], argv[1]);
		argv[1] = name;
		optind = 0; /* glibc: start anew, this is another vector */
		return c->run(argc - 1, argv + 1);
	}
	return cli_usage(argv[0], "no command '%s'", argv[1]);
}

static void print_help(const struct cli_command *table, const char *help)
{
	fputs(help, stdout);
	puts("\nCommands:");
	for (const struct cli_command *c = table; c->name; c++)
		printf("  %-16s %s\n", c->name, c->summary);
}

int cli_dispatch(const struct cli_command *table, const char *help, int argc, char **argv)
{
	if (argc < 2)
		return cli_usage(argv[0], "which command?");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		print_help(table, help);
		return cli_finish(CLI_OK);
	}
	return find_and_run(table, argc, argv);
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

int cli_getopt(int argc, char **argv, const struct option *options, const char *help)
{
	int c;

	opterr = 0;
	c = getopt_long(argc, argv, ":h", options, NULL);
	switch (c) {
	case 'h':
		fputs(help, stdout);
		return cli_finish(CLI_OK) == CLI_OK ? CLI_OPT_HELP : CLI_OPT_BAD;
	case ':':
		cli_usage(argv[0], "%s needs a value", argv[optind - 1]);
		return CLI_OPT_BAD;
	case '?':
		cli_usage(argv[0], "no option '%s' here", argv[optind - 1]);
		return CLI_OPT_BAD;
	default:
		return c;
	}
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
