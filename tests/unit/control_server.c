/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: names, commands, introspection, events, descriptors, and clients that misbehave. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/cmocka_all.h"
#include "control/client.h"
#include "control/control.h"
#include "control/runtime.h"
#include "control/vm_commands.h"

/* What stands for a VM: it remembers what it was told. */
struct vm {
	struct control *control;
	enum control_vm_state state;
	bool force;
	struct control_secret secret;
	uint8_t packet[CONTROL_SECRET_BYTES_MAX];
	unsigned int ranges;
	bool not_now;
};

static int vm_status(void *opaque, struct control_vm_status *s, struct control_error *err)
{
	const struct vm *vm = opaque;

	*s = (struct control_vm_status){ .state = vm->state,
					 .cpus = 4,
					 .memory_bytes = 256ULL << 20,
					 .uptime_seconds = 1.5,
					 .sev = true,
					 .sev_policy = 3,
					 .sev_asid = 7,
					 .migration_ready = true };
	return 0;
}

static int vm_pause(void *opaque, struct control_error *err)
{
	struct vm *vm = opaque;

	if (vm->not_now)
		return control_fail(err, -EBUSY, CONTROL_WRONG_STATE,
				    "a migration is in its last phase");
	vm->state = CONTROL_VM_PAUSED;
	control_vm_state_event(vm->control, vm->state, NULL);
	return 0;
}

static int vm_resume(void *opaque, struct control_error *err)
{
	((struct vm *)opaque)->state = CONTROL_VM_RUNNING;
	return 0;
}

static int vm_stop(void *opaque, bool force, struct control_error *err)
{
	struct vm *vm = opaque;

	vm->force = force;
	vm->state = CONTROL_VM_STOPPING;
	return 0;
}

static int vm_memory_map(void *opaque,
			 void (*add)(void *opaque, const struct control_memory_range *range),
			 void *to, struct control_error *err)
{
	const struct vm *vm = opaque;

	for (unsigned int i = 0; i < vm->ranges; i++) {
		const struct control_memory_range range = { i * 0x1000ULL, 0x1000, "ram", i % 2 };

		add(to, &range);
	}
	return 0;
}

static int vm_measurement(void *opaque, struct control_measurement *m, struct control_error *err)
{
	memset(m->measure, 0xaa, sizeof(m->measure));
	memset(m->nonce, 0xbb, sizeof(m->nonce));
	m->api_minor = 24;
	m->build = 15;
	m->policy = 3;
	return 0;
}

static int vm_inject_secret(void *opaque, const struct control_secret *secret,
			    struct control_error *err)
{
	struct vm *vm = opaque;

	vm->secret = *secret;
	memcpy(vm->packet, secret->packet, secret->bytes);
	return 0;
}

static const struct control_vm_ops vm_ops = {
	.status = vm_status,
	.pause = vm_pause,
	.resume = vm_resume,
	.stop = vm_stop,
	.memory_map = vm_memory_map,
	.measurement = vm_measurement,
	.inject_secret = vm_inject_secret,
};

/* Descriptors both ways: writes a word into the pipe it is given, returns the other one and its own end of a new pipe. */
static int run_attach(void *opaque, struct control_call *call, struct control_error *err)
{
	int fds[2];

	if (call->fd_count != 1)
		return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS,
				    "attach needs one descriptor");
	if (write(call->fds[0], "got it", 6) != 6 || pipe(fds))
		return -errno;
	control_reply_fd(call, fds[0]);
	if (write(fds[1], "yours", 5) != 5)
		return -errno;
	close(fds[0]);
	close(fds[1]);
	call->ret = json_pack("{s:s}", "mode", control_arg_string(call, "mode", "default"));
	return 0;
}

static const struct control_arg attach_args[] = { { "mode", CONTROL_STRING, false, "how" },
						  { "count", CONTROL_UINT, false, "how often" },
						  { "options", CONTROL_OBJECT, false, "what else" },
						  { 0 } };
static const struct control_command more_commands[] = {
	{ "attach", "Hand over a descriptor.", "{mode}", attach_args, run_attach },
	{ 0 },
};
static const char *const events[] = { "state", "the VM's state changed", NULL };

static char dir[] = "/tmp/test-control-XXXXXX";

