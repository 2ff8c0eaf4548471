/* SPDX-License-Identifier: Apache-2.0 */
/* Migration on the control socket: start it, cancel it, look at it. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/sev/policy.h"
#include "lib/util/clock.h"
#include "service/migrate_options.h"
#include "service/service_private.h"

json_t *migrate_progress_json(const struct sevmirror_progress *p)
{
	return json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:i, s:f, s:I, s:f}",
			 "phase", sevmirror_phase_name(p->phase), "round", (int)p->round,
			 "pages-total", (json_int_t)p->pages_total, "pages-left",
			 (json_int_t)p->pages_left, "pages-sent", (json_int_t)p->pages_sent,
			 "pages-resent", (json_int_t)p->pages_resent, "bytes-sent",
			 (json_int_t)p->bytes_sent, "rate", (json_int_t)p->rate, "dirty-rate",
			 (json_int_t)p->dirty_rate, "expected-downtime-ms",
			 (double)p->expected_downtime / NS_PER_MS, "throttle", (int)p->throttle,
			 "elapsed-ms", (double)p->elapsed / NS_PER_MS, "faults",
			 (json_int_t)p->faults, "fault-p95-ms", (double)p->fault_p95 / NS_PER_MS);
}

/* From the shortest waiting time to the longest. */
static json_t *fault_times_json(const struct sevmirror_postcopy *p)
{
	unsigned int first = 0, end = SEVMIRROR_FAULT_CLASSES;
	json_t *list = json_array();

	while (end > 0 && !p->fault_class[end - 1])
		end--;
	while (first < end && !p->fault_class[first])
		first++;
	for (unsigned int i = first; i < end; i++) {
		uint64_t to = i + 1 < SEVMIRROR_FAULT_CLASSES ? sevmirror_fault_class_from(i + 1) :
								p->fault_max;

		json_array_append_new(list,
				      json_pack("{s:f, s:f, s:I}", "from-ms",
						(double)sevmirror_fault_class_from(i) / NS_PER_MS,
						"to-ms", (double)to / NS_PER_MS, "faults",
						(json_int_t)p->fault_class[i]));
	}
	return list;
}

static json_t *postcopy_json(const struct sevmirror_postcopy *p)
{
	return json_pack(
		"{s:I, s:I, s:f, s:f, s:f, s:f, s:o, s:I, s:I, s:I, s:f, s:I}", "pages",
		(json_int_t)p->pages, "faults", (json_int_t)p->faults, "fault-p50-ms",
		(double)p->fault_p50 / NS_PER_MS, "fault-p95-ms", (double)p->fault_p95 / NS_PER_MS,
		"fault-p99-ms", (double)p->fault_p99 / NS_PER_MS, "fault-max-ms",
		(double)p->fault_max / NS_PER_MS, "fault-times", fault_times_json(p), "prefetched",
		(json_int_t)p->prefetched, "prefetch-samples", (json_int_t)p->prefetch_samples,
		"prefetch-used", (json_int_t)p->prefetch_used, "last-page-ms",
		(double)p->last_page / NS_PER_MS, "recoveries", (json_int_t)p->recoveries);
}

static json_t *downtime_json(const struct sevmirror_downtime *d)
{
	return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "stop-ms",
			 (double)d->stop / NS_PER_MS, "state-ms", (double)d->state / NS_PER_MS,
			 "pages-ms", (double)d->pages / NS_PER_MS, "manifest-ms",
			 (double)d->manifest / NS_PER_MS, "load-ms", (double)d->load / NS_PER_MS,
			 "disks-ms", (double)d->disks / NS_PER_MS, "start-ms",
			 (double)d->start / NS_PER_MS);
}

json_t *migrate_result_json(const struct service *s)
{
	const struct sevmirror_summary *sum = &s->summary;
	bool incoming = s->job && s->job->incoming;
	bool recoverable = service_result_recoverable(s->result, s->progress.phase);
	struct service_advice advice =
		incoming ? service_advice_at_target(s->result, s->paused_by_user) :
			   service_advice(s->result, s->paused_by_user, recoverable);
	json_t *result = json_pack(
		"{s:s, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:i, s:i, s:I}", "outcome",
		service_result_name(s->result), "total-ms", (double)sum->total_time / NS_PER_MS,
		"downtime-ms", (double)sum->downtime / NS_PER_MS, "expected-downtime-ms",
		(double)sum->expected_downtime / NS_PER_MS, "max-downtime-ms",
		(double)sum->max_downtime / NS_PER_MS, "bytes", (json_int_t)sum->bytes, "pages",
		(json_int_t)sum->pages, "pages-resent", (json_int_t)sum->pages_resent, "rounds",
		(int)sum->rounds, "psp-commands", (int)sum->psp_commands, "helper-exits",
		(json_int_t)sum->helper_exits);

	if (result) {
		json_object_set_new(result, "paused", json_boolean(s->paused_by_user));
		json_object_set_new(result, "detail", json_string(advice.sentence));
		json_object_set_new(result, "advice", json_string(advice.action));
		json_object_set_new(result, "reason",
				    json_string(sevmirror_reason_name(sum->reason)));
	}
	if (result && !incoming && sum->downtime)
		json_object_set_new(result, "downtime-parts", downtime_json(&sum->parts));
	if (result && sum->postcopy.pages)
		json_object_set_new(result, "postcopy", postcopy_json(&sum->postcopy));
	if (result && sum->error[0])
		json_object_set_new(result, "error", control_text(sum->error));
	if (result && sum->warning[0])
		json_object_set_new(result, "warning", control_text(sum->warning));
	return result;
}

