/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/vm_client.h"
#include "control/runtime.h"

static const struct cli_option options[] = {
	{ "json", 'j', NULL, NULL, "as JSON: an object, or without a name a list of them" },
	{ 0 },
};

static const char *text(const json_t *status, const char *member)
{
	const char *value = json_string_value(json_object_get(status, member));

	return value ? value : "?";
}

static json_int_t number(const json_t *status, const char *member)
{
	return json_integer_value(json_object_get(status, member));
}

static bool flag(const json_t *status, const char *member)
{
	return json_is_true(json_object_get(status, member));
}

static void print_one(const char *name, const json_t *status)
{
	char memory[32];

	printf("name       %s\n", name);
	printf("state      %s\n", text(status, "state"));
	printf("cpus       %d\n", (int)number(status, "cpus"));
	printf("memory     %s\n", vm_bytes((uint64_t)number(status, "memory-bytes"), memory));
	printf("uptime     %.0f s\n", json_number_value(json_object_get(status, "uptime-seconds")));
	if (flag(status, "sev"))
		printf("SEV        encrypted, policy 0x%llx\n", number(status, "sev-policy"));
	else
		printf("SEV        off: the host can read this guest\n");
	if (flag(status, "mirror-attached"))
		printf("mirror     attached\n");
	printf("migration  %s\n", flag(status, "migration-ready") ?
					  "the guest is ready for it" :
					  "the guest has not said that it is ready");
}

struct table {
	json_t *all;
	bool json;
	int code;
};

/*
 * A VM that ended between the look into the directory and the question is not an error of the list.
 */
static bool ended(int err)
{
	return err == -ENOENT || err == -ECONNREFUSED || err == -ECONNRESET || err == -EPIPE;
}

static void add_row(void *opaque, const char *name)
{
	struct table *table = opaque;
	json_t *status = NULL;
	char memory[32];
	struct control_error err = { 0 };
	int failed = vm_try(name, "query-status", NULL, &status, &err);

	if (ended(failed))
		return;
	if (failed) {
		table->code = vm_failed(&err);
		return;
	}
	if (table->json) {
		json_object_set_new(status, "name", json_string(name));
		json_array_append_new(table->all, status);
		return;
	}
	printf("%-24s %-10s %4d cpus %12s  %s\n", name, text(status, "state"),
	       (int)number(status, "cpus"),
	       vm_bytes((uint64_t)number(status, "memory-bytes"), memory),
	       flag(status, "sev") ? "SEV" : "plain");
	json_decref(status);
}

static int status_of_all(bool json)
{
	struct table table = { .all = json ? json_array() : NULL, .json = json };
	int err = runtime_list(add_row, &table);

	if (err) {
		json_decref(table.all);
		cli_error("the runtime directory: %s; see SEVMIRROR_RUNTIME_DIR", strerror(-err));
		return CLI_FAILURE;
	}
	if (json) {
		int printed = cli_print_json(table.all);

		return printed ? printed : table.code;
	}
	return cli_finish(table.code);
}

static int run(int argc, char **argv)
{
	struct vm_request request = { 0 };
	json_t *status = NULL;
	int code = vm_request_parse(&request, argc, argv, &cli_status, true);

	if (code >= 0)
		return code;
	if (!request.name)
		return status_of_all(request.json);
	code = vm_call(request.name, "query-status", NULL, &status);
	if (code)
		return code;
	if (request.json)
		return cli_print_json(status);
	print_one(request.name, status);
	json_decref(status);
	return cli_finish(CLI_OK);
}

const struct cli_command cli_status = {
	.name = "status",
	.summary = "what a running VM is doing, or all of them",
	.synopsis = { "[NAME] [--json]" },
	.about =
		"What a running VM is and what it is doing; without a name, one line for each VM of yours "
		"that runs on this machine.",
	.groups = { { NULL, options } },
	.operands = "@vm",
	.run = run,
};
