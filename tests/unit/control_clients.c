/* SPDX-License-Identifier: Apache-2.0 */
/* Clients of the control socket that misbehave, and many at once. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/control_rig.h"

static void garbage_is_answered_and_forgotten(void **state)
{
	static const char *const bad[] = {
		"{",
		"[]",
		"null",
		"\"pause\"",
		"{}",
		"{\"execute\": 1}",
		"{\"execute\": \"pause\", \"execute\": \"stop\"}",
		"{\"execute\": \"pause\", \"arguments\": []}",
		"{\"execute\": \"pause\", \"extra\": 1}",
		"{\"execute\": \"pa\\u0000use\"}",
		"\xff\xfe",
		"GET / HTTP/1.1",
	};
	struct vm *vm = *state;
	int fd = raw_connect();
	char line[4096];

	assert_true(raw_line(fd, line, sizeof(line)) > 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		raw_say(fd, bad[i]);
		raw_say(fd, "\n");
		assert_true(raw_line(fd, line, sizeof(line)) > 0);
		if (!strstr(line, "\"error\""))
			fail_msg("%s is answered by %s", bad[i], line);
	}
	assert_string_equal(vm->state, "running");
	raw_say(fd, "\n\n{\"execute\": \"resume\", \"id\": [\"any\", 1]}\n");
	assert_true(raw_line(fd, line, sizeof(line)) > 0);
	assert_string_equal(line, "{\"return\":{},\"id\":[\"any\",1]}");
	close(fd);
}

/*
 * What is no UTF-8, or is cut in the middle of a character where it is quoted, is answered like any
 * other mistake.
 */
static void broken_characters_are_answered(void **state)
{
	static const char *const lines[] = {
		"{\"~\":\"\\\323\230\212\225\"}\n", /* jansson quotes a part of a character */
		"\377\n",
		/* the 64th byte of a name is the first of two */
		("{\"execute\":\"123456789012345678901234567890123456789012345678901234567890123"
		 "\303\244\"}\n"),
	};
	int fd = raw_connect();
	char line[4096];

	raw_line(fd, line, sizeof(line));
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		assert_int_equal(write(fd, lines[i], strlen(lines[i])), strlen(lines[i]));
		assert_true(raw_line(fd, line, sizeof(line)) > 0);
		assert_non_null(strstr(line, "error"));
	}
	close(fd);
}

/* memcheck accepts a connection and loses it when no descriptor is free. */
static void need_no_memcheck(void)
{
	const char *preloaded = getenv("LD_PRELOAD");

	if (preloaded && strstr(preloaded, "vgpreload")) {
		print_message("# skipped: memcheck loses a connection without a descriptor\n");
		skip();
	}
}

