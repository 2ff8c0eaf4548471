/* SPDX-License-Identifier: Apache-2.0 */
/* A command's manual page, in the man(7) macros. */
#include "cli/help_page.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/version.h"

/*
 * One word or blank: what roff would read as its own is escaped; a minus stays one that can be
 * copied.
 */
static void put_escaped(const char *text, int len)
{
	for (int i = 0; i < len; i++) {
		switch (text[i]) {
		case '\\':
			fputs("\\e", stdout);
			break;
		case '-':
			fputs("\\-", stdout);
			break;
		case '\'':
			fputs("\\(aq", stdout);
			break;
		case '`':
			fputs("\\(ga", stdout);
			break;
		case '^':
			fputs("\\(ha", stdout);
			break;
		case '~':
			fputs("\\(ti", stdout);
			break;
		default:
			putchar(text[i]);
		}
	}
}

/* A name that stands for a value: FILE, NAME2, but not a single letter of prose. */
static bool is_placeholder(const char *word, int len)
{
	for (int i = 0; i < len; i++) {
		if (!isupper((unsigned char)word[i]) && !isdigit((unsigned char)word[i]))
			return false;
	}
	return len > 0 && isupper((unsigned char)*word);
}

/* Of a synopsis: options bold, placeholders in italics, brackets and dots as they are. */
static void put_synopsis(const char *text)
{
	while (*text) {
		int len = (int)strspn(
			text, "-_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
		const char *font = is_placeholder(text, len) ? "\\fI" : "\\fB";

		if (!len) {
			put_escaped(text++, 1);
			continue;
		}
		fputs(font, stdout);
		put_escaped(text, len);
		fputs("\\fR", stdout);
		text += len;
	}
}

/*
 * Prose on one line of input; options in it are bold. A line must not begin with a control
 * character.
 */
static void put_prose(const char *text, int len)
{
	const char *end = text + len;

	if (len && (*text == '.' || *text == '\''))
		fputs("\\&", stdout);
	while (text < end) {
		bool option = end - text > 2 && !strncmp(text, "--", 2) &&
			      islower((unsigned char)text[2]);
		int word = option ? 2 + (int)strspn(text + 2, "-abcdefghijklmnopqrstuvwxyz") : 1;

		fputs(option ? "\\fB" : "", stdout);
		put_escaped(text, word);
		fputs(option ? "\\fR" : "", stdout);
		text += word;
	}
	putchar('\n');
}

static void put_text(const char *text)
{
	bool first = true, stays = false, paragraph = false;
	const char *line;
	int len;

	while ((len = page_line(&text, &line)) >= 0) {
		bool now = page_line_stays(line, len);

		if (now && !stays)
			puts(first ? ".nf" : ".PP\n.nf");
		if (!now && stays)
			puts(".fi");
		if (len && !now && (paragraph || stays))
			puts(".PP");
		if (len)
			put_prose(line, len);
		first = false;
		stays = now;
		paragraph = !len;
	}
	if (stays)
		puts(".fi");
}

/* "owner session" is the page owner-session. */
static void put_page_name(const char *name, bool upper)
{
	for (; *name; name++) {
		char c = *name == ' ' ? '-' : *name;

		if (upper)
			c = (char)toupper((unsigned char)c);
		put_escaped(&c, 1);
	}
}

static void put_option(const struct cli_option *o)
{
	printf(".TP\n\\fB\\-\\-");
	put_escaped(o->name, (int)strlen(o->name));
	fputs("\\fR", stdout);
	if (o->value) {
		putchar(' ');
		put_synopsis(o->value);
	}
	putchar('\n');
	put_prose(o->help, (int)strlen(o->help));
}

static void put_options(const struct cli_command *command)
{
	static const struct cli_option help = { .name = "help",
						.help = "print a shorter form of this text" };

	puts(".SH OPTIONS");
	for (const struct cli_option_group *g = command->groups; g->options; g++) {
		if (g->title) {
			puts(".PP");
			put_text(g->title);
		}
		for (const struct cli_option *o = g->options; o->name; o++)
			put_option(o);
		if (g == command->groups)
			put_option(&help);
	}
	if (!command->groups[0].options)
		put_option(&help);
}

static void put_reference(const char *name, const char *after)
{
	fputs(".BR ", stdout);
	put_page_name(name, false);
	printf(" (1)%s\n", after);
}

static void put_commands(const char *name, const struct cli_command *command)
{
	puts(".SH COMMANDS");
	for (const struct cli_command *const *c = command->commands; *c; c++) {
		char whole[128];

		snprintf(whole, sizeof(whole), "%s %s", name, (*c)->name);
		puts(".TP");
		put_reference(whole, "");
		put_prose((*c)->summary, (int)strlen((*c)->summary));
	}
}

static void put_statuses(const struct cli_command *command)
{
	puts(".SH EXIT STATUS");
	for (const struct cli_status_text *s = command->statuses; s->meaning; s++) {
		printf(".TP\n%d\n", s->code);
		put_prose(s->meaning, (int)strlen(s->meaning));
	}
}

static void put_synopses(const char *name, const struct cli_command *command)
{
	puts(".SH SYNOPSIS");
	for (size_t i = 0; i < sizeof(command->synopsis) / sizeof(*command->synopsis); i++) {
		if (!command->synopsis[i])
			break;
		if (i)
			puts(".br");
		put_synopsis(name);
		putchar(' ');
		put_synopsis(command->synopsis[i]);
		putchar('\n');
	}
}

void man_print(const char *name, const char *parent, const struct cli_command *command)
{
	puts(".\\\" Made from the tables of the command: sevmirror help --man");
	fputs(".TH ", stdout);
	put_page_name(name, true);
	puts(" 1 " SEVMIRROR_DATE " \"sevmirror " SEVMIRROR_VERSION "\" \"User Commands\"");
	puts(".SH NAME");
	put_page_name(name, false);
	fputs(" \\- ", stdout);
	put_prose(command->summary, (int)strlen(command->summary));
	put_synopses(name, command);
	puts(".SH DESCRIPTION");
	put_text(command->about);
	put_options(command);
	if (command->commands)
		put_commands(name, command);
	if (command->statuses)
		put_statuses(command);
	for (const struct cli_section *s = command->sections; s && s->title; s++) {
		printf(".SH %s\n", s->title);
		put_text(s->text);
	}
	if (!parent)
		return;
	puts(".SH SEE ALSO");
	put_reference(parent, "");
}
