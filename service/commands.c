/* SPDX-License-Identifier: Apache-2.0 */
/* What is behind the commands that every VM has (control/vm_commands.h). */
#include <errno.h>
#include <string.h>

#include "lib/mirror/region.h"
#include <sevmirror/pagemap.h>
#include "lib/sev/platform.h"
#include "payloads/sdk/payload.h"
#include "service/service_private.h"
#include "launch/layout.h"
#include "vmm/memory.h"

#define PAGE_SHIFT 12

enum control_vm_state service_vm_state(struct service *s)
{
	if (s->incoming && !s->arrived)
		return CONTROL_VM_INCOMING;
	if (!s->machine)
		return CONTROL_VM_STARTING;
	switch (vm_end(machine_vm(s->machine))) {
	case VM_RUNS:
		if (!s->incoming && !machine_started(s->machine))
			return CONTROL_VM_STARTING;
		return s->held_by_user || s->undecided || s->broken || s->lost ? CONTROL_VM_PAUSED :
										 CONTROL_VM_RUNNING;
	case VM_MIGRATED:
		return CONTROL_VM_MIGRATED;
	case VM_CRASH:
	case VM_FAILED:
		return CONTROL_VM_CRASHED;
	default:
		return CONTROL_VM_STOPPING;
	}
}

void service_say_state(struct service *s, const char *reason)
{
	enum control_vm_state state;

	if (!s->control)
		return;
	pthread_mutex_lock(&s->lock);
	state = service_vm_state(s);
	pthread_mutex_unlock(&s->lock);
	control_vm_state_event(s->control, state, reason);
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

	if (!ret && service_vm_state(s) == CONTROL_VM_STARTING)
		ret = control_fail(err, -EBUSY, CONTROL_WRONG_STATE,
				   "the VM has not started yet: 'resume' lets it");
	return ret;
}

