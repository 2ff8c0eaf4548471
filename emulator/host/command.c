/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEVER UINT64_MAX

struct stream {
	int fd;
	uint32_t type;
	size_t credit;
	/* the leader is dead and nothing that it wrote is left in the pipe */
	bool drained;
};

struct command {
	uint32_t channel;
	pid_t pid;
	int exec_errno;
	int in;
	struct buf input;
	size_t granted;
	bool input_ended;
	struct stream out[2];
	bool reaped;
	int wait_status;
	uint64_t term_at, kill_at;
	bool timed_out;
	/* the client has its FRAME_EXIT, or never will */
	bool silent;
	bool exit_sent;
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_pair(int p[2])
{
	close_fd(&p[0]);
	close_fd(&p[1]);
}

static void run_child(char **argv, int in, int out, int err, int report)
{
	sigset_t none;
	int e;

	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (dup2(in, 0) == 0 && dup2(out, 1) == 1 && dup2(err, 2) == 2) {
		const char *home = getenv("HOME");

		if (home && chdir(home))
			errno = 0;
		execvp(argv[0], argv);
	}
	e = errno;
	if (write(report, &e, sizeof(e)) < 0)
		_exit(125);
	_exit(127);
}

/* The parent's half: waits for the execve, so that a wrong command name is known at once. */
static int read_report(int fd)
{
	int e = 0;
	ssize_t n;

	do {
		n = read(fd, &e, sizeof(e));
	} while (n < 0 && errno == EINTR);
	return n == sizeof(e) ? e : 0;
}

static int spawn(struct command *c, char **argv)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, err[2] = { -1, -1 }, report[2] = { -1, -1 };
	int ret = -1;

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC) ||
	    pipe2(report, O_CLOEXEC))
		goto fail;
	c->pid = fork();
	if (c->pid < 0)
		goto fail;
	if (!c->pid)
		run_child(argv, in[0], out[1], err[1], report[1]);
	close_fd(&report[1]);
	c->exec_errno = read_report(report[0]);
	c->in = in[1];
	c->out[0].fd = out[0];
	c->out[1].fd = err[0];
	in[1] = out[0] = err[0] = -1;
	fcntl(c->in, F_SETFL, O_NONBLOCK);
	fcntl(c->out[0].fd, F_SETFL, O_NONBLOCK);
	fcntl(c->out[1].fd, F_SETFL, O_NONBLOCK);
	ret = 0;
fail:
	close_pair(in);
	close_pair(out);
	close_pair(err);
	close_pair(report);
	return ret;
}

struct command *command_start(uint32_t channel, char **argv, uint32_t timeout_ms, uint64_t now_ms)
{
	struct command *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->channel = channel;
	c->in = c->out[0].fd = c->out[1].fd = -1;
	c->out[0].type = FRAME_STDOUT;
	c->out[1].type = FRAME_STDERR;
	c->out[0].credit = c->out[1].credit = FRAME_WINDOW;
	c->granted = FRAME_WINDOW;
	c->kill_at = NEVER;
	c->term_at = timeout_ms ? now_ms + timeout_ms : NEVER;
	if (spawn(c, argv)) {
		int e = errno;

		free(c);
		errno = e;
		return NULL;
	}
	return c;
}

void command_destroy(struct command *c)
{
	if (!c)
		return;
	if (!c->reaped)
		kill(-c->pid, SIGKILL);
	close_fd(&c->in);
	close_fd(&c->out[0].fd);
	close_fd(&c->out[1].fd);
	buf_free(&c->input);
	free(c);
}

uint32_t command_channel(const struct command *c)
{
	return c->channel;
}

int command_input(struct command *c, const uint8_t *data, size_t length)
{
	if (c->input_ended || length > c->granted)
		return -EPROTO;
	if (!length)
		c->input_ended = true;
	c->granted -= length;
	/* a command that has closed its input still lets the client finish sending */
	if (c->in < 0) {
		c->granted += length;
		return 0;
	}
	return buf_append(&c->input, data, length) ? -EPROTO : 0;
}

int command_credit(struct command *c, uint32_t stream, uint32_t bytes)
{
	for (int i = 0; i < 2; i++) {
		struct stream *s = &c->out[i];

		if (s->type != stream)
			continue;
		if (bytes > FRAME_WINDOW - s->credit)
			return -EPROTO;
		s->credit += bytes;
		return 0;
	}
	return -EPROTO;
}

void command_signal(struct command *c, int signo)
{
	if (!c->reaped)
		kill(-c->pid, signo);
}

void command_cancel(struct command *c, uint64_t now_ms)
{
	c->silent = true;
	c->term_at = now_ms;
}

bool command_reaped(struct command *c, pid_t pid, int wait_status)
{
	if (c->reaped || c->pid != pid)
		return false;
	c->reaped = true;
	c->wait_status = wait_status;
	return true;
}

