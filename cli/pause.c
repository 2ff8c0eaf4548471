/* SPDX-License-Identifier: Apache-2.0 */
/* pause and its opposite. */
#include "cli/vm_client.h"

static const char pause_help[] =
	"usage: sevmirror pause NAME [--json]\n"
	"\n"
	"Stops a VM's CPUs until 'sevmirror resume'. Its connections stay open as long as\n"
	"the other side is patient.\n";

static const char resume_help[] = "usage: sevmirror resume NAME [--json]\n"
				  "\n"
				  "Lets a paused VM go on.\n";

int cli_pause(int argc, char **argv)
{
	struct vm_request request = { 0 };
	int code = vm_request_parse(&request, argc, argv, pause_help, false);

	return code >= 0 ? code : vm_command(&request, "pause", NULL, "paused");
}

int cli_resume(int argc, char **argv)
{
	struct vm_request request = { 0 };
	int code = vm_request_parse(&request, argc, argv, resume_help, false);

	return code >= 0 ? code : vm_command(&request, "resume", NULL, "running");
}
