/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/vm_client.h"

static const char help[] =
	"usage: sevmirror stop NAME [--force] [--json]\n"
	"\n"
	"Ends a VM. Asks the guest to shut down by itself, as the power button does, and\n"
	"comes back at once; 'sevmirror status' shows when it is gone.\n"
	"\n"
	"  --force  end it now, as if the power went; what the guest has not written is lost\n";

int cli_stop(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { "force", no_argument, NULL, 'f' },
						 { "help", no_argument, NULL, 'h' },
						 { 0 } };
	struct vm_request request = { 0 };
	bool force = false;
	int c;

	while ((c = cli_getopt(argc, argv, options, help)) != -1) {
		if (c == CLI_OPT_HELP)
			return CLI_OK;
		if (c != 'j' && c != 'f')
			return CLI_USAGE;
		request.json |= c == 'j';
		force |= c == 'f';
	}
	if (argc - optind != 1)
		return cli_usage(argv[0], "one VM's name is needed");
	request.name = argv[optind];
	return vm_command(&request, "stop", json_pack("{s:b}", "force", force),
			  force ? "stopped" : "the guest was asked to shut down");
}
