/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The subcommands that talk to a running VM: what people see, what scripts see, and exit codes.
 * argv[1] is the program.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sevmirror/sev.h>

#include "tests/unit/cmocka_all.h"
#include "control/control.h"
#include "control/runtime.h"
#include "lib/util/text.h"

static char dir[] = "/tmp/test-cli-XXXXXX";
static const char *program;

/* The commands behind the socket: they answer as a VM does and remember what they were told. */
struct vm {
	struct control *control;
	const char *state;
	unsigned int secret_bytes;
	unsigned int refusals; /* of pause, as long as the VM is being set up */
};

static int run_status(void *opaque, struct control_call *call, struct control_error *err)
{
	const struct vm *vm = opaque;

	call->ret = json_pack("{s:s, s:i, s:i, s:f, s:b, s:i, s:b}", "state", vm->state, "cpus", 2,
			      "memory-bytes", 256 << 20, "uptime-seconds", 1.5, "sev", 1,
			      "sev-policy", 3, "migration-ready", 1);
	return 0;
}

static int run_pause(void *opaque, struct control_call *call, struct control_error *err)
{
	struct vm *vm = opaque;

	if (vm->refusals) {
		vm->refusals--;
		return control_fail(err, -EBUSY, CONTROL_STARTING, "The VM is being set up.");
	}
	vm->state = "paused";
	return 0;
}

static int run_resume(void *opaque, struct control_call *call, struct control_error *err)
{
	return control_fail(err, -1, CONTROL_WRONG_STATE, "the VM is not paused");
}

static int run_stop(void *opaque, struct control_call *call, struct control_error *err)
{
	struct vm *vm = opaque;

	vm->state = control_arg_bool(call, "force", false) ? "crashed" : "stopping";
	return 0;
}

static int run_measurement(void *opaque, struct control_call *call, struct control_error *err)
{
	return control_fail(err, -EOPNOTSUPP, CONTROL_UNSUPPORTED, "this VM is not an SEV guest");
}

static int run_inject(void *opaque, struct control_call *call, struct control_error *err)
{
	struct vm *vm = opaque;
	size_t len = strlen(control_arg_string(call, "secret", ""));
	uint8_t secret[SEV_SECRET_BYTES_MAX];
	size_t bytes;

	if (util_base64_decode(control_arg_string(call, "secret", ""), len, secret, sizeof(secret),
			       &bytes))
		return control_fail(err, -EINVAL, CONTROL_BAD_ARGUMENTS, "not base64");
	vm->secret_bytes = (unsigned int)bytes;
	return control_arg_uint(call, "gpa", 0x5000) != 0x5000 ?
		       control_fail(err, -1, CONTROL_FAILED,
				    "LAUNCH_UPDATE_SECRET: INVALID_ADDRESS") :
		       0;
}

static const struct control_arg stop_args[] = { { "force", CONTROL_BOOL, false, "now" }, { 0 } };
static const struct control_arg inject_args[] = {
	{ "header", CONTROL_STRING, true, "" },
	{ "secret", CONTROL_STRING, true, "" },
	{ "gpa", CONTROL_UINT, false, "" },
	{ 0 },
};
static const struct control_command commands[] = {
	{ "query-status", "", NULL, NULL, run_status },
	{ "pause", "", NULL, NULL, run_pause },
	{ "resume", "", NULL, NULL, run_resume },
	{ "stop", "", NULL, stop_args, run_stop },
	{ "query-measurement", "", NULL, NULL, run_measurement },
	{ "inject-secret", "", NULL, inject_args, run_inject },
	{ 0 },
};

static int setup(void **state)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	struct control_error err = { 0 };

	assert_non_null(vm);
	vm->state = "running";
	if (control_create(&vm->control, "web", &err))
		fail_msg("%s", err.desc);
	assert_int_equal(control_add_commands(vm->control, commands, vm), 0);
	assert_int_equal(control_start(vm->control), 0);
	*state = vm;
	return 0;
}

