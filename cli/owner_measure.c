/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <fcntl.h>

#include "cli/cli.h"
#include "cli/option_number.h"
#include "cli/owner.h"
#include "cli/run_options.h"
#include "launch/firmware.h"
#include "lib/sev/measurement.h"
#include "lib/util/file.h"
#include "lib/util/text.h"
#include "vmm/machine/machine_image.h"

static const struct cli_option options[] = {
	{ "c-bit", 'b', "N", "47 51",
	  "the host's C-bit: 51 on AMD EPYC 7003 and later, 47 before and on emulated hosts "
	  "('sevmirror platform status' there)" },
	{ "kernel", 'k', "FILE", "@file", "Linux bzImage, as for 'sevmirror run'" },
	{ "initrd", 'i', "FILE", "@file", "initial RAM disk" },
	{ "cmdline", 'l', "TEXT", NULL, "kernel command line (default: " RUN_CMDLINE_DEFAULT ")" },
	{ "memory", 'm', "SIZE", NULL, "guest memory (default: 256M)" },
	{ "cpus", 'c', "N", NULL, "virtual CPUs (default: 1)" },
	{ "payload", 'p', "FILE", "@file", "a ring-3 program instead of a kernel" },
	{ "arg", 'a', "NUMBER", NULL, "an argument of the payload; may be repeated" },
	{ "firmware", 'f', "FILE", "@file",
	  "of a guest in QEMU (machine type q35, with a sevmirror-helper object), instead of a "
	  "kernel: the file of its first flash, such as OVMF_CODE_4M.fd" },
	{ "mirror-payload", 'M', "FILE", "@file",
	  "the workload of the guest's mirrors, as for 'sevmirror run'" },
	{ "tsc-khz", 't', "N", NULL,
	  "for a payload: the frequency of the host's TSC, which is part of the launch image" },
	{ "dump-image", 'd', "FILE", "@file",
	  "write the measured bytes, in their order, for the option --firmware of "
	  "virt-qemu-sev-validate" },
	{ "json", 'j', NULL, NULL, "print digest and segments as JSON" },
	{ 0 },
};

struct request {
	struct machine_image_config config;
	struct machine_boot boot;
	unsigned int nargs;
	const char *firmware;
	/* The first option given that does not change what --firmware measures, without "--". */
	const char *only_without_firmware;
	const char *dump;
	bool json;
};

static int digest_of(const struct launch_image *image, char text[2 * SEV_DIGEST_BYTES + 1])
{
	uint8_t bytes[SEV_DIGEST_BYTES];
	const struct launch_segment *s;
	struct sev_digest *digest;
	int err = sev_digest_create(&digest);

	if (err)
		return err;
	for (unsigned int i = 0; !err && (s = launch_image_measured(image, i)); i++)
		err = sev_digest_update(digest, s->bytes, s->len);
	if (!err)
		err = sev_digest_final(digest, bytes);
	sev_digest_destroy(digest);
	if (!err)
		util_hex_encode(bytes, sizeof(bytes), text);
	return err;
}

static int dump(const struct launch_image *image, const char *path)
{
	const struct launch_segment *s;
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666);
	int err = fd < 0 ? -errno : 0;

	for (unsigned int i = 0; !err && (s = launch_image_measured(image, i)); i++)
		err = util_write_all(fd, s->bytes, s->len);
	if (fd >= 0 && close(fd) && !err)
		err = -errno;
	if (err)
		cli_error("%s: %s", path, strerror(-err));
	return err ? CLI_FAILURE : CLI_OK;
}

static int print_json(const struct launch_image *image, const char *digest)
{
	json_t *segments = json_array();
	const struct launch_segment *s;

	for (unsigned int i = 0; (s = launch_image_measured(image, i)); i++)
		json_array_append_new(segments,
				      json_pack("{s:s, s:I, s:I}", "what", s->what, "gpa",
						(json_int_t)s->gpa, "bytes", (json_int_t)s->len));
	return cli_print_json(json_pack("{s:s, s:o}", "digest", digest, "segments", segments));
}

#define FIRMWARE_READ_MAX (64u << 20)

static int firmware_image(struct launch_image **image, const struct request *request,
			  struct why *why)
{
	struct launch_blob firmware = { 0 };
	void *bytes = NULL;
	int err = util_read_file(request->firmware, FIRMWARE_READ_MAX, &bytes, &firmware.len);

	if (err)
		return why_set(why, err, "the firmware %s cannot be read: %s", request->firmware,
			       strerror(-err));
	firmware.bytes = bytes;
	err = launch_firmware_create(image, firmware, request->config.memory_bytes,
				     request->config.c_mask, why);
	free(bytes);
	return err;
}

static int image_of(struct launch_image **image, const struct request *request, struct why *why)
{
	if (request->firmware)
		return firmware_image(image, request, why);
	return machine_image_create(image, NULL, &request->config, &request->boot, why);
}

static int measure(const struct request *request)
{
	char digest[2 * SEV_DIGEST_BYTES + 1];
	struct launch_image *image = NULL;
	struct why why = { "" };
	int code;

	if (image_of(&image, request, &why)) {
		cli_error("%s", why.text);
		return CLI_FAILURE;
	}
	code = request->dump ? dump(image, request->dump) : CLI_OK;
	if (!code && digest_of(image, digest)) {
		cli_error("OpenSSL cannot compute the digest");
		code = CLI_FAILURE;
	}
	if (!code && request->json) {
		code = print_json(image, digest);
	} else if (!code) {
		puts(digest);
		code = cli_finish(CLI_OK);
	}
	launch_image_destroy(image);
	return code;
}

