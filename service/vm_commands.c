/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that every VM has: its status, pause, resume, stop. */
#include <errno.h>

#include <sevmirror/pagemap.h>
#include "payloads/sdk/payload.h"
#include "service/service_private.h"
#include "launch/layout.h"
#include "vmm/memory.h"

static const char *const state_names[] = {
	[CLIENT_STARTING] = "starting", [CLIENT_RUNNING] = "running",
	[CLIENT_PAUSED] = "paused",	[CLIENT_INCOMING] = "incoming",
	[CLIENT_MIGRATED] = "migrated", [CLIENT_STOPPING] = "stopping",
	[CLIENT_CRASHED] = "crashed",
};

const char *client_state_name(enum client_state state)
{
	return state_names[state];
}

enum client_state service_vm_state(struct service *s)
{
	if (s->incoming && !s->arrived)
		return CLIENT_INCOMING;
	if (!s->machine)
		return CLIENT_STARTING;
	switch (vm_end(machine_vm(s->machine))) {
	case VM_RUNS:
		if (!s->incoming && !machine_started(s->machine))
			return CLIENT_STARTING;
		return s->held_by_user || s->undecided || s->broken || s->lost ? CLIENT_PAUSED :
										 CLIENT_RUNNING;
	case VM_MIGRATED:
		return CLIENT_MIGRATED;
	case VM_CRASH:
	case VM_FAILED:
		return CLIENT_CRASHED;
	default:
		return CLIENT_STOPPING;
	}
}

void service_say_state(struct service *s, const char *reason)
{
	enum client_state state;

	if (!s->control)
		return;
	pthread_mutex_lock(&s->lock);
	state = service_vm_state(s);
	pthread_mutex_unlock(&s->lock);
	control_event(s->control, "state",
		      json_pack("{s:s, s:s*}", "state", state_names[state], "reason", reason));
}

bool service_fills(const struct service *s)
{
	/* A VM that came and goes on to another host has a job that accepts no connections. */
	return s->incoming && s->arrived && s->migrating && s->job->listen_fd >= 0;
}

/* With the lock. The VM runs here or is paused here, and is nobody else's. */
int service_need_vm(struct service *s, struct control_error *err)
{
	if (s->incoming && !s->arrived)
		return control_fail(err, -EBUSY, CONTROL_WRONG_STATE, "the VM has not come yet");
	if (!s->machine || vm_end(machine_vm(s->machine)) != VM_RUNS)
		return control_fail(err, -EBUSY, CONTROL_WRONG_STATE, "the VM has ended");
	return 0;
}

int service_need_started(struct service *s, struct control_error *err)
{
	int ret = service_need_vm(s, err);

	if (!ret && service_vm_state(s) == CLIENT_STARTING)
		ret = control_fail(err, -EBUSY, CONTROL_WRONG_STATE,
				   "the VM has not started yet: 'resume' lets it");
	return ret;
}

/* With the lock: what needs the machine. */
static void add_machine(const struct service *s, json_t *status)
{
	const struct vm *vm = machine_vm(s->machine);
	bool sev = vm_sev(vm) != NULL;

	json_object_set_new(status, "cpus", json_integer(vm_cpus(vm)));
	json_object_set_new(status, "memory-bytes",
			    json_integer((json_int_t)guest_memory_bytes(vm_memory(vm))));
	json_object_set_new(status, "sev", json_boolean(sev));
	json_object_set_new(status, "migration-ready",
			    json_boolean(!sev || sev_pagemap_migration_ready(vm_pagemap(vm))));
	if (sev)
		json_object_set_new(status, "sev-policy", json_integer(s->policy));
}

static int run_status(void *opaque, struct control_call *call, struct control_error *err)
{
	struct service *s = opaque;

	pthread_mutex_lock(&s->lock);
	call->ret = json_pack("{s:s, s:i, s:i, s:f, s:b, s:b, s:b}", "state",
			      state_names[service_vm_state(s)], "cpus", 0, "memory-bytes", 0,
			      "uptime-seconds", service_uptime(s), "sev", 0, "migration-ready", 0,
			      "mirror-attached", service_mirror_attached(s));
	if (call->ret && s->machine)
		add_machine(s, call->ret);
	pthread_mutex_unlock(&s->lock);
	return call->ret ? 0 : -ENOMEM;
}

static int run_pause(void *opaque, struct control_call *call, struct control_error *err)
{
	struct service *s = opaque;
	int ret;

	pthread_mutex_lock(&s->lock);
	ret = service_need_started(s, err);
	if (!ret) {
		s->held_by_user = true;
		if (service_fills(s))
			vm_request_pause(machine_vm(s->machine));
		else if (vm_pause(machine_vm(s->machine)))
			ret = control_fail(err, -EIO, CONTROL_FAILED,
					   "the VM is paused, but a disk could not be flushed");
	}
	pthread_mutex_unlock(&s->lock);
	if (!ret)
		service_say_state(s, "pause");
	return ret;
}