static int vm_start(void **state)
{
	struct control_error err = { 0 };
	struct vm *vm = calloc(1, sizeof(*vm));

	assert_non_null(vm);
	vm->state = CONTROL_VM_RUNNING;
	if (control_create(&vm->control, "vm1", &err))
		fail_msg("%s", err.desc);
	assert_int_equal(control_add_vm_commands(vm->control, &vm_ops, vm), 0);
	assert_int_equal(control_add_commands(vm->control, more_commands, vm), 0);
	assert_int_equal(control_add_commands(vm->control, more_commands, vm), -EEXIST);
	control_set_events(vm->control, events);
	assert_int_equal(control_start(vm->control), 0);
	*state = vm;
	return 0;
}

static int vm_end(void **state)
{
	struct vm *vm = *state;
	unsigned int left = 0;
	DIR *d;

	control_destroy(vm->control);
	free(vm);
	d = opendir(dir);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d));)
		left += e->d_name[0] != '.';
	closedir(d);
	assert_int_equal(left, 0);
	return 0;
}

static struct control_client *client_open(void)
{
	struct control_client *client = NULL;
	struct control_error err = { 0 };

	if (control_client_open(&client, "vm1", &err))
		fail_msg("%s", err.desc);
	return client;
}

static json_t *call_ok(struct control_client *client, const char *command, json_t *args)
{
	struct control_error err = { 0 };
	json_t *ret = NULL;

	if (control_client_call(client, command, args, NULL, -1, &ret, NULL, &err))
		fail_msg("%s", err.desc);
	return ret;
}

static void call_refused(struct control_client *client, const char *command, json_t *args,
			 const char *class, const char *desc)
{
	struct control_error err = { 0 };
	json_t *ret = NULL;

	assert_int_equal(control_client_call(client, command, args, NULL, -1, &ret, NULL, &err),
			 -EREMOTEIO);
	assert_string_equal(err.class, class);
	if (!strstr(err.desc, desc))
		fail_msg("'%s' does not say '%s'", err.desc, desc);
}

/* A connection without the client library. */
static int raw_connect(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/vm1.sock", dir);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void raw_say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* One line, without its newline. Returns its length, -1 at the end of the connection. */
static int raw_line(int fd, char *line, size_t max)
{
	size_t n = 0;

	for (;;) {
		ssize_t got = read(fd, line + n, 1);

		if (got <= 0)
			return -1;
		if (line[n] == '\n')
			break;
		assert_true(++n < max);
	}
	line[n] = '\0';
	return (int)n;
}

static void names_are_checked(void **state)
{
	static const char *const bad[] = { "",	  ".",	 "..",	"-x", "_x",    ".x",
					   "a/b", "a b", "a\n", "ä",  "../vm1" };
	struct control_error err = { 0 };
	char longest[RUNTIME_NAME_MAX + 2];
	struct control *control;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_false(runtime_name_valid(bad[i]));
		assert_int_equal(control_create(&control, bad[i], &err), -EINVAL);
	}
	memset(longest, 'a', sizeof(longest));
	longest[RUNTIME_NAME_MAX + 1] = '\0';
	assert_false(runtime_name_valid(longest));
	longest[RUNTIME_NAME_MAX] = '\0';
	assert_true(runtime_name_valid(longest));
	assert_true(runtime_name_valid("web-1.eu_west"));
}

