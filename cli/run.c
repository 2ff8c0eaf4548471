/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `sevmirror run`: one guest in the foreground.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/console.h"
#include "cli/run_options.h"
#include "lib/sev/policy.h"
#include "lib/util/file.h"
#include "lib/util/text.h"
#include "payloads/sdk/payload.h"

#define SESSION_FILE_MAX    65536
#define PAYLOAD_LOG_POLL_MS 100

struct run {
	struct run_options options;
	struct sev_owner_start owner;
	struct console *console;
	struct machine *machine;
	int signal_fd;
	uint64_t log_shown; /* of the payload's log */
};

/* The owner's files as tools write them: raw, or as base64. */
static int read_owner_file(const char *path, const char *what, void *buf, size_t bytes,
			   struct why *why)
{
	void *file;
	size_t len, decoded;
	int err;

	err = util_read_file(path, SESSION_FILE_MAX, &file, &len);
	if (err)
		return why_set(why, err, "the %s %s cannot be read: %s", what, path,
			       strerror(-err));
	if (len == bytes)
		memcpy(buf, file, bytes);
	else if (util_base64_decode(file, len, buf, bytes, &decoded) || decoded != bytes)
		err = why_set(why, -EINVAL,
			      "%s is no %s: neither %zu bytes, nor base64 of so many (made by "
			      "`sevmirror owner session`?)",
			      path, what, bytes);
	free(file);
	return err;
}

static int read_owner(struct run *run, struct why *why)
{
	int err;

	if (!run->options.session)
		return 0;
	err = read_owner_file(run->options.session, "session", &run->owner.session,
			      sizeof(run->owner.session), why);
	if (!err)
		err = read_owner_file(run->options.dh_cert, "DH certificate", run->owner.dh_cert,
				      sizeof(run->owner.dh_cert), why);
	if (!err)
		run->options.boot.owner = &run->owner;
	return err;
}

/* --sev=auto: encrypt where the host can, and say so where it cannot. */
static int choose_sev(struct run *run, struct why *why)
{
	struct run_options *options = &run->options;
	struct why missing = { "" };
	const char *warning;
	unsigned int i;
	int err = vm_sev_available(&missing);

	options->machine.vm.sev =
		options->sev == RUN_SEV_ON || (options->sev == RUN_SEV_AUTO && !err);
	if (options->sev == RUN_SEV_ON && err)
		return why_set(why, err, "--sev on: %s", missing.text);
	if (options->sev == RUN_SEV_AUTO && err && options->session)
		return why_set(
			why, err,
			"an owner's session was given, but the guest cannot be encrypted: %s",
			missing.text);
	if (options->sev == RUN_SEV_AUTO && err)
		cli_warning("the guest is not encrypted: %s", missing.text);
	for (i = 0; options->machine.vm.sev; i++) {
		warning = sev_policy_warning(options->boot.policy, i);
		if (!warning)
			break;
		cli_warning("%s", warning);
	}
	return 0;
}

