/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal as a guest's console: raw while the guest runs, as it was afterwards. Ctrl-] leaves.
 * When stdin is no terminal, it goes to the guest as it is.
 */
#ifndef SERVICE_CONSOLE_H
#define SERVICE_CONSOLE_H

#include <stdbool.h>

#include "lib/util/why.h"
#include "vmm/machine/machine.h"

struct console;

/* Which of the guest's consoles the terminal is, and what becomes of the serial port otherwise. */
struct console_choice {
	bool virtio;
	const char *serial_log; /* NULL: what it says is not kept */
};

/*
 * Open the serial log and make the terminal raw if stdin is one. 0 or a negative errno.
 * console_close() restores it; NULL is allowed.
 */
int console_open(struct console **console, const struct console_choice *choice, struct why *why);
void console_close(struct console *console);

/* The descriptors for the guest's two consoles. */
void console_connect(const struct console *console, struct machine_console *serial,
		     struct machine_console *hvc);

/*
 * To be polled for input, -1 when there is nothing to do. console_input() then passes on what was
 * typed; false: the user wants to leave.
 */
int console_poll_fd(const struct console *console);
bool console_input(struct console *console);

#endif
