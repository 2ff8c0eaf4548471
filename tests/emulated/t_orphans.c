/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owner and mirrors in processes of their own that are killed (SIGKILL) in every order, and storms
 * on the locks of two VMs: the processes that are left keep running, a killed process ends soon,
 * and the firmware keeps no guest. Once bugs of KVM: an ASID freed under a mirror, a lock taken
 * when the last reference goes, a wait for two VMs' locks that no signal ends.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/emulated/races.h"

#define MIRRORS	  2
#define PROCESSES (1 + MIRRORS)

/* The owner, which waits, and mirrors that read the secret each time they are asked to. */
struct family {
	pid_t pid[PROCESSES];
	int ask[PROCESSES], answer[PROCESSES]; /* the parent's ends */
};

static void __attribute__((noreturn)) serve(struct vm *vm, int ask, int answer)
{
	char c = races_reads_secret(vm) ? 'y' : 'n';

	do {
		if (write(answer, &c, 1) != 1)
			break;
		if (read(ask, &c, 1) != 1)
			break;
		c = races_reads_secret(vm) ? 'y' : 'n';
	} while (true);
	_exit(0);
}

static bool answers(const struct family *family, int i)
{
	char c = '?';

	return write(family->ask[i], "?", 1) == 1 && read(family->answer[i], &c, 1) == 1 &&
	       c == 'y';
}

static void __attribute__((noreturn))
live(struct host *host, int owner_fd, int mem_fd, int ask, int answer)
{
	struct vm vm, primary = { .host = host, .fd = owner_fd, .mem_fd = mem_fd };

	primary.c_mask = 1ull << host->c_bit;
	if (!vm_start_mirror(&vm, &primary))
		_exit(1);
	close(owner_fd);
	serve(&vm, ask, answer);
}

/*
 * The owner is a process of its own, the mirrors are its children: they inherit its VM's and its
 * memory's descriptors, and nobody else has them.
 */
static void __attribute__((noreturn)) own(struct host *host, const int (*pipes)[2][2], int pids)
{
	struct vm vm;

	if (!vm_start(host, &vm, 0, SECRET))
		_exit(1);
	for (int i = 1; i < PROCESSES; i++) {
		pid_t pid = fork();

		if (!pid) {
			int mem_fd = dup(vm.mem_fd), owner_fd = dup(vm.fd);

			close(pids);
			vm_destroy(&vm);
			live(host, owner_fd, mem_fd, pipes[i][0][0], pipes[i][1][1]);
		}
		if (pid < 0 || write(pids, &pid, sizeof(pid)) != sizeof(pid))
			_exit(1);
	}
	close(pids);
	serve(&vm, pipes[0][0][0], pipes[0][1][1]);
}

static bool raise_family(struct host *host, struct family *family)
{
	int pipes[PROCESSES][2][2] = { 0 }, pids[2] = { -1, -1 };
	bool good = !pipe(pids);
	char c;

	for (int i = 0; i < PROCESSES; i++) {
		good = good && !pipe(pipes[i][0]) && !pipe(pipes[i][1]);
		family->ask[i] = pipes[i][0][1];
		family->answer[i] = pipes[i][1][0];
	}
	fflush(stdout);
	family->pid[0] = fork();
	if (!family->pid[0])
		own(host, (const int(*)[2][2])pipes, pids[1]);
	close(pids[1]);
	for (int i = 1; i < PROCESSES; i++)
		good = good && read(pids[0], &family->pid[i], sizeof(pid_t)) == sizeof(pid_t);
	close(pids[0]);
	for (int i = 0; i < PROCESSES; i++) {
		close(pipes[i][0][0]);
		close(pipes[i][1][1]);
		good = good && read(family->answer[i], &c, 1) == 1 && c == 'y';
	}
	return good;
}

static void bury(struct family *family)
{
	for (int i = 0; i < PROCESSES; i++) {
		close(family->ask[i]);
		close(family->answer[i]);
	}
	waitpid(family->pid[0], NULL, 0);
}

/* The order is a permutation of owner (0) and mirrors, as digits. */
static void kill_in_order(struct tap *tap, struct host *host, const char *order)
{
	struct family family = { 0 };
	int alive = 0;

	if (!tap_ok(tap, raise_family(host, &family), "order %s: an owner (0) and two mirrors",
		    order))
		return;
	tap_ok(tap, races_guests(host, 1), "order %s: the firmware keeps one guest", order);
	for (int n = 0; order[n]; n++) {
		kill(family.pid[order[n] - '0'], SIGKILL);
		if (!order[n + 1])
			break;
		usleep(20000);
		for (int left = n + 1; order[left]; left++)
			alive += answers(&family, order[left] - '0');
	}
	tap_ok(tap, alive == 3, "order %s: the others read the secret: %d of 3", order, alive);
	bury(&family);
	races_no_guests(tap, host, order);
}

