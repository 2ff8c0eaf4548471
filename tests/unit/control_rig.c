/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/control_rig.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int run_status(void *opaque, struct control_call *call, struct control_error *err)
{
	const struct vm *vm = opaque;

	call->ret = json_pack("{s:s, s:i}", "state", vm->state, "cpus", 4);
	return 0;
}

static int run_pause(void *opaque, struct control_call *call, struct control_error *err)
{
	struct vm *vm = opaque;

	if (vm->not_now)
		return control_fail(err, -EBUSY, CONTROL_WRONG_STATE,
				    "a migration is in its last phase");
	vm->state = "paused";
	control_event(vm->control, "state", json_pack("{s:s}", "state", vm->state));
	return 0;
}

static int run_resume(void *opaque, struct control_call *call, struct control_error *err)
{
	((struct vm *)opaque)->state = "running";
	return 0;
}

static int run_stop(void *opaque, struct control_call *call, struct control_error *err)
{
	struct vm *vm = opaque;

	vm->force = control_arg_bool(call, "force", false);
	vm->state = "stopping";
	return 0;
}

static int run_memory_map(void *opaque, struct control_call *call, struct control_error *err)
{
	const struct vm *vm = opaque;

	call->ret = json_array();
	for (unsigned int i = 0; i < vm->ranges; i++)
		json_array_append_new(
			call->ret,
			json_pack("{s:I, s:i}", "gpa", (json_int_t)i * 0x1000, "bytes", 0x1000));
	return 0;
}

/*
 * Descriptors both ways: writes a word into the pipe it is given, returns the other one and its own
 * end of a new pipe.
 */
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

static const struct control_arg attach_args[] = { { "mode", CONTROL_STRING, true, "how" },
						  { "count", CONTROL_UINT, false, "how often" },
						  { "options", CONTROL_OBJECT, false, "what else" },
						  { 0 } };
static const struct control_arg stop_args[] = {
	{ "force", CONTROL_BOOL, false, "at once" },
	{ 0 },
};
static const struct control_command commands[] = {
	{ "query-status", "What it does.", "{state, cpus}", NULL, run_status },
	{ "pause", "Pause.", NULL, NULL, run_pause },
	{ "resume", "Run again.", NULL, NULL, run_resume },
	{ "stop", "End.", NULL, stop_args, run_stop },
	{ "query-memory-map", "A list.", "a list", NULL, run_memory_map },
	{ 0 },
};
static const struct control_command more_commands[] = {
	{ "attach", "Hand over a descriptor.", "{mode}", attach_args, run_attach },
	{ 0 },
};
static const char *const events[] = { "state", "the VM's state changed", NULL };

char control_rig_dir[] = "/tmp/test-control-XXXXXX";

int control_rig_start(void **state)
{
	struct control_error err = { 0 };
	struct vm *vm = calloc(1, sizeof(*vm));

	assert_non_null(vm);
	vm->state = "running";
	if (control_create(&vm->control, "vm1", &err))
		fail_msg("%s", err.desc);
	assert_int_equal(control_add_commands(vm->control, commands, vm), 0);
	assert_int_equal(control_add_commands(vm->control, more_commands, vm), 0);
	assert_int_equal(control_add_commands(vm->control, more_commands, vm), -EEXIST);
	control_set_events(vm->control, events);
	assert_int_equal(control_start(vm->control), 0);
	*state = vm;
	return 0;
}

int control_rig_end(void **state)
{
	struct vm *vm = *state;
	unsigned int left = 0;
	DIR *d;

	control_destroy(vm->control);
	free(vm);
	d = opendir(control_rig_dir);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d));)
		left += e->d_name[0] != '.';
	closedir(d);
	assert_int_equal(left, 0);
	return 0;
}

struct control_client *client_open(void)
{
	struct control_client *client = NULL;
	struct control_error err = { 0 };

	if (control_client_open(&client, "vm1", &err))
		fail_msg("%s", err.desc);
	return client;
}

json_t *call_ok(struct control_client *client, const char *command, json_t *args)
{
	struct control_error err = { 0 };
	json_t *ret = NULL;

	if (control_client_call(client, command, args, NULL, -1, &ret, NULL, &err))
		fail_msg("%s", err.desc);
	return ret;
}

void call_refused(struct control_client *client, const char *command, json_t *args,
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
int raw_connect(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/vm1.sock", control_rig_dir);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

void raw_say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* One line, without its newline. Returns its length, -1 at the end of the connection. */
int raw_line(int fd, char *line, size_t max)
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

int control_rig_run(const struct CMUnitTest *tests, size_t count)
{
	int failed;

	if (!mkdtemp(control_rig_dir) || setenv("SEVMIRROR_RUNTIME_DIR", control_rig_dir, 1))
		return 1;
	failed = _cmocka_run_group_tests("control", tests, count, NULL, NULL);
	rmdir(control_rig_dir);
	return failed;
}
