/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sev-host-client SOCKET [--timeout S] [--then-stop] exec COMMAND...
 * sev-host-client SOCKET stop | console
 *
 * The front of an emulated host's daemon. exec passes streams and the exit status through: 128 + N
 * for signal N, 124 for a timeout, 126 and 127 for a command that cannot be run, 125 for a failure
 * of the host itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "frame.h"

enum {
	STATUS_TIMEOUT = 124,
	STATUS_FAILED = 125,
	STATUS_NOT_EXECUTABLE = 126,
	STATUS_NOT_FOUND = 127
};

/*
 * The agent ends a command within its grace of 2 s; a host that has not answered after this long
 * hangs.
 */
#define HANG_MS 15000
/*
 * A signalled command gets this long to end by itself; then the client goes and the daemon has the
 * command killed.
 */
#define SIGNAL_MS 5000
/* Ctrl-] leaves the console, as in telnet. */
#define CONSOLE_ESCAPE 0x1d

struct sink {
	int fd;
	uint32_t type;
	/* most that a write takes without blocking once poll says POLLOUT */
	size_t piece;
	struct buf buf;
};

struct client {
	int sock, signals;
	struct buf in, out;
	struct sink sinks[2];
	bool stdin_open;
	size_t stdin_credit;
	bool console;
	/* 0: none */
	uint64_t hang_at;
	int signal;
	int status;
	bool ended;
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

static int connect_to(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd;

	if (snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path) >=
	    (int)sizeof(addr.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		close(fd);
		return -1;
	}
	if (fd >= 0)
		fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void end(struct client *c, int status)
{
	if (c->ended)
		return;
	c->ended = true;
	c->status = status;
}

static void fail(struct client *c, const char *what)
{
	if (!c->ended)
		fprintf(stderr, "sev-host: %s\n", what);
	end(c, STATUS_FAILED);
}

static void on_exit_frame(struct client *c, uint32_t how, uint32_t value)
{
	switch (how) {
	case FRAME_END_EXITED:
		end(c, value & 0xff);
		return;
	case FRAME_END_SIGNAL:
		end(c, 128 + (value & 0x7f));
		return;
	case FRAME_END_TIMEOUT:
		fprintf(stderr, "sev-host: the command was ended by its timeout\n");
		end(c, STATUS_TIMEOUT);
		return;
	case FRAME_END_NO_EXEC:
		fprintf(stderr, "sev-host: the host cannot run the command: %s\n", strerror(value));
		end(c, value == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE);
		return;
	case FRAME_END_REFUSED:
		fprintf(stderr, "sev-host: the host's agent refused the command: %s\n",
			strerror(value));
		end(c, STATUS_FAILED);
		return;
	}
	fail(c, "the host's agent ended the command in an unknown way");
}

static void on_frame(struct client *c, const struct frame *f)
{
	switch (f->type) {
	case FRAME_STDOUT:
	case FRAME_STDERR:
		buf_append(&c->sinks[f->type == FRAME_STDERR].buf, f->payload, f->length);
		return;
	case FRAME_CREDIT:
		if (frame_get_u32(f->payload) == FRAME_STDIN)
			c->stdin_credit += frame_get_u32(f->payload + 4);
		if (c->stdin_credit > FRAME_WINDOW)
			c->stdin_credit = FRAME_WINDOW;
		return;
	case FRAME_EXIT:
		on_exit_frame(c, frame_get_u32(f->payload), frame_get_u32(f->payload + 4));
		return;
	case FRAME_ERROR:
		fprintf(stderr, "sev-host: %.*s\n", (int)f->length, f->payload);
		end(c, STATUS_FAILED);
		return;
	}
	fail(c, "the daemon sent something unexpected; are client and daemon of the same version?");
}

static void on_socket(struct client *c)
{
	struct frame f;
	ssize_t n;
	int ret;

	n = buf_read(&c->in, c->sock, 256 << 10);
	if (n == -EAGAIN)
		return;
	while (!c->ended && (ret = frame_peek(&c->in, &f)) != 0) {
		if (ret < 0) {
			fail(c, "the daemon sent something that is no frame");
			return;
		}
		on_frame(c, &f);
		frame_drop(&c->in, &f);
	}
	if (n <= 0)
		fail(c, "the host has gone");
}

static void on_stdin(struct client *c)
{
	struct buf b = { 0 };
	size_t max = c->stdin_credit < FRAME_CHUNK ? c->stdin_credit : FRAME_CHUNK;
	ssize_t n = buf_read(&b, 0, max);

	if (n == -EAGAIN)
		return;
	if (n <= 0)
		c->stdin_open = false;
	if (c->console && n > 0 && memchr(buf_data(&b), CONSOLE_ESCAPE, n))
		end(c, 0);
	else if (!c->console || n > 0)
		frame_put(&c->out, 0, FRAME_STDIN, buf_data(&b), n > 0 ? n : 0);
	else
		end(c, 0);
	if (!c->console && n > 0)
		c->stdin_credit -= n;
	buf_free(&b);
}

static void on_signal(struct client *c)
{
	struct signalfd_siginfo info;

	if (read(c->signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (c->console) {
		end(c, 128 + info.ssi_signo);
		return;
	}
	/*
	 * the second one does not wait for the command any longer: its end is the daemon's business
	 * then
	 */
	if (c->signal)
		end(c, 128 + info.ssi_signo);
	c->signal = info.ssi_signo;
	frame_put_u32(&c->out, 0, FRAME_SIGNAL, info.ssi_signo);
	c->hang_at = now_ms() + SIGNAL_MS;
}

static void write_sink(struct client *c, struct sink *s)
{
	ssize_t n = buf_write(&s->buf, s->fd, s->piece);

	if (n == -EAGAIN)
		return;
	if (n < 0) {
		/* a reader that has seen enough is nothing to complain about */
		if (n != -EPIPE)
			fprintf(stderr, "sev-host: writing the command's output: %s\n",
				strerror(-n));
		buf_free(&s->buf);
		end(c, n == -EPIPE ? 128 + SIGPIPE : STATUS_FAILED);
		return;
	}
	if (!c->console)
		frame_put_u32x2(&c->out, 0, FRAME_CREDIT, s->type, n);
}

static int poll_timeout(const struct client *c)
{
	uint64_t now = now_ms();

	if (!c->hang_at || c->ended)
		return -1;
	return c->hang_at <= now	? 0 :
	       c->hang_at - now > 60000 ? 60000 :
					  (int)(c->hang_at - now + 1);
}

/* Until the command has ended and all its output is written. */
static int loop(struct client *c)
{
	struct pollfd fds[5];

	while (!c->ended || buf_len(&c->sinks[0].buf) || buf_len(&c->sinks[1].buf)) {
		fds[0] = (struct pollfd){ c->ended ? -1 : c->sock,
					  POLLIN | (buf_len(&c->out) ? POLLOUT : 0), 0 };
		fds[1] = (struct pollfd){ c->signals, POLLIN, 0 };
		fds[2] = (struct pollfd){ c->stdin_open && c->stdin_credit && !c->ended ? 0 : -1,
					  POLLIN, 0 };
		for (int i = 0; i < 2; i++)
			fds[3 + i] =
				(struct pollfd){ buf_len(&c->sinks[i].buf) ? c->sinks[i].fd : -1,
						 POLLOUT, 0 };
		if (poll(fds, 5, poll_timeout(c)) < 0 && errno != EINTR)
			return STATUS_FAILED;
		if (fds[1].revents) {
			if (c->ended)
				break;
			on_signal(c);
		}
		for (int i = 0; i < 2; i++)
			if (fds[3 + i].revents)
				write_sink(c, &c->sinks[i]);
		if (fds[2].revents)
			on_stdin(c);
		/* what fails here shows as the end of the connection below */
		if (buf_len(&c->out))
			buf_write(&c->out, c->sock, 256 << 10);
		if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
			on_socket(c);
		if (c->hang_at && now_ms() >= c->hang_at && !c->ended) {
			if (!c->signal)
				fprintf(stderr, "sev-host: the host does not answer\n");
			end(c, c->signal ? 128 + c->signal : STATUS_TIMEOUT);
		}
	}
	return c->status;
}

static void init_sinks(struct client *c)
{
	for (int i = 0; i < 2; i++) {
		struct sink *s = &c->sinks[i];
		struct stat st;

		s->fd = 1 + i;
		s->type = i ? FRAME_STDERR : FRAME_STDOUT;
		s->piece = !fstat(s->fd, &st) && S_ISREG(st.st_mode) ? FRAME_WINDOW : 4096;
	}
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -1;
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int put_exec(struct client *c, uint32_t timeout_ms, char **argv)
{
	struct buf b = { 0 };
	uint8_t *p;
	int argc;

	for (argc = 0; argv[argc]; argc++)
		;
	/* the two numbers of the payload, written like a frame's */
	frame_put_u32x2(&b, 0, FRAME_EXEC, timeout_ms, argc);
	buf_consume(&b, FRAME_HEADER_BYTES);
	for (int i = 0; i < argc; i++)
		buf_append(&b, argv[i], strlen(argv[i]) + 1);
	p = b.data + b.start;
	if (buf_len(&b) > FRAME_PAYLOAD_MAX) {
		fprintf(stderr, "sev-host: the command line is too long (%zu bytes)\n",
			buf_len(&b));
		buf_free(&b);
		return -E2BIG;
	}
	frame_put(&c->out, 0, FRAME_EXEC, p, buf_len(&b));
	buf_free(&b);
	return 0;
}

/* Asks the daemon to end the host and waits until all of it is gone. */
static int stop(const char *path)
{
	struct buf out = { 0 };
	struct pollfd fd = { connect_to(path), POLLIN, 0 };
	char waste[4096];
	ssize_t n;

	if (fd.fd < 0)
		return errno == ENOENT || errno == ECONNREFUSED ? 0 : STATUS_FAILED;
	frame_put(&out, 0, FRAME_STOP, NULL, 0);
	buf_write(&out, fd.fd, buf_len(&out));
	buf_free(&out);
	do {
		poll(&fd, 1, -1);
		n = read(fd.fd, waste, sizeof(waste));
	} while (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)));
	close(fd.fd);
	return 0;
}

static int console(struct client *c)
{
	struct termios saved, raw;
	bool tty = !tcgetattr(0, &saved);
	int ret;

	fprintf(stderr, "sev-host: the host's console; Ctrl-] leaves it\n");
	if (tty) {
		raw = saved;
		cfmakeraw(&raw);
		tcsetattr(0, TCSANOW, &raw);
	}
	c->console = true;
	frame_put(&c->out, 0, FRAME_CONSOLE, NULL, 0);
	ret = loop(c);
	if (tty)
		tcsetattr(0, TCSANOW, &saved);
	fputc('\n', stderr);
	return ret;
}

static uint32_t parse_timeout(const char *text)
{
	char *rest;
	double s = strtod(text, &rest);

	if (rest == text || *rest || !(s > 0) || s > 4000000) {
		fprintf(stderr, "sev-host: --timeout: '%s' is not a number of seconds above 0\n",
			text);
		exit(2);
	}
	return s < 0.001 ? 1 : s * 1000;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "timeout", required_argument, NULL, 't' },
		{ "then-stop", no_argument, NULL, 's' },
		{ 0 },
	};
	struct client c = { .stdin_open = true, .stdin_credit = FRAME_WINDOW };
	uint32_t timeout_ms = 0;
	bool then_stop = false;
	const char *path, *verb;
	int opt, ret = 2;

	while ((opt = getopt_long(argc, argv, "+", longs, NULL)) != -1) {
		if (opt == 't')
			timeout_ms = parse_timeout(optarg);
		else if (opt == 's')
			then_stop = true;
		else
			return 2;
	}
	if (argc - optind < 2) {
		fprintf(stderr, "usage: sev-host-client [--timeout S] [--then-stop] SOCKET "
				"exec COMMAND... | stop | console\n");
		return 2;
	}
	path = argv[optind];
	verb = argv[optind + 1];
	if (!strcmp(verb, "stop"))
		return stop(path);
	c.signals = open_signals();
	c.sock = connect_to(path);
	if (c.sock < 0 || c.signals < 0) {
		fprintf(stderr, "sev-host: %s: %s\n", path, strerror(errno));
		return STATUS_FAILED;
	}
	init_sinks(&c);
	if (!strcmp(verb, "console")) {
		ret = console(&c);
	} else if (!strcmp(verb, "exec") && argc - optind > 2) {
		ret = put_exec(&c, timeout_ms, argv + optind + 2) ? STATUS_FAILED : 0;
		if (timeout_ms)
			c.hang_at = now_ms() + timeout_ms + HANG_MS;
		if (!ret)
			ret = loop(&c);
	}
	close(c.sock);
	if (then_stop)
		stop(path);
	buf_free(&c.in);
	buf_free(&c.out);
	buf_free(&c.sinks[0].buf);
	buf_free(&c.sinks[1].buf);
	return ret;
}
