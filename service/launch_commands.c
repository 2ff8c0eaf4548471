/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest's owner asks for: the memory map, the measurement, a place for a secret. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sevmirror/pagemap.h>

#include "launch/guest_layout.h"
#include "lib/mirror/region.h"
#include "lib/sev/platform.h"
#include "lib/util/page.h"
#include "lib/util/text.h"
#include "service/service_private.h"
#include "vmm/memory.h"

static void add_range(json_t *list, uint64_t gpa, uint64_t bytes, const char *kind, bool shared)
{
	json_array_append_new(list,
			      json_pack("{s:I, s:I, s:s, s:b}", "gpa", (json_int_t)gpa, "bytes",
					(json_int_t)bytes, "kind", kind, "shared", shared));
}

/* The runs of one kind in [gpa, end). */
static void map_kinds(const struct vm *vm, uint64_t gpa, uint64_t end, const char *kind,
		      json_t *list)
{
	while (gpa < end) {
		bool private = false;
		uint64_t npages = sev_pagemap_run(vm_pagemap(vm), gpa >> PAGE_SHIFT, &private);
		uint64_t bytes = npages << PAGE_SHIFT;

		if (!npages || bytes > end - gpa)
			bytes = end - gpa;
		add_range(list, gpa, bytes, kind, !vm_sev(vm) || !private);
		gpa += bytes;
	}
}

/* One of RAM's parts; the workload's region, if there is one, is the end of the first. */
static void map_range(const struct machine *machine, uint64_t gpa, uint64_t end, json_t *list)
{
	const struct workload_plan *workload = &machine_config(machine)->workload;
	const struct vm *vm = machine_vm(machine);

	if (!workload->bytes || workload->gpa < gpa || workload->gpa >= end) {
		map_kinds(vm, gpa, end, "ram", list);
		return;
	}
	map_kinds(vm, gpa, workload->gpa, "ram", list);
	map_kinds(vm, workload->gpa, end, "mirror-payload", list);
}

/* The helper's region, which only its mirror has: no memory of the guest. */
static void map_helper(const struct machine *machine, json_t *list)
{
	const struct region_plan *helper = machine_helper(machine);

	add_range(list, helper->gpa, helper->bytes, "helper", !vm_sev(machine_vm(machine)));
}

static int run_memory_map(void *opaque, struct control_call *call, struct control_error *err)
{
	struct sevmirror_ram_range ranges[GUEST_MEMORY_RANGES];
	struct service *s = opaque;
	unsigned int i, n;
	int ret;

	call->ret = json_array();
	if (!call->ret)
		return -ENOMEM;
	pthread_mutex_lock(&s->lock);
	ret = service_permit(s, SERVICE_MAY_LOOK, err);
	if (!ret) {
		struct vm *vm = machine_vm(s->machine);

		n = guest_memory_ranges(vm_memory(vm), ranges);
		for (i = 0; i < n; i++)
			map_range(s->machine, ranges[i].gpa, ranges[i].gpa + ranges[i].bytes,
				  call->ret);
		map_helper(s->machine, call->ret);
	}
	pthread_mutex_unlock(&s->lock);
	return ret;
}

static int not_sev(struct control_error *err)
{
	return control_fail(err, -EOPNOTSUPP, CONTROL_UNSUPPORTED, "this VM is not an SEV guest");
}

/* The measurement with what else its HMAC covers (SEV API, LAUNCH_MEASURE). */
static int read_measurement(struct service *s, struct control_call *call, struct control_error *err)
{
	char text[UTIL_BASE64_BYTES(SEV_MEASUREMENT_BYTES)];
	struct sev_platform_status platform;
	struct sev_error error = { 0 };
	int ret = sev_platform_status(vm_sev_fd(machine_vm(s->machine)), &platform, &error);

	if (ret)
		return control_fail(err, ret, CONTROL_FAILED, "%s", error.message);
	/* Measurement and nonce in one string, as QEMU's query-sev-launch-measure gives it. */
	util_base64_encode(machine_measurement(s->machine), SEV_MEASUREMENT_BYTES, text);
	call->ret = json_pack("{s:s, s:i, s:i, s:i, s:I}", "data", text, "api-major",
			      platform.api_major, "api-minor", platform.api_minor, "build",
			      platform.build, "policy", (json_int_t)s->policy);
	return call->ret ? 0 : -ENOMEM;
}

