/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/console_options.h"

#include <errno.h>
#include <string.h>

const struct cli_option console_options[] = {
	{ "console", CONSOLE_OPT_DEVICE, "DEVICE", "serial virtio",
	  "connect this terminal to the guest's serial port (serial; ttyS0 in Linux) or to its "
	  "virtio console (virtio; hvc0, faster); the guest has both (default: serial)" },
	{ "serial-log", CONSOLE_OPT_SERIAL_LOG, "FILE", "@file",
	  "with --console virtio: append the output of the serial port to FILE" },
	{ 0 },
};

int console_take(struct console_choice *choice, int id, const char *arg, struct why *why)
{
	if (id == CONSOLE_OPT_SERIAL_LOG) {
		choice->serial_log = arg;
		return 0;
	}
	choice->virtio = !strcmp(arg, "virtio");
	if (!choice->virtio && strcmp(arg, "serial") != 0)
		return why_set(why, -EINVAL,
			       "--console: invalid value '%s' (expected serial or "
			       "virtio)",
			       arg);
	return 0;
}

int console_check(const struct console_choice *choice, struct why *why)
{
	if (choice->serial_log && !choice->virtio)
		return why_set(
			why, -EINVAL,
			"--serial-log needs --console virtio: otherwise this terminal is the "
			"serial port");
	return 0;
}
