/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sev-host-daemon --dir DIR --log FILE [--lock FD] [--owner PID] [--boot-timeout S] -- QEMU
 * ARGUMENT...
 *
 * Owns one emulated host: starts its QEMU (which finds the agent's port at descriptor 3 and the
 * serial console at 4), serves clients at DIR/sock, and removes DIR when the host has ended.
 * Returns when the agent is ready or the start has failed; a daemon stays. There is no way for QEMU
 * to outlive the daemon (the kernel kills it), nor for the daemon to outlive process PID, if that
 * is given.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hostd.h"

/* From SIGTERM, at which QEMU closes its files, to SIGKILL. */
#define QEMU_GRACE_MS 5000

struct options {
	const char *dir, *log;
	int lock_fd;
	pid_t owner;
	unsigned int boot_timeout_s;
	char **qemu;
};

struct hostd {
	const struct options *opt;
	struct mux mux;
	int listen_fd, signal_fd, owner_fd, ready_fd;
	pid_t qemu;
	/* 0: not yet */
	uint64_t boot_deadline, kill_at;
	const char *why;
	/* QEMU ended by itself, and not well: what it said is worth showing */
	bool failed;
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

static int listen_at(const char *dir)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd, n;

	n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/sock", dir);
	if (n >= (int)sizeof(addr.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	unlink(addr.sun_path);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 16)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* In the child: nothing of the daemon's but the two ends may reach QEMU. */
static void run_qemu(struct hostd *h, int agent, int console, int errors)
{
	sigset_t none;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() == 1)
		_exit(1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	/* out of the way of the fixed numbers first */
	agent = fcntl(agent, F_DUPFD, 10);
	console = fcntl(console, F_DUPFD, 10);
	errors = fcntl(errors, F_DUPFD, 10);
	if (dup2(errors, 1) < 0 || dup2(errors, 2) < 0 || dup2(agent, 3) < 0 ||
	    dup2(console, 4) < 0)
		_exit(1);
	syscall(SYS_close_range, 5, ~0u, 0);
	execv(h->opt->qemu[0], h->opt->qemu);
	fprintf(stderr, "%s: %s\n", h->opt->qemu[0], strerror(errno));
	_exit(127);
}

static int start_qemu(struct hostd *h)
{
	int agent[2] = { -1, -1 }, console[2] = { -1, -1 }, errors = -1, log = -1, ret = -1;
	char path[256];

	snprintf(path, sizeof(path), "%s/qemu.log", h->opt->dir);
	errors = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	log = open(h->opt->log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (errors < 0 || log < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, agent) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, console))
		goto out;
	fcntl(agent[0], F_SETFL, O_NONBLOCK);
	fcntl(console[0], F_SETFL, O_NONBLOCK);
	h->qemu = fork();
	if (h->qemu < 0)
		goto out;
	if (!h->qemu)
		run_qemu(h, agent[1], console[1], errors);
	mux_init(&h->mux, agent[0], console[0], log);
	agent[0] = console[0] = log = -1;
	ret = 0;
out:
	for (int i = 0; i < 2; i++) {
		if (agent[i] >= 0)
			close(agent[i]);
		if (console[i] >= 0)
			close(console[i]);
	}
	if (errors >= 0)
		close(errors);
	if (log >= 0)
		close(log);
	return ret;
}

/* Tells the process that waits for the start how it went: one byte, then text. */
static void report(struct hostd *h, bool ok, const char *why)
{
	if (h->ready_fd < 0)
		return;
	if (write(h->ready_fd, ok ? "1" : "0", 1) == 1 && why)
		if (write(h->ready_fd, why, strlen(why)) < 0)
			errno = 0;
	close(h->ready_fd);
	h->ready_fd = -1;
}

static void stop(struct hostd *h, const char *why)
{
	if (h->kill_at)
		return;
	h->why = why;
	h->kill_at = now_ms() + QEMU_GRACE_MS;
	kill(h->qemu, SIGTERM);
}

/* Returns true when QEMU has gone. */
static bool on_signal(struct hostd *h)
{
	struct signalfd_siginfo info;
	int status;

	if (read(h->signal_fd, &info, sizeof(info)) != sizeof(info))
		return false;
	if (info.ssi_signo != SIGCHLD) {
		stop(h, "the host has been stopped");
		return false;
	}
	if (waitpid(h->qemu, &status, WNOHANG) != h->qemu)
		return false;
	if (!h->why) {
		h->why = "the host has powered off";
		h->failed = WIFSIGNALED(status) || WEXITSTATUS(status);
		if (h->failed)
			h->why = "the host's QEMU has failed";
	}
	return true;
}

static void accept_client(struct hostd *h)
{
	int fd = accept4(h->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		mux_accept(&h->mux, fd);
}

static void check_state(struct hostd *h)
{
	if (h->mux.stop_asked)
		stop(h, "the host has been stopped");
	if (h->mux.state == AGENT_READY && h->boot_deadline) {
		h->boot_deadline = 0;
		report(h, true, NULL);
	}
	if (h->boot_deadline && now_ms() >= h->boot_deadline)
		stop(h, "the host did not come up in time");
	if (h->kill_at && now_ms() >= h->kill_at)
		kill(h->qemu, SIGKILL);
}

static int poll_timeout(const struct hostd *h)
{
	uint64_t at = h->kill_at ? h->kill_at : h->boot_deadline, now = now_ms();

	if (!at)
		return -1;
	return at > now ? (int)(at - now + 1) : 100;
}

static void loop(struct hostd *h)
{
	struct pollfd fds[4 + MUX_POLL_MAX];
	unsigned int n;

	for (;;) {
		fds[0] = (struct pollfd){ h->listen_fd, POLLIN, 0 };
		fds[1] = (struct pollfd){ h->signal_fd, POLLIN, 0 };
		fds[2] = (struct pollfd){ h->owner_fd, POLLIN, 0 };
		/* only errors: the process that waits for the start is gone */
		fds[3] = (struct pollfd){ h->ready_fd, 0, 0 };
		n = mux_poll(&h->mux, fds + 4);
		if (poll(fds, 4 + n, poll_timeout(h)) < 0 && errno != EINTR)
			return;
		mux_run(&h->mux, fds + 4, n);
		if (fds[0].revents)
			accept_client(h);
		if (fds[1].revents && on_signal(h))
			return;
		if (fds[2].revents)
			stop(h, "the one who started the host has gone");
		if (fds[3].revents)
			stop(h, "the start was broken off");
		check_state(h);
	}
}

static void remove_dir(const char *dir)
{
	static const char *const names[] = { "sock", "qemu.log",   "qmp",
					     "info", "ssh_config", "psp.nv" };
	char path[256];

	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -1;
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* The last lines of QEMU's own words, if it had any, for the error message. */
static void add_qemu_log(const struct hostd *h, char *text, size_t size)
{
	char path[256];
	size_t len = strlen(text), n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/qemu.log", h->opt->dir);
	f = fopen(path, "re");
	if (!f)
		return;
	n = fread(text + len + 1, 1, size - len - 2, f);
	if (n) {
		text[len] = '\n';
		text[len + 1 + n] = 0;
	}
	fclose(f);
}

static int serve(const struct options *opt, int ready_fd)
{
	struct hostd h = { .opt = opt, .owner_fd = -1, .ready_fd = ready_fd, .qemu = -1 };
	char why[4096] = "";
	int ret = 1;

	h.signal_fd = open_signals();
	h.listen_fd = listen_at(opt->dir);
	if (h.signal_fd < 0 || h.listen_fd < 0) {
		snprintf(why, sizeof(why), "%s/sock: %s", opt->dir, strerror(errno));
		goto out;
	}
	if (opt->owner) {
		h.owner_fd = syscall(SYS_pidfd_open, opt->owner, 0);
		if (h.owner_fd < 0) {
			snprintf(why, sizeof(why), "process %d: %s", opt->owner, strerror(errno));
			goto out;
		}
	}
	if (start_qemu(&h)) {
		snprintf(why, sizeof(why), "cannot start QEMU: %s", strerror(errno));
		goto out;
	}
	h.boot_deadline = now_ms() + opt->boot_timeout_s * 1000ull;
	loop(&h);
	snprintf(why, sizeof(why), "%s", h.why ? h.why : "the daemon has failed");
	if (h.failed)
		add_qemu_log(&h, why, sizeof(why));
	mux_end(&h.mux, why);
	ret = 0;
out:
	/* in this order: a client that hears of the end may reuse the host's name at once */
	remove_dir(opt->dir);
	if (opt->lock_fd >= 0)
		close(opt->lock_fd);
	report(&h, false, why);
	if (h.qemu > 0)
		mux_fini(&h.mux);
	return ret;
}

static void daemonize(int keep, int keep_too)
{
	int null;

	setsid();
	/* the starter's other locks must not stay with us */
	for (int fd = 3; fd < 1024; fd++)
		if (fd != keep && fd != keep_too)
			close(fd);
	null = open("/dev/null", O_RDWR);
	if (null >= 0) {
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		if (null > 2)
			close(null);
	}
	if (chdir("/"))
		errno = 0;
}

static int wait_for_start(int fd)
{
	char text[4200];
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(text) - 1 && (n = read(fd, text + len, sizeof(text) - 1 - len)) != 0) {
		if (n > 0)
			len += n;
		else if (errno != EINTR)
			break;
	}
	text[len] = 0;
	if (text[0] == '1')
		return 0;
	fprintf(stderr, "%s\n", len > 1 ? text + 1 : "the daemon has failed");
	return 1;
}

static int parse(int argc, char **argv, struct options *opt)
{
	static const struct option longs[] = {
		{ "dir", required_argument, NULL, 'd' },
		{ "log", required_argument, NULL, 'l' },
		{ "lock", required_argument, NULL, 'k' },
		{ "owner", required_argument, NULL, 'o' },
		{ "boot-timeout", required_argument, NULL, 'b' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "+", longs, NULL)) != -1) {
		switch (c) {
		case 'd':
			opt->dir = optarg;
			break;
		case 'l':
			opt->log = optarg;
			break;
		case 'k':
			opt->lock_fd = strtol(optarg, NULL, 10);
			break;
		case 'o':
			opt->owner = strtol(optarg, NULL, 10);
			break;
		case 'b':
			opt->boot_timeout_s = strtoul(optarg, NULL, 10);
			break;
		default:
			return -1;
		}
	}
	opt->qemu = argv + optind;
	return opt->dir && opt->log && optind < argc ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct options opt = { .lock_fd = -1, .boot_timeout_s = 120 };
	int ready[2];
	pid_t pid;

	if (parse(argc, argv, &opt)) {
		fprintf(stderr,
			"usage: sev-host-daemon --dir DIR --log FILE [--lock FD] [--owner PID] "
			"[--boot-timeout S] -- QEMU ARGUMENT...\n");
		return 2;
	}
	if (pipe2(ready, O_CLOEXEC)) {
		perror("pipe");
		return 1;
	}
	pid = fork();
	if (pid < 0) {
		perror("fork");
		return 1;
	}
	if (pid) {
		close(ready[1]);
		return wait_for_start(ready[0]);
	}
	close(ready[0]);
	if (opt.lock_fd >= 0)
		fcntl(opt.lock_fd, F_SETFD, FD_CLOEXEC);
	daemonize(opt.lock_fd, ready[1]);
	return serve(&opt, ready[1]);
}