unsigned int command_poll(const struct command *c, struct pollfd *fds, bool may_send)
{
	unsigned int n = 0;

	if (c->in >= 0 && buf_len(&c->input))
		fds[n++] = (struct pollfd){ c->in, POLLOUT, 0 };
	for (int i = 0; i < 2; i++) {
		const struct stream *s = &c->out[i];

		if (s->fd >= 0 && (c->silent || (s->credit && may_send)))
			fds[n++] = (struct pollfd){ s->fd, POLLIN, 0 };
	}
	return n;
}

static void run_input(struct command *c, struct buf *out)
{
	size_t given = 0;

	while (c->in >= 0 && buf_len(&c->input)) {
		ssize_t n = buf_write(&c->input, c->in, FRAME_CHUNK);

		if (n == -EAGAIN)
			break;
		if (n < 0) {
			given += buf_len(&c->input);
			buf_free(&c->input);
			close_fd(&c->in);
			break;
		}
		given += n;
	}
	if (c->input_ended && !buf_len(&c->input))
		close_fd(&c->in);
	if (given) {
		c->granted += given;
		if (!c->silent)
			frame_put_u32x2(out, c->channel, FRAME_CREDIT, FRAME_STDIN, given);
	}
}

/*
 * What the readers of the pipes do once nobody listens: a process left in the background shall not
 * die of SIGPIPE.
 */
static void discard(struct stream *s)
{
	uint8_t waste[4096];
	ssize_t n;

	if (s->fd < 0)
		return;
	n = read(s->fd, waste, sizeof(waste));
	if (!n || (n < 0 && errno != EAGAIN && errno != EINTR))
		close_fd(&s->fd);
}

/* Returns true if there may be more to read at once. */
static bool run_output(struct command *c, struct stream *s, struct buf *out)
{
	uint8_t chunk[FRAME_CHUNK];
	ssize_t n;

	if (s->fd < 0) {
		s->drained = true;
		return false;
	}
	if (!s->credit)
		return false;
	n = read(s->fd, chunk, s->credit < sizeof(chunk) ? s->credit : sizeof(chunk));
	if (n > 0) {
		s->credit -= n;
		frame_put(out, c->channel, s->type, chunk, n);
		return true;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		s->drained = c->reaped && errno == EAGAIN;
		return false;
	}
	close_fd(&s->fd);
	s->drained = true;
	return false;
}

static void send_exit(struct command *c, struct buf *out)
{
	uint32_t end = FRAME_END_EXITED, value = WEXITSTATUS(c->wait_status);

	if (c->exec_errno) {
		end = FRAME_END_NO_EXEC;
		value = c->exec_errno;
	} else if (c->timed_out) {
		end = FRAME_END_TIMEOUT;
		value = 0;
	} else if (WIFSIGNALED(c->wait_status)) {
		end = FRAME_END_SIGNAL;
		value = WTERMSIG(c->wait_status);
	}
	frame_put_u32x2(out, c->channel, FRAME_EXIT, end, value);
	c->exit_sent = true;
	c->silent = true;
}

static void run_clock(struct command *c, uint64_t now_ms)
{
	if (now_ms >= c->term_at) {
		if (!c->reaped) {
			c->timed_out = true;
			kill(-c->pid, SIGTERM);
			/* a stopped process would not hear it */
			kill(-c->pid, SIGCONT);
		}
		c->term_at = NEVER;
		c->kill_at = now_ms + COMMAND_GRACE_MS;
	}
	/*
	 * The group outlives its leader as long as it has members: after a timeout none of them may
	 * stay.
	 */
	if (now_ms >= c->kill_at || (c->kill_at != NEVER && c->reaped)) {
		kill(-c->pid, SIGKILL);
		c->kill_at = NEVER;
	}
}

bool command_run(struct command *c, struct buf *out, bool may_send, uint64_t now_ms)
{
	run_clock(c, now_ms);
	run_input(c, out);
	for (int i = 0; i < 2; i++) {
		if (c->silent)
			discard(&c->out[i]);
		else if (may_send)
			/*
			 * poll does not tell of a pipe that is empty for good while a background
			 * process keeps it open
			 */
			while (run_output(c, &c->out[i], out) && c->reaped)
				;
	}
	if (!c->silent && c->reaped && c->out[0].drained && c->out[1].drained)
		send_exit(c, out);
	if (c->silent && c->reaped) {
		close_fd(&c->in);
		buf_free(&c->input);
	}
	return c->silent && c->reaped && c->out[0].fd < 0 && c->out[1].fd < 0;
}

uint64_t command_deadline(const struct command *c)
{
	return c->term_at < c->kill_at ? c->term_at : c->kill_at;
}