static int teardown(void **state)
{
	control_destroy(((struct vm *)*state)->control);
	free(*state);
	return 0;
}

/*
 * Run the program through the shell; all it prints, standard error too, into out. Returns the exit
 * status.
 */
static int run(const char *arguments, char *out, size_t max)
{
	char command[512];
	size_t n;
	FILE *f;

	snprintf(command, sizeof(command), "%s %s 2>&1", program, arguments);
	f = popen(command, "r");
	assert_non_null(f);
	n = fread(out, 1, max - 1, f);
	out[n] = '\0';
	return WEXITSTATUS(pclose(f));
}

static void assert_says(const char *out, const char *what)
{
	if (!strstr(out, what))
		fail_msg("'%s' does not say '%s'", out, what);
}

static void status_for_people_and_machines(void **state)
{
	char out[4096];
	json_t *status;

	assert_int_equal(run("status web", out, sizeof(out)), 0);
	assert_says(out, "state      running");
	assert_says(out, "256 MiB");
	assert_says(out, "policy 0x3");
	assert_int_equal(run("status", out, sizeof(out)), 0);
	assert_says(out, "web ");
	assert_int_equal(run("status web --json", out, sizeof(out)), 0);
	status = json_loads(out, 0, NULL);
	assert_int_equal(json_integer_value(json_object_get(status, "cpus")), 2);
	json_decref(status);
	assert_int_equal(run("status --json", out, sizeof(out)), 0);
	status = json_loads(out, 0, NULL);
	assert_int_equal(json_array_size(status), 1);
	assert_string_equal(json_string_value(json_object_get(json_array_get(status, 0), "name")),
			    "web");
	json_decref(status);
}

static void pause_resume_and_stop(void **state)
{
	struct vm *vm = *state;
	char out[4096];

	vm->refusals = 2;
	assert_int_equal(run("pause web", out, sizeof(out)), 0);
	assert_string_equal(out, "web: paused\n");
	assert_int_equal(vm->refusals, 0);
	assert_int_equal(run("status web", out, sizeof(out)), 0);
	assert_says(out, "paused");
	assert_int_equal(run("resume web", out, sizeof(out)), 1);
	assert_says(out, "sevmirror: web: the VM is not paused");
	assert_int_equal(run("stop web", out, sizeof(out)), 0);
	assert_string_equal(vm->state, "stopping");
	assert_int_equal(run("stop --force --json web", out, sizeof(out)), 0);
	assert_string_equal(out, "{}\n");
	assert_string_equal(vm->state, "crashed");
}

static void a_secret_is_passed_on(void **state)
{
	struct vm *vm = *state;
	char out[4096], command[256];

	snprintf(command, sizeof(command),
		 "head -c 52 /dev/zero >%s/h; head -c 16000 /dev/zero >%s/p", dir, dir);
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof(command), "inject-secret web --header %s/h --payload %s/p", dir,
		 dir);
	assert_int_equal(run(command, out, sizeof(out)), 0);
	assert_int_equal(vm->secret_bytes, 16000);
	strcat(command, " --gpa 0x5001");
	assert_int_equal(run(command, out, sizeof(out)), 1);
	assert_says(out, "INVALID_ADDRESS");
	snprintf(command, sizeof(command), "inject-secret web --header %s/p --payload %s/p", dir,
		 dir);
	assert_int_equal(run(command, out, sizeof(out)), 1);
	assert_says(out, "too long");
	snprintf(command, sizeof(command), "rm %s/h %s/p", dir, dir);
	assert_int_equal(system(command), 0);
}

