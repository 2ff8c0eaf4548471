/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kvm/trial.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>

#include "tests/unit/cmocka_all.h"

#include "lib/net/address.h"
#include "tests/model/steps.h"
#include "payloads/dirtier.h"

#define GUEST_RUN 150000 /* us that a guest runs on after it has moved */

static const char *payload_file;

/*
 * In the child: what its progress callback needs, and a device that reads and writes memory by the
 * VMM's mapping, in no order.
 */
static struct {
	struct sevmirror_migration *migration;
	const struct trial_plan *plan;
	struct tiny_host *host;
	char reason[256];
	pthread_t device;
	bool device_made;
	atomic_bool device_stop;
	atomic_uint_fast64_t device_pages;
	struct trial_sabotage sabotage;
	sem_t *callback;
	sem_t broken;
} target;

static void *device_main(void *arg)
{
	uint8_t *ram = tiny_host_ram(target.host);
	uint64_t npages = tiny_host_ram_bytes(target.host) / SEVMIRROR_PAGE_BYTES;

	/* A step that has no factor in common with the number of pages comes by each of them. */
	for (uint64_t i = 0; i < npages && !atomic_load(&target.device_stop); i++) {
		uint8_t *page = ram + i * 4099 % npages * SEVMIRROR_PAGE_BYTES;

		__atomic_fetch_or(page, 0, __ATOMIC_RELAXED);
		atomic_fetch_add(&target.device_pages, 1);
	}
	return NULL;
}

static void device_end(void)
{
	atomic_store(&target.device_stop, true);
	if (target.device_made)
		pthread_join(target.device, NULL);
}

void trial_spoil(struct tiny_host *host, void *arg, enum sevmirror_phase phase, unsigned int round)
{
	struct trial_sabotage *sabotage = arg;

	if (!sabotage->phase || phase != sabotage->phase)
		return;
	tiny_host_spoil_helper(host, sabotage->how);
	sabotage->phase = SEVMIRROR_PHASE_NONE;
}

static void on_progress(void *opaque, const struct sevmirror_progress *progress)
{
	if (progress->reason[0])
		memcpy(target.reason, progress->reason, sizeof(target.reason));
	if (progress->phase == SEVMIRROR_PHASE_BROKEN)
		sem_post(&target.broken);
	if (target.plan->cancel_when_broken && progress->phase == SEVMIRROR_PHASE_BROKEN)
		sevmirror_migration_cancel(target.migration);
	if (target.plan->device && !target.device_made &&
	    progress->phase == SEVMIRROR_PHASE_POSTCOPY)
		target.device_made = !pthread_create(&target.device, NULL, device_main, NULL);
	trial_spoil(opaque, &target.sabotage, progress->phase, progress->round);
	if (target.plan->inspect)
		target.plan->inspect(opaque, progress->phase);
}

/* One that the background comes to late. */
static void touch(struct tiny_host *host)
{
	uint8_t *page = (uint8_t *)tiny_host_ram(host) + tiny_host_ram_bytes(host) / 2;

	sem_post(target.callback);
	(void)__atomic_load_n(page, __ATOMIC_RELAXED);
}

static int load_late(void *opaque, const void *buf, size_t len, char *why, size_t max)
{
	touch(opaque);
	return tiny_host_ops().state_load(opaque, buf, len, why, max);
}

static int resume_late(void *opaque)
{
	if (target.plan->wait == TRIAL_RESUME_FOR_PAGE) {
		touch(opaque);
	} else {
		sem_post(target.callback);
		sem_wait(&target.broken);
	}
	if (target.plan->fail_resume)
		return target.plan->fail_resume;
	/* Nobody asks a guest to pause before it runs but somebody who has given it up. */
	return tiny_host_pause_requested(opaque) ? -ECANCELED : tiny_host_ops().resume(opaque);
}

static int resume_fails(void *opaque)
{
	return target.plan->fail_resume;
}

