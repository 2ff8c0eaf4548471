/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a process of a trial: a host that is harder to live on. TRIAL_ADVERSE holds words,
 * each with a seed:
 *
 * clock=SEED: the wall clock jumps with each look at it, by up to ten years either way.
 * short=SEED: stream sockets take and give only part of what was asked for, now and then.
 *
 * And always: SIGPROF does nothing but interrupt the system call that it finds. The trial sends
 * storms of it.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define DECADE_S 315360000

static _Atomic uint64_t clock_state, short_state;

static uint64_t seed_of(const char *word)
{
	const char *words = getenv("TRIAL_ADVERSE"), *at = words ? strstr(words, word) : NULL;

	return at ? strtoull(at + strlen(word), NULL, 10) : 0;
}

static void interrupted(int signal)
{
	(void)signal;
}

__attribute__((constructor)) static void begin(void)
{
	struct sigaction action = { .sa_handler = interrupted };

	clock_state = seed_of("clock=");
	short_state = seed_of("short=");
	sigaction(SIGPROF, &action, NULL);
	/* Not what the trial starts by way of this process. */
	unsetenv("LD_PRELOAD");
}

static uint64_t next(_Atomic uint64_t *state)
{
	uint64_t x = atomic_fetch_add(state, 0x9e3779b97f4a7c15ULL);

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

#define REAL(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

static time_t step(void)
{
	return clock_state ? (time_t)(next(&clock_state) % (2 * DECADE_S)) - DECADE_S : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int ret = REAL(clock_gettime)(clock, now);

	if (!ret && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		now->tv_sec += step();
	return ret;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	int ret = REAL(gettimeofday)(now, zone);

	if (!ret)
		now->tv_sec += step();
	return ret;
}

time_t time(time_t *out)
{
	time_t now = REAL(time)(NULL) + step();

	if (out)
		*out = now;
	return now;
}

/* The bytes of a call that are really done. */
static size_t some(int fd, size_t bytes)
{
	socklen_t len = sizeof(int);
	int type = 0;

	if (!short_state || bytes < 2 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) ||
	    type != SOCK_STREAM)
		return bytes;
	return next(&short_state) % 4 ? bytes : 1 + next(&short_state) % bytes;
}

ssize_t read(int fd, void *buf, size_t bytes)
{
	return REAL(read)(fd, buf, some(fd, bytes));
}

ssize_t write(int fd, const void *buf, size_t bytes)
{
	return REAL(write)(fd, buf, some(fd, bytes));
}

ssize_t recv(int fd, void *buf, size_t bytes, int flags)
{
	return REAL(recv)(fd, buf, flags & MSG_WAITALL ? bytes : some(fd, bytes), flags);
}

ssize_t send(int fd, const void *buf, size_t bytes, int flags)
{
	return REAL(send)(fd, buf, some(fd, bytes), flags);
}

/* The first part only, where there are more: messages with descriptors stay whole. */
static struct iovec *shortened(int fd, const struct msghdr *message, struct iovec *first)
{
	if (!message->msg_iovlen || message->msg_controllen)
		return NULL;
	*first = message->msg_iov[0];
	first->iov_len = some(fd, first->iov_len);
	return first->iov_len < message->msg_iov[0].iov_len ? first : NULL;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct msghdr part = *message;
	struct iovec first;

	if ((part.msg_iov = shortened(fd, message, &first)))
		part.msg_iovlen = 1;
	return REAL(sendmsg)(fd, part.msg_iov ? &part : message, flags);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	const struct msghdr message = { .msg_iov = (struct iovec *)(uintptr_t)parts,
					.msg_iovlen = (size_t)count };
	struct iovec first;

	if (count > 0 && shortened(fd, &message, &first))
		return REAL(writev)(fd, &first, 1);
	return REAL(writev)(fd, parts, count);
}
