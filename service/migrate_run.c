/* SPDX-License-Identifier: Apache-2.0 */
/* Migrations as they run: each in a thread of its own, one at a time. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sevmirror/pagemap.h>

#include "lib/net/address.h"
#include "lib/sev/platform.h"
#include "lib/util/file.h"
#include "service/migrate_options.h"
#include "service/service_private.h"
#include "vmm/host_devices.h"

#define VENDOR_CHAIN_MAX 8192

/* Nobody accepts a connection here any more: the address is free, and a peer is refused at once. */
static void stop_listening(struct migrate_job *job)
{
	if (job->listen_fd >= 0)
		close(job->listen_fd);
	job->listen_fd = -1;
	if (job->socket_path)
		unlink(job->socket_path); /* as another user it may not be permitted */
	free(job->socket_path);
	job->socket_path = NULL;
}

static void job_destroy(struct migrate_job *job)
{
	if (!job)
		return;
	if (job->thread_made)
		pthread_join(job->thread, NULL);
	sevmirror_migration_destroy(job->migration);
	stop_listening(job);
	free(job->vendor_chain);
	json_decref(job->args);
	free(job);
}

void migrate_forget(struct service *s)
{
	if (s->job->thread_made)
		pthread_join(s->job->thread, NULL);
	s->job->thread_made = false;
	sevmirror_migration_destroy(s->job->migration);
	s->job->migration = NULL;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/*
 * With the lock. Never less than what was reported during the migration: a counter does not fall. A
 * summary covers the whole migration, also after a recovery, so it is added to the totals before
 * the migration.
 */
static void add_totals(struct service *s, const struct sevmirror_summary *sum)
{
	struct migrate_totals *t = &s->totals;

	t->results[s->result]++;
	t->bytes = s->before.bytes + larger(sum->bytes, s->progress.bytes_sent);
	t->pages = s->before.pages + larger(sum->pages, s->progress.pages_sent);
	t->pages_resent =
		s->before.pages_resent + larger(sum->pages_resent, s->progress.pages_resent);
	t->psp_commands = s->before.psp_commands + sum->psp_commands;
	t->helper_exits = s->before.helper_exits + sum->helper_exits;
	t->faults = s->before.faults + larger(sum->postcopy.faults, s->progress.faults);
	t->recoveries = s->before.recoveries + sum->postcopy.recoveries;
}

static enum sevmirror_outcome run_side(struct migrate_job *job, struct sevmirror_summary *summary)
{
	if (!job->recover)
		return sevmirror_migration_run(job->migration, summary);
	return sevmirror_migration_recover(
		job->migration, job->recover_address[0] ? job->recover_address : NULL, summary);
}

static void *job_main(void *arg)
{
	struct service *s = arg;
	struct sevmirror_summary summary;
	enum sevmirror_outcome outcome = run_side(s->job, &summary);
	json_t *result;
	bool filled;

	pthread_mutex_lock(&s->lock);
	stop_listening(s->job);
	s->summary = summary;
	s->outcome = outcome;
	s->result = service_result(outcome, s->machine ? vm_end(machine_vm(s->machine)) : VM_RUNS);
	filled = outcome == SEVMIRROR_MIGRATED && service_state_fills(s->state);
	service_step(s, service_end_event(outcome));
	/* Its disks could not be opened again: `resume` tries that once more. */
	if (s->state == SERVICE_HERE && s->paused_by_migration) {
		s->paused_by_migration = false;
		s->paused_by_user = true;
	}
	add_totals(s, &summary);
	if (filled)
		service_filled(s);
	result = migrate_result_json(s);
	pthread_mutex_unlock(&s->lock);
	/* From here on without the lock: whoever holds it may wait for this thread. */
	/* Without memory there is no result to send: the client asks after a while. */
	if (s->control && result)
		control_event(s->control, "migration-end", result);
	else
		json_decref(result);
	service_wake(s);
	return NULL;
}

/*
 * With the lock, which the thread takes before it changes the state. s->job starts in a
 * thread of its own; event says how it begins.
 */
static int job_run(struct service *s, enum service_event event)
{
	int err;

	memset(&s->summary, 0, sizeof(s->summary));
	err = pthread_create(&s->job->thread, NULL, job_main, s);
	s->job->thread_made = !err;
	if (!err)
		service_step(s, event);
	return -err;
}

/* With the lock. Takes the job over whatever happens. */
static int job_start(struct service *s, struct migrate_job *job, enum service_event event)
{
	int err;

	job_destroy(s->job);
	s->job = job;
	atomic_store(&s->unwanted, false);
	s->progress = (struct sevmirror_progress){ .phase = SEVMIRROR_PHASE_CONNECT };
	s->before = s->totals;
	err = job_run(s, event);
	if (err) {
		s->job = NULL;
		job_destroy(job);
	}
	return err;
}

void migrate_cancel(struct service *s)
{
	atomic_store(&s->unwanted, true);
	if (s->job && s->job->migration)
		sevmirror_migration_cancel(s->job->migration);
}

int migrate_tune(struct service *s, const json_t *args, struct control_error *err)
{
	struct sevmirror_source_options options = { 0 };
	char why[512] = "";
	int ret = service_permit(s, SERVICE_MAY_TUNE, err);

	if (!ret)
		ret = migrate_options_take(&options, args, err);
	if (ret)
		return ret;
	ret = sevmirror_migration_tune(
		s->job->migration,
		json_object_get(args, "max-downtime-ms") ? &options.max_downtime : NULL,
		json_object_get(args, "bandwidth") ? &options.bandwidth : NULL, why, sizeof(why));
	return ret ? control_fail(err, ret, CONTROL_BAD_ARGUMENTS, "%s", why) : 0;
}

void migrate_end(struct service *s)
{
	struct migrate_job *job;
	pthread_t thread;
	bool wait;

	pthread_mutex_lock(&s->lock);
	/*
	 * What waits for a page that will not come continues when the job is destroyed, with
	 * whatever is in that page.
	 */
	if (s->machine && (s->outcome == SEVMIRROR_LOST || service_state_fills(s->state)))
		vm_stop(machine_vm(s->machine));
	migrate_cancel(s);
	wait = s->job && s->job->thread_made;
	if (wait) {
		thread = s->job->thread;
		s->job->thread_made = false;
	}
	pthread_mutex_unlock(&s->lock);
	if (wait)
		pthread_join(thread, NULL);
	pthread_mutex_lock(&s->lock);
	job = s->job;
	s->job = NULL;
	pthread_mutex_unlock(&s->lock);
	/* Without the lock, which a start of the guest that ends only now takes. */
	job_destroy(job);
}

/* May this VM go now? */
static int check_departure(struct service *s, struct control_error *err)
{
	int ret = service_permit(s, SERVICE_MAY_MIGRATE, err);
	struct vm *vm;

	if (ret)
		return ret;
	vm = machine_vm(s->machine);
	if (vm_sev(vm) && !sev_pagemap_migration_ready(vm_pagemap(vm)))
		return control_fail(
			err, -EBUSY, CONTROL_WRONG_STATE,
			"the guest has not reported that it is ready for migration (Linux 5.16 or "
			"later with CONFIG_AMD_MEM_ENCRYPT does at boot)");
	return 0;
}

int migrate_recover(struct service *s, const char *address, struct control_error *err)
{
	int ret;

	if (service_permit(s, SERVICE_MAY_RECOVER, err))
		return -EBUSY;
	if (strlen(address) >= sizeof(s->job->recover_address))
		return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
				    "the address %.40s... is too long: at most %zu bytes", address,
				    sizeof(s->job->recover_address) - 1);
	if (s->job->thread_made)
		pthread_join(s->job->thread, NULL);
	if (*address)
		strcpy(s->job->recover_address, address);
	s->job->recover = true;
	ret = job_run(s, SERVICE_RECOVER);
	return ret ? control_fail(err, ret, CONTROL_FAILED,
				  "cannot start the migration's thread: %s", strerror(-ret)) :
		     0;
}

