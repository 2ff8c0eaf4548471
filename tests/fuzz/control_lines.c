/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile client of the control socket: lines of any bytes. Each is answered by one line of JSON,
 * and no VM function sees what its schema forbids.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/server.h"
#include "control/vm_commands.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct control control = { .name = "fuzz" };

static int vm_status(void *vm, struct control_vm_status *status, struct control_error *err)
{
	*status = (struct control_vm_status){ .state = CONTROL_VM_RUNNING,
					      .sev = true,
					      .sev_asid = 1 };
	return 0;
}

static int vm_simple(void *vm, struct control_error *err)
{
	return control_fail(err, -1, CONTROL_WRONG_STATE, "no");
}

static int vm_stop(void *vm, bool force, struct control_error *err)
{
	return force ? -5 : 0;
}

static int vm_memory_map(void *vm,
			 void (*add)(void *opaque, const struct control_memory_range *range),
			 void *opaque, struct control_error *err)
{
	const struct control_memory_range range = { 0, 4096, "ram", false };

	add(opaque, &range);
	return 0;
}

static int vm_measurement(void *vm, struct control_measurement *measurement,
			  struct control_error *err)
{
	memset(measurement, 0x5a, sizeof(*measurement));
	return 0;
}

static int vm_inject_secret(void *vm, const struct control_secret *secret,
			    struct control_error *err)
{
	/* Look at each byte: the sanitizer says if one is not there. */
	unsigned int sum = 0;

	if (!secret->bytes || secret->bytes > CONTROL_SECRET_BYTES_MAX || secret->gpa > INT64_MAX)
		abort();
	for (size_t i = 0; i < secret->bytes; i++)
		sum += secret->packet[i];
	return sum == 77 ? -1 : 0;
}

static const struct control_vm_ops ops = {
	.status = vm_status,
	.pause = vm_simple,
	.resume = vm_simple,
	.stop = vm_stop,
	.memory_map = vm_memory_map,
	.measurement = vm_measurement,
	.inject_secret = vm_inject_secret,
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	if (control_add_commands(&control, control_own_commands, &control) ||
	    control_add_vm_commands(&control, &ops, NULL))
		abort();
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
