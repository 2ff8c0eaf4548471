/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables that data/completion.bash works with. Keys are commands without the first word ("owner
 * session"; the root is ":", since bash has no empty keys).
 */
#include "cli/help_page.h"

#include <stdio.h>
#include <string.h>

typedef void (*visit_fn)(const char *key, const struct cli_command *command);

static void visit(const char *key, const struct cli_command *command, visit_fn fn)
{
	fn(*key ? key : ":", command);
	for (const struct cli_command *const *c = command->commands; c && *c; c++) {
		char below[128];

		snprintf(below, sizeof(below), "%s%s%s", key, *key ? " " : "", (*c)->name);
		visit(below, *c, fn);
	}
}

/* What can be in an operand's place: a command's commands, or its operands. */
static void put_words(const char *key, const struct cli_command *command)
{
	printf("\t[\"%s\"]=\"", key);
	for (const struct cli_command *const *c = command->commands; c && *c; c++)
		printf("%s%s", c == command->commands ? "" : " ", (*c)->name);
	printf("%s\"\n", command->operands ? command->operands : "");
}

static void put_options(const char *key, const struct cli_command *command)
{
	printf("\t[\"%s\"]=\"", key);
	for (const struct cli_option_group *g = command->groups; g->options; g++) {
		for (const struct cli_option *o = g->options; o->name; o++)
			printf("--%s ", o->name);
	}
	puts("--help\"");
}

static void put_values(const char *key, const struct cli_command *command)
{
	for (const struct cli_option_group *g = command->groups; g->options; g++) {
		for (const struct cli_option *o = g->options; o->name; o++) {
			if (o->value)
				printf("\t[\"%s --%s\"]=\"%s\"\n", key, o->name,
				       o->complete ? o->complete : "");
		}
	}
}

void completion_print(const struct cli_command *root)
{
	puts("# bash completion for sevmirror                             -*- shell-script -*-\n");
	puts("declare -gA _sevmirror_words=(");
	visit("", root, put_words);
	puts(")\ndeclare -gA _sevmirror_options=(");
	visit("", root, put_options);
	puts(")\ndeclare -gA _sevmirror_values=(");
	visit("", root, put_values);
	puts(")");
}
