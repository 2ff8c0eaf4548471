/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/http.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/util/clock.h"

#define ACCEPT_PAUSE_MS 100

struct client {
	int fd;
	uint64_t deadline_ms;
	char in[HTTP_REQUEST_MAX];
	size_t in_used;
	char *out; /* NULL: the request is not complete */
	size_t out_len, out_sent;
};

struct http {
	int listen_fd, stop_fd;
	const struct http_ops *ops;
	void *opaque;
	pthread_t thread;
	struct client *clients[HTTP_CLIENTS_MAX];
	unsigned int nclients;
};

/*
 * The word up to the next blank of the line: its length, or -1 when it is empty or nothing follows.
 */
static int word(const char *text, size_t len)
{
	const char *end = memchr(text, ' ', len);

	return end && end != text ? (int)(end - text) : -1;
}

static bool same(const char *text, int len, const char *other)
{
	return (size_t)len == strlen(other) && !memcmp(text, other, (size_t)len);
}

/* METHOD SP TARGET SP HTTP/1.x (RFC 9112, 3). */
static enum http_request parse_line(const char *line, size_t len)
{
	int method = word(line, len), target;
	const char *path, *version, *query;
	bool get, head;

	if (method < 0)
		return HTTP_BAD;
	path = line + method + 1;
	target = word(path, len - (size_t)method - 1);
	if (target < 0)
		return HTTP_BAD;
	version = path + target + 1;
	if (line + len - version != 8 || memcmp(version, "HTTP/", 5) != 0)
		return HTTP_BAD;
	if (memcmp(version, "HTTP/1.", 7) != 0)
		return HTTP_BAD_VERSION;
	get = same(line, method, "GET");
	head = same(line, method, "HEAD");
	if (!get && !head)
		return HTTP_BAD_METHOD;
	query = memchr(path, '?', (size_t)target);
	if (query)
		target = (int)(query - path);
	if (!same(path, target, HTTP_METRICS_PATH))
		return HTTP_NOT_FOUND;
	return get ? HTTP_GET : HTTP_HEAD;
}

enum http_request http_parse(const char *bytes, size_t len)
{
	const char *end = memmem(bytes, len, "\r\n\r\n", 4);
	const char *line_end;

	if (memchr(bytes, '\0', len))
		return HTTP_BAD;
	if (!end)
		return len >= HTTP_REQUEST_MAX ? HTTP_TOO_LONG : HTTP_INCOMPLETE;
	line_end = memmem(bytes, len, "\r\n", 2);
	return parse_line(bytes, (size_t)(line_end - bytes));
}

static const char *reason(enum http_request request)
{
	switch (request) {
	case HTTP_NOT_FOUND:
		return "404 Not Found";
	case HTTP_BAD_METHOD:
		return "405 Method Not Allowed";
	case HTTP_TOO_LONG:
		return "431 Request Header Fields Too Large";
	case HTTP_BAD_VERSION:
		return "505 HTTP Version Not Supported";
	default:
		return "400 Bad Request";
	}
}

/* Head and body in one piece; NULL: out of memory. */
static char *make_answer(struct http *http, enum http_request request, size_t *len)
{
	bool good = request == HTTP_GET || request == HTTP_HEAD;
	char *body = good ? http->ops->page(http->opaque) : strdup(""), *answer;
	int head = 0;

	if (!body)
		return NULL;
	answer = malloc(HTTP_ANSWER_HEADER + strlen(body) + 1);
	if (answer)
		head = snprintf(answer, HTTP_ANSWER_HEADER,
				"HTTP/1.1 %s\r\n"
				"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
				"Content-Length: %zu\r\n%s"
				"Connection: close\r\n\r\n",
				good ? "200 OK" : reason(request), strlen(body),
				request == HTTP_BAD_METHOD ? "Allow: GET, HEAD\r\n" : "");
	if (answer)
		strcpy(answer + head, request == HTTP_HEAD ? "" : body);
	free(body);
	*len = answer ? strlen(answer) : 0;
	return answer;
}

