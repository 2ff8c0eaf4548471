/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libsevmirror asks of the VMM that embeds it (include/sevmirror/host.h), answered by this
 * one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mirror/region.h"
#include "lib/util/number.h"
#include "service/sandbox/sandbox.h"
#include "service/migrate_compat.h"
#include "service/service_private.h"
#include "vmm/vm/dirty_log.h"
#include "vmm/memory.h"
#include "vmm/vm/vm_state.h"

static int op_describe(void *opaque, struct sevmirror_vm *out)
{
	struct service *s = opaque;
	struct vm *vm = machine_vm(s->machine);

	*out = (struct sevmirror_vm){
		.name = s->name,
		.kvm_fd = vm_kvm_fd(vm),
		.vm_fd = vm_fd(vm),
		.sev_fd = vm_sev_fd(vm),
		.sev = vm_sev(vm),
		.pagemap = vm_sev(vm) ? vm_pagemap(vm) : NULL,
		.cbit_mask = vm_c_mask(vm),
		.helper = { .fd = machine_helper_memory(s->machine)->fd,
			    .hva = machine_helper_memory(s->machine)->hva },
	};
	out->nranges = guest_memory_ranges(vm_memory(vm), out->ranges);
	return 0;
}

static ssize_t op_config_save(void *opaque, void *buf, size_t max)
{
	struct service *s = opaque;
	struct migrate_config *config = calloc(1, sizeof(*config));
	unsigned int i;
	ssize_t n;

	if (!config)
		return -ENOMEM;
	config->machine = *machine_config(s->machine);
	for (i = 0; i < config->machine.ndisks; i++)
		config->machine.disks[i].bytes = machine_disk_bytes(s->machine, i);
	config->policy = s->policy;
	n = migrate_config_save(config, buf, max);
	free(config);
	return n;
}

/*
 * A path of the source, which is that of a file in dir if it is relative, or begins with dir. NULL:
 * it names a file elsewhere. Whether it leaves dir later is seen when it is opened.
 */
static const char *path_in(const char *dir, const char *path)
{
	size_t len = strlen(dir);

	while (len > 1 && dir[len - 1] == '/')
		len--;
	if (*path != '/')
		return path;
	if (strncmp(path, dir, len) != 0 || (path[len] != '/' && dir[len - 1] != '/'))
		return NULL;
	path += len;
	return path + strspn(path, "/");
}

/*
 * Which of this host's files a VM gets is said by this host's operator only: file by file, or as a
 * directory in which the source may choose.
 */
static int use_disk(const struct service_incoming *in, unsigned int i, struct machine_disk *disk,
		    struct why *why)
{
	const char *path = disk->path;

	if (in->ndisks) {
		disk->path = in->disks[i];
		return 0;
	}
	if (!in->disk_dir)
		return why_set(
			why, -EPERM,
			"the VM has the disk %s: the target must name it with --disk, or its "
			"directory with --disk-dir",
			path);
	disk->beneath = in->disk_dir;
	disk->path = path_in(in->disk_dir, path);
	if (!disk->path)
		return why_set(why, -EPERM,
			       "the VM's disk %s is not in the target's --disk-dir %s: the target "
			       "must name it with --disk",
			       path, in->disk_dir);
	return 0;
}

/* What the operator of this host said about disks and networks goes over what the source says. */
static int use_devices(struct service *s, struct why *why)
{
	const struct service_incoming *in = s->incoming;
	struct machine_config *machine = &s->config.machine;
	unsigned int i;
	int err = 0;

	if (in->ndisks && in->ndisks != machine->ndisks)
		return why_set(why, -EINVAL,
			       "the VM has %u disks, and --disk names %u on the target",
			       machine->ndisks, in->ndisks);
	if (in->ntaps && in->ntaps != machine->nnets)
		return why_set(why, -EINVAL,
			       "the VM has %u network cards, and --tap names %u on the target",
			       machine->nnets, in->ntaps);
	/*
	 * A source that has not authenticated itself does not say which of this host's files and
	 * interfaces a VM gets.
	 */
	if (in->security.insecure &&
	    ((machine->ndisks && !in->ndisks) || (machine->nnets && !in->ntaps)))
		return why_set(why, -EPERM,
			       "with --insecure the target must name the VM's disks (--disk) and "
			       "networks (--tap)");
	for (i = 0; i < machine->ndisks && !err; i++)
		err = use_disk(in, i, &machine->disks[i], why);
	for (i = 0; i < in->ntaps; i++)
		machine->nets[i].tap = in->taps[i];
	return err;
}

static bool is_wanted(void *opaque, uint64_t done, uint64_t all)
{
	return service_populates(opaque, done, all);
}