static int op_status(void *opaque, struct control_vm_status *status, struct control_error *err)
{
	struct service *s = opaque;

	pthread_mutex_lock(&s->lock);
	status->state = service_vm_state(s);
	status->uptime_seconds = service_uptime(s);
	status->mirror_attached = service_mirror_attached(s);
	if (s->machine) {
		struct vm *vm = machine_vm(s->machine);

		status->cpus = vm_cpus(vm);
		status->memory_bytes = guest_memory_bytes(vm_memory(vm));
		status->sev = vm_sev(vm) != NULL;
		status->sev_policy = s->policy;
		status->migration_ready =
			!status->sev || sev_pagemap_migration_ready(vm_pagemap(vm));
	}
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static int op_pause(void *opaque, struct control_error *err)
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

static int op_resume(void *opaque, struct control_error *err)
{
	struct service *s = opaque;
	struct why why = { "" };
	int ret;

	pthread_mutex_lock(&s->lock);
	ret = service_need_runnable(s, err);
	if (!ret && service_vm_state(s) == CONTROL_VM_STARTING) {
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

static int op_stop(void *opaque, bool force, struct control_error *err)
{
	struct service *s = opaque;
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
	if (s->machine && (force || service_vm_state(s) == CONTROL_VM_STARTING))
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

	(void)op_stop(s, true, &none);
}

void service_filled(struct service *s)
{
	if (s->held_by_user)
		(void)vm_pause(machine_vm(s->machine)); /* devices, too */
	if (s->end_asked)
		ask_to_end(s);
	s->end_asked = false;
}

struct map_out {
	void (*add)(void *opaque, const struct control_memory_range *range);
	void *opaque;
};

/* The runs of one kind in [gpa, end). */
static void map_kinds(const struct vm *vm, uint64_t gpa, uint64_t end, const char *kind,
		      const struct map_out *out)
{
	while (gpa < end) {
		bool private = false;
		uint64_t npages = sev_pagemap_run(vm_pagemap(vm), gpa >> PAGE_SHIFT, &private);
		struct control_memory_range range = { .gpa = gpa, .kind = kind };

		range.bytes = npages << PAGE_SHIFT;
		if (!npages || range.bytes > end - gpa)
			range.bytes = end - gpa;
		range.shared = !vm_sev(vm) || !private;
		out->add(out->opaque, &range);
		gpa += range.bytes;
	}
}

/* One of RAM's parts; the workload's region, which may be empty, lies in front of the helper's. */
static void map_range(const struct machine *machine, uint64_t gpa, uint64_t end,
		      const struct map_out *out)
{
	const struct region_plan *helper = machine_helper(machine);
	const struct vm *vm = machine_vm(machine);
	uint64_t workload = helper->gpa - machine_config(machine)->workload.bytes;

	if (helper->gpa < gpa || helper->gpa >= end) {
		map_kinds(vm, gpa, end, "ram", out);
		return;
	}
	map_kinds(vm, gpa, workload, "ram", out);
	map_kinds(vm, workload, helper->gpa, "mirror-payload", out);
	map_kinds(vm, helper->gpa, helper->gpa + helper->bytes, "helper", out);
	map_kinds(vm, helper->gpa + helper->bytes, end, "ram", out);
}

static int op_memory_map(void *opaque,
			 void (*add)(void *opaque, const struct control_memory_range *range),
			 void *add_opaque, struct control_error *err)
{
	struct guest_memory_range ranges[GUEST_MEMORY_RANGES];
	const struct map_out out = { add, add_opaque };
	struct service *s = opaque;
	unsigned int i, n;
	int ret;

	pthread_mutex_lock(&s->lock);
	ret = service_need_vm(s, err);
	if (!ret) {
		struct vm *vm = machine_vm(s->machine);

		n = guest_memory_ranges(vm_memory(vm), ranges);
		for (i = 0; i < n; i++)
			map_range(s->machine, ranges[i].gpa, ranges[i].gpa + ranges[i].bytes, &out);
	}
	pthread_mutex_unlock(&s->lock);
	return ret;
}

static int not_sev(struct control_error *err)
{
	return control_fail(err, -EOPNOTSUPP, CONTROL_UNSUPPORTED, "this VM is not an SEV guest");
}

/* The measurement with what else its HMAC covers (SEV API, LAUNCH_MEASURE). */
static int read_measurement(struct service *s, struct control_measurement *m,
			    struct control_error *err)
{
	const uint8_t *measurement = machine_measurement(s->machine);
	struct sev_platform_status platform;
	struct sev_error error = { 0 };
	int ret = sev_platform_status(vm_sev_fd(machine_vm(s->machine)), &platform, &error);

	if (ret)
		return control_fail(err, ret, CONTROL_FAILED, "%s", error.message);
	memcpy(m->measure, measurement, sizeof(m->measure));
	memcpy(m->nonce, measurement + sizeof(m->measure), sizeof(m->nonce));
	m->api_major = platform.api_major;
	m->api_minor = platform.api_minor;
	m->build = platform.build;
	m->policy = s->policy;
	return 0;
}

static int op_measurement(void *opaque, struct control_measurement *measurement,
			  struct control_error *err)
{
	struct service *s = opaque;
	int ret;

	pthread_mutex_lock(&s->lock);
	ret = service_need_vm(s, err);
	if (!ret && !vm_sev(machine_vm(s->machine)))
		ret = not_sev(err);
	else if (!ret && s->incoming)
		ret = control_fail(err, -EOPNOTSUPP, CONTROL_UNSUPPORTED,
				   "this guest was launched, and measured, at another host");
	else if (!ret)
		ret = read_measurement(s, measurement, err);
	pthread_mutex_unlock(&s->lock);
	return ret;
}

/* With the lock. */
static int inject(struct service *s, const struct control_secret *secret, struct control_error *err)
{
	struct sev_packet_header header;
	struct why why = { "" };
	int ret;

	if (service_vm_state(s) != CONTROL_VM_STARTING)
		return control_fail(
			err, -EBUSY, CONTROL_WRONG_STATE,
			"the guest runs already: a secret goes in before, with `run --hold`");
	if (!secret->has_gpa && machine_config(s->machine)->vm.payload)
		return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
				    "a payload has no fixed place for a secret: say where");
	if (!secret->has_gpa && secret->bytes > LAYOUT_SECRET_BYTES)
		return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
				    "the launch image has room for %llu bytes of secret",
				    LAYOUT_SECRET_BYTES);
	_Static_assert(sizeof(header) == sizeof(secret->header), "packet header");
	memcpy(&header, secret->header, sizeof(header));
	ret = vm_launch_secret(machine_vm(s->machine), &header, secret->packet,
			       (uint32_t)secret->bytes,
			       secret->has_gpa ? secret->gpa : LAYOUT_SECRET_GPA, &why);
	return ret ? control_fail(err, ret, CONTROL_FAILED, "%s", why.text) : 0;
}

static int op_inject_secret(void *opaque, const struct control_secret *secret,
			    struct control_error *err)
{
	struct service *s = opaque;
	int ret;

	pthread_mutex_lock(&s->lock);
	ret = service_need_vm(s, err);
	if (!ret && !vm_sev(machine_vm(s->machine)))
		ret = not_sev(err);
	else if (!ret)
		ret = inject(s, secret, err);
	pthread_mutex_unlock(&s->lock);
	return ret;
}

const struct control_vm_ops service_vm_ops = {
	.status = op_status,
	.pause = op_pause,
	.resume = op_resume,
	.stop = op_stop,
	.memory_map = op_memory_map,
	.measurement = op_measurement,
	.inject_secret = op_inject_secret,
};
