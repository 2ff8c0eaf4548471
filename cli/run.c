/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `sevmirror run`: one guest in the foreground.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/guest_end.h"
#include "cli/run_options.h"
#include "lib/sev/policy.h"
#include "lib/util/file.h"
#include "lib/util/text.h"

#define SESSION_FILE_MAX   65536
#define SEV_OWNER_CERT_MAX 4096 /* decoded: more than a DH certificate */

struct run {
	struct run_options options;
	struct sev_owner_start owner;
	struct foreground guest;
	struct machine *machine; /* until the guest has it */
};

/* How many bytes an owner's file has, decoded if it is base64; 0: unknown. */
static size_t owner_file_bytes(const char *path)
{
	uint8_t decoded[SEV_OWNER_CERT_MAX];
	size_t len = 0, bytes;
	void *file;

	if (util_read_file(path, SESSION_FILE_MAX, &file, &len))
		return 0;
	bytes = util_base64_decode(file, len, decoded, sizeof(decoded), &bytes) ? len : bytes;
	free(file);
	explicit_bzero(decoded, sizeof(decoded));
	return bytes;
}

static bool are_swapped(const char *session, const char *dh_cert)
{
	const struct sev_owner_start *owner = NULL;

	return owner_file_bytes(session) == sizeof(owner->dh_cert) &&
	       owner_file_bytes(dh_cert) == sizeof(owner->session);
}

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
			      "%s is not a %s: expected %zu bytes, raw or in base64, from "
			      "`sevmirror owner session`",
			      path, what, bytes);
	free(file);
	return err;
}

static int read_owner(struct run *run, struct why *why)
{
	int err;

	if (!run->options.session)
		return 0;
	if (are_swapped(run->options.session, run->options.dh_cert))
		return why_set(
			why, -EINVAL,
			"--session %s and --dh-cert %s are swapped: each file has the size of the "
			"other",
			run->options.session, run->options.dh_cert);
	err = read_owner_file(run->options.session, "session", &run->owner.session,
			      sizeof(run->owner.session), why);
	if (!err)
		err = read_owner_file(run->options.dh_cert, "DH certificate", run->owner.dh_cert,
				      sizeof(run->owner.dh_cert), why);
	if (!err)
		run->options.boot.owner = &run->owner;
	return err;
}

/* Encrypted, unless the command line says otherwise. */
static int choose_sev(struct run *run, struct why *why)
{
	struct run_options *options = &run->options;
	struct why missing = { "" };
	const char *warning;
	unsigned int i;
	int err;

	options->machine.vm.sev = !options->sev_off;
	if (options->sev_off)
		return 0;
	err = vm_sev_available(&missing);
	if (err)
		return why_set(why, err,
			       "this host cannot run SEV guests: %s ('sevmirror doctor' says more; "
			       "--sev off runs the guest in the clear)",
			       missing.text);
	for (i = 0; (warning = sev_policy_warning(options->boot.policy, i)); i++)
		cli_warning("%s", warning);
	return 0;
}

/* What takes privileges. */
static int open_devices(struct run *run, struct why *why)
{
	struct machine_config *machine = &run->options.machine;
	const char *taps[MACHINE_MAX_NETS];
	unsigned int i;

	for (i = 0; i < machine->nnets; i++)
		taps[i] = machine->nets[i].tap;
	machine->vm.devices = &run->guest.devices;
	return host_devices_open(&run->guest.devices, taps, machine->nnets, why);
}

static int confine(struct run *run, struct why *why)
{
	const struct machine_config *machine = &run->options.machine;
	const char *disks[MACHINE_MAX_DISKS + 1] = { NULL };
	unsigned int i, n = 0;

	for (i = 0; i < machine->ndisks; i++) {
		if (!machine->disks[i].read_only)
			disks[n++] = machine->disks[i].path;
	}
	return confine_enter(&run->options.confine, disks, NULL, why);
}

/* Set the machine up on this host; what fails here is the host's. */
static int set_up(struct run *run, struct why *why)
{
	int err = service_serve(run->guest.service, why);

	if (err)
		return err;
	console_connect(run->guest.console, &run->options.machine.serial,
			&run->options.machine.hvc);
	run->options.machine.vm.watch =
		(struct util_map_watch){ .wanted = foreground_populates, .opaque = &run->guest };
	return machine_create(&run->machine, &run->options.machine, why);
}

