/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/devices/console_io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/util/clock.h"
#include "vmm/thread.h"

#define IN_CHUNK 64

#define NEVER	  INT64_MAX
#define NS_PER_US 1000LL

_Static_assert(CONSOLE_IO_OUT_BYTES >= 2 * CONSOLE_IO_CHUNK &&
		       CONSOLE_IO_OUT_BYTES >= 2 * CONSOLE_IO_ROOM,
	       "buffer");

struct console_io {
	struct console_io_ops ops;
	void *opaque;
	pthread_t thread;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t idle;
	int wake_fd;
	int in_fd;
	int out_fd;
	bool out_owned; /* out_fd is our own non-blocking description of the caller's file */
	bool out_socket;
	bool stop;
	bool want_input;
	bool paused;
	bool in_call; /* the thread is in one of the device's functions */
	bool starved; /* somebody saw no room */
	uint8_t *out;
	size_t out_head; /* total bytes put, and total bytes written */
	size_t out_tail;
	size_t line_end; /* total bytes put up to the end of the last line */
	/* Times of CLOCK_MONOTONIC in ns, or NEVER. */
	int64_t wake_at; /* when the thread wakes up by itself; 0: it is awake */
	int64_t flush_at; /* when what is in the buffer leaves, line or not */
	int64_t call_at; /* when output_room() is to be called */
	struct console_io_stats stats;
};

static int64_t console_io_now(void)
{
	return (int64_t)clock_ns();
}

/* With the lock held: the thread must look again at this time, now if it is 0. */
static void console_io_wake_by(struct console_io *io, int64_t at)
{
	uint64_t one = 1;

	if (at >= io->wake_at)
		return;
	io->wake_at = 0;
	/* Only fails when the counter is full, and then the thread wakes up anyway. */
	if (write(io->wake_fd, &one, sizeof(one)) < 0)
		return;
}

static size_t console_io_waiting(const struct console_io *io)
{
	return io->out_head - io->out_tail;
}

/* With the lock held: output is to leave without further waiting. */
static bool console_io_due(const struct console_io *io)
{
	size_t waiting = console_io_waiting(io);

	return waiting &&
	       (waiting >= CONSOLE_IO_CHUNK || io->stop || waiting > io->out_head - io->line_end ||
		console_io_now() >= io->flush_at);
}

bool console_io_put(struct console_io *io, const uint8_t *bytes, size_t len)
{
	bool put = true;

	pthread_mutex_lock(&io->lock);
	if (io->out_fd < 0) {
		io->stats.bytes += len;
	} else if (CONSOLE_IO_OUT_BYTES - console_io_waiting(io) < len) {
		put = false;
	} else if (len) {
		if (!console_io_waiting(io))
			io->flush_at =
				console_io_now() + (int64_t)(CONSOLE_IO_GATHER_MS * NS_PER_MS);
		for (size_t i = 0; i < len; i++) {
			io->out[io->out_head++ % CONSOLE_IO_OUT_BYTES] = bytes[i];
			if (bytes[i] == '\n')
				io->line_end = io->out_head;
		}
		io->stats.bytes += len;
		console_io_wake_by(io, console_io_due(io) ? 0 : io->flush_at);
	}
	pthread_mutex_unlock(&io->lock);
	return put;
}

bool console_io_room(struct console_io *io)
{
	bool room;

	pthread_mutex_lock(&io->lock);
	room = CONSOLE_IO_OUT_BYTES - console_io_waiting(io) >= CONSOLE_IO_ROOM;
	if (!room)
		io->starved = true;
	pthread_mutex_unlock(&io->lock);
	return room;
}

void console_io_call_after(struct console_io *io, unsigned int microseconds)
{
	int64_t at = console_io_now() + microseconds * NS_PER_US;

	pthread_mutex_lock(&io->lock);
	if (at < io->call_at) {
		io->call_at = at;
		console_io_wake_by(io, at);
	}
	pthread_mutex_unlock(&io->lock);
}

void console_io_get_stats(struct console_io *io, struct console_io_stats *stats)
{
	pthread_mutex_lock(&io->lock);
	*stats = io->stats;
	pthread_mutex_unlock(&io->lock);
}

void console_io_want_input(struct console_io *io, bool want)
{
	pthread_mutex_lock(&io->lock);
	if (want && !io->want_input)
		console_io_wake_by(io, 0);
	io->want_input = want;
	pthread_mutex_unlock(&io->lock);
}

