/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics as text, and the HTTP responder as strangers meet it: whole, in pieces, too long, too
 * slow, too many.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"

#include "cli/http.h"
#include "control/metrics.h"

#define WAIT_MS 60000

static const char get[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

/* ---- text ---- */

static void text_and_json_say_the_same(void **state)
{
	static const char expected[] = "# HELP a_total Things\\nof a \\\\ kind\n"
				       "# TYPE a_total counter\n"
				       "a_total 18\n"
				       "# HELP b_seconds Time.\n"
				       "# TYPE b_seconds gauge\n"
				       "b_seconds{name=\"q\\\"u\\\\o\\nte\"} 1.5\n"
				       "b_seconds{x=\"1\",y=\"2\"} 9007199254740993\n"
				       "# HELP c_bytes None.\n"
				       "# TYPE c_bytes gauge\n";
	struct metrics *m = metrics_create();
	json_t *finished, *families, *samples;
	char *text;

	assert_non_null(m);
	metrics_family(m, METRIC_COUNTER, "a_total", "Things\nof a \\ kind");
	metrics_count(m, NULL, NULL, 18);
	metrics_family(m, METRIC_GAUGE, "b_seconds", "Time.");
	metrics_measure(m, "name", "q\"u\\o\nte", 1.5);
	metrics_count2(m, "x", "1", "y", "2", 9007199254740993); /* no double has it */
	metrics_family(m, METRIC_GAUGE, "c_bytes", "None.");
	finished = metrics_finish(m);
	assert_non_null(finished);
	text = metrics_text(finished);
	assert_string_equal(text, expected);
	assert_int_equal(json_integer_value(json_object_get(finished, "version")), METRICS_VERSION);
	families = json_object_get(finished, "metrics");
	assert_int_equal(json_array_size(families), 3);
	samples = json_object_get(json_array_get(families, 1), "samples");
	assert_int_equal(json_array_size(samples), 2);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(samples, 1), "value")),
			 9007199254740993);
	free(text);
	json_decref(finished);
}

static void what_is_no_utf8_is_said(void **state)
{
	struct metrics *m = metrics_create();

	metrics_family(m, METRIC_GAUGE, "a", "A.");
	metrics_count(m, "name", "\xff\xfe", 1);
	assert_null(metrics_finish(m));
}

/* ---- requests ---- */

static void requests(void **state)
{
	static const struct {
		const char *text;
		enum http_request is;
	} cases[] = {
		{ get, HTTP_GET },
		{ "GET /metrics HTTP/1.0\r\n\r\n", HTTP_GET },
		{ "HEAD /metrics HTTP/1.1\r\n\r\n", HTTP_HEAD },
		{ "GET /metrics?name=x HTTP/1.1\r\n\r\n", HTTP_GET },
		{ "", HTTP_INCOMPLETE },
		{ "GET /metrics HTTP/1.1\r\n", HTTP_INCOMPLETE },
		{ "GET /metrics HTTP/1.1\r\nHost: x\r\n\r", HTTP_INCOMPLETE },
		{ "GET / HTTP/1.1\r\n\r\n", HTTP_NOT_FOUND },
		{ "GET /metrics/ HTTP/1.1\r\n\r\n", HTTP_NOT_FOUND },
		{ "GET /metricsx HTTP/1.1\r\n\r\n", HTTP_NOT_FOUND },
		{ "POST /metrics HTTP/1.1\r\n\r\n", HTTP_BAD_METHOD },
		{ "get /metrics HTTP/1.1\r\n\r\n", HTTP_BAD_METHOD },
		{ "GETGET /metrics HTTP/1.1\r\n\r\n", HTTP_BAD_METHOD },
		{ "GET /metrics HTTP/2.0\r\n\r\n", HTTP_BAD_VERSION },
		{ "GET /metrics\r\n\r\n", HTTP_BAD },
		{ "GET  HTTP/1.1\r\n\r\n", HTTP_BAD },
		{ " GET /metrics HTTP/1.1\r\n\r\n", HTTP_BAD },
		{ "GET /metrics HTTP/1.1 \r\n\r\n", HTTP_BAD },
		{ "GET /metrics HTTP/1.1x\r\n\r\n", HTTP_BAD },
		{ "GET /metrics FTP/1.1\r\n\r\n", HTTP_BAD },
		{ "\r\n\r\n", HTTP_BAD },
	};
	char longest[HTTP_REQUEST_MAX];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (http_parse(cases[i].text, strlen(cases[i].text)) != cases[i].is)
			fail_msg("%s", cases[i].text);
	}
	assert_int_equal(http_parse("GET /metrics\0 HTTP/1.1\r\n\r\n", 26), HTTP_BAD);
	memset(longest, 'x', sizeof(longest));
	assert_int_equal(http_parse(longest, sizeof(longest) - 1), HTTP_INCOMPLETE);
	assert_int_equal(http_parse(longest, sizeof(longest)), HTTP_TOO_LONG);
}