static int run_measurement(void *opaque, struct control_call *call, struct control_error *err)
{
	struct service *s = opaque;
	int ret;

	pthread_mutex_lock(&s->lock);
	ret = service_permit(s, SERVICE_MAY_LOOK, err);
	if (!ret && !vm_sev(machine_vm(s->machine)))
		ret = not_sev(err);
	else if (!ret && s->incoming)
		ret = control_fail(err, -EOPNOTSUPP, CONTROL_UNSUPPORTED,
				   "this guest was launched and measured on another host");
	else if (!ret)
		ret = read_measurement(s, call, err);
	pthread_mutex_unlock(&s->lock);
	return ret;
}

/* A packet that the owner encrypted (SEV API, LAUNCH_UPDATE_SECRET). */
struct secret {
	struct sev_packet_header header;
	uint8_t *packet;
	size_t bytes;
	bool has_gpa; /* otherwise where the launch image reserves room for it */
	uint64_t gpa;
};

/* With the lock. */
static int inject(struct service *s, const struct secret *secret, struct control_error *err)
{
	struct why why = { "" };
	int ret;

	if (s->state != SERVICE_HELD)
		return control_fail(
			err, -EBUSY, CONTROL_WRONG_STATE,
			"the guest runs already: inject the secret before it starts (`run "
			"--hold`)");
	if (!secret->has_gpa && machine_config(s->machine)->vm.payload)
		return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
				    "a payload has no fixed place for a secret: give the address "
				    "(gpa)");
	if (!secret->has_gpa && secret->bytes > LAYOUT_SECRET_BYTES)
		return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
				    "the launch image has room for %llu bytes of secret",
				    LAYOUT_SECRET_BYTES);
	ret = vm_launch_secret(machine_vm(s->machine), &secret->header, secret->packet,
			       (uint32_t)secret->bytes,
			       secret->has_gpa ? secret->gpa : LAYOUT_SECRET_GPA, &why);
	return ret ? control_fail(err, ret, CONTROL_FAILED, "%s", why.text) : 0;
}

static int decode(const struct control_call *call, const char *name, void *buf, size_t max,
		  size_t *len)
{
	const char *text = control_arg_string(call, name, "");

	return util_base64_decode(text, strlen(text), buf, max, len);
}

static int decode_secret(struct secret *secret, const struct control_call *call,
			 struct control_error *err)
{
	size_t len;

	if (decode(call, "header", &secret->header, sizeof(secret->header), &len) ||
	    len != sizeof(secret->header))
		return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
				    "inject-secret: 'header' must be the base64 of %zu bytes",
				    sizeof(secret->header));
	if (decode(call, "secret", secret->packet, SEV_SECRET_BYTES_MAX, &secret->bytes) ||
	    !secret->bytes)
		return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
				    "inject-secret: 'secret' must be the base64 of 1 to %d bytes",
				    SEV_SECRET_BYTES_MAX);
	secret->has_gpa = json_object_get(call->args, "gpa") != NULL;
	secret->gpa = control_arg_uint(call, "gpa", 0);
	return 0;
}

static int run_inject_secret(void *opaque, struct control_call *call, struct control_error *err)
{
	struct secret secret = { .packet = malloc(SEV_SECRET_BYTES_MAX) };
	struct service *s = opaque;
	int ret;

	if (!secret.packet)
		return -ENOMEM;
	ret = decode_secret(&secret, call, err);
	pthread_mutex_lock(&s->lock);
	if (!ret)
		ret = service_permit(s, SERVICE_MAY_LOOK, err);
	if (!ret && !vm_sev(machine_vm(s->machine)))
		ret = not_sev(err);
	else if (!ret)
		ret = inject(s, &secret, err);
	pthread_mutex_unlock(&s->lock);
	free(secret.packet);
	return ret;
}

static const struct control_arg inject_args[] = {
	{ "header", CONTROL_STRING, true, "the packet's header, base64" },
	{ "secret", CONTROL_STRING, true, "the encrypted secret, base64" },
	{ "gpa", CONTROL_UINT, false,
	  "where to put it (default: the place that the launch image reserves for it)" },
	{ 0 },
};

const struct control_command launch_commands[] = {
	{ "query-memory-map", "The guest's memory, and the parts of it that the host can read.",
	  "a list of {gpa, bytes, kind, shared}", NULL, run_memory_map },
	{ "query-measurement", "The launch measurement, for the guest's owner.",
	  "{data (base64 of measurement and nonce), api-major, api-minor, build, policy}", NULL,
	  run_measurement },
	{ "inject-secret",
	  "Give the guest a secret that its owner encrypted, before it runs for the first time.",
	  NULL, inject_args, run_inject_secret },
	{ 0 },
};
