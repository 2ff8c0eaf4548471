/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/guest_end.h"

int cli_guest_end(struct foreground *guest, int code, const struct why *why)
{
	static const int codes[] = {
		[FOREGROUND_POWEROFF] = CLI_OK,
		[FOREGROUND_REBOOT] = CLI_GUEST_REBOOT,
		[FOREGROUND_CRASHED] = CLI_GUEST_CRASH,
		[FOREGROUND_STOPPED] = CLI_GUEST_STOPPED,
		[FOREGROUND_MIGRATED] = CLI_GUEST_MIGRATED,
		[FOREGROUND_EMPTY] = CLI_FAILURE,
	};

	if (code == CLI_OK)
		return cli_finish(codes[foreground_finish(guest)]);
	foreground_abandon(guest);
	cli_error("%s", why->text);
	return cli_finish(code);
}
