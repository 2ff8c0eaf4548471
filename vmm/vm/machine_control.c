/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine behind its control socket (vmm/control/vm_commands.h). Commands run in the control thread, one at a time; until the VM is
 * destroyed nobody else pauses or resumes it.
 */
#include <errno.h>
#include <string.h>

#include "lib/sev/pagemap.h"
#include "lib/sev/platform.h"
#include "payloads/sdk/payload.h"
#include "vmm/control/vm_commands.h"
#include "vmm/vm/layout.h"
#include "vmm/vm/machine_private.h"
#include "vmm/vm/memory.h"

#define PAGE_SHIFT 12

static enum control_vm_state state_of(const struct machine *machine)
{
	switch (vm_end(machine->vm)) {
	case VM_RUNS:
		break;
	case VM_CRASH:
	case VM_FAILED:
		return CONTROL_VM_CRASHED;
	default:
		return CONTROL_VM_STOPPING;
	}
	if (!machine->started)
		return CONTROL_VM_STARTING;
	return vm_paused(machine->vm) ? CONTROL_VM_PAUSED : CONTROL_VM_RUNNING;
}

static int get_status(void *opaque, struct control_vm_status *status, struct control_error *err)
{
	struct machine *machine = opaque;
	struct sev_guest *sev = vm_sev(machine->vm);
	struct sev_guest_status guest;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	status->state = state_of(machine);
	status->cpus = vm_cpus(machine->vm);
	status->memory_bytes = guest_memory_bytes(vm_memory(machine->vm));
	if (machine->started)
		status->uptime_seconds = (double)(now.tv_sec - machine->start.tv_sec) +
					 (double)(now.tv_nsec - machine->start.tv_nsec) / 1e9;
	status->migration_ready = machine->config.vm.payload || !sev ||
				  sev_pagemap_migration_ready(vm_pagemap(machine->vm));
	status->sev = sev != NULL;
	if (sev && sev_guest_status(sev, &guest, NULL) == 0)
		status->sev_policy = guest.policy;
	return 0;
}

static int wrong_state(const struct machine *machine, struct control_error *err)
{
	return control_fail(err, -EBUSY, CONTROL_WRONG_STATE, "the VM is %s",
			    control_vm_state_name(state_of(machine)));
}

static int do_pause(void *opaque, struct control_error *err)
{
	struct machine *machine = opaque;

	if (!machine->started || vm_end(machine->vm) != VM_RUNS)
		return wrong_state(machine, err);
	if (vm_pause(machine->vm))
		return control_fail(err, -EIO, NULL,
				    "it is paused, but a disk could not be flushed");
	control_vm_state_event(machine->control, CONTROL_VM_PAUSED, NULL);
	return 0;
}

static int do_resume(void *opaque, struct control_error *err)
{
	struct machine *machine = opaque;
	struct why why = { "" };
	int ret = 0;

	if (vm_end(machine->vm) != VM_RUNS)
		return wrong_state(machine, err);
	if (machine->started)
		vm_resume(machine->vm);
	else
		ret = machine_go(machine, &why);
	if (ret)
		return control_fail(err, ret, NULL, "%s", why.text);
	control_vm_state_event(machine->control, CONTROL_VM_RUNNING, NULL);
	return 0;
}

static int do_stop(void *opaque, bool force, struct control_error *err)
{
	struct machine *machine = opaque;
	struct payload_shared *shared = vm_payload_shared(machine->vm);

	if (force || !machine->started)
		vm_stop(machine->vm);
	else if (shared)
		__atomic_store_n(&shared->command, PAYLOAD_CMD_STOP, __ATOMIC_RELEASE);
	else
		vm_power_button(machine->vm);
	return 0;
}

/* A range of RAM as runs of one kind of page. */
static void add_runs(const struct machine *machine, uint64_t gpa, uint64_t end, const char *kind,
		     void (*add)(void *opaque, const struct control_memory_range *range),
		     void *opaque)
{
	struct control_memory_range range = { .gpa = gpa, .kind = kind, .shared = true };
	bool private;

	for (; range.gpa < end; range.gpa += range.bytes) {
		range.bytes = end - range.gpa;
		if (vm_sev(machine->vm)) {
			uint64_t run = sev_pagemap_run(vm_pagemap(machine->vm),
						       range.gpa >> PAGE_SHIFT, &private)
				       << PAGE_SHIFT;

			if (!run)
				return;
			range.shared = !private;
			range.bytes = run < range.bytes ? run : range.bytes;
		}
		add(opaque, &range);
	}
}

