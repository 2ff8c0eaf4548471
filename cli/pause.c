/* SPDX-License-Identifier: Apache-2.0 */
/* pause and its opposite. */
#include "cli/vm_client.h"

static const struct cli_option options[] = {
	{ "json", 'j', NULL, NULL, "print {} when it is done" },
	{ 0 },
};

static int run_pause(int argc, char **argv)
{
	struct vm_request request = { 0 };
	int code = vm_request_parse(&request, argc, argv, &cli_pause, false);

	return code >= 0 ? code : vm_command(&request, "pause", NULL, "paused");
}

static int run_resume(int argc, char **argv)
{
	struct vm_request request = { 0 };
	int code = vm_request_parse(&request, argc, argv, &cli_resume, false);

	return code >= 0 ? code : vm_command(&request, "resume", NULL, "running");
}

const struct cli_command cli_pause = {
	.name = "pause",
	.summary = "stop a VM's CPUs",
	.synopsis = { "NAME [--json]" },
	.about = "Stops a VM's CPUs until 'sevmirror resume'. Its network connections stay open "
		 "until the peers time out.",
	.groups = { { NULL, options } },
	.operands = "@vm",
	.run = run_pause,
};

const struct cli_command cli_resume = {
	.name = "resume",
	.summary = "let a paused VM run again",
	.synopsis = { "NAME [--json]" },
	.about = "Lets a paused VM run again, or starts one that was launched with --hold.",
	.groups = { { NULL, options } },
	.operands = "@vm",
	.run = run_resume,
};
