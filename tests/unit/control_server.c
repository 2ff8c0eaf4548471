/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: names, commands, introspection, events, descriptors. Clients that misbehave:
 * control_clients.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/control_rig.h"

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

	assert_int_equal(stat(control_rig_dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(runtime_find("vm1", path), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_directory_open_to_others_is_refused(void **state)
{
	struct control_error err = { 0 };
	struct control *control;

	assert_int_equal(chmod(control_rig_dir, 0750), 0);
	assert_int_equal(control_create(&control, "vm2", &err), -EACCES);
	assert_non_null(strstr(err.desc, control_rig_dir));
	assert_non_null(strstr(err.desc, "mode 0750"));
	assert_int_equal(chmod(control_rig_dir, 0700), 0);
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
	json_decref(ret);
	json_decref(call_ok(client, "pause", NULL));
	assert_string_equal(vm->state, "paused");
	json_decref(call_ok(client, "resume", NULL));
	assert_string_equal(vm->state, "running");
	json_decref(call_ok(client, "stop", json_pack("{s:b}", "force", 1)));
	assert_string_equal(vm->state, "stopping");
	assert_true(vm->force);
	json_decref(call_ok(client, "stop", NULL));
	assert_false(vm->force);
	vm->not_now = true;
	call_refused(client, "pause", NULL, CONTROL_WRONG_STATE, "last phase");
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

	assert_int_equal(json_array_size(ret), 9);
	json_array_foreach(ret, i, c)
	{
		const json_t *args = json_object_get(c, "arguments");

		assert_true(strlen(json_string_value(json_object_get(c, "help"))) > 0);
		if (strcmp(json_string_value(json_object_get(c, "name")), "attach") != 0)
			continue;
		found = true;
		assert_int_equal(json_array_size(args), 3);
		assert_true(json_is_true(json_object_get(json_array_get(args, 0), "required")));
		assert_false(json_is_true(json_object_get(json_array_get(args, 2), "required")));
		assert_string_equal(
			json_string_value(json_object_get(json_array_get(args, 1), "type")),
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
	call_refused(client, "attach", json_pack("{s:i}", "count", 1), CONTROL_BAD_ARGUMENTS,
		     "'mode'");
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
	call_refused(client, "attach", json_pack("{s:s}", "mode", "x"), CONTROL_BAD_ARGUMENTS,
		     "one descriptor");
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
		vm_test(a_long_answer_arrives_whole),
		vm_test(commands_describe_themselves),
		vm_test(arguments_are_checked),
		vm_test(descriptors_pass_both_ways),
		vm_test(descriptors_nobody_asked_for_are_closed),
		vm_test(events_reach_everyone_and_disturb_no_reply),
	};

	return control_rig_run(tests, sizeof(tests) / sizeof(tests[0]));
}