static void wait_in_callback(struct sevmirror_host_ops *ops, enum trial_wait wait)
{
	sem_init(&target.broken, 0, 0);
	if (wait == TRIAL_LOAD_FOR_PAGE)
		ops->state_load = load_late;
	else if (wait != TRIAL_NO_WAIT)
		ops->resume = resume_late;
	else if (target.plan->fail_resume)
		ops->resume = resume_fails;
}

static void leave(int verdict_fd, const struct trial_verdict *v)
{
	_exit(write(verdict_fd, v, sizeof(*v)) == sizeof(*v) ? 0 : 1);
}

/* userfaultfd(2) and /dev/userfaultfd's ioctl fail with EPERM from now on. */
static void deny_userfaultfd(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, USERFAULTFD_IOC_NEW, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(2);
}

static void child_main(int listen_fd, int verdict_fd, int disk_file, const struct trial_plan *plan)
{
	struct sevmirror_target_options options = { .listen_fd = listen_fd,
						    .timeout = plan->timeout,
						    .security.psk_file = plan->psk_file,
						    .security.insecure = !plan->psk_file };
	struct tiny_host *host = tiny_host_create(payload_file);
	struct sevmirror_host_ops ops = tiny_host_ops();
	struct trial_verdict v = { .outcome = SEVMIRROR_FAILED };

	/* A failed assertion in the parent leaves nothing behind. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (plan->no_userfaultfd)
		deny_userfaultfd();
	tiny_host_set_disk(host, disk_file);
	tiny_host_fail(host, plan->fail_state_load, plan->fail_disks);
	ops.progress = on_progress;
	target.plan = plan;
	wait_in_callback(&ops, plan->wait);
	target.host = host;
	target.sabotage = plan->sabotage;
	if (sevmirror_target_create(&target.migration, &ops, host, &options, v.summary.error,
				    sizeof(v.summary.error)))
		leave(verdict_fd, &v);
	v.outcome = sevmirror_migration_run(target.migration, &v.summary);
	v.has_disk = tiny_host_has_disk(host);
	v.pause_requested = tiny_host_pause_requested(host);
	memcpy(v.reason, target.reason, sizeof(v.reason));
	v.device_pages = atomic_load(&target.device_pages);
	/* After LOST vCPUs and the device may wait for pages that never come: this lets them go. */
	sevmirror_migration_destroy(target.migration);
	device_end();
	if (plan->inspect)
		plan->inspect(host, TRIAL_ENDED);
	if (v.outcome == SEVMIRROR_MIGRATED) {
		usleep(GUEST_RUN);
		v.guest_good = tiny_host_running(host) && tiny_host_finish(host);
	}
	tiny_host_destroy(host);
	leave(verdict_fd, &v);
}

struct tiny_config trial_dirtier(uint64_t mib, uint32_t nvcpus, uint64_t rate)
{
	return (struct tiny_config){
		.ram_bytes = mib * TRIAL_MIB,
		.nvcpus = nvcpus,
		.args = { [DIRTIER_ARG_SEED] = 42,
			  [DIRTIER_ARG_RATE] = rate,
			  [DIRTIER_ARG_PATTERN] = DIRTIER_RANDOM,
			  [DIRTIER_ARG_FILL] = 1 },
	};
}