/* What the source announced, and what this host's operator permits, before memory is committed. */
static int check_memory(struct service *s, struct why *why)
{
	uint64_t bytes = s->config.machine.vm.memory_bytes, max = s->incoming->memory_max;
	uint64_t announced = sevmirror_migration_ram_bytes(s->job->migration);
	char text[2][24];

	if (bytes != announced)
		return why_set(why, -EPROTO,
			       "the source announced a VM with %llu bytes of memory and configures "
			       "one with %llu",
			       (unsigned long long)announced, (unsigned long long)bytes);
	if (max && bytes > max)
		return why_set(why, -EPERM,
			       "the VM has %s of memory, and the target takes one with at most %s "
			       "(--memory-max)",
			       util_size_text(bytes, text[0]), util_size_text(max, text[1]));
	return 0;
}

/*
 * Without the lock, so that the VM's status can be asked for and the VM stopped while its memory is
 * populated.
 */
static int build(struct service *s, struct why *why)
{
	struct machine_config *config = &s->config.machine;
	struct machine *machine;
	int err;

	err = check_memory(s, why);
	if (!err)
		err = use_devices(s, why);
	if (err)
		return err;
	config->serial = s->incoming->serial;
	config->hvc = s->incoming->hvc;
	config->incoming = true;
	config->vm.hugepages = s->incoming->hugepages;
	config->vm.devices = s->incoming->devices;
	config->vm.cpuid = &s->cpu->cpuid;
	config->vm.tsc_khz = s->cpu->tsc_khz;
	config->vm.watch = (struct util_map_watch){ .wanted = is_wanted, .opaque = s };
	err = machine_create(&machine, config, why);
	config->vm.cpuid = NULL;
	if (err)
		return err;
	/* Devices are loaded while they are stopped. */
	(void)vm_pause(machine_vm(machine));
	pthread_mutex_lock(&s->lock);
	s->machine = machine;
	s->policy = s->config.policy;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static int op_config_load(void *opaque, const void *buf, size_t len, char *text, size_t max)
{
	struct service *s = opaque;
	struct why why = { "" };
	int err = migrate_config_load(&s->config, buf, len, &why);

	if (!err && s->config.machine.vm.sev != s->cpu->sev)
		err = why_set(&why, -EINVAL,
			      "the source describes the VM as encrypted and as plain");
	if (!err)
		err = build(s, &why);
	snprintf(text, max, "%s", why.text);
	return err;
}

static ssize_t op_compat_save(void *opaque, void *buf, size_t max)
{
	const struct service *s = opaque;
	struct vm *vm = machine_vm(s->machine);

	return migrate_compat_save(vm, vm_sev(vm) != NULL, buf, max);
}

static int op_compat_check(void *opaque, const void *buf, size_t len, char *text, size_t max)
{
	struct service *s = opaque;
	struct why why = { "" };
	int err;

	s->cpu = s->cpu ? s->cpu : malloc(sizeof(*s->cpu));
	if (!s->cpu)
		return -ENOMEM;
	err = migrate_compat_load(s->cpu, buf, len, &why);
	if (!err && s->cpu->sev == s->incoming->sev_off)
		err = why_set(
			&why, -EPERM,
			s->cpu->sev ?
				"the VM is encrypted, and the target waits with --sev off: start "
				"the target without it" :
				"the VM runs in the clear, and the target accepts such a VM "
				"only with --sev off");
	if (!err)
		err = migrate_compat_check(s->cpu, s->incoming->devices, &why);
	snprintf(text, max, "%s", why.text);
	return err;
}

static int op_dirty_start(void *opaque)
{
	struct service *s = opaque;

	service_mirror_forget(s);
	return dirty_log_start(machine_vm(s->machine));
}

static int op_dirty_fetch(void *opaque, uint64_t *bitmap, size_t npages)
{
	struct service *s = opaque;
	int err = dirty_log_fetch(machine_vm(s->machine), bitmap, npages);

	return err ? err : service_mirror_fetch(s, bitmap, npages);
}

static void op_dirty_stop(void *opaque)
{
	struct service *s = opaque;

	dirty_log_stop(machine_vm(s->machine));
}

static int op_pause(void *opaque)
{
	struct service *s = opaque;
	struct vm *vm = machine_vm(s->machine);
	int err;

	migrate_priority_take_back(&s->priority);
	pthread_mutex_lock(&s->lock);
	s->paused_by_migration = true;
	err = vm_pause(vm);
	if (!err && vm_end(vm) != VM_RUNS)
		err = -ESHUTDOWN;
	pthread_mutex_unlock(&s->lock);
	return err ? err : service_mirror_stop(s);
}

/* With the lock: post-copy at this target. Before the guest runs here it changes nothing. */
static void follow_phase(struct service *s)
{
	if (!service_state_fills(s->state))
		return;
	if (s->progress.phase == SEVMIRROR_PHASE_POSTCOPY && s->state != SERVICE_FILLING)
		service_step(s, SERVICE_FILL);
	else if (s->progress.phase == SEVMIRROR_PHASE_BROKEN && s->state != SERVICE_CUT)
		service_step(s, SERVICE_BREAK);
}

static int op_resume(void *opaque)
{
	struct service *s = opaque;
	struct vm *vm = machine_vm(s->machine);
	bool arrives;
	int err = 0;

	pthread_mutex_lock(&s->lock);
	arrives = s->state == SERVICE_AWAITED;
	if (arrives)
		err = vm_start(vm, NULL);
	s->paused_by_migration = false;
	if (!err && arrives) {
		service_step(s, SERVICE_RESUME);
		follow_phase(s);
		service_started(s);
	}
	if (!err && !s->paused_by_user)
		vm_resume(vm);
	pthread_mutex_unlock(&s->lock);
	if (!err)
		service_say_state(s, arrives ? "migrated here" : "migration ended");
	return err;
}

/* Without the lock: whoever holds it must not make the fault service wait. */
static void op_request_pause(void *opaque)
{
	struct service *s = opaque;

	vm_request_pause(machine_vm(s->machine));
}

static void op_throttle(void *opaque, unsigned int percent)
{
	struct service *s = opaque;

	(void)vm_throttle(machine_vm(s->machine), percent);
}

/* One byte of this file, then the VM's state. */
static ssize_t op_state_save(void *opaque, void *buf, size_t max)
{
	struct service *s = opaque;
	uint8_t *state, *out = buf;
	struct why why = { "" };
	size_t len;
	int err = vm_state_save(machine_vm(s->machine), &state, &len, &why);

	if (err) {
		fprintf(stderr, "sevmirror: %s\n", why.text);
		return err;
	}
	if (max < 1 || len > max - 1) {
		err = -ENOSPC;
	} else {
		out[0] = s->paused_by_user;
		memcpy(out + 1, state, len);
	}
	explicit_bzero(state, len);
	free(state);
	return err ? err : (ssize_t)(len + 1);
}

static int op_state_load(void *opaque, const void *buf, size_t len, char *text, size_t max)
{
	struct service *s = opaque;
	const uint8_t *bytes = buf;
	struct why why = { "" };
	int err;

	if (len < 1 || bytes[0] > 1) {
		snprintf(text, max, "malformed");
		return -EINVAL;
	}
	s->paused_by_user = bytes[0];
	err = vm_state_load(machine_vm(s->machine), bytes + 1, len - 1, &why);
	snprintf(text, max, "%s", why.text);
	return err;
}

static int op_disks_release(void *opaque)
{
	struct service *s = opaque;

	return machine_disks_release(s->machine);
}

static void op_disks_flush(void *opaque)
{
	struct service *s = opaque;

	machine_disks_flush(s->machine);
}

static int op_disks_acquire(void *opaque, char *text, size_t max)
{
	struct service *s = opaque;
	struct why why = { "" };
	int err = machine_disks_acquire(s->machine, &why);

	snprintf(text, max, "%s", why.text);
	return err;
}

static void op_handed_over(void *opaque)
{
	struct service *s = opaque;

	vm_gone(machine_vm(s->machine));
}

static void op_unauthenticated_peer(void *opaque, const char *address, const char *text)
{
	struct service *s = opaque;

	pthread_mutex_lock(&s->lock);
	s->unauthenticated++;
	snprintf(s->last_unauthenticated, sizeof(s->last_unauthenticated), "%s: %s", address, text);
	pthread_mutex_unlock(&s->lock);
	service_wake(s);
}

static void op_progress(void *opaque, const struct sevmirror_progress *progress)
{
	struct service *s = opaque;
	bool news;

	pthread_mutex_lock(&s->lock);
	news = s->progress.phase != progress->phase;
	s->progress = *progress;
	follow_phase(s);
	pthread_mutex_unlock(&s->lock);
	if (news)
		service_wake(s);
	if (s->control)
		control_event(s->control, "migration", migrate_progress_json(progress));
}

static void op_thread_begins(void *opaque, enum sevmirror_thread kind)
{
	struct service *s = opaque;

	/*
	 * Of the source only: its guest runs while pages are sealed and sent, and may want the same
	 * CPUs. At the target, and at the source of a post-copy, somebody waits for the thread.
	 */
	if (kind != SEVMIRROR_THREAD_URGENT)
		migrate_priority_thread(&s->priority);
	if (kind == SEVMIRROR_THREAD_HELPER)
		sandbox_thread(SANDBOX_VCPU, "helper");
	else
		sandbox_thread(SANDBOX_STREAM, "stream");
}

const struct sevmirror_host_ops migrate_host_ops = {
	.describe = op_describe,
	.config_save = op_config_save,
	.config_load = op_config_load,
	.compat_save = op_compat_save,
	.compat_check = op_compat_check,
	.dirty_start = op_dirty_start,
	.dirty_fetch = op_dirty_fetch,
	.dirty_stop = op_dirty_stop,
	.pause = op_pause,
	.resume = op_resume,
	.request_pause = op_request_pause,
	.throttle = op_throttle,
	.state_save = op_state_save,
	.state_load = op_state_load,
	.disks_release = op_disks_release,
	.disks_acquire = op_disks_acquire,
	.disks_flush = op_disks_flush,
	.handed_over = op_handed_over,
	.progress = op_progress,
	.unauthenticated_peer = op_unauthenticated_peer,
	.thread_begins = op_thread_begins,
};
