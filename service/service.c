/* SPDX-License-Identifier: Apache-2.0 */
#include "service/service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/util/clock.h"
#include "service/service_private.h"

static const char *const events[] = {
	"state",
	"The VM's state changed: {state, reason}.",
	"migration",
	"Progress of a migration; the members of query-migrate's progress.",
	"migration-end",
	"A migration has ended; the members of query-migrate's result.",
	NULL,
};

static int add_socket(struct service *s, const char *name, struct why *why)
{
	const struct control_command *const tables[] = { vm_commands, launch_commands,
							 migrate_commands(), mirror_commands,
							 metrics_commands };
	struct control_error error = { 0 };
	size_t i;
	int err = control_create(&s->control, name, &error);

	if (err)
		return why_set(why, err, "--name %s: %s", name, error.desc);
	for (i = 0; !err && i < sizeof(tables) / sizeof(tables[0]); i++)
		err = control_add_commands(s->control, tables[i], s);
	if (err)
		return why_set(why, err, "cannot add the control commands: %s", strerror(-err));
	control_set_events(s->control, events);
	return 0;
}

int service_create(struct service **service, const char *name, struct why *why)
{
	struct service *s = calloc(1, sizeof(*s));
	int err = 0;

	if (!s)
		return why_set(why, -ENOMEM, "out of memory for the VM's state");
	s->name = name ? name : "";
	pthread_mutex_init(&s->lock, NULL);
	s->wait_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->wait_fd < 0)
		err = why_errno(why, "eventfd");
	if (!err && name)
		err = add_socket(s, name, why);
	if (err) {
		service_destroy(s);
		return err;
	}
	*service = s;
	return 0;
}

void service_destroy(struct service *s)
{
	if (!s)
		return;
	service_finish(s);
	if (s->machine) {
		vm_stop(machine_vm(s->machine));
		service_say_state(s, vm_end_report(machine_vm(s->machine)));
	}
	control_destroy(s->control);
	service_mirror_close(s);
	machine_destroy(s->machine);
	if (s->wait_fd >= 0)
		close(s->wait_fd);
	free(s->cpu);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static int serve(struct service *s, struct why *why)
{
	int err = s->control ? control_start(s->control) : 0;

	return err ? why_set(why, err, "cannot serve the control socket: %s", strerror(-err)) : 0;
}

int service_serve(struct service *s, struct why *why)
{
	return serve(s, why);
}

bool service_populates(struct service *s, uint64_t done, uint64_t all)
{
	atomic_store(&s->populated, done);
	atomic_store(&s->to_populate, all);
	return !atomic_load(&s->unwanted);
}

int service_launched(struct service *s, struct machine *machine, bool hold, struct why *why)
{
	struct sev_guest *sev = vm_sev(machine_vm(machine));
	struct sev_guest_status status = { 0 };
	struct sev_error error = { 0 };
	int err = 0;

	pthread_mutex_lock(&s->lock);
	s->machine = machine;
	if (atomic_load(&s->unwanted))
		err = why_set(why, -ECANCELED, "the VM was stopped before the guest started");
	if (!err && sev && (err = sev_guest_status(sev, &status, &error)))
		why_sev(why, err, &error);
	s->policy = status.policy;
	if (!err && !hold)
		err = machine_go(machine, why);
	if (!err && !hold)
		service_started(s);
	if (!err)
		service_step(s, hold ? SERVICE_HOLD : SERVICE_START);
	pthread_mutex_unlock(&s->lock);
	return err;
}

int service_listen(struct service *s, const struct service_incoming *incoming, struct why *why)
{
	s->incoming = incoming;
	return migrate_listen(s, why);
}

int service_receive(struct service *s, struct why *why)
{
	int err = migrate_incoming(s, why);

	return err ? err : serve(s, why);
}

const char *service_address(const struct service *s)
{
	return s->address;
}

int service_wait_fd(const struct service *s)
{
	return s->wait_fd;
}

void service_wake(struct service *s)
{
	eventfd_write(s->wait_fd, 1);
}

void service_step(struct service *s, enum service_event event)
{
	if (service_state_step(&s->state, event))
		fprintf(stderr, "sevmirror: the state %s has no event %s\r\n",
			service_state_name(s->state), service_event_name(event));
}

struct service_view service_look(const struct service *s)
{
	enum vm_end end = s->machine ? vm_end(machine_vm(s->machine)) : VM_RUNS;

	return service_view(s->state, end, s->paused_by_user,
			    service_result_recoverable(s->result, s->progress.phase));
}

int service_permit(const struct service *s, enum service_permit command, struct control_error *err)
{
	struct service_view view = service_look(s);

	if (view.permits & command)
		return 0;
	return control_fail(err, -EBUSY,
			    s->state == SERVICE_EMPTY ? CONTROL_STARTING : CONTROL_WRONG_STATE,
			    "%s%s%s", view.sentence, *view.action ? " " : "", view.action);
}

enum service_state service_attend(struct service *s)
{
	enum service_state state;
	eventfd_t count;

	(void)eventfd_read(s->wait_fd, &count);
	pthread_mutex_lock(&s->lock);
	state = s->state;
	pthread_mutex_unlock(&s->lock);
	return state;
}

bool service_paused(struct service *s)
{
	bool paused;

	pthread_mutex_lock(&s->lock);
	paused = s->paused_by_user;
	pthread_mutex_unlock(&s->lock);
	return paused;
}

bool service_recoverable(struct service *s)
{
	bool recoverable;

	pthread_mutex_lock(&s->lock);
	recoverable = service_result_recoverable(s->result, s->progress.phase);
	pthread_mutex_unlock(&s->lock);
	return recoverable;
}

unsigned int service_unauthenticated_peer(struct service *s, char *text, size_t max)
{
	unsigned int n = 0;

	pthread_mutex_lock(&s->lock);
	if (s->unauthenticated != s->unauthenticated_told) {
		n = s->unauthenticated_told = s->unauthenticated;
		snprintf(text, max, "%s", s->last_unauthenticated);
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

struct machine *service_machine(const struct service *s)
{
	return s->machine;
}

void service_started(struct service *s)
{
	s->started_ns = clock_ns();
}

double service_uptime(const struct service *s)
{
	return s->started_ns ? (double)(clock_ns() - s->started_ns) / NS_PER_S : 0;
}

void service_finish(struct service *s)
{
	migrate_end(s);
}

enum sevmirror_outcome service_summary(struct service *s, struct sevmirror_summary *summary)
{
	enum sevmirror_outcome outcome;

	pthread_mutex_lock(&s->lock);
	*summary = s->summary;
	outcome = s->outcome;
	pthread_mutex_unlock(&s->lock);
	return outcome;
}