void trial_start(struct trial *t, const char *payload, const struct tiny_config *config,
		 const struct trial_plan *plan)
{
	struct why why;
	int listen_fd, pipe_fds[2];

	payload_file = payload;
	memset(t, 0, sizeof(*t));
	model_watch_steps();
	listen_fd = address_listen("127.0.0.1:0", &why);
	assert_true(listen_fd >= 0);
	assert_int_equal(address_of(listen_fd, t->address, sizeof(t->address)), 0);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	t->callback = mmap(NULL, sizeof(*t->callback), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(t->callback != MAP_FAILED);
	assert_int_equal(sem_init(t->callback, 1, 0), 0);
	target.callback = t->callback;
	t->disk_file = memfd_create("disk", MFD_CLOEXEC);
	assert_true(t->disk_file >= 0);
	fflush(NULL);
	t->child = fork();
	assert_true(t->child >= 0);
	if (t->child == 0)
		child_main(listen_fd, pipe_fds[1], t->disk_file, plan);
	close(pipe_fds[1]);
	close(listen_fd);
	t->verdict_fd = pipe_fds[0];
	t->source = tiny_host_create(payload);
	tiny_host_set_disk(t->source, t->disk_file);
	assert_int_equal(tiny_host_launch(t->source, config), 0);
}

void trial_await_callback(struct trial *t)
{
	while (sem_wait(t->callback) && errno == EINTR)
		;
}

void trial_wait_for_writes(struct trial *t, uint64_t writes)
{
	for (int i = 0; i < 60000; i++) {
		if (tiny_host_writes(t->source) >= writes)
			return;
		usleep(1000);
	}
	fail_msg("the payload does not write");
}

/* In the parent: the trial whose progress is asked for, and the table that asks. */
static struct trial *watched;
static struct sevmirror_host_ops source_ops;

static void on_source_progress(void *opaque, const struct sevmirror_progress *progress)
{
	if (watched->progress)
		watched->progress(watched, progress);
	tiny_host_ops().progress(opaque, progress);
}

/* What can be recovered is kept. */
static void settle(struct trial *t)
{
	if (t->outcome == SEVMIRROR_BROKEN || t->outcome == SEVMIRROR_UNKNOWN)
		return;
	sevmirror_migration_destroy(t->migration);
	t->migration = NULL;
}

void trial_migrate(struct trial *t, const struct sevmirror_source_options *wishes)
{
	struct sevmirror_source_options options = *wishes;
	char why[256] = "";

	if (!options.address)
		options.address = t->address;
	options.security.insecure = !options.security.psk_file;
	source_ops = tiny_host_ops();
	source_ops.progress = on_source_progress;
	watched = t;
	assert_int_equal(sevmirror_source_create(&t->migration, &source_ops, t->source, &options,
						 why, sizeof(why)),
			 0);
	t->outcome = sevmirror_migration_run(t->migration, &t->summary);
	settle(t);
}

void trial_recover(struct trial *t, const char *address)
{
	t->outcome = sevmirror_migration_recover(t->migration, address, &t->summary);
	settle(t);
}

struct trial_verdict trial_end(struct trial *t)
{
	struct trial_verdict v = { .outcome = SEVMIRROR_FAILED };
	int status;

	if (t->outcome == SEVMIRROR_FAILED || t->outcome == SEVMIRROR_CANCELLED) {
		assert_true(tiny_host_running(t->source));
		assert_false(tiny_host_handed_over(t->source));
		usleep(GUEST_RUN);
		assert_true(tiny_host_finish(t->source));
	} else {
		assert_false(tiny_host_running(t->source));
	}
	(void)!read(t->verdict_fd, &v, sizeof(v));
	close(t->verdict_fd);
	assert_int_equal(waitpid(t->child, &status, 0), t->child);
	if (t->outcome == SEVMIRROR_MIGRATED) {
		assert_true(tiny_host_handed_over(t->source));
		assert_int_equal(v.outcome, SEVMIRROR_MIGRATED);
		assert_true(v.guest_good);
		assert_true(v.has_disk);
	} else if (t->outcome == SEVMIRROR_FAILED || t->outcome == SEVMIRROR_CANCELLED) {
		/* released before the source heard of it */
		assert_int_not_equal(v.outcome, SEVMIRROR_MIGRATED);
		assert_false(v.has_disk);
	} else if (t->outcome != SEVMIRROR_UNKNOWN) {
		assert_int_not_equal(v.outcome, SEVMIRROR_MIGRATED);
	}
	sevmirror_migration_destroy(t->migration);
	tiny_host_destroy(t->source);
	close(t->disk_file);
	munmap(t->callback, sizeof(*t->callback));
	return v;
}
