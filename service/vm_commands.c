/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that every VM has: its status, pause, resume, stop. */
#include <errno.h>

#include <sevmirror/pagemap.h>
#include "payloads/sdk/payload.h"
#include "service/service_private.h"
#include "launch/guest_layout.h"
#include "vmm/memory.h"

void service_say_state(struct service *s, const char *reason)
{
	enum client_state state;

	if (!s->control)
		return;
	pthread_mutex_lock(&s->lock);
	state = service_look(s).client;
	pthread_mutex_unlock(&s->lock);
	control_event(
		s->control, "state",
		json_pack("{s:s, s:s*}", "state", client_state_name(state), "reason", reason));
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

/* The commands that the state permits. */
static json_t *permitted(unsigned int permits)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < SERVICE_PERMITS; i++) {
		if (permits & (1U << i))
			json_array_append_new(list, json_string(service_permit_command(i)));
	}
	return list;
}

static int run_status(void *opaque, struct control_call *call, struct control_error *err)
{
	struct service *s = opaque;
	struct service_view view;

	pthread_mutex_lock(&s->lock);
	view = service_look(s);
	call->ret = json_pack("{s:s, s:i, s:i, s:f, s:b, s:b, s:b, s:s, s:s, s:o}", "state",
			      client_state_name(view.client), "cpus", 0, "memory-bytes", 0,
			      "uptime-seconds", service_uptime(s), "sev", 0, "migration-ready", 0,
			      "mirror-attached", service_mirror_attached(s), "detail",
			      view.ordinary ? "" : view.sentence, "advice", view.action,
			      "permitted", permitted(view.permits));
	if (call->ret && s->machine)
		add_machine(s, call->ret);
	else if (call->ret && atomic_load(&s->to_populate))
		json_object_set_new(call->ret, "populating",
				    json_pack("{s:I, s:I}", "done-bytes",
					      (json_int_t)atomic_load(&s->populated), "all-bytes",
					      (json_int_t)atomic_load(&s->to_populate)));
	if (call->ret && service_state_migrates(s->state) && s->state != SERVICE_AWAITED)
		json_object_set_new(call->ret, "migration", migrate_progress_json(&s->progress));
	pthread_mutex_unlock(&s->lock);
	return call->ret ? 0 : -ENOMEM;
}

static int run_pause(void *opaque, struct control_call *call, struct control_error *err)
{
	struct service *s = opaque;
	int ret;

	pthread_mutex_lock(&s->lock);
	ret = service_permit(s, SERVICE_MAY_PAUSE, err);
	if (!ret) {
		s->paused_by_user = true;
		if (service_state_fills(s->state))
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
				    "%s. The guest may be running on the target: check the target",
				    why.text);
	/*
	 * If the firmware's context is still sending, this ends it. If not, the firmware says so.
	 * Either way the guest can run.
	 */
	if (sev)
		(void)sev_guest_send_cancel(sev, NULL);
	service_step(s, SERVICE_DECIDE);
	s->paused_by_migration = false;
	migrate_forget(s);
	return 0;
}

/* With the lock: the guest begins to run. */
static void start(struct service *s)
{
	service_started(s);
	service_step(s, SERVICE_START);
}

static int run_resume(void *opaque, struct control_call *call, struct control_error *err)
{
	struct service *s = opaque;
	struct why why = { "" };
	int ret;

	pthread_mutex_lock(&s->lock);
	ret = service_permit(s, SERVICE_MAY_RESUME, err);
	if (!ret && s->state == SERVICE_HELD) {
		ret = machine_go(s->machine, &why);
		if (ret)
			control_fail(err, ret, CONTROL_FAILED, "%s", why.text);
		else
			start(s);
	} else if (!ret && s->state == SERVICE_UNDECIDED) {
		ret = decide(s, err);
	} else if (!ret && s->state == SERVICE_HERE) {
		/* Open already, unless a migration failed and could not open them again. */
		ret = machine_disks_acquire(s->machine, &why);
		if (ret)
			control_fail(err, ret, CONTROL_FAILED, "%s: the guest stays paused",
				     why.text);
	}
	if (!ret) {
		s->paused_by_user = false;
		if (!s->paused_by_migration)
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
	if (service_state_fills(s->state)) {
		s->end_asked = true;
		return;
	}
	__atomic_store_n(&shared->command, PAYLOAD_CMD_STOP, __ATOMIC_SEQ_CST);
	guest_memory_mark_dirty(vm_memory(vm), LAYOUT_PAYLOAD_SHARED_GPA, sizeof(*shared));
}

/* What `stop` did, as its reply names it. */
static const char *stop(struct service *s, bool force)
{
	bool waits = s->state == SERVICE_AWAITED || s->state == SERVICE_NONE_CAME;
	const char *done = "stopped";

	/*
	 * A guest that shuts down by itself may do so at either host; one whose power goes does not
	 * move any more.
	 */
	if (force || waits)
		migrate_cancel(s);
	if (s->state == SERVICE_EMPTY)
		atomic_store(&s->unwanted, true);
	if (s->machine && (force || s->state == SERVICE_HELD)) {
		vm_stop(machine_vm(s->machine));
	} else if (s->machine && !waits) {
		ask_to_end(s);
		done = "asked";
	}
	return waits ? "not-waiting" : done;
}

void service_stop(struct service *s)
{
	pthread_mutex_lock(&s->lock);
	(void)stop(s, true);
	pthread_mutex_unlock(&s->lock);
	service_wake(s);
}

static int run_stop(void *opaque, struct control_call *call, struct control_error *err)
{
	struct service *s = opaque;
	bool force = control_arg_bool(call, "force", false);
	int ret = 0;

	pthread_mutex_lock(&s->lock);
	if (!force)
		ret = service_permit(s, SERVICE_MAY_STOP, err);
	if (!ret)
		call->ret = json_pack("{s:s}", "done", stop(s, force));
	pthread_mutex_unlock(&s->lock);
	service_wake(s);
	return ret;
}

void service_filled(struct service *s)
{
	if (s->paused_by_user)
		(void)vm_pause(machine_vm(s->machine)); /* devices, too */
	if (s->end_asked)
		ask_to_end(s);
	s->end_asked = false;
}

static const struct control_arg stop_args[] = {
	{ "force", CONTROL_BOOL, false,
	  "end the VM at once, as a power cut would, instead of asking the guest to shut down" },
	{ 0 },
};

const struct control_command vm_commands[] = {
	{ "query-status", "The VM's configuration and state.",
	  "{state, cpus, memory-bytes, uptime-seconds, sev, migration-ready, mirror-attached, "
	  "sev-policy, detail, advice, permitted (commands), migration (as query-migrate's "
	  "progress), populating ({done-bytes, all-bytes}: while the guest's memory is populated)}",
	  NULL, run_status },
	{ "pause", "Stop the vCPUs.", NULL, NULL, run_pause },
	{ "resume", "Let the vCPUs run again.", NULL, NULL, run_resume },
	{ "stop", "End the VM.", "{done (asked, stopped, not-waiting)}", stop_args, run_stop },
	{ 0 },
};
