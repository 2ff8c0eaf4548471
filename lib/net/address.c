/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/net/address.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/util/number.h"

#define LISTEN_BACKLOG	 32
#define ADDRESS_PART_MAX 256 /* of a host or a port, with the NUL */

/* A host that cannot be reached, whatever the errno; a listener that fails is an error of its own.
 */
static enum sevmirror_reason reason_of(bool listening, int err)
{
	if (err == -ETIMEDOUT)
		return SEVMIRROR_REASON_TIMEOUT;
	return listening ? SEVMIRROR_REASON_INTERNAL : SEVMIRROR_REASON_CONNECTION;
}

/* One address to try: bind-and-listen or connect. A socket, or a negative errno. */
typedef int (*try_fn)(const struct sockaddr *sa, socklen_t len, int family, int timeout_ms);

static int try_listen(const struct sockaddr *sa, socklen_t len, int family, int timeout_ms)
{
	int one = 1;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int err;

	(void)timeout_ms;
	if (fd < 0)
		return -errno;
	if (family != AF_UNIX)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, sa, len) == 0 && listen(fd, LISTEN_BACKLOG) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

static int wait_connected(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	int err = 0;
	socklen_t len = sizeof(err);
	int n;

	do {
		n = poll(&p, 1, timeout_ms);
	} while (n < 0 && errno == EINTR);
	if (n == 0)
		return -ETIMEDOUT;
	if (n < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return -errno;
	return -err;
}

static int try_connect(const struct sockaddr *sa, socklen_t len, int family, int timeout_ms)
{
	int one = 1;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, sa, len) < 0)
		err = errno == EINPROGRESS ? wait_connected(fd, timeout_ms) : -errno;
	if (err == 0 && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) < 0)
		err = -errno;
	if (err) {
		close(fd);
		return err;
	}
	if (family != AF_UNIX)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/*
 * True when somebody still listens at the unix socket; a socket file that nobody listens at is left
 * behind by a dead process.
 */
static bool unix_is_live(const struct sockaddr_un *un)
{
	int fd = try_connect((const struct sockaddr *)un, sizeof(*un), AF_UNIX, 1000);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static int open_unix(const char *path, bool listening, try_fn attempt, int timeout_ms,
		     struct why *why)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct stat st;
	int fd;

	if (strlen(path) == 0 || strlen(path) >= sizeof(un.sun_path)) {
		return why_set(why, -EINVAL,
			       "invalid address: a unix socket's path must have 1 to %zu bytes",
			       sizeof(un.sun_path) - 1);
	}
	strcpy(un.sun_path, path);
	if (listening && lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
		if (unix_is_live(&un)) {
			return why_set(why, -EADDRINUSE,
				       "unix:%s: another process already listens there", path);
		}
		unlink(path);
	}
	fd = attempt((struct sockaddr *)&un, sizeof(un), AF_UNIX, timeout_ms);
	if (fd < 0)
		why_because(why, reason_of(listening, fd), fd, "unix:%s: %s", path, strerror(-fd));
	return fd;
}

/* Split "HOST:PORT" or "[HOST]:PORT" into two strings of at most max bytes. */
static int split_host_port(const char *text, char *host, char *port, size_t max)
{
	const char *colon = strrchr(text, ':');
	const char *begin = text;
	size_t len;

	*host = *port = '\0';
	if (!colon || colon[1] == '\0' || strlen(colon + 1) >= max)
		return -EINVAL;
	len = colon - begin;
	if (len >= 2 && begin[0] == '[' && begin[len - 1] == ']') {
		begin++;
		len -= 2;
	} else if (memchr(begin, ':', len)) {
		/* an IPv6 address without brackets: which colon ends it is a guess */
		return -EINVAL;
	}
	if (len >= max)
		return -EINVAL;
	memcpy(host, begin, len);
	host[len] = '\0';
	strcpy(port, colon + 1);
	return 0;
}

static int check_tcp(const char *text, bool listening, char *host, char *port, size_t parts,
		     struct why *why)
{
	uint64_t number;

