/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util/text.h"
#include "control/server.h"

static const char *const state_names[] = {
	[CONTROL_VM_STARTING] = "starting", [CONTROL_VM_RUNNING] = "running",
	[CONTROL_VM_PAUSED] = "paused",	    [CONTROL_VM_INCOMING] = "incoming",
	[CONTROL_VM_MIGRATED] = "migrated", [CONTROL_VM_STOPPING] = "stopping",
	[CONTROL_VM_CRASHED] = "crashed",
};

const char *control_vm_state_name(enum control_vm_state state)
{
	return state_names[state];
}

void control_vm_state_event(struct control *control, enum control_vm_state state,
			    const char *reason)
{
	json_t *data = json_pack("{s:s, s:s*}", "state", state_names[state], "reason", reason);

	control_event(control, "state", data);
}

static int run_status(void *opaque, struct control_call *call, struct control_error *err)
{
	const struct control *c = opaque;
	struct control_vm_status s = { 0 };
	int ret = c->vm_ops->status(c->vm, &s, err);

	if (ret)
		return ret;
	call->ret = json_pack("{s:s, s:i, s:I, s:f, s:b, s:b, s:b}", "state", state_names[s.state],
			      "cpus", (int)s.cpus, "memory-bytes", (json_int_t)s.memory_bytes,
			      "uptime-seconds", s.uptime_seconds, "sev", s.sev, "migration-ready",
			      s.migration_ready, "mirror-attached", s.mirror_attached);
	if (call->ret && s.sev) {
		json_object_set_new(call->ret, "sev-policy", json_integer(s.sev_policy));
		if (s.sev_asid)
			json_object_set_new(call->ret, "sev-asid", json_integer(s.sev_asid));
	}
	return call->ret ? 0 : -ENOMEM;
}

static int run_pause(void *opaque, struct control_call *call, struct control_error *err)
{
	const struct control *c = opaque;

	return c->vm_ops->pause(c->vm, err);
}

static int run_resume(void *opaque, struct control_call *call, struct control_error *err)
{
	const struct control *c = opaque;

	return c->vm_ops->resume(c->vm, err);
}

static int run_stop(void *opaque, struct control_call *call, struct control_error *err)
{
	const struct control *c = opaque;

	return c->vm_ops->stop(c->vm, control_arg_bool(call, "force", false), err);
}

static void add_range(void *opaque, const struct control_memory_range *range)
{
	json_array_append_new(opaque,
			      json_pack("{s:I, s:I, s:s, s:b}", "gpa", (json_int_t)range->gpa,
					"bytes", (json_int_t)range->bytes, "kind", range->kind,
					"shared", range->shared));
}

static int run_memory_map(void *opaque, struct control_call *call, struct control_error *err)
{
	const struct control *c = opaque;

	call->ret = json_array();
	return call->ret ? c->vm_ops->memory_map(c->vm, add_range, call->ret, err) : -ENOMEM;
}

static int not_sev(struct control_error *err)
{
	return control_fail(err, -EOPNOTSUPP, CONTROL_UNSUPPORTED, "this VM is not an SEV guest");
}

static int run_measurement(void *opaque, struct control_call *call, struct control_error *err)
{
	const struct control *c = opaque;
	struct control_measurement m = { 0 };
	uint8_t both[CONTROL_MEASURE_BYTES + CONTROL_NONCE_BYTES];
	char text[UTIL_BASE64_BYTES(sizeof(both))];
	int ret;

	if (!c->vm_ops->measurement)
		return not_sev(err);
	ret = c->vm_ops->measurement(c->vm, &m, err);
	if (ret)
		return ret;
	/*
	 * Measurement and nonce in one string, as QEMU's query-sev-launch-measure gives it and
	 * owners' tools take it.
	 */
	memcpy(both, m.measure, sizeof(m.measure));
	memcpy(both + sizeof(m.measure), m.nonce, sizeof(m.nonce));
	call->ret = json_pack("{s:s, s:i, s:i, s:i, s:I}", "data",
			      util_base64_encode(both, sizeof(both), text), "api-major",
			      m.api_major, "api-minor", m.api_minor, "build", m.build, "policy",
			      (json_int_t)m.policy);
	return call->ret ? 0 : -ENOMEM;
}

static int decode(const struct control_call *call, const char *name, void *buf, size_t max,
		  size_t *len)
{
	const char *text = control_arg_string(call, name, "");

	return util_base64_decode(text, strlen(text), buf, max, len);
}

static int run_inject_secret(void *opaque, struct control_call *call, struct control_error *err)
{
	const struct control *c = opaque;
	struct control_secret secret = { 0 };
	uint8_t *packet;
	size_t len;
	int ret;

	if (!c->vm_ops->inject_secret)
		return not_sev(err);
	if (decode(call, "header", secret.header, sizeof(secret.header), &len) ||
	    len != sizeof(secret.header))
		return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
				    "inject-secret: 'header' must be the base64 of %d bytes",
				    CONTROL_SECRET_HEADER_BYTES);
	packet = malloc(CONTROL_SECRET_BYTES_MAX);
	if (!packet)
		return -ENOMEM;
	ret = decode(call, "secret", packet, CONTROL_SECRET_BYTES_MAX, &secret.bytes);
	if (ret || !secret.bytes) {
		ret = control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
				   "inject-secret: 'secret' must be the base64 of 1 to %d bytes",
				   CONTROL_SECRET_BYTES_MAX);
		goto out;
	}
	secret.packet = packet;
	secret.has_gpa = json_object_get(call->args, "gpa") != NULL;
	secret.gpa = control_arg_uint(call, "gpa", 0);
	ret = c->vm_ops->inject_secret(c->vm, &secret, err);
out:
	free(packet);
	return ret;
}

static const struct control_arg stop_args[] = {
	{ "force", CONTROL_BOOL, false,
	  "end it at once, as if the power went, instead of asking the guest" },
	{ 0 },
};

static const struct control_arg inject_args[] = {
	{ "header", CONTROL_STRING, true, "the packet's header, base64" },
	{ "secret", CONTROL_STRING, true, "the encrypted secret, base64" },
	{ "gpa", CONTROL_UINT, false,
	  "where to put it; by default where the launch image has room for it" },
	{ 0 },
};

static const struct control_command commands[] = {
	{ "query-status", "What the VM is and what it is doing.",
	  "{state, cpus, memory-bytes, uptime-seconds, sev, migration-ready, mirror-attached, sev-policy, sev-asid}",
	  NULL, run_status },
	{ "pause", "Stop the vCPUs.", NULL, NULL, run_pause },
	{ "resume", "Let the vCPUs run again.", NULL, NULL, run_resume },
	{ "stop", "End the VM.", NULL, stop_args, run_stop },
	{ "query-memory-map", "The guest's memory, and which of it the host can read.",
	  "a list of {gpa, bytes, kind, shared}", NULL, run_memory_map },
	{ "query-measurement", "The launch measurement, for the guest's owner.",
	  "{data (base64 of measurement and nonce), api-major, api-minor, build, policy}", NULL,
	  run_measurement },
	{ "inject-secret",
	  "Give the guest a secret that its owner encrypted, before it runs for the first time.",
	  NULL, inject_args, run_inject_secret },
	{ 0 },
};

int control_add_vm_commands(struct control *control, const struct control_vm_ops *ops, void *vm)
{
	control->vm_ops = ops;
	control->vm = vm;
	return control_add_commands(control, commands, control);
}
