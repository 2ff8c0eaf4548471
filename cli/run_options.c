/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/run_options.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "cli/guest_end.h"
#include "cli/option_number.h"
#include "lib/sev/policy.h"
#include "control/runtime.h"
#include "vmm/devices/virtio_net.h"

enum option_id {
	OPT_NAME = 256,
	OPT_KERNEL,
	OPT_INITRD,
	OPT_CMDLINE,
	OPT_PAYLOAD,
	OPT_ARG,
	OPT_MIRROR_PAYLOAD,
	OPT_MEMORY,
	OPT_CPUS,
	OPT_HUGEPAGES,
	OPT_DISK,
	OPT_NET,
	OPT_SEV,
	OPT_POLICY,
	OPT_WEAK_POLICY,
	OPT_SESSION,
	OPT_DH_CERT,
	OPT_HOLD,
};

const struct cli_option run_option_list[] = {
	{ "name", OPT_NAME, "NAME", NULL, "the guest's name for other commands" },
	{ "kernel", OPT_KERNEL, "FILE", "@file", "Linux bzImage (/boot/vmlinuz-...)" },
	{ "initrd", OPT_INITRD, "FILE", "@file", "initial RAM disk" },
	{ "cmdline", OPT_CMDLINE, "TEXT", NULL,
	  "kernel command line (default: " RUN_CMDLINE_DEFAULT ")" },
	{ "payload", OPT_PAYLOAD, "FILE", "@file",
	  "run this ring-3 ELF program instead of a kernel" },
	{ "arg", OPT_ARG, "NUMBER", NULL, "an argument of the payload; may be repeated" },
	{ "mirror-payload", OPT_MIRROR_PAYLOAD, "FILE", "@file",
	  "a workload that 'sevmirror mirror attach NAME' runs in a mirror of the guest; it is "
	  "part of the launch image and measured" },
	{ "memory", OPT_MEMORY, "SIZE", NULL, "guest memory, a multiple of 2M (default: 256M)" },
	{ "cpus", OPT_CPUS, "N", NULL, "virtual CPUs (default: 1)" },
	{ "hugepages", OPT_HUGEPAGES, NULL, NULL,
	  "take the memory from the reserved 2 MiB pages (hugetlb)" },
	{ "disk", OPT_DISK, "FILE[,ro]", "@file",
	  "a disk: a raw image or a block device; up to 4" },
	{ "net", OPT_NET, "tap=NAME[,mac=MAC]", NULL,
	  "a network card on this tap interface; up to 3" },
	{ "sev", OPT_SEV, "MODE", "on off",
	  "on: encrypt the guest's memory (default); off: run it in the clear" },
	{ "policy", OPT_POLICY, "POLICY", NULL,
	  "SEV policy, flags or a number (default: NODBG|NOKS|SEV)" },
	{ "allow-weak-policy", OPT_WEAK_POLICY, NULL, NULL, CLI_WEAK_POLICY_HELP },
	{ "session", OPT_SESSION, "FILE", "@file",
	  "the guest owner's session blob, with --dh-cert" },
	{ "dh-cert", OPT_DH_CERT, "FILE", "@file", "the guest owner's DH certificate" },
	{ "hold", OPT_HOLD, NULL, NULL,
	  "wait for 'sevmirror resume NAME' before the guest starts; meanwhile its owner can check "
	  "'sevmirror measurement NAME' and inject a secret (at 0xef000)" },
	{ 0 },
};

static int parse_memory(struct run_options *options, const char *text, struct why *why)
{
	return cli_size("--memory", text, RUN_MEMORY_UNIT, RUN_MEMORY_MAX,
			&options->machine.vm.memory_bytes, why);
}

static int parse_cpus(struct run_options *options, const char *text, struct why *why)
{
	uint64_t cpus = 0;
	int err = cli_number("--cpus", text, 1, LAUNCH_MAX_CPUS, &cpus, why);

	options->machine.vm.cpus = (unsigned int)cpus;
	return err;
}

static int parse_sev(struct run_options *options, const char *text, struct why *why)
{
	options->sev_off = !strcasecmp(text, "off");
	if (!options->sev_off && strcasecmp(text, "on") != 0)
		return why_set(why, -EINVAL,
			       "--sev: invalid value '%s' (expected on or "
			       "off)",
			       text);
	return 0;
}

