/* SPDX-License-Identifier: Apache-2.0 */
#include "service/console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define LEAVE_KEY 0x1d /* Ctrl-], as telnet and virsh have it */

struct console {
	bool raw;
	bool virtio;
	int serial_log; /* -1: none */
	struct termios before;
	int guest_in[2]; /* pipe: what was typed, without the key that leaves */
};

static int open_serial_log(struct console *console, const char *path, struct why *why)
{
	console->serial_log =
		open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
	if (console->serial_log < 0)
		return why_errno(why, "cannot open the serial log %s", path);
	return 0;
}

int console_open(struct console **consolep, const struct console_choice *choice, struct why *why)
{
	struct console *console = calloc(1, sizeof(*console));
	struct termios raw;
	int err;

	if (!console)
		return why_set(why, -ENOMEM, "out of memory for the console");
	console->guest_in[0] = console->guest_in[1] = -1;
	console->virtio = choice->virtio;
	console->serial_log = -1;
	*consolep = console;
	if (choice->serial_log && (err = open_serial_log(console, choice->serial_log, why)))
		return err;
	if (!isatty(STDIN_FILENO))
		return 0;
	/* A pipe that is full loses keys rather than blocking the loop that also hears signals. */
	if (pipe2(console->guest_in, O_CLOEXEC) < 0 ||
	    fcntl(console->guest_in[1], F_SETFL, O_NONBLOCK) < 0 ||
	    tcgetattr(STDIN_FILENO, &console->before) < 0)
		return why_errno(why, "cannot use the terminal");
	raw = console->before;
	cfmakeraw(&raw);
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) < 0)
		return why_errno(why, "the terminal cannot be made raw");
	console->raw = true;
	fprintf(stderr, "Ctrl-] ends the guest and leaves.\r\n");
	return 0;
}

void console_close(struct console *console)
{
	if (!console)
		return;
	if (console->raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &console->before);
	if (console->guest_in[0] >= 0)
		close(console->guest_in[0]);
	if (console->guest_in[1] >= 0)
		close(console->guest_in[1]);
	if (console->serial_log >= 0)
		close(console->serial_log);
	free(console);
}

void console_connect(const struct console *console, struct machine_console *serial,
		     struct machine_console *hvc)
{
	const struct machine_console terminal = {
		.in = console->raw ? console->guest_in[0] : STDIN_FILENO,
		.out = STDOUT_FILENO,
	};

	*serial = console->virtio ? (struct machine_console){ -1, console->serial_log } : terminal;
	*hvc = console->virtio ? terminal : (struct machine_console){ -1, -1 };
}

int console_poll_fd(const struct console *console)
{
	return console->raw ? STDIN_FILENO : -1;
}

bool console_input(struct console *console)
{
	char typed[256];
	ssize_t n = read(STDIN_FILENO, typed, sizeof(typed));
	const char *leave;

	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	if (!n)
		return false;
	leave = memchr(typed, LEAVE_KEY, (size_t)n);
	if (leave)
		n = leave - typed;
	if (n && write(console->guest_in[1], typed, (size_t)n) < 0 && errno != EAGAIN)
		return false;
	return !leave;
}
