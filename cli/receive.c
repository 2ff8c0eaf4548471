/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `sevmirror receive`: wait for a VM, then be its VMM.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cli/run_options.h"
#include "cli/confine.h"
#include "cli/console_options.h"
#include "cli/guest_end.h"
#include "cli/migrate_security.h"
#include "cli/option_number.h"
#include "lib/net/address.h"
#include "lib/util/file.h"

#define VENDOR_CHAIN_MAX 8192

enum {
	OPT_LISTEN = MIGRATE_OPT_FIRST,
	OPT_NAME,
	OPT_SEV,
	OPT_VENDOR,
	OPT_DISK,
	OPT_DISK_DIR,
	OPT_TAP,
	OPT_HUGEPAGES,
	OPT_MEMORY_MAX,
	OPT_TIMEOUT,
};

static const struct cli_option options[] = {
	{ "listen", OPT_LISTEN, "ADDRESS", NULL,
	  "HOST:PORT (port 0: any), [IPv6]:PORT or unix:PATH" },
	{ "name", OPT_NAME, "NAME", NULL, "the VM's name for other commands on this host" },
	{ "sev", OPT_SEV, "MODE", "on off",
	  "on: accept only an encrypted guest (default); off: accept only one that runs in the "
	  "clear" },
	{ "vendor-chain", OPT_VENDOR, "FILE", "@file",
	  "ASK and ARK of this host's chip in AMD's format (ask_ark_*.cert): needed for encrypted "
	  "guests" },
	{ "disk", OPT_DISK, "FILE", "@file",
	  "this host's path of the VM's disk, on storage that both hosts share; repeat it for each "
	  "disk" },
	{ "disk-dir", OPT_DISK_DIR, "DIR", "@file",
	  "instead of --disk: the source may name any file in this directory; no symbolic links, "
	  "no block devices" },
	{ "tap", OPT_TAP, "NAME", "@interface",
	  "this host's interface for the VM's network card; repeat it for each card (default: the "
	  "names on the source)" },
	{ "hugepages", OPT_HUGEPAGES, NULL, NULL,
	  "take the memory from the reserved 2 MiB pages (hugetlb)" },
	{ "memory-max", OPT_MEMORY_MAX, "SIZE", NULL,
	  "refuse a VM with more memory (default: what this host has available)" },
	{ "timeout", OPT_TIMEOUT, "SECONDS", NULL,
	  "give up when the connection makes no progress for this long (default: 10)" },
	{ 0 },
};

static const struct cli_status_text statuses[] = {
	{ CLI_FAILURE, "no VM arrived (standard error has the reason)" },
	{ CLI_USAGE, "wrong or missing arguments" },
	{ CLI_UNSUPPORTED, "this host cannot run VMs, or cannot run SEV guests" },
	{ CLI_GUEST_STOPPED,
	  "it was stopped from outside, also while it waited; after a VM has arrived, the other "
	  "values are those of 'sevmirror run'" },
	{ 0 },
};

struct receive {
	struct service_incoming incoming;
	struct foreground guest;
	const char *name;
	const char *vendor_path;
	void *vendor_chain;
	struct confine confine;
};

static int add_name(const char **list, unsigned int *n, unsigned int max, const char *name,
		    const char *what, struct why *why)
{
	if (*n == max)
		return why_set(why, -EINVAL, "a VM has at most %u %s", max, what);
	list[(*n)++] = name;
	return 0;
}

static int take_option(struct receive *r, int id, const char *arg, struct why *why)
{
	struct service_incoming *in = &r->incoming;

	switch (id) {
	case OPT_LISTEN:
		in->address = arg;
		return 0;
	case OPT_NAME:
		r->name = arg;
		return 0;
	case OPT_SEV:
		in->sev_off = !strcasecmp(arg, "off");
		return in->sev_off || !strcasecmp(arg, "on") ?
			       0 :
			       why_set(why, -EINVAL,
				       "--sev: invalid value '%s' (expected on or "
				       "off)",
				       arg);
	case OPT_VENDOR:
		r->vendor_path = arg;
		return 0;
	case OPT_DISK:
		return add_name(in->disks, &in->ndisks, MACHINE_MAX_DISKS, arg, "disks", why);
	case OPT_DISK_DIR:
		in->disk_dir = arg;
		return 0;
	case OPT_TAP:
		return add_name(in->taps, &in->ntaps, MACHINE_MAX_NETS, arg, "network cards", why);
	case OPT_HUGEPAGES:
		in->hugepages = true;
		return 0;
	case OPT_MEMORY_MAX:
		return cli_size("--memory-max", arg, RUN_MEMORY_UNIT, RUN_MEMORY_MAX,
				&in->memory_max, why);
	case OPT_TIMEOUT:
		return cli_seconds("--timeout", arg, &in->timeout, why);
	case CONSOLE_OPT_DEVICE:
	case CONSOLE_OPT_SERIAL_LOG:
		return console_take(&r->guest.choice, id, arg, why);
	case CONFINE_OPT_USER:
	case CONFINE_OPT_OFF:
	case CONFINE_OPT_UNIX:
		return confine_take(&r->confine, id, arg);
	default:
		return migrate_security_take(&in->security, id, arg);
	}
}

