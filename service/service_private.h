/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_SERVICE_PRIVATE_H
#define SERVICE_SERVICE_PRIVATE_H

#include <stdatomic.h>
#include <pthread.h>

#include <jansson.h>

#include "control/control.h"
#include "service/migrate_config.h"
#include "service/migrate_priority.h"
#include "service/service.h"

/* Where a migration's options may come from besides the caller; all of it is the service's. */
struct migrate_job {
	struct sevmirror_migration *migration;
	json_t *args; /* of the command; the options' strings point into it */
	void *vendor_chain; /* the target's; outgoing: as the operator gave it */
	size_t vendor_chain_bytes;
	bool incoming; /* this host is the target */
	int listen_fd; /* until the job's end, then -1; outgoing: -1 */
	char *socket_path; /* of a unix: address, removed with it; NULL: none */
	bool recover; /* the thread is to continue where the last one broke off ... */
	/* ... and there; "": where it was. The migration points to it. */
	char recover_address[256];
	pthread_t thread;
	bool thread_made;
};

/* Of the migrations that have ended, for the metrics. */
struct migrate_totals {
	uint64_t results[SERVICE_RESULTS];
	uint64_t bytes, pages, pages_resent, psp_commands, helper_exits, faults, recoveries;
};

struct service {
	const char *name; /* or "" */
	struct control *control; /* NULL without a name */
	int wait_fd;

	/*
	 * Guards what follows, and every call that stops or starts the guest. Never held while a
	 * migration is waited for.
	 */
	pthread_mutex_t lock;
	struct machine *machine;
	uint32_t policy; /* of an encrypted guest */
	uint64_t started_ns; /* CLOCK_MONOTONIC; 0: it has not run here */
	enum service_state state;
	bool paused_by_user; /* `pause`: also after a migration */
	bool paused_by_migration;
	/* `stop` or a cancel while the machine is built: it is not wanted any more */
	atomic_bool unwanted;
	atomic_uint_least64_t populated, to_populate; /* bytes of guest memory while it is built */
	bool end_asked; /* of a payload, while the page by which it is asked was missing */

	struct mirror_link *mirror; /* in another process, or NULL; it may have ended */

	struct migrate_job *job; /* the last one; NULL: never any */
	struct migrate_priority priority; /* of the threads of the migration from here */
	struct sevmirror_progress progress;
	struct sevmirror_summary summary;
	enum sevmirror_outcome outcome;
	enum service_result result;
	struct migrate_totals totals;
	struct migrate_totals before; /* the job began */

	/* A VM that comes. */
	const struct service_incoming *incoming;
	char address[256];
	unsigned int unauthenticated, unauthenticated_told;
	char last_unauthenticated[640]; /* the last one */
	struct migrate_config config; /* the machine's strings */
	struct migrate_guest_cpu *cpu; /* as compat_check() got it, for config_load() */
};

/* vm_commands.c, launch_commands.c */
extern const struct control_command vm_commands[];
extern const struct control_command launch_commands[];
void service_say_state(struct service *service, const char *reason); /* without */
/* service.c, with the lock. Take a step; one that the table does not have changes nothing. */
void service_step(struct service *service, enum service_event event);

/* With the lock: what a client is told now; 0, or -EBUSY with the state's sentence and advice. */
struct service_view service_look(const struct service *service);
int service_permit(const struct service *service, enum service_permit command,
		   struct control_error *err);

/*
 * mirror_commands.c: a mirror in another process. forget: what mirrors that have ended wrote is of
 * no interest. fetch ORs what it wrote into bitmap, stop ends it; 0 or a negative errno. Both on
 * the migration's thread, which alone touches the link then: no mirror is attached while a
 * migration is under way.
 */
extern const struct control_command mirror_commands[];
bool service_mirror_attached(const struct service *service); /* with the lock */
void service_mirror_forget(struct service *service);
int service_mirror_fetch(struct service *service, uint64_t *bitmap, size_t npages);
int service_mirror_stop(struct service *service);
void service_mirror_close(struct service *service);

/* With the lock: what had to wait until all of the guest's memory was here. */
void service_filled(struct service *service);

/* migrate_commands.c */
const struct control_command *migrate_commands(void); /* before the control thread */
json_t *migrate_progress_json(const struct sevmirror_progress *progress);
json_t *migrate_result_json(const struct service *service); /* with the lock, after its end */

/*
 * migrate_run.c. outgoing, recover: with the lock; outgoing takes args (of the command) over
 * whatever happens. listen: before incoming. end: cancels what has not passed its hand-over and
 * waits for the thread; without the lock.
 */
int migrate_outgoing(struct service *service, json_t *args, struct control_error *err);
int migrate_recover(struct service *service, const char *address, struct control_error *err);
int migrate_listen(struct service *service, struct why *why);
int migrate_incoming(struct service *service, struct why *why);
void migrate_cancel(struct service *service); /* with the lock */
int migrate_tune(struct service *service, const json_t *args, struct control_error *err);
void migrate_end(struct service *service);
/* With the lock. A migration that has ended is not recovered: what was kept for that is freed. */
void migrate_forget(struct service *service);

/* migrate_host.c: what the library asks of this VMM; its opaque is the service. */
extern const struct sevmirror_host_ops migrate_host_ops;

/* vm_metrics.c: query-metrics. */
extern const struct control_command metrics_commands[];

/* service.c, with the lock. The guest begins to run here. Seconds since then. */
void service_started(struct service *service);
double service_uptime(const struct service *service);

/* Wake the main thread. */
void service_wake(struct service *service);

#endif
