/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a command's description looks like: as --help, as a manual page, and as tables for a shell's
 * completion.
 */
#ifndef CLI_HELP_PAGE_H
#define CLI_HELP_PAGE_H

#include "cli/cli.h"

/* --help on standard output. name is the whole command ("sevmirror owner session"). */
void page_print(const char *name, const struct cli_command *command);

/*
 * The manual page in the man(7) macros on standard output. parent is the whole name of the group
 * that it belongs to, or NULL.
 */
void man_print(const char *name, const char *parent, const struct cli_command *command);

/*
 * Three associative arrays on standard output, for data/completion.bash: of all commands from the
 * root down.
 */
void completion_print(const struct cli_command *root);

/*
 * The next line of a text: *text moves on. A line that stays as it is begins with two spaces; an
 * empty one ends a paragraph. Returns the line's length, or -1 at the end.
 */
int page_line(const char **text, const char **line);
bool page_line_stays(const char *line, int len);

#endif