static void the_socket_is_its_owners_only(void **state)
{
	char path[PATH_MAX];
	struct stat st;

	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(runtime_find("vm1", path), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_directory_open_to_others_is_refused(void **state)
{
	struct control_error err = { 0 };
	struct control *control;

	assert_int_equal(chmod(dir, 0750), 0);
	assert_int_equal(control_create(&control, "vm2", &err), -EACCES);
	assert_non_null(strstr(err.desc, "0700"));
	assert_int_equal(chmod(dir, 0700), 0);
}

static void a_name_is_taken_once(void **state)
{
	struct control_error err = { 0 };
	struct control *control;

	assert_int_equal(control_create(&control, "vm1", &err), -EADDRINUSE);
	assert_non_null(strstr(err.desc, "vm1"));
	assert_int_equal(control_create(&control, "vm2", &err), 0);
	control_destroy(control);
}

static void collect(void *opaque, const char *name)
{
	strcat(strcat(opaque, name), " ");
}

static void what_a_crash_left_is_told_apart_and_taken_over(void **state)
{
	struct control_client *client;
	struct control_error err = { 0 };
	struct control *control;
	char names[200] = "", path[PATH_MAX];
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (control_create(&control, "crashed", &err))
			_exit(1);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(runtime_find("crashed", path), -ECONNREFUSED);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(control_client_open(&client, "crashed", &err), -ECONNREFUSED);
	assert_int_equal(control_client_open(&client, "nobody", &err), -ENOENT);
	assert_int_equal(runtime_list(collect, names), 0);
	assert_string_equal(names, "vm1 ");
	assert_int_equal(control_create(&control, "crashed", &err), 0);
	names[0] = '\0';
	assert_int_equal(runtime_list(collect, names), 0);
	assert_string_equal(names, "crashed vm1 ");
	control_destroy(control);
}

static void the_greeting_says_who_is_there(void **state)
{
	struct control_client *client = client_open();
	const json_t *hello = json_object_get(control_client_greeting(client), "sevmirror");

	assert_string_equal(json_string_value(json_object_get(hello, "name")), "vm1");
	assert_int_equal(json_integer_value(json_object_get(hello, "protocol")), CONTROL_PROTOCOL);
	assert_non_null(json_string_value(json_object_get(hello, "version")));
	control_client_close(client);
}

static void the_vm_is_asked_and_told(void **state)
{
	struct vm *vm = *state;
	struct control_client *client = client_open();
	json_t *ret = call_ok(client, "query-status", NULL);

	assert_string_equal(json_string_value(json_object_get(ret, "state")), "running");
	assert_int_equal(json_integer_value(json_object_get(ret, "cpus")), 4);
	assert_int_equal(json_integer_value(json_object_get(ret, "memory-bytes")), 256 << 20);
	assert_int_equal(json_integer_value(json_object_get(ret, "sev-policy")), 3);
	json_decref(ret);
	json_decref(call_ok(client, "pause", NULL));
	assert_int_equal(vm->state, CONTROL_VM_PAUSED);
	json_decref(call_ok(client, "resume", NULL));
	assert_int_equal(vm->state, CONTROL_VM_RUNNING);
	json_decref(call_ok(client, "stop", json_pack("{s:b}", "force", 1)));
	assert_int_equal(vm->state, CONTROL_VM_STOPPING);
	assert_true(vm->force);
	json_decref(call_ok(client, "stop", NULL));
	assert_false(vm->force);
	vm->not_now = true;
	call_refused(client, "pause", NULL, CONTROL_WRONG_STATE, "last phase");
	control_client_close(client);
}

static void measurement_and_secret_pass_as_base64(void **state)
{
	static const char header[] =
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMw==";
	struct vm *vm = *state;
	struct control_client *client = client_open();
	json_t *ret = call_ok(client, "query-measurement", NULL);

	assert_string_equal(json_string_value(json_object_get(ret, "data")),
			    "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq7u7u7u7u7u7u7u7u7u7u7");
	assert_int_equal(json_integer_value(json_object_get(ret, "api-minor")), 24);
	json_decref(ret);
	json_decref(call_ok(client, "inject-secret",
			    json_pack("{s:s, s:s}", "header", header, "secret", "c2VjcmV0MTIz")));
	for (unsigned int i = 0; i < CONTROL_SECRET_HEADER_BYTES; i++)
		assert_int_equal(vm->secret.header[i], i);
	assert_int_equal(vm->secret.bytes, 9);
	assert_memory_equal(vm->packet, "secret123", 9);
	assert_false(vm->secret.has_gpa);
	json_decref(call_ok(
		client, "inject-secret",
		json_pack("{s:s, s:s, s:i}", "header", header, "secret", "c2U=", "gpa", 0x1000)));
	assert_int_equal(vm->secret.bytes, 2);
	assert_true(vm->secret.has_gpa);
	assert_int_equal(vm->secret.gpa, 0x1000);

	call_refused(client, "inject-secret",
		     json_pack("{s:s, s:s}", "header", "AAEC", "secret", "c2U="),
		     CONTROL_BAD_ARGUMENTS, "52 bytes");
	call_refused(client, "inject-secret",
		     json_pack("{s:s, s:s}", "header", header, "secret", "c2U"),
		     CONTROL_BAD_ARGUMENTS, "base64");
	call_refused(client, "inject-secret",
		     json_pack("{s:s, s:s}", "header", header, "secret", "c2U=c2U="),
		     CONTROL_BAD_ARGUMENTS, "base64");
	call_refused(client, "inject-secret",
		     json_pack("{s:s, s:s}", "header", header, "secret", "c=U="),
		     CONTROL_BAD_ARGUMENTS, "base64");
	call_refused(client, "inject-secret",
		     json_pack("{s:s, s:s}", "header", header, "secret", ""), CONTROL_BAD_ARGUMENTS,
		     "base64");
	call_refused(client, "inject-secret",
		     json_pack("{s:s, s:s}", "header", header, "secret", "c2\nU"),
		     CONTROL_BAD_ARGUMENTS, "base64");
	control_client_close(client);
}

static void a_long_answer_arrives_whole(void **state)
{
	struct vm *vm = *state;
	struct control_client *client = client_open();
	json_t *ret;

	vm->ranges = 30000;
	ret = call_ok(client, "query-memory-map", NULL);
	assert_int_equal(json_array_size(ret), 30000);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(ret, 29999), "gpa")),
			 29999 * 0x1000);
	json_decref(ret);
	control_client_close(client);
}