/* A VM's process that has run out of descriptors says so, and does not use up a CPU over it. */
static void without_a_descriptor_clients_are_refused(void **state)
{
	const struct timeval patience = { .tv_sec = 60 };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct rlimit before, few;
	int fds[2], taken[64], n = 0;
	char line[4096];

	need_no_memcheck();
	for (int i = 0; i < 2; i++) {
		fds[i] = socket(AF_UNIX, SOCK_STREAM, 0);
		assert_true(fds[i] >= 0);
		setsockopt(fds[i], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	}
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = 60;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	while (n < 64 && (taken[n] = dup(fds[1])) >= 0)
		n++;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/vm1.sock", control_rig_dir);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(connect(fds[i], (struct sockaddr *)&addr, sizeof(addr)), 0);
		assert_true(raw_line(fds[i], line, sizeof(line)) > 0);
		if (!strstr(line, "no file descriptor left"))
			fail_msg("the client is told: %s", line);
		assert_int_equal(raw_line(fds[i], line, sizeof(line)), -1);
	}
	close(fds[0]);
	close(fds[1]);
	while (n > 0)
		close(taken[--n]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	fds[0] = raw_connect();
	assert_true(raw_line(fds[0], line, sizeof(line)) > 0);
	assert_non_null(strstr(line, "\"protocol\""));
	close(fds[0]);
}

static void deep_nesting_is_refused(void **state)
{
	int fd = raw_connect();
	char line[4096];

	raw_line(fd, line, sizeof(line));
	for (unsigned int i = 0; i < 100000; i++)
		assert_int_equal(write(fd, "[", 1), 1);
	assert_int_equal(write(fd, "\n", 1), 1);
	assert_true(raw_line(fd, line, sizeof(line)) > 0);
	assert_non_null(strstr(line, "error"));
	close(fd);
}

static void a_line_without_end_ends_the_connection(void **state)
{
	struct control_client *other = client_open();
	int fd = raw_connect();
	char line[4096], spaces[4096];

	signal(SIGPIPE, SIG_IGN);
	raw_line(fd, line, sizeof(line));
	memset(spaces, ' ', sizeof(spaces));
	for (unsigned int i = 0; i < 2 * CONTROL_LINE_MAX / sizeof(spaces); i++) {
		if (write(fd, spaces, sizeof(spaces)) < 0)
			break;
	}
	if (raw_line(fd, line, sizeof(line)) > 0)
		assert_non_null(strstr(line, "longer than"));
	json_decref(call_ok(other, "query-status", NULL));
	close(fd);
	control_client_close(other);
}

static void half_lines_and_many_in_one_packet(void **state)
{
	static const char one[] = "{\"execute\": \"query-version\", \"id\": 1}\n";
	int fd = raw_connect();
	char line[4096];

	raw_line(fd, line, sizeof(line));
	for (size_t i = 0; i < sizeof(one) - 1; i++)
		assert_int_equal(write(fd, one + i, 1), 1);
	assert_true(raw_line(fd, line, sizeof(line)) > 0);
	for (unsigned int i = 0; i < 100; i++)
		assert_int_equal(write(fd, one, sizeof(one) - 1), sizeof(one) - 1);
	/* what was asked before the end of input is answered */
	shutdown(fd, SHUT_WR);
	for (unsigned int i = 0; i < 100; i++)
		assert_true(raw_line(fd, line, sizeof(line)) > 0);
	assert_int_equal(raw_line(fd, line, sizeof(line)), -1);
	close(fd);
}

/* Asks and never reads: must not make the server wait, nor grow without end. */
static void a_client_that_does_not_read_hurts_only_itself(void **state)
{
	static const char ask[] = "{\"execute\": \"query-memory-map\"}\n";
	struct vm *vm = *state;
	struct control_client *other;
	unsigned int answers = 0;
	int fd = raw_connect();
	char *line = malloc(8 << 20);

	vm->ranges = 20000;
	signal(SIGPIPE, SIG_IGN);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (unsigned int i = 0; i < 200; i++) {
		if (write(fd, ask, sizeof(ask) - 1) < 0)
			break;
	}
	other = client_open();
	json_decref(call_ok(other, "query-status", NULL));
	/* an event for each of five megabytes: more than is kept for it */
	for (unsigned int i = 0; i < 5; i++) {
		char *text = malloc(1 << 20);

		memset(text, 'x', (1 << 20) - 1);
		text[(1 << 20) - 1] = '\0';
		control_event(vm->control, "noise", json_pack("{s:s}", "text", text));
		free(text);
		json_decref(call_ok(other, "query-status", NULL));
	}
	fcntl(fd, F_SETFL, 0);
	while (raw_line(fd, line, 8 << 20) > 0)
		answers++;
	assert_in_range(answers, 1, 100);
	free(line);
	close(fd);
	control_client_close(other);
}

static void one_client_too_many_is_told_so(void **state)
{
	struct control_client *clients[16], *more = NULL;
	struct control_error err = { 0 };

	for (unsigned int i = 0; i < 16; i++)
		clients[i] = client_open();
	assert_int_equal(control_client_open(&more, "vm1", &err), -EBUSY);
	assert_non_null(strstr(err.desc, "try later"));
	for (unsigned int i = 0; i < 16; i++)
		json_decref(call_ok(clients[i], "query-status", NULL));
	control_client_close(clients[3]);
	while (control_client_open(&more, "vm1", &err))
		poll(NULL, 0, 1);
	clients[3] = more;
	for (unsigned int i = 0; i < 16; i++)
		control_client_close(clients[i]);
}

static void *many_calls(void *arg)
{
	struct control_client *client = client_open();

	for (unsigned int i = 0; i < 200; i++)
		json_decref(call_ok(client, i % 2 ? "query-status" : "query-version", NULL));
	control_client_close(client);
	return NULL;
}

static void clients_and_events_at_once(void **state)
{
	struct vm *vm = *state;
	pthread_t threads[4];

	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, many_calls, NULL), 0);
	for (unsigned int i = 0; i < 500; i++)
		control_event(vm->control, "state", json_pack("{s:s}", "state", "running"));
	for (unsigned int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		vm_test(garbage_is_answered_and_forgotten),
		vm_test(broken_characters_are_answered),
		vm_test(without_a_descriptor_clients_are_refused),
		vm_test(deep_nesting_is_refused),
		vm_test(a_line_without_end_ends_the_connection),
		vm_test(half_lines_and_many_in_one_packet),
		vm_test(a_client_that_does_not_read_hurts_only_itself),
		vm_test(one_client_too_many_is_told_so),
		vm_test(clients_and_events_at_once),
	};

	return control_rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