/* FILE or FILE,ro. The comma is cut off in place. */
static int parse_disk(struct run_options *options, char *text, struct why *why)
{
	struct machine_disk *disk = &options->machine.disks[options->machine.ndisks];
	size_t len = strlen(text);

	if (options->machine.ndisks == MACHINE_MAX_DISKS)
		return why_set(why, -EINVAL, "a guest has at most %d disks", MACHINE_MAX_DISKS);
	disk->read_only = len > 3 && !strcmp(text + len - 3, ",ro");
	if (disk->read_only)
		text[len - 3] = '\0';
	if (!*text)
		return why_set(why, -EINVAL, "--disk needs a file");
	disk->path = text;
	options->machine.ndisks++;
	return 0;
}

/*
 * A locally administered address that follows from the interface's name, so that the guest keeps
 * it.
 */
static void mac_from_name(const char *name, uint8_t mac[6])
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	while (*name)
		hash = (hash ^ (uint8_t)*name++) * 16777619u;
	mac[0] = 0x52;
	mac[1] = 0x54;
	mac[2] = (uint8_t)(hash >> 24);
	mac[3] = (uint8_t)(hash >> 16);
	mac[4] = (uint8_t)(hash >> 8);
	mac[5] = (uint8_t)hash;
}

static int parse_net(struct run_options *options, char *text, struct why *why)
{
	struct machine_net *net = &options->machine.nets[options->machine.nnets];
	char *mac = strstr(text, ",mac=");

	if (options->machine.nnets == MACHINE_MAX_NETS)
		return why_set(why, -EINVAL, "a guest has at most %d network cards",
			       MACHINE_MAX_NETS);
	if (mac)
		*mac = '\0';
	if (strncmp(text, "tap=", 4) != 0 || !text[4])
		return why_set(why, -EINVAL,
			       "--net: invalid value '%s' (expected tap=NAME or "
			       "tap=NAME,mac=MAC)",
			       text);
	net->tap = text + 4;
	mac_from_name(net->tap, net->mac);
	if (mac && mac_parse(mac + 5, net->mac))
		return why_set(
			why, -EINVAL,
			"--net: invalid MAC address '%s' (expected one as 52:54:00:12:34:56, not a "
			"group address)",
			mac + 5);
	options->machine.nnets++;
	return 0;
}

static int parse_arg(struct run_options *options, unsigned int *nargs, const char *text,
		     struct why *why)
{
	if (*nargs == LAUNCH_PAYLOAD_ARGS)
		return why_set(why, -EINVAL, "a payload has at most %d arguments",
			       LAUNCH_PAYLOAD_ARGS);
	return cli_number("--arg", text, 0, UINT64_MAX, &options->boot.payload_args[(*nargs)++],
			  why);
}

static int parse_one(struct run_options *options, int id, char *arg, unsigned int *nargs,
		     struct why *why)
{
	switch (id) {
	case OPT_NAME:
		options->name = arg;
		return runtime_name_valid(arg) ?
			       0 :
			       why_set(why, -EINVAL,
				       "--name: invalid name '%s' (expected letters, digits, '-', "
				       "'_' and '.', at most %d)",
				       arg, RUNTIME_NAME_MAX);
	case OPT_KERNEL:
		options->boot.kernel = arg;
		return 0;
	case OPT_INITRD:
		options->boot.initrd = arg;
		return 0;
	case OPT_CMDLINE:
		options->boot.cmdline = arg;
		return 0;
	case OPT_PAYLOAD:
		options->boot.payload = arg;
		options->machine.vm.payload = true;
		return 0;
	case OPT_ARG:
		return parse_arg(options, nargs, arg, why);
	case OPT_MIRROR_PAYLOAD:
		options->boot.mirror_payload = arg;
		return 0;
	case OPT_MEMORY:
		return parse_memory(options, arg, why);
	case OPT_CPUS:
		return parse_cpus(options, arg, why);
	case OPT_HUGEPAGES:
		options->machine.vm.hugepages = true;
		return 0;
	case OPT_DISK:
		return parse_disk(options, arg, why);
	case OPT_NET:
		return parse_net(options, arg, why);
	case OPT_SEV:
		return parse_sev(options, arg, why);
	case OPT_POLICY:
		return sev_policy_parse(arg, &options->boot.policy) ?
			       why_set(why, -EINVAL,
				       "--policy: invalid value '%s' (expected flags as in "
				       "NODBG|NOKS|SEV, or a number)",
				       arg) :
			       0;
	case OPT_WEAK_POLICY:
		options->allow_weak_policy = true;
		return 0;
	case OPT_SESSION:
		options->session = arg;
		return 0;
	case OPT_DH_CERT:
		options->dh_cert = arg;
		return 0;
	case OPT_HOLD:
		options->hold = true;
		return 0;
	case CONSOLE_OPT_DEVICE:
	case CONSOLE_OPT_SERIAL_LOG:
		return console_take(&options->console, id, arg, why);
	default:
		return confine_take(&options->confine, id, arg);
	}
}

