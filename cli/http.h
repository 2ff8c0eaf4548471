/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest HTTP/1.1 server (RFC 9112) that Prometheus can ask: GET and HEAD of one path, an
 * answer, the connection's end. It has a thread of its own. Whoever can reach the address may ask;
 * there is no authentication, so the address is one of this host's own or of a network of its
 * operators.
 *
 * Limits: 8 connections at a time (others wait in the kernel's queue), 4 KiB a request, 10 seconds
 * from accept to the last byte.
 */
#ifndef CLI_HTTP_H
#define CLI_HTTP_H

#include <stddef.h>

#define HTTP_CLIENTS_MAX   8
#define HTTP_REQUEST_MAX   4096
#define HTTP_DEADLINE_MS   10000
#define HTTP_METRICS_PATH  "/metrics"
#define HTTP_ANSWER_HEADER 256 /* an answer's head is shorter */

struct http;

struct http_ops {
	/*
	 * The body (text/plain, Prometheus format 0.0.4), which the server frees; NULL: out of
	 * memory. In the server's thread.
	 */
	char *(*page)(void *opaque);
	/* First of all in the server's thread; NULL: nothing. */
	void (*thread)(void);
};

/*
 * Serve at listen_fd, a listening stream socket, which it takes over on success. The thread waits,
 * accepts, receives and sends, and does nothing else besides ops->page(). ops must stay. 0 or a
 * negative errno.
 */
int http_create(struct http **http, int listen_fd, const struct http_ops *ops, void *opaque);

/* Ends the thread; connections break. NULL is allowed. */
void http_destroy(struct http *http);

/* What a request's first len bytes are. */
enum http_request {
	HTTP_INCOMPLETE = 0, /* more is to come */
	HTTP_GET = 200,
	HTTP_HEAD = 201, /* answered as 200 without the body */
	HTTP_BAD = 400,
	HTTP_NOT_FOUND = 404,
	HTTP_BAD_METHOD = 405,
	HTTP_TOO_LONG = 431,
	HTTP_BAD_VERSION = 505,
};

/* For the server and its tests. Pure. */
enum http_request http_parse(const char *bytes, size_t len);

#endif