	if (split_host_port(text, host, port, parts)) {
		return why_set(
			why, -EINVAL,
			"invalid address '%s' (expected HOST:PORT, [IPv6]:PORT or unix:PATH)",
			text);
	}
	if (util_parse_number(port, listening ? 0 : 1, 65535, &number)) {
		return why_set(why, -EINVAL,
			       "invalid address '%s': expected a port from %d to 65535", text,
			       listening ? 0 : 1);
	}
	if (!listening && host[0] == '\0') {
		return why_set(why, -EINVAL, "invalid address '%s': it names no host", text);
	}
	return 0;
}

static const char *without_scheme(const char *address)
{
	return strncmp(address, "tcp:", 4) == 0 ? address + 4 : address;
}

int address_check(const char *address, bool listening, struct why *why)
{
	char host[ADDRESS_PART_MAX], port[ADDRESS_PART_MAX];

	if (strncmp(address, "unix:", 5) != 0)
		return check_tcp(without_scheme(address), listening, host, port, sizeof(host), why);
	if (address[5] && strlen(address + 5) < sizeof(((struct sockaddr_un *)0)->sun_path))
		return 0;
	return why_set(why, -EINVAL, "invalid address '%s': expected a path of 1 to %zu bytes",
		       address, sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
}

static int open_tcp(const char *text, bool listening, try_fn attempt, int timeout_ms,
		    struct why *why)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
				  .ai_flags = listening ? AI_PASSIVE : 0 };
	struct addrinfo *list, *ai;
	char host[ADDRESS_PART_MAX], port[ADDRESS_PART_MAX];
	int fd = -ECONNREFUSED;
	int err = check_tcp(text, listening, host, port, sizeof(host), why);

	if (err)
		return err;
	err = getaddrinfo(host[0] ? host : NULL, port, &hints, &list);
	if (err)
		return why_set(why, -EHOSTUNREACH, "cannot find the host of %s: %s", text,
			       gai_strerror(err));
	for (ai = list; ai; ai = ai->ai_next) {
		fd = attempt(ai->ai_addr, ai->ai_addrlen, ai->ai_family, timeout_ms);
		if (fd >= 0)
			break;
	}
	freeaddrinfo(list);
	if (fd < 0)
		why_because(why, reason_of(listening, fd), fd, "cannot %s %s: %s",
			    listening ? "listen on" : "connect to", text, strerror(-fd));
	return fd;
}

static int open_address(const char *address, bool listening, try_fn attempt, int timeout_ms,
			struct why *why)
{
	if (strncmp(address, "unix:", 5) == 0)
		return open_unix(address + 5, listening, attempt, timeout_ms, why);
	return open_tcp(without_scheme(address), listening, attempt, timeout_ms, why);
}

int address_listen(const char *address, struct why *why)
{
	return open_address(address, true, try_listen, 0, why);
}

int address_connect(const char *address, int timeout_ms, struct why *why)
{
	return open_address(address, false, try_connect, timeout_ms, why);
}

static int write_name(const struct sockaddr_storage *ss, socklen_t len, char *out, size_t max)
{
	char host[128], port[16];
	int n;

	if (ss->ss_family == AF_UNIX) {
		n = snprintf(out, max, "unix:%s", ((const struct sockaddr_un *)ss)->sun_path);
	} else {
		if (getnameinfo((const struct sockaddr *)ss, len, host, sizeof(host), port,
				sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
			return -EAFNOSUPPORT;
		n = snprintf(out, max, ss->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
	}
	return n < 0 || (size_t)n >= max ? -ENOSPC : 0;
}

int address_of(int fd, char *out, size_t max)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);

	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		return -errno;
	return write_name(&ss, len, out, max);
}

void address_of_peer(int fd, char *out, size_t max)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);

	if (getpeername(fd, (struct sockaddr *)&ss, &len) < 0)
		snprintf(out, max, "a peer that has left");
	else if (ss.ss_family == AF_UNIX || write_name(&ss, len, out, max))
		snprintf(out, max, "a local socket");
}

int address_accept(int listen_fd, int timeout_ms)
{
	struct pollfd p = { .fd = listen_fd, .events = POLLIN };
	int one = 1;
	int n, fd;

	do {
		n = poll(&p, 1, timeout_ms);
	} while (n < 0 && errno == EINTR);
	if (n == 0)
		return -ETIMEDOUT;
	if (n < 0)
		return -errno;
	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
			 sizeof(one)); /* no TCP socket: refused, and no matter */
	return fd;
}
