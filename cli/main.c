/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <sevmirror/migrate.h>

#include "cli/cli.h"
#include "cli/version.h"

static const struct cli_command *const commands[] = {
	&cli_run,	    &cli_status,   &cli_pause,	 &cli_resume, &cli_stop,  &cli_measurement,
	&cli_inject_secret, &cli_migrate,  &cli_receive, &cli_mirror, &cli_owner, &cli_platform,
	&cli_doctor,	    &cli_exporter, &cli_help,	 NULL,
};

static const struct cli_option options[] = {
	{ "version", 'v', NULL, NULL, "the version" },
	{ 0 },
};

static const struct cli_status_text statuses[] = {
	{ CLI_OK, "done" },
	{ CLI_FAILURE, "it failed; standard error has the reason" },
	{ CLI_USAGE, "wrong or missing arguments" },
	{ CLI_REFUSED, "refused: a certificate, a measurement or a policy is not acceptable" },
	{ CLI_UNSUPPORTED, "this host lacks KVM, SEV, a limit or a permission that is needed" },
	{ CLI_GUEST_REBOOT, "an SEV guest asked for a reboot, which ends it" },
	{ CLI_GUEST_CRASH, "the guest crashed" },
	{ CLI_GUEST_STOPPED, "the guest was stopped from outside" },
	{ CLI_GUEST_MIGRATED, "the guest was migrated: it runs on another host now" },
	{ CLI_UNDECIDED,
	  "a migration's outcome is unknown: the guest is paused here and may be running on the "
	  "target" },
	{ CLI_BROKEN,
	  "the connection broke in post-copy: the guest was running on the target and needs pages "
	  "that are here" },
	{ CLI_GUEST_ENDED, "the guest ended during its migration; neither host runs it" },
	{ CLI_REPORT, "the migration succeeded, but its report could not be written" },
	{ 0 },
};

static const struct cli_section sections[] = {
	{ "ENVIRONMENT",
	  "SEVMIRROR_RUNTIME_DIR: the directory of the control sockets of running VMs (default: "
	  "/run/sevmirror for root, $XDG_RUNTIME_DIR/sevmirror for other users)." },
	{ "FILES",
	  "  /run/sevmirror/NAME.sock        the control socket of the VM NAME (JSON lines)\n"
	  "  /dev/kvm, /dev/sev              devices that guests need; 'sevmirror doctor' checks "
	  "them\n"
	  "  /etc/sevmirror/receive/NAME.conf  options of the unit sevmirror-receive@NAME" },
	{ 0 },
};

const struct cli_command cli_sevmirror = {
	.name = "sevmirror",
	.summary = "run SEV-encrypted virtual machines and move them between hosts",
	.synopsis = { "COMMAND [ARGUMENTS]", "--version" },
	.about = "Runs SEV-encrypted virtual machines, each with a mirror VM, and moves them "
		 "between hosts while they run. 'sevmirror COMMAND --help' explains a command.",
	.groups = { { NULL, options } },
	.statuses = statuses,
	.sections = sections,
	.commands = commands,
};

int main(int argc, char **argv)
{
	static char name[] = "sevmirror";

	if (argc > 0)
		argv[0] = name;
	migrate_command_prepare();
	(void)sevmirror_wipe_openssl_memory(); /* nothing has used OpenSSL yet */
	/*
	 * A file that reaches the limit of its size (RLIMIT_FSIZE) is an error of one write, not
	 * the end of a VM.
	 */
	signal(SIGXFSZ, SIG_IGN);
	if (argc == 2 && !strcmp(argv[1], "--version")) {
		puts("sevmirror " SEVMIRROR_VERSION);
		return cli_finish(CLI_OK);
	}
	return cli_dispatch(&cli_sevmirror, argc, argv);
}
