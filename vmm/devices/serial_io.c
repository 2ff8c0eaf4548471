/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/devices/serial_io.h"

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

#include "vmm/thread.h"

#define OUT_BYTES (64U << 10)
#define OUT_ROOM                                                                        \
	64 /* more than the 16 bytes that a driver writes after one 'transmitter empty' \
	    */
#define OUT_CHUNK 4096U
#define IN_CHUNK  64

struct serial_io {
	struct serial_io_ops ops;
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
	bool in_input; /* the thread is between asking for room and having delivered */
	bool starved; /* somebody saw no room */
	uint8_t *out;
	size_t out_head; /* total bytes put, and total bytes written */
	size_t out_tail;
};

static void serial_io_wake(struct serial_io *io)
{
	uint64_t one = 1;

	/* Only fails when the counter is full, and then the thread wakes up anyway. */
	if (write(io->wake_fd, &one, sizeof(one)) < 0)
		return;
}

bool serial_io_put(struct serial_io *io, uint8_t byte)
{
	bool put = false, was_empty = false;

	pthread_mutex_lock(&io->lock);
	if (io->out_fd < 0) {
		put = true;
	} else if (io->out_head - io->out_tail < OUT_BYTES) {
		was_empty = io->out_head == io->out_tail;
		io->out[io->out_head++ % OUT_BYTES] = byte;
		put = true;
	}
	pthread_mutex_unlock(&io->lock);
	if (was_empty)
		serial_io_wake(io);
	return put;
}

bool serial_io_room(struct serial_io *io)
{
	bool room;

	pthread_mutex_lock(&io->lock);
	room = OUT_BYTES - (io->out_head - io->out_tail) >= OUT_ROOM;
	if (!room)
		io->starved = true;
	pthread_mutex_unlock(&io->lock);
	return room;
}

void serial_io_want_input(struct serial_io *io, bool want)
{
	bool changed;

	pthread_mutex_lock(&io->lock);
	changed = io->want_input != want;
	io->want_input = want;
	pthread_mutex_unlock(&io->lock);
	if (changed && want)
		serial_io_wake(io);
}

void serial_io_pause(struct serial_io *io)
{
	pthread_mutex_lock(&io->lock);
	io->paused = true;
	while (io->in_input)
		pthread_cond_wait(&io->idle, &io->lock);
	pthread_mutex_unlock(&io->lock);
}

void serial_io_unpause(struct serial_io *io)
{
	pthread_mutex_lock(&io->lock);
	io->paused = false;
	io->want_input = true;
	pthread_mutex_unlock(&io->lock);
	serial_io_wake(io);
}

/* Read what there is, at most what the UART has room for. */
static void serial_io_read(struct serial_io *io)
{
	uint8_t buf[IN_CHUNK];
	size_t room;
	ssize_t n = 0;

	pthread_mutex_lock(&io->lock);
	if (io->paused || io->stop) {
		pthread_mutex_unlock(&io->lock);
		return;
	}
	io->in_input = true;
	io->want_input =
		/* cleared before the question, so that a 'want' after the answer is not lost */
		false;
	pthread_mutex_unlock(&io->lock);

	room = io->ops.input_room(io->opaque);
	if (room) {
		n = read(io->in_fd, buf, room < sizeof(buf) ? room : sizeof(buf));
		if (n > 0)
			io->ops.input(io->opaque, buf, (size_t)n);
	}

	pthread_mutex_lock(&io->lock);
	io->in_input = false;
	/* End of input, or a terminal that went away: there will be no more. */
	if (room && (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)))
		io->in_fd = -1;
	else if (room)
		io->want_input = true;
	pthread_cond_broadcast(&io->idle);
	pthread_mutex_unlock(&io->lock);
}

