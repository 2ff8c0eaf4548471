/* SPDX-License-Identifier: Apache-2.0 */
/* `sevmirror help`: a command's description, for people, for man and for a shell. */
#include <stdio.h>
#include <string.h>

#include "cli/help_page.h"

static const struct cli_option options[] = {
	{ "man", 'm', NULL, NULL, "print the manual page instead, in roff" },
	{ "bash", 'b', NULL, NULL,
	  "print the tables for bash completion instead, of all "
	  "commands" },
	{ 0 },
};

/*
 * The command that the words name, from the root down; name becomes the whole one, parent that of
 * its group. NULL: there is none for *words.
 */
static const struct cli_command *find(char *const **words, int nwords, char name[128],
				      char parent[128])
{
	const struct cli_command *command = &cli_sevmirror;

	snprintf(name, 128, "%s", command->name);
	*parent = '\0';
	for (; nwords; nwords--, ++*words) {
		const struct cli_command *const *c = command->commands;
		size_t len = strlen(name);

		while (c && *c && strcmp((*c)->name, **words) != 0)
			c++;
		if (!c || !*c)
			return NULL;
		command = *c;
		memcpy(parent, name, len + 1);
		snprintf(name + len, 128 - len, " %s", command->name);
	}
	return command;
}

static int run(int argc, char **argv)
{
	const struct cli_command *command;
	char name[128], parent[128];
	bool man = false, bash = false;
	char *const *words;
	int c;

	while ((c = cli_getopt(&cli_help, argc, argv)) != -1) {
		if (c != 'm' && c != 'b')
			return c == CLI_OPT_HELP ? CLI_OK : CLI_USAGE;
		man |= c == 'm';
		bash |= c == 'b';
	}
	words = argv + optind;
	command = find(&words, argc - optind, name, parent);
	if (!command)
		return cli_usage(argv[0], "unknown command '%s'", *words);
	if (bash)
		completion_print(&cli_sevmirror);
	else if (man)
		man_print(name, *parent ? parent : NULL, command);
	else
		page_print(name, command);
	return cli_finish(CLI_OK);
}

const struct cli_command cli_help = {
	.name = "help",
	.summary = "explain a command, as its --help does",
	.synopsis = { "[COMMAND...] [--man]", "--bash" },
	.about = "Explains a command. Without a name, lists the commands.",
	.groups = { { NULL, options } },
	.run = run,
};
