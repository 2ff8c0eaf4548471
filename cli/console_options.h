/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which of the guest's consoles the terminal is, as the command lines of `run` and `receive` have
 * it.
 */
#ifndef CLI_CONSOLE_OPTIONS_H
#define CLI_CONSOLE_OPTIONS_H

#include "cli/cli.h"
#include "service/console.h"

enum {
	CONSOLE_OPT_DEVICE = 0x1200,
	CONSOLE_OPT_SERIAL_LOG,
};

#define CONSOLE_TITLE "The guest's consoles:"
extern const struct cli_option console_options[];

/* An option of the list above: 0 or -EINVAL with the sentence. arg is borrowed. */
int console_take(struct console_choice *choice, int id, const char *arg, struct why *why);

/* 0 or -EINVAL with the sentence: options that contradict each other. */
int console_check(const struct console_choice *choice, struct why *why);

#endif
