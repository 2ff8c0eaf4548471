/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/version.h"

static const struct cli_command commands[] = {
	{ "run", "run a guest: a Linux kernel or a payload, encrypted where the host can",
	  cli_run },
	{ "status", "what a running VM is doing, or all of them", cli_status },
	{ "pause", "stop a VM's CPUs", cli_pause },
	{ "resume", "let a paused VM go on", cli_resume },
	{ "stop", "end a VM", cli_stop },
	{ "measurement", "what was measured of a VM's launch, for its owner", cli_measurement },
	{ "inject-secret", "give a VM its owner's secret", cli_inject_secret },
	{ "migrate", "move a running VM to another host", cli_migrate },
	{ "receive", "wait for a VM that comes from another host, and run it", cli_receive },
	{ "owner", "what the guest's owner does, on any machine: verify, measure, send secrets",
	  cli_owner },
	{ "platform", "this host's secure processor: its state and certificates", cli_platform },
	{ "doctor", "what this host can do, and what to do about what it cannot", cli_doctor },
	{ NULL, NULL, NULL },
};

static const char help[] =
	"usage: sevmirror COMMAND [ARGUMENTS]\n"
	"       sevmirror --version\n"
	"\n"
	"Runs SEV-encrypted virtual machines with a mirror VM beside them, and moves them\n"
	"between hosts while they run. 'sevmirror COMMAND --help' explains a command.\n"
	"\n"
	"Exit status:\n"
	"  0  done\n"
	"  1  it did not work; standard error says why\n"
	"  2  wrong or missing arguments\n"
	"  3  refused: certificates, a measurement or a policy do not hold\n"
	"  4  this host lacks what is needed (KVM, SEV, a limit, a permission)\n"
	"  5  an SEV guest asked for a reboot, which ends it\n"
	"  6  the guest stopped by a fault of its own\n"
	"  7  the guest was stopped from outside\n"
	"  8  the guest was migrated: it runs at another host now\n"
	"  9  a migration broke off in its hand-over: look where the guest is\n";

int main(int argc, char **argv)
{
	static char name[] = "sevmirror";

	if (argc > 0)
		argv[0] = name;
	if (argc == 2 && !strcmp(argv[1], "--version")) {
		puts("sevmirror " SEVMIRROR_VERSION);
		return cli_finish(CLI_OK);
	}
	return cli_dispatch(commands, help, argc, argv);
}
