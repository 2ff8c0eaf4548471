/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/vm_client.h"

static const struct cli_option options[] = {
	{ "force", 'f', NULL, NULL,
	  "end the VM at once, as a power cut would; data that the guest has not written is lost" },
	{ "json", 'j', NULL, NULL, "print what was done as JSON" },
	{ 0 },
};

static int stop(const struct vm_request *request, bool force)
{
	const char *done, *words = "stopped";
	json_t *ret = NULL;
	int code = vm_call(request->name, "stop", json_pack("{s:b}", "force", force), &ret);

	if (code)
		return code;
	if (request->json)
		return cli_print_json(ret);
	done = json_string_value(json_object_get(ret, "done"));
	if (done && !strcmp(done, "asked"))
		words = "the guest was asked to shut down";
	else if (done && !strcmp(done, "not-waiting"))
		words = "it no longer waits for a guest";
	printf("%s: %s\n", request->name, words);
	json_decref(ret);
	return cli_finish(CLI_OK);
}

static int run(int argc, char **argv)
{
	struct vm_request request = { 0 };
	bool force = false;
	int c;

	while ((c = cli_getopt(&cli_stop, argc, argv)) != -1) {
		if (c == CLI_OPT_HELP)
			return CLI_OK;
		if (c != 'j' && c != 'f')
			return CLI_USAGE;
		request.json |= c == 'j';
		force |= c == 'f';
	}
	if (argc - optind != 1)
		return cli_usage(argv[0], "a VM's name is needed");
	request.name = argv[optind];
	return stop(&request, force);
}

const struct cli_command cli_stop = {
	.name = "stop",
	.summary = "end a VM",
	.synopsis = { "NAME [--force] [--json]" },
	.about = "Ends a VM. Without --force, asks the guest to shut down, as the power button "
		 "does, and returns at once; the VM is gone when 'sevmirror status' no longer "
		 "lists it.",
	.groups = { { NULL, options } },
	.operands = "@vm",
	.run = run,
};