static int parse_c_bit(const char *text, struct request *request, struct why *why)
{
	uint64_t bit = 0;
	int err = cli_number("--c-bit", text, 32, 51, &bit, why);

	request->config.c_mask = err ? 0 : 1ULL << bit;
	return err;
}

static int parse_cpus(const char *text, struct request *request, struct why *why)
{
	uint64_t cpus = 0;
	int err = cli_number("--cpus", text, 1, LAUNCH_MAX_CPUS, &cpus, why);

	request->config.cpus = (unsigned int)cpus;
	return err;
}

static int parse_arg(const char *text, struct request *request, struct why *why)
{
	if (request->nargs == LAUNCH_PAYLOAD_ARGS)
		return why_set(why, -EINVAL, "--arg: a payload has at most %d arguments",
			       LAUNCH_PAYLOAD_ARGS);
	return cli_number("--arg", text, 0, UINT64_MAX,
			  &request->boot.payload_args[request->nargs++], why);
}

static int parse_one(int c, const char *arg, struct request *request, struct why *why)
{
	switch (c) {
	case 'b':
		return parse_c_bit(arg, request, why);
	case 'k':
		request->boot.kernel = arg;
		return CLI_OK;
	case 'i':
		request->boot.initrd = arg;
		return CLI_OK;
	case 'l':
		request->boot.cmdline = arg;
		return CLI_OK;
	case 'm':
		return cli_size("--memory", arg, RUN_MEMORY_UNIT, RUN_MEMORY_MAX,
				&request->config.memory_bytes, why);
	case 'c':
		return parse_cpus(arg, request, why);
	case 'p':
		request->boot.payload = arg;
		return CLI_OK;
	case 'f':
		request->firmware = arg;
		return CLI_OK;
	case 'M':
		request->boot.mirror_payload = arg;
		return CLI_OK;
	case 'a':
		return parse_arg(arg, request, why);
	case 't':
		return cli_number("--tsc-khz", arg, 1, UINT32_MAX, &request->config.tsc_khz, why);
	case 'd':
		request->dump = arg;
		return CLI_OK;
	default: /* 'j' */
		request->json = true;
		return CLI_OK;
	}
}

/* The options that --firmware has no use for: QEMU or the guest's firmware loads the rest. */
static bool goes_with_firmware(int c)
{
	return strchr("bmfdjkp", c);
}

static void note_option(int c, struct request *request)
{
	const struct cli_option *option = options;

	if (goes_with_firmware(c) || request->only_without_firmware)
		return;
	while (option->name && option->id != c)
		option++;
	request->only_without_firmware = option->name;
}

static int check_together(const char *command, const struct request *request)
{
	const struct machine_boot *boot = &request->boot;

	if (!request->config.c_mask)
		return cli_usage(
			command,
			"--c-bit is needed: 'sevmirror platform status' on the host shows it");
	if (!!boot->kernel + !!boot->payload + !!request->firmware != 1)
		return cli_usage(command, "one of --kernel, --payload and --firmware is needed");
	if (request->firmware && request->only_without_firmware)
		return cli_usage(command,
				 "--firmware cannot be combined with --%s: the digest of a guest "
				 "in QEMU depends on its firmware, --memory and --c-bit only",
				 request->only_without_firmware);
	if (boot->payload && boot->initrd)
		return cli_usage(command, "a payload takes no --initrd");
	if (boot->payload && !request->config.tsc_khz)
		return cli_usage(
			command,
			"--tsc-khz is needed with --payload: the launch image contains the "
			"frequency of the host's TSC");
	return CLI_OK;
}

static int run(int argc, char **argv)
{
	struct request request = {
		.config = { .memory_bytes = RUN_MEMORY_DEFAULT, .cpus = 1 },
		.boot.cmdline = RUN_CMDLINE_DEFAULT,
	};
	struct why why = { "" };
	int c, code = CLI_OK;

	while (!code && (c = cli_getopt(&owner_measure, argc, argv)) != -1) {
		if (c == CLI_OPT_HELP || c == CLI_OPT_BAD)
			return c == CLI_OPT_HELP ? CLI_OK : CLI_USAGE;
		note_option(c, &request);
		if (parse_one(c, optarg, &request, &why))
			code = cli_usage(argv[0], "%s", why.text);
	}
	if (!code)
		code = cli_no_operands(argc, argv);
	if (!code)
		code = check_together(argv[0], &request);
	return code ? code : measure(&request);
}

const struct cli_command owner_measure = {
	.name = "measure",
	.summary = "the launch digest that a guest must have, computed from its files",
	.synopsis = { "--c-bit N --kernel FILE [--initrd FILE] [--cmdline TEXT] [options]",
		      "--c-bit N --payload FILE [--arg NUMBER]... [options]",
		      "--c-bit N --firmware FILE --memory SIZE [options]" },
	.about = "Computes the launch digest, which the firmware measures when a host starts this "
		 "guest. It covers kernel, initial RAM disk, command line, memory map, ACPI tables "
		 "and page tables. Give the same options as to 'sevmirror run': each of them "
		 "changes the digest. With --firmware the guest is one that QEMU starts, and the "
		 "digest covers the firmware and the Migration Helper, which depends on the "
		 "guest's memory and the C-bit.",
	.groups = { { NULL, options } },
	.run = run,
};