static int boot(struct run *run, struct why *why)
{
	struct machine *machine = run->machine;
	int err = machine_boot(machine, &run->options.boot, why);

	if (err)
		return err;
	run->machine = NULL;
	err = service_launched(run->guest.service, machine, run->options.hold, why);
	if (!err && run->options.hold)
		fprintf(stderr,
			"sevmirror: %s is held before its first instruction: `sevmirror resume %s` "
			"starts it\r\n",
			run->options.name, run->options.name);
	return err;
}

/*
 * A file that is not there, or not what it should be, is better said before the host is looked at.
 */
static int check_files(const struct run *run, struct why *why)
{
	const struct machine_boot *boot = &run->options.boot;
	const struct {
		const char *option, *path;
	} files[] = {
		{ "--kernel", boot->kernel },	       { "--initrd", boot->initrd },
		{ "--payload", boot->payload },	       { "--mirror-payload", boot->mirror_payload },
		{ "--session", run->options.session }, { "--dh-cert", run->options.dh_cert }
	};
	struct why problem = { "" };
	size_t i;
	int err;

	for (i = 0; i < sizeof(files) / sizeof(*files); i++) {
		if (files[i].path && access(files[i].path, R_OK) < 0)
			return why_errno(why, "%s %s", files[i].option, files[i].path);
	}
	err = machine_check_disks(&run->options.machine, &problem);
	return err ? why_set(why, err, "--disk %s", problem.text) : 0;
}

static int run_guest(int argc, char **argv)
{
	struct run run = { .guest = FOREGROUND_CLOSED };
	struct why why = { "" };
	int code = CLI_OK;

	if (!run_options_parse(&run.options, argc, argv, &code))
		return code;
	run.guest.choice = run.options.console;
	if (sandbox_begin(argc, argv, &why) || check_files(&run, &why) || read_owner(&run, &why))
		code = CLI_FAILURE;
	else if (choose_sev(&run, &why))
		code = CLI_UNSUPPORTED;
	else if (foreground_open(&run.guest, run.options.name, &why))
		code = CLI_FAILURE;
	else if (open_devices(&run, &why))
		code = CLI_UNSUPPORTED;
	else if (confine(&run, &why))
		code = CLI_FAILURE;
	else if (set_up(&run, &why))
		code = CLI_UNSUPPORTED;
	else if (boot(&run, &why))
		code = CLI_FAILURE;
	else
		foreground_attend(&run.guest);
	if (code && why.err == -ECANCELED)
		code = CLI_GUEST_STOPPED;
	machine_destroy(run.machine);
	explicit_bzero(&run.owner, sizeof(run.owner));
	return cli_guest_end(&run.guest, code, &why);
}

static const struct cli_status_text statuses[] = {
	{ CLI_OK, "the guest powered off" },
	{ CLI_FAILURE,
	  "the guest could not be started because of a file, a disk or the name; standard error "
	  "has the reason" },
	{ CLI_USAGE, "wrong or missing arguments" },
	{ CLI_UNSUPPORTED,
	  "this host cannot run the guest: it lacks KVM, SEV, memory, an interface, a limit or a "
	  "permission" },
	{ CLI_GUEST_REBOOT,
	  "the guest asked for a reboot (which ends it: an SEV guest cannot be reset in place)" },
	{ CLI_GUEST_CRASH, "it crashed" },
	{ CLI_GUEST_STOPPED, "it was stopped from outside" },
	{ CLI_GUEST_MIGRATED, "it was migrated and runs on another host now" },
	{ 0 },
};

static const struct cli_section sections[] = {
	{ "EXAMPLES",
	  "An encrypted Linux guest, reachable as 'web':\n\n"
	  "  sevmirror run --name web --kernel /boot/vmlinuz-6.12 --initrd guest.cpio.gz \\\n"
	  "      --memory 1G --cpus 2 --disk web.img --net tap=tap0\n\n"
	  "The same, held until its owner has checked it:\n\n"
	  "  sevmirror run --name web --session vm_session.b64 --dh-cert vm_godh.b64 --hold ..." },
	{ 0 },
};

const struct cli_command cli_run = {
	.name = "run",
	.summary = "run an encrypted guest: a Linux kernel or a payload",
	.synopsis = { "--kernel FILE [--initrd FILE] [--cmdline TEXT] [options]",
		      "--payload FILE [--arg NUMBER]... [options]" },
	.about = "Runs a guest in the foreground, its console on stdin and stdout, until it powers "
		 "off.",
	.groups = { { NULL, run_option_list },
		    { CONSOLE_TITLE, console_options },
		    { CONFINE_TITLE, confine_options } },
	.statuses = statuses,
	.sections = sections,
	.run = run_guest,
};