/* The sandbox says so by ENOSYS: a VM connects to no Unix socket unless it was told to. */
static int check_address(const char *address, struct control_error *err)
{
	int fd = strncmp(address, "unix:", 5) ? -1 : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	else if (!strncmp(address, "unix:", 5) && errno == ENOSYS)
		return control_fail(err, -EPERM, CONTROL_WRONG_STATE,
				    "%s: the VM may not connect to Unix sockets: start it with "
				    "--allow-unix",
				    address);
	return 0;
}

/* With the lock. The firmware sends a guest of such a policy to anybody with a key pair. */
static int check_policy(const struct service *s, struct control_error *err)
{
	const char *weakness = sev_policy_weakness(s->policy);
	char text[SEV_POLICY_TEXT_BYTES];

	if (!s->machine || !vm_sev(machine_vm(s->machine)) || !weakness)
		return 0;
	return control_fail(err, -EPERM, CONTROL_WRONG_STATE,
			    "the guest's policy is %s: %s (--allow-weak-policy permits it)",
			    sev_policy_format(s->policy, text, sizeof(text)), weakness);
}

static int run_migrate(void *opaque, struct control_call *call, struct control_error *err)
{
	struct service *s = opaque;
	int ret = check_address(control_arg_string(call, "address", ""), err);

	if (ret)
		return ret;
	pthread_mutex_lock(&s->lock);
	if (!json_is_true(json_object_get(call->args, "allow-weak-policy")))
		ret = check_policy(s, err);
	if (!ret)
		ret = migrate_outgoing(s, json_deep_copy(call->args), err);
	pthread_mutex_unlock(&s->lock);
	return ret;
}

static int run_set(void *opaque, struct control_call *call, struct control_error *err)
{
	struct service *s = opaque;
	int ret;

	pthread_mutex_lock(&s->lock);
	ret = migrate_tune(s, call->args, err);
	pthread_mutex_unlock(&s->lock);
	return ret;
}

static int run_recover(void *opaque, struct control_call *call, struct control_error *err)
{
	struct service *s = opaque;
	int ret = check_address(control_arg_string(call, "address", ""), err);

	if (ret)
		return ret;
	pthread_mutex_lock(&s->lock);
	ret = migrate_recover(s, control_arg_string(call, "address", ""), err);
	pthread_mutex_unlock(&s->lock);
	return ret;
}

static int run_cancel(void *opaque, struct control_call *call, struct control_error *err)
{
	struct service *s = opaque;
	int ret;

	pthread_mutex_lock(&s->lock);
	ret = service_permit(s, SERVICE_MAY_CANCEL, err);
	if (!ret)
		migrate_cancel(s);
	pthread_mutex_unlock(&s->lock);
	return ret;
}

static int run_query(void *opaque, struct control_call *call, struct control_error *err)
{
	struct service *s = opaque;

	pthread_mutex_lock(&s->lock);
	call->ret =
		json_pack("{s:s}", "status", service_migration_status(s->state, s->job, s->result));
	if (call->ret && s->job)
		json_object_set_new(call->ret, "progress", migrate_progress_json(&s->progress));
	if (call->ret && s->job && !service_state_migrates(s->state))
		json_object_set_new(call->ret, "result", migrate_result_json(s));
	pthread_mutex_unlock(&s->lock);
	return call->ret ? 0 : -ENOMEM;
}

static const struct control_arg recover_args[] = {
	{ "address", CONTROL_STRING, false, "the target's address, if it has changed" },
	{ 0 },
};

static struct control_command commands[] = {
	{ "migrate", "Start to migrate the VM to another host; events report the progress.", NULL,
	  NULL, run_migrate },
	{ "migrate-set", "Change these limits of the running migration.", NULL, NULL, run_set },
	{ "migrate-cancel", "Cancel the running migration; refused after the hand-over.", NULL,
	  NULL, run_cancel },
	{ "migrate-recover",
	  "Continue post-copy after its connection broke; events report the progress.", NULL,
	  recover_args, run_recover },
	{ "query-migrate", "The migration under way, or the last one.",
	  "{status (none, incoming, active, migrated, failed, cancelled, unknown, broken, lost, "
	  "ended), progress {phase, round, pages-total, pages-left, pages-sent, pages-resent, "
	  "bytes-sent, rate, dirty-rate, expected-downtime-ms, throttle, elapsed-ms, faults, "
	  "fault-p95-ms}, result {outcome, total-ms, downtime-ms, expected-downtime-ms, "
	  "max-downtime-ms, bytes, pages, pages-resent, rounds, psp-commands, helper-exits, "
	  "postcopy {pages, faults, fault-p50-ms, fault-p95-ms, fault-p99-ms, fault-max-ms, "
	  "fault-times [{from-ms, to-ms, faults}], prefetched, prefetch-samples, prefetch-used, "
	  "last-page-ms, recoveries}, paused, detail, advice, reason, error, warning}}",
	  NULL, run_query },
	{ 0 },
};

const struct control_command *migrate_commands(void)
{
	commands[0].args = migrate_option_args(false);
	commands[1].args = migrate_option_args(true);
	return commands;
}
