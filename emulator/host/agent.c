/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sev-host-agent PORT: runs commands in an emulated host for the clients outside, over the
 * virtio-serial port PORT. In a small host it is process 1 and does what process 1 has to do:
 * collect orphans, power off. In a system host it is a service of systemd.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "frame.h"

#define COMMANDS_MAX 128
/* Commands' output waits in its pipes while this much has not gone out yet. */
#define OUT_HIGH (512u << 10)

struct agent {
	int port, signals;
	bool synced;
	struct buf in, out;
	struct command *commands[COMMANDS_MAX];
	unsigned int ncommands;
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

static struct command *find(const struct agent *a, uint32_t channel)
{
	for (unsigned int i = 0; i < a->ncommands; i++)
		if (command_channel(a->commands[i]) == channel)
			return a->commands[i];
	return NULL;
}

static void refuse(struct agent *a, uint32_t channel, int error)
{
	frame_put_u32x2(&a->out, channel, FRAME_EXIT, FRAME_END_REFUSED, error);
}

static void on_exec(struct agent *a, const struct frame *f)
{
	uint32_t timeout_ms;
	struct command *c;
	char **argv;

	if (a->ncommands == COMMANDS_MAX || find(a, f->channel)) {
		refuse(a, f->channel, EBUSY);
		return;
	}
	argv = frame_parse_exec(f->payload, f->length, &timeout_ms);
	if (!argv) {
		refuse(a, f->channel, errno);
		return;
	}
	c = command_start(f->channel, argv, timeout_ms, now_ms());
	if (c)
		a->commands[a->ncommands++] = c;
	else
		refuse(a, f->channel, errno);
	free(argv);
}

static void on_frame(struct agent *a, const struct frame *f)
{
	struct command *c;
	int ret = 0;

	if (f->type == FRAME_EXEC) {
		on_exec(a, f);
		return;
	}
	/* a command that has just ended may still be spoken to */
	c = find(a, f->channel);
	if (!c)
		return;
	switch (f->type) {
	case FRAME_STDIN:
		ret = command_input(c, f->payload, f->length);
		break;
	case FRAME_CREDIT:
		ret = command_credit(c, frame_get_u32(f->payload), frame_get_u32(f->payload + 4));
		break;
	case FRAME_SIGNAL:
		command_signal(c, frame_get_u32(f->payload));
		break;
	case FRAME_CANCEL:
		command_cancel(c, now_ms());
		break;
	default:
		ret = -EPROTO;
	}
	if (ret) {
		refuse(a, f->channel, -ret);
		command_cancel(c, now_ms());
	}
}

/* Drops what was sent before this system came up. */
static bool find_sync(struct agent *a)
{
	const uint8_t *p = buf_data(&a->in), *sync;
	size_t len = buf_len(&a->in);

	sync = len ? memmem(p, len, FRAME_SYNC_TEXT, FRAME_SYNC_BYTES) : NULL;
	if (sync)
		buf_consume(&a->in, sync + FRAME_SYNC_BYTES - p);
	else if (len >= FRAME_SYNC_BYTES)
		buf_consume(&a->in, len - FRAME_SYNC_BYTES + 1);
	a->synced = sync;
	return sync;
}

static int on_port(struct agent *a)
{
	struct frame f;
	ssize_t n;
	int ret;

	n = buf_read(&a->in, a->port, 64 << 10);
	if (n == -EAGAIN)
		return 0;
	if (n <= 0)
		return n ? n : -EPIPE;
	if (!a->synced && !find_sync(a))
		return 0;
	while ((ret = frame_peek(&a->in, &f)) > 0) {
		on_frame(a, &f);
		frame_drop(&a->in, &f);
	}
	return ret;
}

/* A service leaves power to systemd. */
static void power(int how)
{
	if (getpid() != 1)
		exit(0);
	sync();
	reboot(how);
}

static void on_signal(struct agent *a)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	if (read(a->signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGUSR1)
		power(RB_HALT_SYSTEM);
	if (info.ssi_signo == SIGUSR2)
		power(RB_POWER_OFF);
	if (info.ssi_signo == SIGTERM)
		power(RB_AUTOBOOT);
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (unsigned int i = 0; i < a->ncommands; i++)
			if (command_reaped(a->commands[i], pid, status))
				break;
}

static void run_commands(struct agent *a)
{
	for (unsigned int i = 0; i < a->ncommands;) {
		if (command_run(a->commands[i], &a->out, buf_len(&a->out) < OUT_HIGH, now_ms())) {
			command_destroy(a->commands[i]);
			a->commands[i] = a->commands[--a->ncommands];
		} else {
			i++;
		}
	}
}

static int poll_timeout(const struct agent *a)
{
	uint64_t at = UINT64_MAX, now = now_ms();

	for (unsigned int i = 0; i < a->ncommands; i++)
		if (command_deadline(a->commands[i]) < at)
			at = command_deadline(a->commands[i]);
	if (at == UINT64_MAX)
		return -1;
	return at > now ? (int)(at - now > 60000 ? 60000 : at - now + 1) : 0;
}

static int loop(struct agent *a)
{
	struct pollfd fds[2 + 3 * COMMANDS_MAX];
	unsigned int n;
	ssize_t sent;
	int ret;

	for (;;) {
		run_commands(a);
		n = 2;
		fds[0] = (struct pollfd){ a->port, POLLIN | (buf_len(&a->out) ? POLLOUT : 0), 0 };
		fds[1] = (struct pollfd){ a->signals, POLLIN, 0 };
		for (unsigned int i = 0; i < a->ncommands; i++)
			n += command_poll(a->commands[i], fds + n, buf_len(&a->out) < OUT_HIGH);
		if (poll(fds, n, poll_timeout(a)) < 0 && errno != EINTR)
			return -errno;
		if (fds[1].revents)
			on_signal(a);
		if (fds[0].revents & POLLOUT) {
			sent = buf_write(&a->out, a->port, FRAME_CHUNK);
			if (sent < 0 && sent != -EAGAIN)
				return sent;
		}
		if (fds[0].revents & (POLLIN | POLLHUP | POLLERR)) {
			ret = on_port(a);
			if (ret)
				return ret;
		}
	}
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -1;
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int main(int argc, char **argv)
{
	struct agent a = { 0 };
	int ret;

	if (argc != 2) {
		fprintf(stderr, "usage: sev-host-agent PORT\n");
		return 2;
	}
	a.port = open(argv[1], O_RDWR | O_NONBLOCK | O_CLOEXEC);
	a.signals = open_signals();
	if (a.port < 0 || a.signals < 0) {
		fprintf(stderr, "sev-host-agent: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	frame_put_u32(&a.out, 0, FRAME_HELLO, FRAME_VERSION);
	ret = loop(&a);
	fprintf(stderr, "sev-host-agent: %s: %s\n", argv[1], strerror(-ret));
	if (getpid() == 1)
		power(RB_POWER_OFF);
	return 1;
}