static void what_is_wrong_is_said(void **state)
{
	char out[4096];

	assert_int_equal(run("status nobody", out, sizeof(out)), 1);
	assert_says(out, "no VM named 'nobody'");
	assert_int_equal(run("status ../web", out, sizeof(out)), 2);
	assert_int_equal(run("pause", out, sizeof(out)), 2);
	assert_says(out, "name is needed");
	assert_int_equal(run("pause web db", out, sizeof(out)), 2);
	assert_int_equal(run("stop web --hard", out, sizeof(out)), 2);
	assert_int_equal(run("measurement web", out, sizeof(out)), 4);
	assert_says(out, "not an SEV guest");
	assert_int_equal(run("inject-secret web --header x", out, sizeof(out)), 2);
	assert_int_equal(
		run("inject-secret web --header /nonexistent --payload x", out, sizeof(out)), 1);
	assert_int_equal(
		run("inject-secret web --header x --payload x --gpa top", out, sizeof(out)), 2);
}

static int run_die(void *opaque, struct control_call *call, struct control_error *err)
{
	_exit(0);
}

/* A VM whose process ends when it is told to migrate, or asked about it. */
static pid_t dying_vm(void)
{
	static const struct control_arg args[] = { { "address", CONTROL_STRING, false, "" },
						   { "insecure", CONTROL_BOOL, false, "" },
						   { 0 } };
	static const struct control_command deadly[] = { { "migrate", "", NULL, args, run_die },
							 { "query-migrate", "", NULL, NULL,
							   run_die },
							 { 0 } };
	struct control *control;
	struct control_error err = { 0 };
	int ready[2];
	pid_t child;
	char byte = 0;

	assert_int_equal(pipe(ready), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (control_create(&control, "dying", &err) ||
		    control_add_commands(control, deadly, NULL) || control_start(control) ||
		    write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return child;
}

/* 1 would say that the guest is here. */
static void a_migration_whose_vm_ends_has_an_unknown_outcome(void **state)
{
	static const char *const asked[] = { "migrate dying --to 127.0.0.1:1 --insecure",
					     "migrate dying --attach" };
	char out[4096], path[128];

	for (size_t i = 0; i < sizeof(asked) / sizeof(*asked); i++) {
		pid_t child = dying_vm();

		assert_int_equal(run(asked[i], out, sizeof(out)), 9);
		assert_says(out, "Outcome unknown");
		assert_says(out, "Check the target");
		assert_int_equal(waitpid(child, NULL, 0), child);
	}
	snprintf(path, sizeof(path), "%s/dying.sock", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/dying.lock", dir);
	unlink(path);
}

/* Tells the client something, in lines; then, if it is not the last thing, hears what it asks. */
static void converse(int fd, const char *lines, bool last)
{
	char heard[1024];

	if (write(fd, lines, strlen(lines)) != (ssize_t)strlen(lines))
		_exit(1);
	if (!last && read(fd, heard, sizeof(heard)) <= 0)
		_exit(1);
}

/* A VM whose migration ends just when it is asked for it: the event goes, and the process ends. */
static pid_t leaving_vm(struct runtime_claim *claim)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	pid_t child;

	assert_int_equal(runtime_claim(claim, "leaving"), 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/leaving.sock", dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		int client = accept(fd, NULL, NULL);
		char greeting[64];

		snprintf(greeting, sizeof(greeting), "{\"sevmirror\":{\"protocol\":%d}}\n",
			 CONTROL_PROTOCOL);
		converse(client, greeting, false);
		converse(client, "{\"id\":1,\"return\":{}}\n", false);
		converse(client,
			 "{\"event\":\"migration-end\",\"data\":{\"outcome\":\"failed\","
			 "\"error\":\"the disk is full\",\"detail\":\"The guest still runs "
			 "here.\"}}\n",
			 true);
		_exit(0);
	}
	close(fd);
	return child;
}

/* What it said last counts, not that it has gone. */
static void a_result_that_comes_with_the_end_of_the_vm_is_heard(void **state)
{
	struct runtime_claim claim;
	pid_t child = leaving_vm(&claim);
	char out[4096];

	assert_int_equal(run("migrate leaving --to 127.0.0.1:1 --insecure", out, sizeof(out)), 1);
	assert_says(out, "the disk is full. The guest still runs here");
	assert_int_equal(waitpid(child, NULL, 0), child);
	runtime_release(&claim);
}

static int run_migrate(void *opaque, struct control_call *call, struct control_error *err)
{
	return 0;
}

static int run_query_migrate(void *opaque, struct control_call *call, struct control_error *err)
{
	call->ret = json_pack("{s:s, s:{s:s, s:s, s:s}}", "status", "failed", "result", "outcome",
			      "failed", "error", "out of memory", "detail",
			      "The guest still runs here.");
	return 0;
}

/* A VM without memory cannot send the event of the end. Whoever waits for it asks. */
static void the_end_of_a_migration_is_asked_for(void **state)
{
	static const struct control_arg args[] = { { "address", CONTROL_STRING, false, "" },
						   { "insecure", CONTROL_BOOL, false, "" },
						   { 0 } };
	static const struct control_command silent[] = {
		{ "migrate", "", NULL, args, run_migrate },
		{ "query-migrate", "", NULL, NULL, run_query_migrate },
		{ 0 },
	};
	struct vm *vm = *state;
	char out[4096];

	assert_int_equal(control_add_commands(vm->control, silent, vm), 0);
	assert_int_equal(run("migrate web --to 127.0.0.1:1 --insecure", out, sizeof(out)), 1);
	assert_says(out, "out of memory. The guest still runs here");
}

static void each_command_has_help(void **state)
{
	static const char *const commands[] = { "status", "pause",	 "resume",
						"stop",	  "measurement", "inject-secret" };
	char out[4096], command[64];

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		snprintf(command, sizeof(command), "%s --help", commands[i]);
		assert_int_equal(run(command, out, sizeof(out)), 0);
		assert_says(out, "usage: sevmirror ");
		assert_says(out, commands[i]);
	}
}

/*
 * What is wrong with the files is not this host's fault, and is said before the host is looked at.
 */
static void files_that_will_not_do_are_refused(void **state)
{
	/* the shell that runs it expands the variable */
	static const struct {
		const char *arguments, *says;
	} cases[] = {
		{ "run --kernel $SEVMIRROR_RUNTIME_DIR/none", "/none: No such file" },
		{ "run --kernel /bin/sh --initrd $SEVMIRROR_RUNTIME_DIR/none",
		  "/none: No such file" },
		{ "run --kernel /bin/sh --disk $SEVMIRROR_RUNTIME_DIR/none",
		  "/none: No such file" },
		{ "run --kernel /bin/sh --disk $SEVMIRROR_RUNTIME_DIR,ro",
		  "neither a file nor a block device" },
		{ "run --kernel /bin/sh --disk /dev/null", "neither a file nor a block device" },
		{ "receive --sev off --listen 127.0.0.1:0 --psk-file $SEVMIRROR_RUNTIME_DIR/none",
		  "--psk-file " },
		{ "receive --sev off --listen 127.0.0.1:0 --tls-cert /dev/null --tls-key /dev/null "
		  "--tls-ca $SEVMIRROR_RUNTIME_DIR/none",
		  "--tls-ca " },
	};
	char out[4096];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(run(cases[i].arguments, out, sizeof(out)), 1);
		assert_says(out, cases[i].says);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(status_for_people_and_machines, setup, teardown),
		cmocka_unit_test_setup_teardown(pause_resume_and_stop, setup, teardown),
		cmocka_unit_test_setup_teardown(a_secret_is_passed_on, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_wrong_is_said, setup, teardown),
		cmocka_unit_test_setup_teardown(the_end_of_a_migration_is_asked_for, setup,
						teardown),
		cmocka_unit_test(a_migration_whose_vm_ends_has_an_unknown_outcome),
		cmocka_unit_test(a_result_that_comes_with_the_end_of_the_vm_is_heard),
		cmocka_unit_test(each_command_has_help),
		cmocka_unit_test(files_that_will_not_do_are_refused),
	};
	int failed;

	if (argc != 2 || !mkdtemp(dir) || setenv("SEVMIRROR_RUNTIME_DIR", dir, 1))
		return 1;
	program = argv[1];
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	return failed;
}