static void security_of(struct sevmirror_security *security, const struct control_call *call)
{
	*security = (struct sevmirror_security){
		.certificate = control_arg_string(call, "tls-cert", NULL),
		.key = control_arg_string(call, "tls-key", NULL),
		.ca = control_arg_string(call, "tls-ca", NULL),
		.peer_name = control_arg_string(call, "tls-peer-name", NULL),
		.psk_file = control_arg_string(call, "psk-file", NULL),
		.insecure = control_arg_bool(call, "insecure", false),
	};
}

static int read_vendor_chain(struct migrate_job *job, const char *path, struct control_error *err)
{
	int ret;

	if (!path)
		return 0;
	ret = util_read_file(path, VENDOR_CHAIN_MAX, &job->vendor_chain, &job->vendor_chain_bytes);
	return ret ? control_fail(err, ret, CONTROL_FAILED,
				  "cannot read the vendor's certificates %s: %s", path,
				  strerror(-ret)) :
		     0;
}

static int make_outgoing(struct service *s, struct migrate_job *job, struct control_error *err)
{
	const struct control_call call = { .args = job->args };
	struct sevmirror_source_options options = { 0 };
	char why[512] = "";
	int ret = migrate_options_take(&options, job->args, err);

	if (ret)
		return ret;
	migrate_priority_init(&s->priority,
			      !strcmp(control_arg_string(&call, "priority", "low"), "low"));
	security_of(&options.security, &call);
	ret = read_vendor_chain(job, control_arg_string(&call, "vendor-chain", NULL), err);
	if (ret)
		return ret;
	options.vendor_chain = job->vendor_chain;
	options.vendor_chain_bytes = job->vendor_chain_bytes;
	ret = sevmirror_source_create(&job->migration, &migrate_host_ops, s, &options, why,
				      sizeof(why));
	if (ret)
		control_fail(err, ret, ret == -EINVAL ? CONTROL_BAD_ARGUMENTS : CONTROL_FAILED,
			     "%s", why[0] ? why : strerror(-ret));
	return ret;
}

