/* SPDX-License-Identifier: Apache-2.0 */
/* --help. */
#include "cli/help_page.h"

#include <stdio.h>
#include <string.h>

#define WIDTH	   90
#define COLUMN_MAX 24 /* where the options' explanations begin at most */

int page_line(const char **text, const char **line)
{
	const char *end;

	if (!**text)
		return -1;
	end = strchrnul(*text, '\n');
	*line = *text;
	*text = *end ? end + 1 : end;
	return (int)(end - *line);
}

bool page_line_stays(const char *line, int len)
{
	return len > 2 && line[0] == ' ' && line[1] == ' ';
}

/*
 * Words between blanks, from column at on; lines that follow begin at indent. Returns the column
 * after the last word.
 */
static int fill(const char *text, int len, int at, int indent)
{
	const char *end = text + len;

	while (text < end) {
		int word;

		text += strspn(text, " ");
		if (text >= end)
			break;
		word = (int)strcspn(text, " \n");
		if (word > end - text)
			word = (int)(end - text);
		if (at > indent && at + 1 + word > WIDTH) {
			printf("\n%*s", indent, "");
			at = indent;
		} else if (at > indent) {
			putchar(' ');
			at++;
		}
		printf("%.*s", word, text);
		at += word;
		text += word;
	}
	return at;
}

static void print_text(const char *text)
{
	const char *line;
	int len, at = 0;

	while ((len = page_line(&text, &line)) >= 0) {
		if (len && !page_line_stays(line, len)) {
			at = fill(line, len, at, 0);
			continue;
		}
		if (at)
			putchar('\n');
		at = 0;
		printf("%.*s\n", len, line);
	}
	if (at)
		putchar('\n');
}

static void print_synopsis(const char *name, const struct cli_command *command)
{
	for (size_t i = 0; i < sizeof(command->synopsis) / sizeof(*command->synopsis); i++) {
		const char *synopsis = command->synopsis[i];
		int indent;

		if (!synopsis)
			break;
		indent = printf("%s %s", i ? "      " : "usage:", name);
		if (*synopsis) {
			putchar(' ');
			fill(synopsis, (int)strlen(synopsis), indent + 1, indent + 1);
		}
		putchar('\n');
	}
}

static int option_width(const struct cli_option *o)
{
	return (int)(2 + strlen(o->name) + (o->value ? 1 + strlen(o->value) : 0));
}

static int column_of(const struct cli_command *command)
{
	int column = 0;

	for (const struct cli_option_group *g = command->groups; g->options; g++) {
		for (const struct cli_option *o = g->options; o->name; o++) {
			int wanted = 2 + option_width(o) + 2;

			if (wanted <= COLUMN_MAX && wanted > column)
				column = wanted;
		}
	}
	return column ? column : 12;
}

static void print_option(const struct cli_option *o, int column)
{
	int at = printf("  --%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");

	if (at + 2 > column)
		printf("\n%*s", column, "");
	else
		printf("%*s", column - at, "");
	fill(o->help, (int)strlen(o->help), column, column);
	putchar('\n');
}

static void print_options(const struct cli_command *command)
{
	static const struct cli_option help = { .name = "help", .help = "this text" };
	int column = column_of(command);

	for (const struct cli_option_group *g = command->groups; g->options; g++) {
		putchar('\n');
		if (g->title) {
			print_text(g->title);
			puts("");
		}
		for (const struct cli_option *o = g->options; o->name; o++)
			print_option(o, column);
		if (g == command->groups)
			print_option(&help, column);
	}
	if (!command->groups[0].options) {
		putchar('\n');
		print_option(&help, column);
	}
}

static void print_commands(const struct cli_command *command)
{
	puts("\nCommands:");
	for (const struct cli_command *const *c = command->commands; *c; c++)
		printf("  %-16s %s\n", (*c)->name, (*c)->summary);
}

static void print_statuses(const struct cli_command *command)
{
	puts("\nExit status:");
	for (const struct cli_status_text *s = command->statuses; s->meaning; s++) {
		printf("  %d  ", s->code);
		fill(s->meaning, (int)strlen(s->meaning), 5, 5);
		putchar('\n');
	}
}

void page_print(const char *name, const struct cli_command *command)
{
	print_synopsis(name, command);
	putchar('\n');
	print_text(command->about);
	print_options(command);
	if (command->commands)
		print_commands(command);
	if (command->statuses)
		print_statuses(command);
}
