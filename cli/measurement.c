/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/vm_client.h"

static const struct cli_option options[] = {
	{ "json", 'j', NULL, NULL,
	  "print JSON, with the firmware's version and the policy, which the owner needs, too" },
	{ 0 },
};

static int run(int argc, char **argv)
{
	struct vm_request request = { 0 };
	const char *data;
	json_t *ret = NULL;
	int code = vm_request_parse(&request, argc, argv, &cli_measurement, false);

	if (code >= 0)
		return code;
	code = vm_call(request.name, "query-measurement", NULL, &ret);
	if (code)
		return code;
	if (request.json)
		return cli_print_json(ret);
	data = json_string_value(json_object_get(ret, "data"));
	if (!data)
		cli_error("the VM answered without a measurement");
	else
		puts(data);
	json_decref(ret);
	return cli_finish(data ? CLI_OK : CLI_FAILURE);
}

const struct cli_command cli_measurement = {
	.name = "measurement",
	.summary = "print the launch measurement of a VM, for its owner",
	.synopsis = { "NAME [--json]" },
	.about = "Prints the secure processor's measurement of a VM's launch, in base64. The "
		 "guest's owner checks it with 'sevmirror owner verify --measurement'.",
	.groups = { { NULL, options } },
	.operands = "@vm",
	.run = run,
};