int migrate_outgoing(struct service *s, json_t *args, struct control_error *err)
{
	struct migrate_job *job;
	int ret = check_departure(s, err);

	job = ret ? NULL : calloc(1, sizeof(*job));
	if (!job) {
		json_decref(args);
		return ret ? ret : -ENOMEM;
	}
	job->listen_fd = -1;
	job->args = args;
	ret = make_outgoing(s, job, err);
	if (ret) {
		job_destroy(job);
		return ret;
	}
	return job_start(s, job, SERVICE_MIGRATE);
}

/*
 * The source's secure processor is to check this host's certificates: a host that cannot show them
 * does not listen.
 */
static int check_platform(const struct host_devices *devices, struct why *why)
{
	uint8_t pdh[SEV_CERT_BYTES], chain[SEV_CERT_CHAIN_BYTES];
	struct sev_error error = { 0 };
	int fd = host_devices_sev(devices, &error), err;

	if (fd < 0)
		return why_sev(why, fd, &error);
	err = sev_platform_export_certs(fd, pdh, chain, &error);
	close(fd);
	return err ? why_sev(why, err, &error) : 0;
}

static int start_listening(struct service *s, struct migrate_job *job, struct why *why)
{
	const struct service_incoming *in = s->incoming;
	int err = in->vendor_chain ? check_platform(in->devices, why) : 0;

	if (err)
		return err;
	job->listen_fd = address_listen(in->address, why);
	if (job->listen_fd < 0)
		return job->listen_fd;
	if (!strncmp(in->address, "unix:", 5))
		job->socket_path = strdup(in->address + 5);
	err = address_of(job->listen_fd, s->address, sizeof(s->address));
	return err ? why_set(why, err, "cannot find out the address that this host listens on: %s",
			     strerror(-err)) :
		     0;
}

int migrate_listen(struct service *s, struct why *why)
{
	struct migrate_job *job = calloc(1, sizeof(*job));
	int err;

	if (!job)
		return why_set(why, -ENOMEM, "out of memory for the migration");
	job->incoming = true;
	job->listen_fd = -1;
	err = start_listening(s, job, why);
	if (err)
		job_destroy(job);
	else
		s->job = job;
	return err;
}

static int make_incoming(struct service *s, struct migrate_job *job, struct why *why)
{
	const struct service_incoming *in = s->incoming;
	struct sevmirror_target_options options = { .listen_fd = job->listen_fd,
						    .security = in->security,
						    .timeout = in->timeout,
						    .uffd_device = in->devices ?
									   in->devices->uffd_fd :
									   -1 };
	char text[512] = "";
	int err;

	if (in->vendor_chain) {
		options.vendor_chain = in->vendor_chain;
		options.vendor_chain_bytes = in->vendor_chain_bytes;
	}
	err = sevmirror_target_create(&job->migration, &migrate_host_ops, s, &options, text,
				      sizeof(text));
	return err ? why_set(why, err, "%s", text[0] ? text : strerror(-err)) : 0;
}

int migrate_incoming(struct service *s, struct why *why)
{
	struct migrate_job *job = s->job;
	int err = make_incoming(s, job, why);

	if (err)
		return err;
	pthread_mutex_lock(&s->lock);
	s->job = NULL;
	err = job_start(s, job, SERVICE_AWAIT);
	pthread_mutex_unlock(&s->lock);
	return err ? why_set(why, err, "cannot start the migration's thread: %s", strerror(-err)) :
		     0;
}