/* ---- the responder ---- */

struct server {
	struct http *http;
	struct sockaddr_in address;
	unsigned int asked; /* how often the page was made; the server's thread writes it */
	size_t page_bytes;
	bool no_memory;
};

static char *make_page(void *opaque)
{
	struct server *server = opaque;
	char *page;

	__atomic_add_fetch(&server->asked, 1, __ATOMIC_SEQ_CST);
	if (server->no_memory)
		return NULL;
	page = malloc(server->page_bytes + 1);
	if (page) {
		memset(page, 'm', server->page_bytes);
		page[server->page_bytes] = '\0';
	}
	return page;
}

static const struct http_ops ops = { .page = make_page };

static int setup(void **state)
{
	struct server *server = calloc(1, sizeof(*server));
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(server->address);

	*state = server;
	server->page_bytes = 11;
	server->address = (struct sockaddr_in){ .sin_family = AF_INET,
						.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (bind(fd, (struct sockaddr *)&server->address, len) || listen(fd, 32) ||
	    getsockname(fd, (struct sockaddr *)&server->address, &len) ||
	    http_create(&server->http, fd, &ops, server))
		return -1;
	return 0;
}

static int teardown(void **state)
{
	struct server *server = *state;

	http_destroy(server->http);
	free(server);
	return 0;
}

static int connect_to(const struct server *server)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(
		connect(fd, (const struct sockaddr *)&server->address, sizeof(server->address)), 0);
	return fd;
}