/* All at once, so that the last references go at the same time on several CPUs. */
static void kill_together(struct tap *tap, struct host *host)
{
	int raised = 0;

	for (int n = 0; n < 8; n++) {
		struct family family = { 0 };

		raised += raise_family(host, &family);
		for (int i = 0; i < PROCESSES; i++)
			kill(family.pid[(i + n) % PROCESSES], SIGKILL);
		bury(&family);
	}
	tap_ok(tap, raised == 8, "together: 8 families are killed at once: %d", raised);
	races_no_guests(tap, host, "together");
}

struct storm {
	struct host *host;
	struct vm *vms[2];
	atomic_bool stop;
	atomic_uint done, busy, refused, odd;
};

static void count(struct storm *storm, int result)
{
	atomic_uint *what = !result	     ? &storm->done :
			    result == EBUSY  ? &storm->busy :
			    result == EINVAL ? &storm->refused :
					       &storm->odd;

	(*what)++;
}

/* MOVE and COPY from the second VM into the first, which is SEV already: refused, under both locks.
 */
static void *move_back(void *arg)
{
	struct storm *storm = arg;

	while (!storm->stop)
		count(storm, vm_move_from(storm->vms[0], storm->vms[1]->fd));
	return NULL;
}

static void *copy_back(void *arg)
{
	struct storm *storm = arg;

	while (!storm->stop)
		count(storm, vm_mirror_of(storm->vms[0], storm->vms[1]->fd));
	return NULL;
}

/* COPY into VMs that are dropped at once. */
static void *copy_on(void *arg)
{
	struct storm *storm = arg;

	while (!storm->stop) {
		struct vm vm;

		if (!vm_create(storm->host, &vm, storm->vms[0]))
			break;
		count(storm, vm_mirror_of(&vm, storm->vms[0]->fd));
		vm_destroy(&vm);
	}
	return NULL;
}

/* REG_REGION takes the first VM's lock alone. */
static void *pin(void *arg)
{
	struct storm *storm = arg;

	while (!storm->stop) {
		count(storm, vm_pin(storm->vms[0], true));
		count(storm, vm_pin(storm->vms[0], false));
	}
	return NULL;
}

static bool start_storm(struct host *host, struct storm *storm, struct vm *vms, pthread_t *threads)
{
	void *(*const run[])(void *) = { move_back, copy_back, copy_on, pin };

	storm->host = host;
	storm->vms[0] = &vms[0];
	storm->vms[1] = &vms[1];
	if (!vm_start(host, &vms[0], 0, SECRET) || !vm_create(host, &vms[1], &vms[0]))
		return false;
	for (int i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, run[i], storm))
			return false;
	return true;
}

static void test_storm(struct tap *tap, struct host *host)
{
	static struct storm storm;
	pthread_t threads[4];
	struct vm vms[2];

	if (!tap_ok(tap, start_storm(host, &storm, vms, threads),
		    "storm: MOVE and COPY between two VMs, by four threads"))
		return;
	sleep(3);
	storm.stop = true;
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	tap_ok(tap, storm.done > 10 && !storm.odd,
	       "storm: %u done, %u busy, %u refused, %u with another error", storm.done, storm.busy,
	       storm.refused, storm.odd);
	tap_ok(tap, races_reads_secret(&vms[0]), "storm: the guest runs as before");
	tap_ok(tap,
	       !vm_move_from(&vms[1], vms[0].fd) && !vm_add_vcpu(&vms[1]) &&
		       races_reads_secret(&vms[1]),
	       "storm: it moves to the second VM and runs there");
	vm_destroy(&vms[0]);
	vm_destroy(&vms[1]);
	races_no_guests(tap, host, "storm");
}

/* A process in the middle of such a storm ends when it is killed. */
static void test_storm_killed(struct tap *tap, struct host *host)
{
	struct timespec before, after;
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		static struct storm storm;
		pthread_t threads[4];
		struct vm vms[2];

		if (!start_storm(host, &storm, vms, threads))
			_exit(1);
		pause();
	}
	sleep(2);
	clock_gettime(CLOCK_MONOTONIC, &before);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	clock_gettime(CLOCK_MONOTONIC, &after);
	tap_ok(tap, WIFSIGNALED(status) && after.tv_sec - before.tv_sec < 20,
	       "storm_killed: a process in a storm ends when it is killed");
	races_no_guests(tap, host, "storm_killed");
}

int main(void)
{
	static const char *const orders[] = { "012", "021", "102", "120", "201", "210" };
	struct tap tap = { .program = "orphans" };
	struct host host;

	host_open(&host);
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
		kill_in_order(&tap, &host, orders[i]);
	kill_together(&tap, &host);
	test_storm(&tap, &host);
	test_storm_killed(&tap, &host);
	host_close(&host);
	return tap_done(&tap);
}
