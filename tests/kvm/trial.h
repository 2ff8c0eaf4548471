/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One migration between this process and a child, each a tiny host. It ends with the guest at
 * exactly one of them, where it must find every page as it wrote it last. Each step that either
 * takes must be one of the model's (tests/model/steps.h).
 */
#ifndef TESTS_KVM_TRIAL_H
#define TESTS_KVM_TRIAL_H

#include <semaphore.h>
#include <sys/types.h>

#include <sevmirror/migrate.h>

#include "tests/kvm/tiny_host.h"

#define TRIAL_MIB (1ULL << 20)
#define TRIAL_MS  1000000ULL

/* No phase of the library: the migration has ended. */
#define TRIAL_ENDED ((enum sevmirror_phase)(SEVMIRROR_PHASES + 1))

/* Something that happens to one side's helper, once, when the migration reports the phase. */
struct trial_sabotage {
	enum sevmirror_phase phase; /* NONE: never */
	enum tiny_spoil how;
};

/* What a callback of the child's waits for, after it has said so: trial_await_callback(). */
enum trial_wait {
	TRIAL_NO_WAIT,
	TRIAL_LOAD_FOR_PAGE, /* state_load(), for a page that it touches */
	TRIAL_RESUME_FOR_PAGE, /* resume() likewise, before any vCPU runs */
	TRIAL_RESUME_FOR_BREAK, /* resume(), for the phase BROKEN */
};

/* What the child does differently. */
struct trial_plan {
	const char *psk_file; /* instead of no security; the source's options must say the same */
	struct trial_sabotage sabotage;
	int fail_state_load, fail_disks, fail_resume;
	enum trial_wait wait;
	uint64_t timeout; /* ns, 0: default */
	bool cancel_when_broken; /* give up when the phase is BROKEN */
	bool no_userfaultfd; /* as on a host that does not give it */
	bool device; /* in post-copy, touch guest memory from outside, as devices do */
	/*
	 * Called there with each report of progress, and at the end with TRIAL_ENDED, when the
	 * migration is destroyed.
	 */
	void (*inspect)(struct tiny_host *host, enum sevmirror_phase phase);
};

/* How the child ended. */
struct trial_verdict {
	enum sevmirror_outcome outcome;
	bool guest_good;
	bool has_disk; /* its lock, when the migration had ended */
	bool pause_requested;
	char reason[256]; /* of the last break */
	uint64_t device_pages; /* that the device touched while pages were missing */
	struct sevmirror_summary summary;
};

struct trial {
	struct tiny_host *source;
	int disk_file; /* what both hosts' disk is */
	pid_t child;
	int verdict_fd;
	char address[128];
	struct sevmirror_migration *migration; /* while it can be recovered */
	struct sevmirror_summary summary;
	enum sevmirror_outcome outcome;
	/* Gets the source's progress, while it is set. */
	void (*progress)(struct trial *t, const struct sevmirror_progress *progress);
	void *hook; /* the test's own */
	sem_t *callback; /* shared with the child */
};

/*
 * A payload that dirties and verifies its memory: MiB of RAM, vCPUs, pages written a second (0: as
 * fast as it goes).
 */
struct tiny_config trial_dirtier(uint64_t mib, uint32_t nvcpus, uint64_t rate);

/* payload: the dirtier's file. The guest runs when this returns. */
void trial_start(struct trial *t, const char *payload, const struct tiny_config *config,
		 const struct trial_plan *plan);

void trial_wait_for_writes(struct trial *t, uint64_t writes);

/* Until the callback that the plan named begins to wait. Any thread. */
void trial_await_callback(struct trial *t);

/* A tiny_host_hook() whose arg is a struct trial_sabotage. */
void trial_spoil(struct tiny_host *host, void *arg, enum sevmirror_phase phase, unsigned int round);

/* Migrate; wishes->address NULL: the child's. t->outcome and t->summary say how it went. */
void trial_migrate(struct trial *t, const struct sevmirror_source_options *wishes);

/* After BROKEN or UNKNOWN; address NULL: where it was. */
void trial_recover(struct trial *t, const char *address);

/* Let the guest finish where it is, and see that it is where the outcome says and nowhere else. */
struct trial_verdict trial_end(struct trial *t);

#endif