static int check_policy(const struct run_options *options, struct why *why)
{
	const char *weakness = sev_policy_weakness(options->boot.policy);
	char text[SEV_POLICY_TEXT_BYTES];

	if (!weakness || options->allow_weak_policy || options->sev_off)
		return 0;
	return why_set(why, -EINVAL, "--policy %s: %s (--allow-weak-policy accepts it)",
		       sev_policy_format(options->boot.policy, text, sizeof(text)), weakness);
}

static int check_together(const struct run_options *options, struct why *why)
{
	const struct machine_boot *boot = &options->boot;

	if (check_policy(options, why))
		return -EINVAL;

	if (!boot->kernel && !boot->payload)
		return why_set(why, -EINVAL, "--kernel or --payload is needed");
	if (boot->kernel && boot->payload)
		return why_set(why, -EINVAL, "--kernel and --payload exclude each other");
	if (boot->payload && boot->initrd)
		return why_set(why, -EINVAL, "a payload takes no --initrd");
	if (boot->payload && (options->machine.ndisks || options->machine.nnets))
		return why_set(why, -EINVAL, "a payload takes neither --disk nor --net");
	if (options->hold && !options->name)
		return why_set(why, -EINVAL,
			       "--hold needs --name, so that the guest can be "
			       "resumed");
	if (!options->session != !options->dh_cert)
		return why_set(why, -EINVAL, "--session and --dh-cert are only valid together");
	if (options->session && options->sev_off)
		return why_set(why, -EINVAL,
			       "an owner's session needs SEV, and --sev off was given");
	if (options->console.virtio && options->machine.ndisks == MACHINE_MAX_DISKS &&
	    options->machine.nnets == MACHINE_MAX_NETS)
		return why_set(
			why, -EINVAL,
			"--console virtio: a guest with %d disks and %d network cards has no "
			"virtio console",
			MACHINE_MAX_DISKS, MACHINE_MAX_NETS);
	if (options->console.virtio && boot->payload)
		return why_set(why, -EINVAL, "a payload has no --console virtio");
	if (console_check(&options->console, why))
		return -EINVAL;
	return confine_check(&options->confine, why);
}

bool run_options_parse(struct run_options *options, int argc, char **argv, int *code)
{
	struct why why = { "" };
	unsigned int nargs = 0;
	int id, err = 0;

	*options = (struct run_options){
		.machine.vm = { .memory_bytes = RUN_MEMORY_DEFAULT, .cpus = 1 },
		.boot = { .cmdline = RUN_CMDLINE_DEFAULT, .policy = SEV_POLICY_DEFAULT },
	};
	while (!err && (id = cli_getopt(&cli_run, argc, argv)) != -1) {
		if (id == CLI_OPT_BAD || id == CLI_OPT_HELP) {
			*code = id == CLI_OPT_HELP ? CLI_OK : CLI_USAGE;
			return false;
		}
		err = parse_one(options, id, optarg, &nargs, &why);
	}
	if (!err && optind < argc)
		err = why_set(&why, -EINVAL, "unexpected argument '%s'", argv[optind]);
	if (!err)
		err = check_together(options, &why);
	if (err)
		*code = cli_usage(argv[0], "%s", why.text);
	return !err;
}