static int get_memory_map(void *opaque,
			  void (*add)(void *opaque, const struct control_memory_range *range),
			  void *add_opaque, struct control_error *err)
{
	struct machine *machine = opaque;
	const struct region_plan *helper = &machine->helper;
	struct guest_memory_range ranges[GUEST_MEMORY_RANGES];
	unsigned int i, n = guest_memory_ranges(vm_memory(machine->vm), ranges);

	for (i = 0; i < n; i++) {
		uint64_t gpa = ranges[i].gpa, end = gpa + ranges[i].bytes;

		if (helper->gpa >= gpa && helper->gpa < end) {
			add_runs(machine, gpa, helper->gpa, "ram", add, add_opaque);
			gpa = helper->gpa + helper->bytes;
			add_runs(machine, helper->gpa, gpa, "helper", add, add_opaque);
		}
		add_runs(machine, gpa, end, "ram", add, add_opaque);
	}
	return 0;
}

static int get_measurement(void *opaque, struct control_measurement *measurement,
			   struct control_error *err)
{
	struct machine *machine = opaque;
	struct sev_platform_status platform;
	struct sev_guest_status guest;
	struct sev_error error = { 0 };
	int ret;

	if (!vm_sev(machine->vm))
		return control_fail(err, -EOPNOTSUPP, CONTROL_UNSUPPORTED,
				    "this VM is not an SEV guest");
	ret = sev_platform_status(vm_sev_fd(machine->vm), &platform, &error);
	if (!ret)
		ret = sev_guest_status(vm_sev(machine->vm), &guest, &error);
	if (ret)
		return control_fail(err, ret, NULL, "%s", error.message);
	memcpy(measurement->measure, machine->measurement, sizeof(measurement->measure));
	memcpy(measurement->nonce, machine->measurement + sizeof(measurement->measure),
	       sizeof(measurement->nonce));
	measurement->api_major = platform.api_major;
	measurement->api_minor = platform.api_minor;
	measurement->build = platform.build;
	measurement->policy = guest.policy;
	return 0;
}

static int do_inject_secret(void *opaque, const struct control_secret *secret,
			    struct control_error *err)
{
	struct machine *machine = opaque;
	struct sev_packet_header header;
	struct why why = { "" };
	int ret;

	if (machine->started)
		return control_fail(
			err, -EBUSY, CONTROL_WRONG_STATE,
			"the guest runs already: a secret goes in before, with `run --hold`");
	if (!secret->has_gpa && machine->config.vm.payload)
		return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
				    "a payload has no fixed place for a secret: say where");
	if (!secret->has_gpa && secret->bytes > LAYOUT_SECRET_BYTES)
		return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
				    "the launch image has room for %llu bytes of secret",
				    LAYOUT_SECRET_BYTES);
	_Static_assert(sizeof(header) == sizeof(secret->header), "packet header");
	memcpy(&header, secret->header, sizeof(header));
	ret = vm_launch_secret(machine->vm, &header, secret->packet, (uint32_t)secret->bytes,
			       secret->has_gpa ? secret->gpa : LAYOUT_SECRET_GPA, &why);
	return ret ? control_fail(err, ret, NULL, "%s", why.text) : 0;
}

static const struct control_vm_ops vm_ops = {
	.status = get_status,
	.pause = do_pause,
	.resume = do_resume,
	.stop = do_stop,
	.memory_map = get_memory_map,
	.measurement = get_measurement,
	.inject_secret = do_inject_secret,
};

int machine_control_create(struct machine *machine, const char *name, struct why *why)
{
	struct control_error error = { 0 };
	int err = control_create(&machine->control, name, &error);

	if (err)
		return why_set(why, err, "--name %s: %s", name, error.desc);
	err = control_add_vm_commands(machine->control, &vm_ops, machine);
	return err ? why_set(why, err, "the control socket's commands: %s", strerror(-err)) : 0;
}

int machine_control_start(struct machine *machine, struct why *why)
{
	int err = control_start(machine->control);

	return err ? why_set(why, err, "the control socket: %s", strerror(-err)) : 0;
}

void machine_control_destroy(struct machine *machine)
{
	if (!machine->control)
		return;
	vm_stop(machine->vm);
	control_vm_state_event(machine->control, state_of(machine), vm_end_report(machine->vm));
	control_destroy(machine->control);
	machine->control = NULL;
}

struct control *machine_control(const struct machine *machine)
{
	return machine->control;
}