void console_io_pause(struct console_io *io)
{
	pthread_mutex_lock(&io->lock);
	io->paused = true;
	while (io->in_call)
		pthread_cond_wait(&io->idle, &io->lock);
	pthread_mutex_unlock(&io->lock);
}

void console_io_unpause(struct console_io *io)
{
	pthread_mutex_lock(&io->lock);
	io->paused = false;
	io->want_input = true;
	console_io_wake_by(io, 0);
	pthread_mutex_unlock(&io->lock);
}

/* The thread is about to call the device. False: it must not, the console is paused. */
static bool console_io_enter(struct console_io *io)
{
	bool enter;

	pthread_mutex_lock(&io->lock);
	enter = !io->paused && !io->stop;
	io->in_call = enter;
	pthread_mutex_unlock(&io->lock);
	return enter;
}

static void console_io_leave(struct console_io *io)
{
	pthread_mutex_lock(&io->lock);
	io->in_call = false;
	pthread_cond_broadcast(&io->idle);
	pthread_mutex_unlock(&io->lock);
}

/* Read what there is, at most what the device has room for. */
static void console_io_read(struct console_io *io)
{
	uint8_t buf[IN_CHUNK];
	size_t room;
	ssize_t n = 0;

	if (!console_io_enter(io))
		return;
	/* Cleared before the question, so that a 'want' after the answer is not lost. */
	console_io_want_input(io, false);
	room = io->ops.input_room(io->opaque);
	if (room) {
		n = read(io->in_fd, buf, room < sizeof(buf) ? room : sizeof(buf));
		if (n > 0)
			io->ops.input(io->opaque, buf, (size_t)n);
	}
	pthread_mutex_lock(&io->lock);
	/* End of input, or a terminal that went away: there will be no more. */
	if (room && (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)))
		io->in_fd = -1;
	else if (room)
		io->want_input = true;
	pthread_mutex_unlock(&io->lock);
	console_io_leave(io);
}

/* Call output_room() if its time has come or room has come back. */
static void console_io_call(struct console_io *io)
{
	bool call;

	pthread_mutex_lock(&io->lock);
	call = console_io_now() >= io->call_at ||
	       (io->starved &&
		CONSOLE_IO_OUT_BYTES - console_io_waiting(io) >= CONSOLE_IO_OUT_BYTES / 2);
	if (call && !io->paused && !io->stop) {
		io->call_at = NEVER;
		io->starved = false;
	}
	pthread_mutex_unlock(&io->lock);
	if (call && console_io_enter(io)) {
		io->ops.output_room(io->opaque);
		console_io_leave(io);
	}
}

static void console_io_write(struct console_io *io)
{
	size_t at, len;
	ssize_t n;

	pthread_mutex_lock(&io->lock);
	at = io->out_tail % CONSOLE_IO_OUT_BYTES;
	len = console_io_waiting(io);
	pthread_mutex_unlock(&io->lock);
	if (len > CONSOLE_IO_OUT_BYTES - at)
		len = CONSOLE_IO_OUT_BYTES - at;
	if (len > CONSOLE_IO_CHUNK)
		len = CONSOLE_IO_CHUNK;
	if (!len)
		return;
	/* Bytes between tail and head are nobody else's to change, so the write needs no lock. */
	if (io->out_socket)
		n = send(io->out_fd, io->out + at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		n = write(io->out_fd, io->out + at, len);

	pthread_mutex_lock(&io->lock);
	io->stats.writes++;
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		/* The reader is gone: from now on the port is connected to nothing. */
		if (io->out_owned)
			close(io->out_fd);
		io->out_owned = false;
		io->out_fd = -1;
		io->out_tail = io->out_head;
	} else if (n > 0) {
		io->out_tail += (size_t)n;
	}
	pthread_mutex_unlock(&io->lock);
}

/* What to poll for; with the lock held. Sets wake_at. */
static void console_io_plan(struct console_io *io, int64_t deadline, struct pollfd fds[3])
{
	int64_t at = deadline;

	if (io->want_input && !io->paused && !io->stop) {
		fds[1].fd = io->in_fd;
		fds[1].events = POLLIN;
	}
	if (io->out_fd >= 0 && console_io_due(io)) {
		fds[2].fd = io->out_fd;
		fds[2].events = POLLOUT;
	} else if (io->out_fd >= 0 && console_io_waiting(io) && io->flush_at < at) {
		at = io->flush_at;
	}
	if (!io->paused && !io->stop && io->call_at < at)
		at = io->call_at;
	io->wake_at = at;
}

