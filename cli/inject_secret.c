/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sevmirror/sev.h>

#include "cli/option_number.h"
#include "cli/vm_client.h"
#include "lib/util/file.h"
#include "lib/util/text.h"

static const struct cli_option options[] = {
	{ "header", 'H', "FILE", "@file", "..._secret_header.bin" },
	{ "payload", 'p', "FILE", "@file", "..._secret_payload.bin" },
	{ "gpa", 'g', "ADDRESS", NULL,
	  "guest-physical address of the secret (default: the place that the launch image reserves "
	  "for it)" },
	{ "json", 'j', NULL, NULL, "print {} when it is done" },
	{ 0 },
};

/* The file as a JSON string of base64, or NULL after saying what is wrong. */
static json_t *file_base64(const char *option, const char *path, size_t max)
{
	void *bytes = NULL;
	json_t *value = NULL;
	char *text;
	size_t len = 0;
	int err = util_read_file(path, max, &bytes, &len);

	if (err) {
		cli_error("%s %s: %s", option, path,
			  err == -EFBIG ? "too long for a part of a secret" : strerror(-err));
		return NULL;
	}
	text = malloc(UTIL_BASE64_BYTES(len));
	if (text)
		value = json_string(util_base64_encode(bytes, len, text));
	if (!value)
		cli_error("out of memory");
	free(text);
	free(bytes);
	return value;
}

static int inject(const struct vm_request *request, const char *header, const char *payload,
		  const uint64_t *gpa)
{
	json_t *args = json_object(),
	       *part = file_base64("--header", header, sizeof(struct sev_packet_header));

	if (part)
		json_object_set_new(args, "header", part);
	part = part ? file_base64("--payload", payload, SEV_SECRET_BYTES_MAX) : NULL;
	if (!part) {
		json_decref(args);
		return CLI_FAILURE;
	}
	json_object_set_new(args, "secret", part);
	if (gpa)
		json_object_set_new(args, "gpa", json_integer((json_int_t)*gpa));
	return vm_command(request, "inject-secret", args, "the secret is in the guest");
}

static int run(int argc, char **argv)
{
	const char *header = NULL, *payload = NULL, *gpa_text = NULL;
	struct vm_request request = { 0 };
	struct why why = { "" };
	uint64_t gpa = 0;
	int c;

	while ((c = cli_getopt(&cli_inject_secret, argc, argv)) != -1) {
		switch (c) {
		case CLI_OPT_HELP:
			return CLI_OK;
		case 'H':
			header = optarg;
			break;
		case 'p':
			payload = optarg;
			break;
		case 'g':
			gpa_text = optarg;
			break;
		case 'j':
			request.json = true;
			break;
		default:
			return CLI_USAGE;
		}
	}
	if (argc - optind != 1)
		return cli_usage(argv[0], "a VM's name is needed");
	if (!header || !payload)
		return cli_usage(argv[0], "--header and --payload are both needed");
	if (gpa_text && cli_number("--gpa", gpa_text, 0, INT64_MAX, &gpa, &why))
		return cli_usage(argv[0], "%s", why.text);
	request.name = argv[optind];
	return inject(&request, header, payload, gpa_text ? &gpa : NULL);
}

const struct cli_command cli_inject_secret = {
	.name = "inject-secret",
	.summary = "give a VM its owner's secret",
	.synopsis = { "NAME --header FILE --payload FILE [--gpa ADDRESS] [--json]" },
	.about = "Gives a secret from its owner to a VM that is launched and has not started yet. "
		 "'sevmirror owner secret' (without --base64) makes the two files. This host "
		 "cannot read the secret.",
	.groups = { { NULL, options } },
	.operands = "@vm",
	.run = run,
};
