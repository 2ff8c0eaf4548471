/* SPDX-License-Identifier: Apache-2.0 */
/* What the subcommands that talk to a running VM have in common. */
#ifndef CLI_VM_CLIENT_H
#define CLI_VM_CLIENT_H

#include <stdint.h>

#include "cli/cli.h"
#include "control/client.h"

/* The arguments of a command that names one VM: NAME and --json, and whatever the command adds. */
struct vm_request {
	const char *name;
	bool json;
};

/*
 * Options --json and --help; then exactly one name, or none where that is allowed. Returns -1 to
 * continue, or the exit code to end with. For commands without options of their own; --json has the
 * id 'j'.
 */
int vm_request_parse(struct vm_request *request, int argc, char **argv,
		     const struct cli_command *command, bool name_optional);

/*
 * One command to the VM called name, which client is connected to. err names the VM. While the VM
 * is being set up (its memory is populated, say) this asks again, until stop_fd has something to
 * read (-1: none). Takes args over. Returns as control_client_call().
 */
int vm_ask(struct control_client *client, const char *name, const char *command, json_t *args,
	   int stop_fd, json_t **ret, struct control_fds *fds, struct control_error *err);

/*
 * One command to the VM; says on standard error what went wrong. Takes args over. CLI_OK and a new
 * reference in *ret, or an exit code.
 */
int vm_call(const char *name, const char *command, json_t *args, json_t **ret);

/* vm_call() in two steps, for callers that expect some failures: 0 or a negative errno with err
 * filled in; vm_failed() says err and gives its exit code. */
int vm_try(const char *name, const char *command, json_t *args, json_t **ret,
	   struct control_error *err);
int vm_failed(const struct control_error *err);

/* vm_call() for a command whose reply comes with a descriptor: in *fd, the caller's. */
int vm_call_fd(const char *name, const char *command, json_t *args, json_t **ret, int *fd);

/*
 * The same for a command that returns nothing: prints done (a word for people) or, for machines,
 * {}.
 */
int vm_command(const struct vm_request *request, const char *command, json_t *args,
	       const char *done);

/* "256 MiB": bytes for people. Returns text. */
const char *vm_bytes(uint64_t bytes, char text[32]);

#endif