static void commands_describe_themselves(void **state)
{
	struct control_client *client = client_open();
	json_t *ret = call_ok(client, "query-commands", NULL), *c;
	bool found = false;
	size_t i;

	assert_int_equal(json_array_size(ret), 11);
	json_array_foreach(ret, i, c)
	{
		const json_t *args = json_object_get(c, "arguments");

		assert_true(strlen(json_string_value(json_object_get(c, "help"))) > 0);
		if (strcmp(json_string_value(json_object_get(c, "name")), "inject-secret") != 0)
			continue;
		found = true;
		assert_int_equal(json_array_size(args), 3);
		assert_true(json_is_true(json_object_get(json_array_get(args, 0), "required")));
		assert_false(json_is_true(json_object_get(json_array_get(args, 2), "required")));
		assert_string_equal(
			json_string_value(json_object_get(json_array_get(args, 2), "type")),
			"unsigned integer");
	}
	assert_true(found);
	json_decref(ret);
	ret = call_ok(client, "query-events", NULL);
	assert_int_equal(json_array_size(ret), 1);
	json_decref(ret);
	control_client_close(client);
}

static void arguments_are_checked(void **state)
{
	struct control_client *client = client_open();

	call_refused(client, "fly", NULL, CONTROL_NOT_FOUND, "'fly'");
	call_refused(client, "pause", json_pack("{s:i}", "when", 1), CONTROL_BAD_ARGUMENTS,
		     "'when'");
	call_refused(client, "stop", json_pack("{s:s}", "force", "yes"), CONTROL_BAD_ARGUMENTS,
		     "boolean");
	call_refused(client, "attach", json_pack("{s:i}", "count", -1), CONTROL_BAD_ARGUMENTS,
		     "unsigned");
	call_refused(client, "attach", json_pack("{s:f}", "count", 1.0), CONTROL_BAD_ARGUMENTS,
		     "unsigned");
	call_refused(client, "attach", json_pack("{s:[]}", "options"), CONTROL_BAD_ARGUMENTS,
		     "object");
	call_refused(client, "attach", json_pack("{s:n}", "mode"), CONTROL_BAD_ARGUMENTS, "string");
	call_refused(client, "inject-secret", json_pack("{s:s}", "secret", "c2U="),
		     CONTROL_BAD_ARGUMENTS, "'header'");
	control_client_close(client);
}

