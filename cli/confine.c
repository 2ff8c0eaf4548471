/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/confine.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "control/runtime.h"

#define NO_SANDBOX                                                                              \
	{                                                                                       \
		"no-sandbox", CONFINE_OPT_OFF, NULL, NULL,                                      \
			"keep all privileges and filter no system calls: to find out what the " \
			"sandbox is in the way of"                                              \
	}

const struct cli_option confine_options[] = {
	{ "user", CONFINE_OPT_USER, "USER", NULL,
	  "switch to this user (a name or a number) after opening what needs root; disks and boot "
	  "files are opened as that user; root: stay root" },
	{ "allow-unix", CONFINE_OPT_UNIX, NULL, NULL,
	  "let the VM connect to Unix sockets: for 'migrate --to unix:PATH' only; as root "
	  "this needs --user" },
	NO_SANDBOX,
	{ 0 },
};

const struct cli_option confine_mirror_options[] = {
	{ "user", CONFINE_OPT_USER, "USER", NULL,
	  "switch to this user (a name or a number) after /dev/kvm and the connection to the VM "
	  "are open" },
	NO_SANDBOX,
	{ 0 },
};

int confine_take(struct confine *confine, int id, const char *arg)
{
	switch (id) {
	case CONFINE_OPT_USER:
		confine->user = arg;
		return 0;
	case CONFINE_OPT_OFF:
		confine->off = true;
		return 0;
	case CONFINE_OPT_UNIX:
		confine->unix_sockets = true;
		return 0;
	default:
		return -EINVAL;
	}
}

int confine_check(const struct confine *confine, struct why *why)
{
	if (confine->off && confine->user)
		return why_set(why, -EINVAL, "--no-sandbox and --user exclude each other");
	/* A daemon believes SO_PEERCRED: a guest's process is root only if the user says so. */
	if (confine->unix_sockets && !confine->off && !confine->user && geteuid() == 0)
		return why_set(
			why, -EINVAL,
			"--allow-unix as root: this host's daemons would take the VM for root: "
			"name a user with --user (--user root if that is meant)");
	return 0;
}

static int enter(const struct confine *confine, const struct sandbox_config *config,
		 struct why *why)
{
	struct sandbox_config stays = *config;

	/* Root that stays root, explicitly. */
	if (config->user && !strcmp(config->user, "root") && geteuid() == 0)
		stays.user = NULL;
	if (!confine->off)
		return sandbox_enter(&stays, why);
	cli_warning("--no-sandbox: code that breaks out of the guest has all of your permissions");
	return 0;
}

int confine_enter_closed(const struct confine *confine, struct why *why)
{
	const struct sandbox_config config = { .user = confine->user };

	return enter(confine, &config, why);
}

int confine_enter(const struct confine *confine, const char *const *writable, const char *listen,
		  struct why *why)
{
	/*
	 * Where they were not opened before: a mirror's KVM, a tap that the other host names,
	 * post-copy's faults.
	 */
	static const char *const devices[] = { "/dev/kvm", "/dev/sev", "/dev/net/tun",
					       "/dev/userfaultfd" };
	struct sandbox_config config = { .user = confine->user,
					 .unix_sockets = confine->unix_sockets };
	char runtime[PATH_MAX], socket[PATH_MAX];
	unsigned int i, n = 0;

	for (i = 0; i < sizeof(devices) / sizeof(*devices); i++)
		config.writable[n++] = devices[i];
	for (i = 0; writable[i] && n < SANDBOX_PATHS_MAX; i++)
		config.writable[n++] = writable[i];
	if (!runtime_dir(runtime, false))
		config.runtime_dir = runtime;
	if (listen && !strncmp(listen, "unix:", 5)) {
		snprintf(socket, sizeof(socket), "%s", listen + 5);
		config.socket_dir = dirname(socket);
	}
	return enter(confine, &config, why);
}