static void console_io_timeout(int64_t wake_at, struct timespec *timeout)
{
	int64_t left = wake_at - console_io_now();

	if (left < 0)
		left = 0;
	timeout->tv_sec = (time_t)((uint64_t)left / NS_PER_S);
	timeout->tv_nsec = (long)((uint64_t)left % NS_PER_S);
}

/*
 * One wait and what came of it. Returns false when the thread is done: told to stop, and nothing to
 * write or no time left.
 */
static bool console_io_step(struct console_io *io, int64_t *deadline)
{
	struct pollfd fds[3] = { { .fd = io->wake_fd, .events = POLLIN },
				 { .fd = -1 },
				 { .fd = -1 } };
	struct timespec timeout;
	int64_t wake_at;
	uint64_t count;
	bool done;

	pthread_mutex_lock(&io->lock);
	if (io->stop && *deadline == NEVER)
		*deadline = console_io_now() + (int64_t)NS_PER_S;
	console_io_plan(io, *deadline, fds);
	wake_at = io->wake_at;
	done = io->stop && (fds[2].fd < 0 || console_io_now() >= *deadline);
	pthread_mutex_unlock(&io->lock);
	if (done)
		return false;

	console_io_timeout(wake_at, &timeout);
	if (ppoll(fds, 3, wake_at == NEVER ? NULL : &timeout, NULL) < 0)
		return true;
	pthread_mutex_lock(&io->lock);
	io->wake_at = 0;
	pthread_mutex_unlock(&io->lock);
	if ((fds[0].revents & POLLIN) && read(io->wake_fd, &count, sizeof(count)) < 0)
		return true;
	if (fds[1].revents)
		console_io_read(io);
	if (fds[2].revents)
		console_io_write(io);
	console_io_call(io);
	return true;
}

static void *console_io_thread(void *arg)
{
	struct console_io *io = arg;
	int64_t deadline = NEVER;

	vmm_thread_enter(VMM_THREAD_DEVICE, "console");
	while (console_io_step(io, &deadline))
		;
	return NULL;
}

/*
 * A pipe or terminal is opened once more, non-blocking: O_NONBLOCK on the caller's own description
 * would show in every process that shares it. What cannot be reopened (another user's terminal) is
 * used as it is: then a stopped terminal can hold up the thread.
 */
static void console_io_set_out(struct console_io *io, int out_fd)
{
	struct stat st;
	char path[40];
	int fd;

	io->out_fd = out_fd;
	if (out_fd < 0 || fstat(out_fd, &st))
		return;
	io->out_socket = S_ISSOCK(st.st_mode);
	if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", out_fd);
	fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return;
	io->out_fd = fd;
	io->out_owned = true;
}

int console_io_create(struct console_io **out, const struct console_io_ops *ops, void *opaque,
		      int in_fd, int out_fd)
{
	struct console_io *io = calloc(1, sizeof(*io));
	sigset_t all, old;
	int ret = -ENOMEM;

	if (!io)
		return -ENOMEM;
	io->ops = *ops;
	io->opaque = opaque;
	io->in_fd = in_fd;
	io->want_input = true;
	io->wake_fd = -1;
	io->call_at = NEVER;
	io->out = malloc(CONSOLE_IO_OUT_BYTES);
	if (!io->out)
		goto out_free;
	io->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (io->wake_fd < 0) {
		ret = -errno;
		goto out_free;
	}
	console_io_set_out(io, out_fd);
	pthread_mutex_init(&io->lock, NULL);
	pthread_cond_init(&io->idle, NULL);
	/* Signals are the business of the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = -pthread_create(&io->thread, NULL, console_io_thread, io);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ret)
		goto out_locks;
	*out = io;
	return 0;
out_locks:
	pthread_cond_destroy(&io->idle);
	pthread_mutex_destroy(&io->lock);
	if (io->out_owned)
		close(io->out_fd);
	close(io->wake_fd);
out_free:
	free(io->out);
	free(io);
	return ret;
}

void console_io_destroy(struct console_io *io)
{
	if (!io)
		return;
	pthread_mutex_lock(&io->lock);
	io->stop = true;
	console_io_wake_by(io, 0);
	pthread_mutex_unlock(&io->lock);
	pthread_join(io->thread, NULL);
	pthread_cond_destroy(&io->idle);
	pthread_mutex_destroy(&io->lock);
	if (io->out_owned)
		close(io->out_fd);
	close(io->wake_fd);
	free(io->out);
	free(io);
}