static void accept_client(struct http *http)
{
	int fd = accept4(http->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *client = fd < 0 ? NULL : calloc(1, sizeof(*client));

	if (!client) {
		/* Out of descriptors or memory: the next poll() would come back at once. */
		if (fd >= 0)
			close(fd);
		else if (errno != EAGAIN && errno != ECONNABORTED)
			poll(NULL, 0, ACCEPT_PAUSE_MS);
		return;
	}
	client->fd = fd;
	client->deadline_ms = clock_ms() + HTTP_DEADLINE_MS;
	http->clients[http->nclients++] = client;
}

/* Both: false when the connection is to end. */
static bool take_input(struct http *http, struct client *client)
{
	ssize_t n = recv(client->fd, client->in + client->in_used,
			 sizeof(client->in) - client->in_used, 0);
	enum http_request request;

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	client->in_used += (size_t)n;
	request = http_parse(client->in, client->in_used);
	if (request == HTTP_INCOMPLETE)
		return true;
	client->out = make_answer(http, request, &client->out_len);
	return client->out != NULL;
}

static bool give_output(struct client *client)
{
	ssize_t n = send(client->fd, client->out + client->out_sent,
			 client->out_len - client->out_sent, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	client->out_sent += (size_t)n;
	if (client->out_sent < client->out_len)
		return true;
	/*
	 * What came behind the request would make close() a reset, which can overtake the answer.
	 */
	shutdown(client->fd, SHUT_WR);
	while (recv(client->fd, client->in, sizeof(client->in), MSG_DONTWAIT) > 0)
		;
	return false;
}

static void drop_client(struct http *http, unsigned int i)
{
	close(http->clients[i]->fd);
	free(http->clients[i]->out);
	free(http->clients[i]);
	http->clients[i] = http->clients[--http->nclients];
}

/* From the last to the first, because one that goes is replaced by the last. */
static void serve_clients(struct http *http, const struct pollfd *fds, unsigned int n)
{
	uint64_t now = clock_ms();

	for (unsigned int i = n; i-- > 0;) {
		struct client *client = http->clients[i];
		bool stays = now < client->deadline_ms;

		if (stays && fds[i].revents)
			stays = client->out ? give_output(client) : take_input(http, client);
		if (!stays)
			drop_client(http, i);
	}
}

/* Until the next deadline; -1: there is none. */
static int wait_ms(const struct http *http)
{
	uint64_t now = clock_ms(), first = UINT64_MAX;

	for (unsigned int i = 0; i < http->nclients; i++) {
		if (http->clients[i]->deadline_ms < first)
			first = http->clients[i]->deadline_ms;
	}
	if (first == UINT64_MAX)
		return -1;
	return first > now ? (int)(first - now) : 0;
}

static void *serve(void *arg)
{
	struct http *http = arg;

	if (http->ops->thread)
		http->ops->thread();
	for (;;) {
		struct pollfd fds[HTTP_CLIENTS_MAX + 2];
		unsigned int n = http->nclients;

		for (unsigned int i = 0; i < n; i++)
			fds[i] = (struct pollfd){ .fd = http->clients[i]->fd,
						  .events = http->clients[i]->out ? POLLOUT :
										    POLLIN };
		fds[n] = (struct pollfd){ .fd = http->stop_fd, .events = POLLIN };
		fds[n + 1] = (struct pollfd){ .fd = n < HTTP_CLIENTS_MAX ? http->listen_fd : -1,
					      .events = POLLIN };
		if (poll(fds, n + 2, wait_ms(http)) < 0 && errno != EINTR)
			return NULL;
		if (fds[n].revents)
			return NULL;
		serve_clients(http, fds, n);
		if (fds[n + 1].revents)
			accept_client(http);
	}
}

int http_create(struct http **out, int listen_fd, const struct http_ops *ops, void *opaque)
{
	struct http *http = calloc(1, sizeof(*http));
	sigset_t all, before;
	int err = 0;

	if (!http)
		return -ENOMEM;
	http->ops = ops;
	http->opaque = opaque;
	http->listen_fd = listen_fd;
	http->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* A client may go between poll() and accept(). */
	if (http->stop_fd < 0 || fcntl(listen_fd, F_SETFL, O_NONBLOCK) < 0)
		err = -errno;
	/* Signals to the process are for its main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (!err)
		err = -pthread_create(&http->thread, NULL, serve, http);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		if (http->stop_fd >= 0)
			close(http->stop_fd);
		free(http);
		return err;
	}
	*out = http;
	return 0;
}

void http_destroy(struct http *http)
{
	if (!http)
		return;
	eventfd_write(http->stop_fd, 1);
	pthread_join(http->thread, NULL);
	while (http->nclients)
		drop_client(http, http->nclients - 1);
	close(http->listen_fd);
	close(http->stop_fd);
	free(http);
}
