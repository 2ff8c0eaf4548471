/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/mirror.h"

static const struct cli_command *const commands[] = { &mirror_attach, NULL };

const struct cli_command cli_mirror = {
	.name = "mirror",
	.summary = "run a guest's own workload in a mirror of it, such as memscan",
	.synopsis = { "COMMAND [ARGUMENTS]" },
	.about = "A mirror is a second VM over a running guest's memory, under the same key. It "
		 "runs the workload that the guest's owner added to the launch ('sevmirror run "
		 "--mirror-payload'), and nothing else. A workload that fails does not affect the "
		 "guest.",
	.commands = commands,
};