static void descriptors_pass_both_ways(void **state)
{
	struct control_client *client = client_open();
	struct control_fds send = { .count = 1 }, received = { 0 };
	struct control_error err = { 0 };
	json_t *ret = NULL;
	char buf[8] = "";
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	send.fd[0] = fds[1];
	assert_int_equal(control_client_call(client, "attach", json_pack("{s:s}", "mode", "x"),
					     &send, -1, &ret, &received, &err),
			 0);
	assert_int_equal(read(fds[0], buf, 6), 6);
	assert_memory_equal(buf, "got it", 6);
	assert_int_equal(received.count, 1);
	assert_int_equal(fcntl(received.fd[0], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(read(received.fd[0], buf, 8), 5);
	assert_memory_equal(buf, "yours", 5);
	/* the server kept neither end */
	assert_int_equal(read(received.fd[0], buf, 8), 0);
	close(fds[1]);
	assert_int_equal(read(fds[0], buf, 8), 0);
	close(fds[0]);
	close(received.fd[0]);
	json_decref(ret);
	call_refused(client, "attach", NULL, CONTROL_BAD_ARGUMENTS, "one descriptor");
	control_client_close(client);
}

static void descriptors_nobody_asked_for_are_closed(void **state)
{
	struct control_client *client = client_open();
	struct control_fds send = { .count = CONTROL_FDS_MAX };
	struct control_error err = { 0 };
	json_t *ret = NULL;
	char c;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	for (unsigned int i = 0; i < CONTROL_FDS_MAX; i++)
		send.fd[i] = fds[1];
	assert_int_equal(control_client_call(client, "pause", NULL, &send, -1, &ret, NULL, &err),
			 0);
	json_decref(ret);
	close(fds[1]);
	assert_int_equal(read(fds[0], &c, 1),
			 0); /* no writer is left: the server closed all copies */
	close(fds[0]);
	control_client_close(client);
}

static void events_reach_everyone_and_disturb_no_reply(void **state)
{
	struct control_client *a = client_open(), *b = client_open();
	json_t *event = NULL;

	json_decref(call_ok(a, "pause", NULL));
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(control_client_event(i ? a : b, -1, &event), 0);
		assert_string_equal(json_string_value(json_object_get(event, "event")), "state");
		assert_string_equal(
			json_string_value(json_object_get(json_object_get(event, "data"), "state")),
			"paused");
		assert_true(json_integer_value(json_object_get(json_object_get(event, "timestamp"),
							       "seconds")) > 0);
		json_decref(event);
	}
	assert_int_equal(control_client_event(a, 0, &event), -ETIMEDOUT);
	control_client_close(a);
	control_client_close(b);
}

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
	assert_int_equal(vm->state, CONTROL_VM_RUNNING);
	raw_say(fd, "\n\n{\"execute\": \"resume\", \"id\": [\"any\", 1]}\n");
	assert_true(raw_line(fd, line, sizeof(line)) > 0);
	assert_string_equal(line, "{\"return\":{},\"id\":[\"any\",1]}");
	close(fd);
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
		control_vm_state_event(vm->control, CONTROL_VM_RUNNING, "test");
	for (unsigned int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

#define vm_test(f) cmocka_unit_test_setup_teardown(f, vm_start, vm_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		vm_test(names_are_checked),
		vm_test(the_socket_is_its_owners_only),
		vm_test(a_directory_open_to_others_is_refused),
		vm_test(a_name_is_taken_once),
		vm_test(what_a_crash_left_is_told_apart_and_taken_over),
		vm_test(the_greeting_says_who_is_there),
		vm_test(the_vm_is_asked_and_told),
		vm_test(measurement_and_secret_pass_as_base64),
		vm_test(a_long_answer_arrives_whole),
		vm_test(commands_describe_themselves),
		vm_test(arguments_are_checked),
		vm_test(descriptors_pass_both_ways),
		vm_test(descriptors_nobody_asked_for_are_closed),
		vm_test(events_reach_everyone_and_disturb_no_reply),
		vm_test(garbage_is_answered_and_forgotten),
		vm_test(deep_nesting_is_refused),
		vm_test(a_line_without_end_ends_the_connection),
		vm_test(half_lines_and_many_in_one_packet),
		vm_test(a_client_that_does_not_read_hurts_only_itself),
		vm_test(one_client_too_many_is_told_so),
		vm_test(clients_and_events_at_once),
	};
	int failed;

	if (!mkdtemp(dir) || setenv("SEVMIRROR_RUNTIME_DIR", dir, 1))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	return failed;
}
