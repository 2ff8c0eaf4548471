/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile client of the control socket: lines of any bytes, to the commands of a VM's process
 * that has no VM yet. Each is answered by one line of JSON.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/server.h"
#include "service/service_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct control control = { .name = "fuzz" };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const struct control_command *const tables[] = { vm_commands, launch_commands,
							 migrate_commands(), mirror_commands,
							 metrics_commands };
	struct service *service;
	struct why why;

	if (service_create(&service, NULL, &why) ||
	    control_add_commands(&control, control_own_commands, &control))
		abort();
	for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
		if (control_add_commands(&control, tables[i], service))
			abort();
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control_call call = { 0 };
	json_t *reply;
	char *text = control_execute(&control, (const char *)data, size, &call);

	if (!text || strchr(text, '\n') || call.reply_fd_count || call.ret)
		abort();
	reply = json_loads(text, 0, NULL);
	if (!json_object_get(reply, "return") == !json_object_get(reply, "error"))
		abort();
	json_decref(reply);
	free(text);
	return 0;
}