static int check_options(const struct receive *r, struct why *why)
{
	int err;

	if (!r->incoming.address)
		return why_set(why, -EINVAL, "--listen is needed");
	if (!r->vendor_path && !r->incoming.sev_off)
		return why_set(
			why, -EINVAL,
			"--vendor-chain is needed for an encrypted guest; --sev off waits for one "
			"that runs in the clear");
	err = address_check(r->incoming.address, true, why);
	if (err)
		return err;
	if (r->incoming.ndisks && r->incoming.disk_dir)
		return why_set(why, -EINVAL, "give only one of --disk and --disk-dir");
	err = migrate_security_check(&r->incoming.security, why);
	if (err)
		return err;
	err = console_check(&r->guest.choice, why);
	return err ? err : confine_check(&r->confine, why);
}

/* True: continue. */
static bool parse(struct receive *r, int argc, char **argv, int *code)
{
	struct why why = { "" };
	int id, err = 0;

	while (!err && (id = cli_getopt(&cli_receive, argc, argv)) != -1) {
		if (id == CLI_OPT_BAD || id == CLI_OPT_HELP) {
			*code = id == CLI_OPT_HELP ? CLI_OK : CLI_USAGE;
			return false;
		}
		err = take_option(r, id, optarg, &why);
	}
	if (!err && optind < argc)
		err = why_set(&why, -EINVAL, "unexpected argument '%s'", argv[optind]);
	if (!err)
		err = check_options(r, &why);
	if (err)
		*code = cli_usage(argv[0], "%s", why.text);
	return !err;
}

/* Their contents are read in the sandbox, as the VM's user; that they are there, first of all. */
static int check_files(const struct receive *r, struct why *why)
{
	const struct sevmirror_security *s = &r->incoming.security;
	const struct {
		const char *option, *path;
	} files[] = { { "--tls-cert", s->certificate },
		      { "--tls-key", s->key },
		      { "--tls-ca", s->ca },
		      { "--psk-file", s->psk_file } };

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (files[i].path && access(files[i].path, F_OK) < 0)
			return why_errno(why, "%s %s", files[i].option, files[i].path);
	return 0;
}

static int read_vendor_chain(struct receive *r, struct why *why)
{
	size_t len;
	int err;

	if (!r->vendor_path)
		return 0;
	err = util_read_file(r->vendor_path, VENDOR_CHAIN_MAX, &r->vendor_chain, &len);
	if (err)
		return why_set(why, err, "--vendor-chain %s: %s", r->vendor_path, strerror(-err));
	r->incoming.vendor_chain = r->vendor_chain;
	r->incoming.vendor_chain_bytes = len;
	return 0;
}

/* Better said now than when a guest comes. */
static int check_sev(struct why *why)
{
	struct why missing = { "" };
	int err = vm_sev_available(&missing);

	return err ? why_set(why, err,
			     "this host cannot run SEV guests: %s ('sevmirror doctor' says more; "
			     "--sev off waits for a guest that runs in the clear)",
			     missing.text) :
		     0;
}

/* Before anything is read from the wire. */
static int confine(struct receive *r, struct why *why)
{
	struct service_incoming *in = &r->incoming;
	const char *disks[MACHINE_MAX_DISKS + 1] = { NULL };
	unsigned int i;
	int err = host_devices_open(&r->guest.devices, in->taps, in->ntaps, why);

	in->devices = &r->guest.devices;
	for (i = 0; i < in->ndisks; i++)
		disks[i] = in->disks[i];
	if (in->disk_dir)
		disks[0] = in->disk_dir;
	if (!err)
		err = service_listen(r->guest.service, in, why);
	return err ? err : confine_enter(&r->confine, disks, in->address, why);
}

static int wait_for_guest(struct receive *r, struct why *why)
{
	int err;

	console_connect(r->guest.console, &r->incoming.serial, &r->incoming.hvc);
	err = service_receive(r->guest.service, why);
	if (!err)
		fprintf(stderr, "sevmirror: waiting for the source on %s\r\n",
			service_address(r->guest.service));
	return err;
}

static int run(int argc, char **argv)
{
	struct receive r = { .guest = FOREGROUND_CLOSED };
	struct why why = { "" };
	int code = CLI_OK;

	if (!parse(&r, argc, argv, &code))
		return code;
	if (sandbox_begin(argc, argv, &why) || check_files(&r, &why) || read_vendor_chain(&r, &why))
		code = CLI_FAILURE;
	else if (!r.incoming.sev_off && check_sev(&why))
		code = CLI_UNSUPPORTED;
	else if (foreground_open(&r.guest, r.name, &why) || confine(&r, &why) ||
		 wait_for_guest(&r, &why))
		code = CLI_FAILURE;
	else
		foreground_attend(&r.guest);
	code = cli_guest_end(&r.guest, code, &why);
	free(r.vendor_chain);
	return code;
}

const struct cli_command cli_receive = {
	.name = "receive",
	.summary = "wait for a VM from another host, and run it",
	.synopsis = { "--listen ADDRESS --vendor-chain FILE [--name NAME] SECURITY [options]" },
	.about = "Waits for one VM that another host sends with 'sevmirror migrate', then runs it "
		 "in the foreground as 'sevmirror run' would. If it does not arrive completely, "
		 "nothing of it stays here.",
	.groups = { { NULL, options },
		    { MIGRATE_SECURITY_TITLE, migrate_security_options },
		    { CONSOLE_TITLE, console_options },
		    { CONFINE_TITLE, confine_options } },
	.statuses = statuses,
	.run = run,
};
