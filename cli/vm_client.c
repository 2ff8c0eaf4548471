/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/vm_client.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_MS   30000
#define STARTING_MS 100 /* between two tries while a VM is being set up */

int vm_request_parse(struct vm_request *request, int argc, char **argv,
		     const struct cli_command *command, bool name_optional)
{
	int c;

	while ((c = cli_getopt(command, argc, argv)) != -1) {
		if (c == CLI_OPT_HELP)
			return CLI_OK;
		if (c != 'j')
			return CLI_USAGE;
		request->json = true;
	}
	if (argc - optind > 1)
		return cli_usage(argv[0], "unexpected argument '%s' after the VM's name",
				 argv[optind + 1]);
	if (argc - optind == 0 && !name_optional)
		return cli_usage(argv[0], "a VM's name is needed");
	request->name = argv[optind];
	return -1;
}

static int exit_code(const struct control_error *err)
{
	if (err->class && !strcmp(err->class, CONTROL_BAD_ARGUMENTS))
		return CLI_USAGE;
	if (err->class && !strcmp(err->class, CONTROL_UNSUPPORTED))
		return CLI_UNSUPPORTED;
	return CLI_FAILURE;
}

/* What a VM says about itself has no name in it. A sentence that gets too long loses its end. */
static void put_name(struct control_error *err, const char *name)
{
	size_t max = sizeof(err->desc), len = strlen(name) + 2;

	if (len >= max)
		return;
	memmove(err->desc + len, err->desc, max - len);
	err->desc[max - 1] = '\0';
	memcpy(err->desc, name, len - 2);
	memcpy(err->desc + len - 2, ": ", 2);
}

int vm_ask(struct control_client *client, const char *name, const char *command, json_t *args,
	   int stop_fd, json_t **ret, struct control_fds *fds, struct control_error *err)
{
	struct pollfd stop = { .fd = stop_fd, .events = POLLIN };
	int failed;

	do {
		failed = control_client_call(client, command, json_incref(args), NULL, ANSWER_MS,
					     ret, fds, err);
	} while (failed == -EREMOTEIO && !strcmp(err->class, CONTROL_STARTING) &&
		 poll(&stop, 1, STARTING_MS) == 0);
	json_decref(args);
	if (failed)
		put_name(err, name);
	return failed;
}

static int call(const char *name, const char *command, json_t *args, json_t **ret,
		struct control_fds *fds, struct control_error *err)
{
	struct control_client *client = NULL;
	int failed = control_client_open(&client, name, err);

	if (failed)
		json_decref(args);
	else
		failed = vm_ask(client, name, command, args, -1, ret, fds, err);
	control_client_close(client);
	return failed;
}

int vm_try(const char *name, const char *command, json_t *args, json_t **ret,
	   struct control_error *err)
{
	return call(name, command, args, ret, NULL, err);
}

int vm_failed(const struct control_error *err)
{
	cli_error("%s", err->desc);
	return exit_code(err);
}

int vm_call(const char *name, const char *command, json_t *args, json_t **ret)
{
	struct control_error err = { 0 };

	return vm_try(name, command, args, ret, &err) ? vm_failed(&err) : CLI_OK;
}

int vm_call_fd(const char *name, const char *command, json_t *args, json_t **ret, int *fd)
{
	struct control_error err = { 0 };
	struct control_fds fds = { 0 };

	if (call(name, command, args, ret, &fds, &err))
		return vm_failed(&err);
	if (fds.count == 1) {
		*fd = fds.fd[0];
		return CLI_OK;
	}
	while (fds.count)
		close(fds.fd[--fds.count]);
	json_decref(*ret);
	*ret = NULL;
	cli_error("%s: the reply to %s has no descriptor", name, command);
	return CLI_FAILURE;
}

int vm_command(const struct vm_request *request, const char *command, json_t *args,
	       const char *done)
{
	json_t *ret = NULL;
	int code = vm_call(request->name, command, args, &ret);

	if (code)
		return code;
	if (request->json)
		return cli_print_json(ret);
	json_decref(ret);
	printf("%s: %s\n", request->name, done);
	return cli_finish(CLI_OK);
}

const char *vm_bytes(uint64_t bytes, char text[32])
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
	unsigned int unit = 0;

	while (bytes >= 1024 && bytes % 1024 == 0 && unit < 4) {
		bytes /= 1024;
		unit++;
	}
	snprintf(text, 32, "%" PRIu64 " %s", bytes, units[unit]);
	return text;
}