/* The operator's word that the other host does not run the guest: take it back. */
static int decide(struct service *s, struct control_error *err)
{
	struct sev_guest *sev = vm_sev(machine_vm(s->machine));
	struct why why = { "" };
	int ret = machine_disks_acquire(s->machine, &why);

	if (ret)
		return control_fail(err, ret, CONTROL_FAILED,
				    "%s: does the other host have the guest?", why.text);
	/*
	 * The firmware's context was left sending. It says so if not, and either way the guest can
	 * run.
	 */
	if (sev)
		(void)sev_guest_send_cancel(sev, NULL);
	s->undecided = false;
	s->held_by_migration = false;
	return 0;
}

int service_need_runnable(struct service *s, struct control_error *err)
{
	int ret = service_need_vm(s, err);

	if (!ret && s->lost)
		ret = control_fail(err, -EBUSY, CONTROL_WRONG_STATE,
				   "the guest's memory will never be whole: 'stop' it by force");
	else if (!ret && s->broken)
		ret = control_fail(
			err, -EBUSY, CONTROL_WRONG_STATE,
			"the guest runs at the other host, which lacks pages that are here: "
			"'migrate-recover' goes on, 'stop' by force gives the guest up");
	return ret;
}

static int run_resume(void *opaque, struct control_call *call, struct control_error *err)
{
	struct service *s = opaque;
	struct why why = { "" };
	int ret;

	pthread_mutex_lock(&s->lock);
	ret = service_need_runnable(s, err);
	if (!ret && service_vm_state(s) == CLIENT_STARTING) {
		ret = machine_go(s->machine, &why);
		if (ret)
			control_fail(err, ret, CONTROL_FAILED, "%s", why.text);
		else
			service_started(s);
	} else if (!ret && s->undecided) {
		ret = decide(s, err);
	}
	if (!ret) {
		s->held_by_user = false;
		if (!s->held_by_migration)
			vm_resume(machine_vm(s->machine));
	}
	pthread_mutex_unlock(&s->lock);
	if (!ret)
		service_say_state(s, "resume");
	return ret;
}

/* Ask the guest to end: a kernel by the power button, a payload by its command word. */
static void ask_to_end(struct service *s)
{
	struct vm *vm = machine_vm(s->machine);
	struct payload_shared *shared = vm_payload_shared(vm);

	if (!shared) {
		vm_power_button(vm);
		return;
	}
	if (service_fills(s)) {
		s->end_asked = true;
		return;
	}
	__atomic_store_n(&shared->command, PAYLOAD_CMD_STOP, __ATOMIC_SEQ_CST);
	guest_memory_mark_dirty(vm_memory(vm), LAYOUT_PAYLOAD_SHARED_GPA, sizeof(*shared));
}

static int stop(struct service *s, bool force, struct control_error *err)
{
	int ret = 0;

	pthread_mutex_lock(&s->lock);
	if (!force && (s->broken || s->lost))
		ret = service_need_runnable(s, err);
	if (ret) {
		pthread_mutex_unlock(&s->lock);
		return ret;
	}
	/*
	 * A guest that shuts down by itself may do so at either host; one whose power goes does not
	 * move any more.
	 */
	if (force || (s->incoming && !s->arrived))
		migrate_cancel(s);
	if (s->machine && (force || service_vm_state(s) == CLIENT_STARTING))
		vm_stop(machine_vm(s->machine));
	else if (s->machine && !(s->incoming && !s->arrived))
		ask_to_end(s);
	pthread_mutex_unlock(&s->lock);
	service_wake(s);
	return 0;
}

void service_stop(struct service *s)
{
	struct control_error none;

	(void)stop(s, true, &none);
}

static int run_stop(void *opaque, struct control_call *call, struct control_error *err)
{
	return stop(opaque, control_arg_bool(call, "force", false), err);
}

void service_filled(struct service *s)
{
	if (s->held_by_user)
		(void)vm_pause(machine_vm(s->machine)); /* devices, too */
	if (s->end_asked)
		ask_to_end(s);
	s->end_asked = false;
}

static const struct control_arg stop_args[] = {
	{ "force", CONTROL_BOOL, false,
	  "end it at once, as if the power went, instead of asking the guest" },
	{ 0 },
};

const struct control_command vm_commands[] = {
	{ "query-status", "What the VM is and what it is doing.",
	  "{state, cpus, memory-bytes, uptime-seconds, sev, migration-ready, mirror-attached, sev-policy}",
	  NULL, run_status },
	{ "pause", "Stop the vCPUs.", NULL, NULL, run_pause },
	{ "resume", "Let the vCPUs run again.", NULL, NULL, run_resume },
	{ "stop", "End the VM.", NULL, stop_args, run_stop },
	{ 0 },
};