/* Blocked in every thread made from here on; read from the descriptor. */
static int take_signals(struct run *run, struct why *why)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	sigset_t set;
	size_t i;

	sigemptyset(&set);
	for (i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		sigaddset(&set, signals[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	run->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return run->signal_fd < 0 ? why_errno(why, "signalfd") : 0;
}

/* What the payload has logged since; the log is a ring that it writes at any time. */
static void show_payload_log(struct run *run)
{
	const struct payload_shared *shared = vm_payload_shared(machine_vm(run->machine));
	uint64_t written, i;

	if (!shared)
		return;
	written = __atomic_load_n(&shared->log_written, __ATOMIC_ACQUIRE);
	if (written - run->log_shown > PAYLOAD_LOG_BYTES)
		run->log_shown = written - PAYLOAD_LOG_BYTES;
	for (i = run->log_shown; i < written; i++)
		putchar(shared->log[i % PAYLOAD_LOG_BYTES]);
	run->log_shown = written;
	fflush(stdout);
}

static void attend(struct run *run)
{
	struct vm *vm = machine_vm(run->machine);
	struct pollfd fds[] = {
		{ .fd = vm_end_fd(vm), .events = POLLIN },
		{ .fd = run->signal_fd, .events = POLLIN },
		{ .fd = console_poll_fd(run->console), .events = POLLIN },
	};
	int timeout = run->options.machine.vm.payload ? PAYLOAD_LOG_POLL_MS : -1;

	while (vm_end(vm) == VM_RUNS) {
		if (poll(fds, sizeof(fds) / sizeof(*fds), timeout) < 0 && errno != EINTR)
			vm_stop(vm);
		if (fds[1].revents || (fds[2].revents && !console_input(run->console)))
			vm_stop(vm);
		show_payload_log(run);
	}
	show_payload_log(run);
}

/* Set the machine up on this host; what fails here is the host's. */
static int set_up(struct run *run, struct why *why)
{
	int err;

	if ((err = choose_sev(run, why)) || (err = take_signals(run, why)) ||
	    (err = console_open(&run->console, why)))
		return err;
	run->options.machine.console_in = console_guest_in(run->console);
	run->options.machine.console_out = console_guest_out(run->console);
	err = machine_create(&run->machine, &run->options.machine, why);
	if (!err && run->options.name)
		err = machine_control_create(run->machine, run->options.name, why);
	return err;
}

static int boot(struct run *run, struct why *why)
{
	int err = machine_boot(run->machine, &run->options.boot, why);

	if (!err && !run->options.hold)
		err = machine_go(run->machine, why);
	if (!err && run->options.name)
		err = machine_control_start(run->machine, why);
	return err;
}

/* A file that is not there, or not what it should be, is better said before the host is looked at. */
static int check_files(const struct run *run, struct why *why)
{
	const struct machine_boot *boot = &run->options.boot;
	const char *const paths[] = { boot->kernel, boot->initrd, boot->payload };
	size_t i;

	for (i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		if (paths[i] && access(paths[i], R_OK) < 0)
			return why_errno(why, "%s", paths[i]);
	}
	return 0;
}

static int exit_code(enum vm_end end)
{
	switch (end) {
	case VM_POWEROFF:
		return CLI_OK;
	case VM_REBOOT:
		return CLI_GUEST_REBOOT;
	case VM_STOPPED:
		return CLI_GUEST_STOPPED;
	default:
		return CLI_GUEST_CRASH;
	}
}

static const char *end_sentence(enum vm_end end)
{
	switch (end) {
	case VM_REBOOT:
		return "the guest asked for a reboot; start it again to have one";
	case VM_CRASH:
		return "the guest crashed";
	case VM_STOPPED:
		return "the guest was stopped from outside";
	case VM_FAILED:
		return "the guest cannot go on";
	default:
		return NULL;
	}
}

/* Let everything go, then say how it ended: by then the terminal is as it was. */
static int finish(struct run *run, int code, const struct why *why)
{
	struct vm *vm = run->machine ? machine_vm(run->machine) : NULL;
	enum vm_end end = VM_RUNS;
	char report[2048] = "";

	if (vm && code == CLI_OK) {
		end = vm_end(vm);
		code = exit_code(end);
		snprintf(report, sizeof(report), "%s", vm_end_report(vm));
	}
	machine_destroy(run->machine);
	console_close(run->console);
	if (run->signal_fd >= 0)
		close(run->signal_fd);
	explicit_bzero(&run->owner, sizeof(run->owner));
	if (*why->text)
		cli_error("%s", why->text);
	else if (end_sentence(end))
		cli_error("%s%s%s", end_sentence(end), *report ? ": " : "", report);
	return cli_finish(code);
}

int cli_run(int argc, char **argv)
{
	struct run run = { .signal_fd = -1 };
	struct why why = { "" };
	int code = CLI_OK;

	if (!run_options_parse(&run.options, argc, argv, &code))
		return code;
	if (check_files(&run, &why) || read_owner(&run, &why))
		return finish(&run, CLI_FAILURE, &why);
	if (set_up(&run, &why))
		return finish(&run, CLI_UNSUPPORTED, &why);
	if (boot(&run, &why))
		return finish(&run, CLI_FAILURE, &why);
	attend(&run);
	return finish(&run, CLI_OK, &why);
}
