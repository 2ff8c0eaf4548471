/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kvm/wire_proxy.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/net/address.h"

#define CONNECTIONS_MAX 32
#define SPAN		64

/* Shared with the process that forwards. */
struct shared {
	uint64_t forwarded[CONNECTIONS_MAX]; /* bytes towards the target, by connection */
	struct {
		unsigned int first, last;
		atomic_bool armed;
	} hold;
	struct strike {
		atomic_bool armed, done;
		unsigned int connection;
		bool to_source;
	} strike;
};

struct wire_proxy {
	pid_t pid;
	char address[128];
	struct shared *shared;
};

struct link {
	int client, server;
	uint64_t *forwarded; /* bytes towards the target */
	unsigned int number;
	struct strike *strike;
};

static bool send_all(int fd, const uint8_t *buf, size_t len)
{
	while (len) {
		ssize_t n = send(fd, buf, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		buf += n;
		len -= (size_t)n;
	}
	return true;
}

static bool read_span(int fd, uint8_t *buf, size_t len)
{
	return recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

/* The fault itself, at its place. False: the connection ends. */
static bool commit_fault(struct link *l, enum wire_fault_kind kind)
{
	uint8_t buf[2 * SPAN];

	if (kind == WIRE_CUT || !read_span(l->client, buf, kind == WIRE_FLIP ? 1 : SPAN))
		return false;
	switch (kind) {
	case WIRE_FLIP:
		buf[0] ^= 0x04;
		return send_all(l->server, buf, 1);
	case WIRE_DROP:
		return true;
	case WIRE_REPEAT:
		memcpy(buf + SPAN, buf, SPAN);
		return send_all(l->server, buf, sizeof(buf));
	case WIRE_SWAP:
		return read_span(l->client, buf + SPAN, SPAN) &&
		       send_all(l->server, buf + SPAN, SPAN) && send_all(l->server, buf, SPAN);
	default:
		return false;
	}
}

/* The strike, if it is for these bytes. */
static void strike(const struct link *l, bool to_source, uint8_t *buf, ssize_t n)
{
	struct strike *s = l->strike;

	if (!atomic_load(&s->armed) || s->connection != l->number || s->to_source != to_source)
		return;
	atomic_store(&s->armed, false);
	atomic_store(&s->done, true);
	buf[n - 1] ^= 0x10;
}

/* Bytes from the source. Up to the fault's place they go as they are. */
static bool forward(struct link *l, bool faulty, const struct wire_fault *fault)
{
	static uint8_t buf[65536];
	static uint64_t total; /* of all connections */
	bool whole_wire = fault->kind == WIRE_BREAK;
	uint64_t at = whole_wire ? total : *l->forwarded;
	size_t max = sizeof(buf);
	ssize_t n;

	if (whole_wire && at == fault->at)
		_exit(0);
	if (faulty && at == fault->at) {
		*l->forwarded += SPAN;
		return commit_fault(l, fault->kind);
	}
	if (faulty && at < fault->at && fault->at - at < max)
		max = fault->at - at;
	n = recv(l->client, buf, max, 0);
	if (n <= 0)
		return false;
	*l->forwarded += (uint64_t)n;
	total += (uint64_t)n;
	strike(l, false, buf, n);
	return send_all(l->server, buf, (size_t)n);
}

static bool back(struct link *l)
{
	static uint8_t buf[65536];
	ssize_t n = recv(l->server, buf, sizeof(buf), 0);

	if (n > 0)
		strike(l, true, buf, n);
	return n > 0 && send_all(l->client, buf, (size_t)n);
}

static void hang_up(struct link *l)
{
	close(l->client);
	close(l->server);
	l->client = l->server = -1;
}

/* Whether what comes from the source on this connection stays here. */
static bool held(struct shared *shared, unsigned int number)
{
	return atomic_load(&shared->hold.armed) && number >= shared->hold.first &&
	       number <= shared->hold.last;
}

static void serve(int listen_fd, const char *target, const struct wire_fault *fault,
		  struct shared *shared)
{
	struct link links[CONNECTIONS_MAX] = { 0 };
	unsigned int n = 0;
	struct why why;

	for (;;) {
		struct pollfd p[1 + 2 * CONNECTIONS_MAX] = { { .fd = listen_fd,
							       .events = POLLIN } };

		for (unsigned int i = 0; i < n; i++) {
			p[1 + 2 * i] =
				(struct pollfd){ .fd = held(shared, i) ? -1 : links[i].client,
						 .events = POLLIN };
			p[2 + 2 * i] = (struct pollfd){ .fd = links[i].server, .events = POLLIN };
		}
		poll(p, 1 + 2 * n, -1);
		for (unsigned int i = 0; i < n; i++) {
			if ((p[1 + 2 * i].revents && !held(shared, i) &&
			     !forward(&links[i],
				      fault->kind == WIRE_BREAK || i == fault->connection,
				      fault)) ||
			    (p[2 + 2 * i].revents && links[i].server >= 0 && !back(&links[i])))
				hang_up(&links[i]);
		}
		if (p[0].revents && n < CONNECTIONS_MAX) {
			links[n].client = address_accept(listen_fd, 0);
			links[n].server = address_connect(target, 2000, &why);
			links[n].forwarded = &shared->forwarded[n];
			links[n].number = n;
			links[n].strike = &shared->strike;
			if (links[n].server < 0)
				hang_up(&links[n]);
			n++;
		}
	}
}

struct wire_proxy *wire_proxy_start(const char *target, const struct wire_fault *fault)
{
	struct wire_proxy *proxy = calloc(1, sizeof(*proxy));
	struct why why;
	int fd = address_listen("127.0.0.1:0", &why);

	if (proxy)
		proxy->shared = mmap(NULL, sizeof(*proxy->shared), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!proxy || proxy->shared == MAP_FAILED || fd < 0 ||
	    address_of(fd, proxy->address, sizeof(proxy->address))) {
		if (fd >= 0)
			close(fd);
		free(proxy);
		return NULL;
	}
	proxy->pid = fork();
	if (proxy->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* It holds nothing of the test's: the lock of a disk goes with its last descriptor.
		 */
		close_range(STDERR_FILENO + 1, (unsigned int)fd - 1, 0);
		close_range((unsigned int)fd + 1, ~0U, 0);
		serve(fd, target, fault, proxy->shared);
	}
	close(fd);
	return proxy;
}

const char *wire_proxy_address(const struct wire_proxy *proxy)
{
	return proxy->address;
}

uint64_t wire_proxy_forwarded(const struct wire_proxy *proxy, unsigned int connection)
{
	return __atomic_load_n(&proxy->shared->forwarded[connection], __ATOMIC_RELAXED);
}

void wire_proxy_break(struct wire_proxy *proxy)
{
	kill(proxy->pid, SIGKILL);
}

void wire_proxy_hang(struct wire_proxy *proxy)
{
	kill(proxy->pid, SIGSTOP);
}

void wire_proxy_hold(struct wire_proxy *proxy, unsigned int first, unsigned int last)
{
	proxy->shared->hold.first = first;
	proxy->shared->hold.last = last;
	atomic_store(&proxy->shared->hold.armed, true);
}

void wire_proxy_strike(struct wire_proxy *proxy, unsigned int connection, bool to_source)
{
	proxy->shared->strike.connection = connection;
	proxy->shared->strike.to_source = to_source;
	atomic_store(&proxy->shared->strike.armed, true);
}

bool wire_proxy_struck(const struct wire_proxy *proxy)
{
	return atomic_load(&proxy->shared->strike.done);
}

void wire_proxy_stop(struct wire_proxy *proxy)
{
	kill(proxy->pid, SIGKILL);
	waitpid(proxy->pid, NULL, 0);
	munmap(proxy->shared, sizeof(*proxy->shared));
	free(proxy);
}
