/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/migrate_progress.h"
#include "cli/vm_client.h"
#include "control/runtime.h"

static const struct cli_option options[] = {
	{ "json", 'j', NULL, NULL, "print JSON: an object, or without a name a list of objects" },
	{ "names", 'n', NULL, NULL,
	  "print only the names of the running VMs, without querying "
	  "them" },
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

static void print_migration(const json_t *m)
{
	struct migrate_sample sample = migrate_sample_read(m);
	char line[256];

	if (m)
		printf("moving     %s\n", migrate_progress_line(&sample, line, sizeof(line)));
}

/* The guest that is waited for is not known yet. */
static bool known(const json_t *status)
{
	return number(status, "cpus") > 0;
}

/* While its memory is populated. */
static void print_populating(const json_t *populating)
{
	char done[32], all[32];

	if (populating)
		printf("memory     %s of %s populated\n",
		       vm_bytes((uint64_t)number(populating, "done-bytes"), done),
		       vm_bytes((uint64_t)number(populating, "all-bytes"), all));
}

static void print_one(const char *name, const json_t *status)
{
	const char *detail = text(status, "detail"), *advice = text(status, "advice");
	char memory[32];

	printf("name       %s\n", name);
	printf("state      %s\n", text(status, "state"));
	if (*detail)
		printf("           %s%s%s\n", detail, *advice ? " " : "", advice);
	print_migration(json_object_get(status, "migration"));
	print_populating(json_object_get(status, "populating"));
	if (!known(status))
		return;
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
					  "the guest has not reported that it is ready");
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
	if (known(status))
		printf("%-24s %-10s %4d cpus %12s  %s\n", name, text(status, "state"),
		       (int)number(status, "cpus"),
		       vm_bytes((uint64_t)number(status, "memory-bytes"), memory),
		       flag(status, "sev") ? "SEV" : "plain");
	else
		printf("%-24s %s\n", name, text(status, "state"));
	json_decref(status);
}

static int status_of_all(bool json)
{
	struct table table = { .all = json ? json_array() : NULL, .json = json };
	struct why why = { "" };
	int err = runtime_list(add_row, &table);

	if (err) {
		json_decref(table.all);
		runtime_dir_problem(err, &why);
		cli_error("%s", why.text);
		return CLI_FAILURE;
	}
	if (json) {
		int printed = cli_print_json(table.all);

		return printed ? printed : table.code;
	}
	return cli_finish(table.code);
}

static void print_name(void *opaque, const char *name)
{
	puts(name);
}

static int names(void)
{
	struct why why = { "" };
	int err = runtime_list(print_name, NULL);

	if (!err)
		return cli_finish(CLI_OK);
	runtime_dir_problem(err, &why);
	cli_error("%s", why.text);
	return CLI_FAILURE;
}

static int run(int argc, char **argv)
{
	struct vm_request request = { 0 };
	json_t *status = NULL;
	bool only_names = false;
	int c, code;

	while ((c = cli_getopt(&cli_status, argc, argv)) != -1) {
		if (c != 'j' && c != 'n')
			return c == CLI_OPT_HELP ? CLI_OK : CLI_USAGE;
		request.json |= c == 'j';
		only_names |= c == 'n';
	}
	if (argc - optind > 1)
		return cli_usage(argv[0], "unexpected argument '%s' after the VM's name",
				 argv[optind + 1]);
	request.name = argv[optind];
	if (only_names && (request.name || request.json))
		return cli_usage(argv[0], "--names cannot be combined with a name or --json");
	if (only_names)
		return names();
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
	.summary = "show what a running VM is doing, or list all VMs",
	.synopsis = { "[NAME] [--json]", "--names" },
	.about = "Shows a running VM and its state. Without a name, prints one line for each of "
		 "your VMs that runs on this host.",
	.groups = { { NULL, options } },
	.operands = "@vm",
	.run = run,
};