static void serial_io_write(struct serial_io *io)
{
	bool tell = false;
	size_t at, len;
	ssize_t n;

	pthread_mutex_lock(&io->lock);
	at = io->out_tail % OUT_BYTES;
	len = io->out_head - io->out_tail;
	pthread_mutex_unlock(&io->lock);
	if (len > OUT_BYTES - at)
		len = OUT_BYTES - at;
	if (len > OUT_CHUNK)
		len = OUT_CHUNK;
	if (!len)
		return;
	/* Bytes between tail and head are nobody else's to change, so the write needs no lock. */
	if (io->out_socket)
		n = send(io->out_fd, io->out + at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		n = write(io->out_fd, io->out + at, len);

	pthread_mutex_lock(&io->lock);
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
	if (io->starved && OUT_BYTES - (io->out_head - io->out_tail) >= OUT_BYTES / 2) {
		io->starved = false;
		tell = true;
	}
	pthread_mutex_unlock(&io->lock);
	if (tell)
		io->ops.drained(io->opaque);
}

static int64_t serial_io_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/*
 * One wait and what came of it. Returns false when the thread is done: told to stop, and nothing to
 * write or no time left.
 */
static bool serial_io_step(struct serial_io *io, int64_t *deadline)
{
	struct pollfd fds[3] = { { .fd = io->wake_fd, .events = POLLIN },
				 { .fd = -1 },
				 { .fd = -1 } };
	int timeout = -1;
	uint64_t count;

	pthread_mutex_lock(&io->lock);
	if (io->want_input && !io->paused && !io->stop) {
		fds[1].fd = io->in_fd;
		fds[1].events = POLLIN;
	}
	if (io->out_fd >= 0 && io->out_head != io->out_tail) {
		fds[2].fd = io->out_fd;
		fds[2].events = POLLOUT;
	}
	if (io->stop) {
		if (*deadline < 0)
			*deadline = serial_io_now_ms() + 1000;
		timeout = (int)(*deadline - serial_io_now_ms());
		if (timeout <= 0 || fds[2].fd < 0) {
			pthread_mutex_unlock(&io->lock);
			return false;
		}
	}
	pthread_mutex_unlock(&io->lock);

	if (poll(fds, 3, timeout) < 0)
		return true;
	if ((fds[0].revents & POLLIN) && read(io->wake_fd, &count, sizeof(count)) < 0)
		return true;
	if (fds[1].revents)
		serial_io_read(io);
	if (fds[2].revents)
		serial_io_write(io);
	return true;
}

static void *serial_io_thread(void *arg)
{
	struct serial_io *io = arg;
	int64_t deadline = -1;

	vmm_thread_enter(VMM_THREAD_DEVICE, "serial");
	while (serial_io_step(io, &deadline))
		;
	return NULL;
}

/*
 * A pipe or terminal is opened once more, non-blocking: O_NONBLOCK on the caller's own description
 * would show in every process that shares it. What cannot be reopened (another user's terminal) is
 * used as it is: then a stopped terminal can hold up the thread.
 */
static void serial_io_set_out(struct serial_io *io, int out_fd)
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

int serial_io_create(struct serial_io **out, const struct serial_io_ops *ops, void *opaque,
		     int in_fd, int out_fd)
{
	struct serial_io *io = calloc(1, sizeof(*io));
	sigset_t all, old;
	int ret = -ENOMEM;

	if (!io)
		return -ENOMEM;
	io->ops = *ops;
	io->opaque = opaque;
	io->in_fd = in_fd;
	io->want_input = true;
	io->wake_fd = -1;
	io->out = malloc(OUT_BYTES);
	if (!io->out)
		goto out_free;
	io->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (io->wake_fd < 0) {
		ret = -errno;
		goto out_free;
	}
	serial_io_set_out(io, out_fd);
	pthread_mutex_init(&io->lock, NULL);
	pthread_cond_init(&io->idle, NULL);
	/* Signals are the business of the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = -pthread_create(&io->thread, NULL, serial_io_thread, io);
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

void serial_io_destroy(struct serial_io *io)
{
	if (!io)
		return;
	pthread_mutex_lock(&io->lock);
	io->stop = true;
	pthread_mutex_unlock(&io->lock);
	serial_io_wake(io);
	pthread_join(io->thread, NULL);
	pthread_cond_destroy(&io->idle);
	pthread_mutex_destroy(&io->lock);
	if (io->out_owned)
		close(io->out_fd);
	close(io->wake_fd);
	free(io->out);
	free(io);
}