/* All that comes until the server closes: its length. Closes fd. */
static size_t read_answer(int fd, char *answer, size_t max)
{
	size_t used = 0;
	ssize_t n;

	do {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		assert_int_equal(poll(&p, 1, WAIT_MS), 1);
		assert_true(used < max - 1);
		n = recv(fd, answer + used, max - 1 - used, 0);
		assert_true(n >= 0 || errno == ECONNRESET);
		used += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	answer[used] = '\0';
	close(fd);
	return used;
}

static void ask(const struct server *server, const char *request, char *answer, size_t max)
{
	int fd = connect_to(server);

	assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
	read_answer(fd, answer, max);
}

static void assert_answer(const char *answer, const char *status, const char *body)
{
	const char *end = strstr(answer, "\r\n\r\n");

	assert_int_equal(strncmp(answer, "HTTP/1.1 ", 9), 0);
	assert_int_equal(strncmp(answer + 9, status, strlen(status)), 0);
	assert_non_null(end);
	assert_non_null(strstr(answer, "Connection: close\r\n"));
	assert_string_equal(end + 4, body);
}

static void the_page_comes(void **state)
{
	struct server *server = *state;
	char answer[1024];

	ask(server, get, answer, sizeof(answer));
	assert_answer(answer, "200 OK", "mmmmmmmmmmm");
	assert_non_null(strstr(answer, "Content-Length: 11\r\n"));
	assert_non_null(strstr(answer, "Content-Type: text/plain; version=0.0.4"));
	ask(server, "HEAD /metrics HTTP/1.1\r\n\r\n", answer, sizeof(answer));
	assert_answer(answer, "200 OK", "");
	assert_non_null(strstr(answer, "Content-Length: 11\r\n"));
	assert_int_equal(server->asked, 2);
}

static void what_is_wrong_is_answered(void **state)
{
	struct server *server = *state;
	char answer[1024], longest[HTTP_REQUEST_MAX + 1];

	ask(server, "GET / HTTP/1.1\r\n\r\n", answer, sizeof(answer));
	assert_answer(answer, "404 Not Found", "");
	ask(server, "DELETE /metrics HTTP/1.1\r\n\r\n", answer, sizeof(answer));
	assert_answer(answer, "405 Method Not Allowed", "");
	assert_non_null(strstr(answer, "Allow: GET, HEAD\r\n"));
	ask(server, "hello\r\n\r\n", answer, sizeof(answer));
	assert_answer(answer, "400 Bad Request", "");
	ask(server, "GET /metrics HTTP/3\r\n\r\n", answer, sizeof(answer));
	assert_answer(answer, "400 Bad Request", "");
	ask(server, "GET /metrics HTTP/9.9\r\n\r\n", answer, sizeof(answer));
	assert_answer(answer, "505 ", "");
	memset(longest, 'a', HTTP_REQUEST_MAX);
	longest[HTTP_REQUEST_MAX] = '\0';
	ask(server, longest, answer, sizeof(answer));
	assert_answer(answer, "431 ", "");
	assert_int_equal(server->asked, 0);
}

static void a_request_may_come_in_pieces(void **state)
{
	struct server *server = *state;
	char answer[1024];
	int fd = connect_to(server);

	for (size_t i = 0; i < strlen(get); i++) {
		assert_int_equal(send(fd, get + i, 1, MSG_NOSIGNAL), 1);
		usleep(500);
	}
	read_answer(fd, answer, sizeof(answer));
	assert_answer(answer, "200 OK", "mmmmmmmmmmm");
}

static void a_large_page_comes_whole(void **state)
{
	struct server *server = *state;
	size_t max = 9 << 20;
	char *answer = malloc(max);
	int fd;

	server->page_bytes = 8 << 20; /* more than the sockets hold */
	fd = connect_to(server);
	assert_int_equal(send(fd, get, strlen(get), MSG_NOSIGNAL), strlen(get));
	assert_true(read_answer(fd, answer, max) > server->page_bytes);
	assert_int_equal(strlen(strstr(answer, "\r\n\r\n") + 4), server->page_bytes);
	free(answer);
}

static void without_memory_the_connection_ends(void **state)
{
	struct server *server = *state;
	char answer[64];

	server->no_memory = true;
	ask(server, get, answer, sizeof(answer));
	assert_string_equal(answer, "");
}

/*
 * Silent clients fill every place; they are dropped when their time is over, and the client that
 * waits is served then.
 */
static void the_silent_lose_their_place(void **state)
{
	struct server *server = *state;
	int silent[HTTP_CLIENTS_MAX];
	char answer[1024];

	for (int i = 0; i < HTTP_CLIENTS_MAX; i++)
		silent[i] = connect_to(server);
	ask(server, get, answer, sizeof(answer));
	assert_answer(answer, "200 OK", "mmmmmmmmmmm");
	for (int i = 0; i < HTTP_CLIENTS_MAX; i++)
		assert_int_equal(read_answer(silent[i], answer, sizeof(answer)), 0);
}

static void the_end_does_not_wait_for_clients(void **state)
{
	struct server *server = *state;
	char answer[64];
	int fd = connect_to(server);

	assert_int_equal(send(fd, "GET", 3, MSG_NOSIGNAL), 3);
	http_destroy(server->http);
	server->http = NULL;
	assert_int_equal(read_answer(fd, answer, sizeof(answer)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_and_json_say_the_same),
		cmocka_unit_test(what_is_no_utf8_is_said),
		cmocka_unit_test(requests),
		cmocka_unit_test_setup_teardown(the_page_comes, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_wrong_is_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(a_request_may_come_in_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(a_large_page_comes_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(without_memory_the_connection_ends, setup,
						teardown),
		cmocka_unit_test_setup_teardown(the_silent_lose_their_place, setup, teardown),
		cmocka_unit_test_setup_teardown(the_end_does_not_wait_for_clients, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
