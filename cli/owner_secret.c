/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/owner.h"
#include "lib/sev/secret.h"
#include "lib/util/file.h"
#include "lib/util/text.h"

static const struct cli_option options[] = {
	{ "tik", 't', "FILE", "@file", "NAME_tik.bin of 'owner session'" },
	{ "tek", 'e', "FILE", "@file", "NAME_tek.bin of 'owner session'" },
	{ "measurement", 'm', "M", "@file",
	  "what the host reports: base64, or a file ('-': standard input)" },
	{ "secret", 's', "FILE", "@file",
	  "the secret: 1 to 16384 bytes, padded with zeros to a multiple of 16 ('-': standard "
	  "input)" },
	{ "name", 'n', "NAME", "@file",
	  "beginning of the file names, with or without a folder "
	  "(default: vm)" },
	{ "base64", 'b', NULL, NULL, "write .b64 files, for QEMU's sev-inject-launch-secret" },
	{ 0 },
};

struct request {
	const char *tik, *tek, *measurement, *secret, *name;
	bool base64;
};

static int write_part(const struct request *request, const char *part, const void *bytes,
		      size_t len)
{
	char text[UTIL_BASE64_BYTES(SEV_SECRET_BYTES_MAX)];
	const char *ending = request->base64 ? "b64" : "bin";
	char path[4096];
	int err;

	if ((size_t)snprintf(path, sizeof(path), "%s_secret_%s.%s", request->name, part, ending) >=
	    sizeof(path)) {
		cli_error("the name is too long");
		return CLI_FAILURE;
	}
	if (request->base64) {
		util_base64_encode(bytes, len, text);
		bytes = text;
		len = strlen(text);
	}
	err = util_write_file(path, bytes, len, 0600);
	if (err) {
		cli_error("%s: %s", path, strerror(-err));
		return CLI_FAILURE;
	}
	puts(path);
	return CLI_OK;
}

struct keys {
	uint8_t tik[SEV_KEY_BYTES], tek[SEV_KEY_BYTES];
	uint8_t measurement[SEV_MEASUREMENT_BYTES];
};

static int seal(const struct request *request, const struct keys *keys, const void *secret,
		size_t len)
{
	uint8_t payload[SEV_SECRET_BYTES_MAX];
	struct sev_packet_header header;
	struct sev_error error;

	if (sev_secret_seal(keys->tek, keys->tik, keys->measurement, secret, len, &header, payload,
			    &error)) {
		cli_error("%s: %s", request->secret, error.message);
		return CLI_FAILURE;
	}
	if (write_part(request, "header", &header, sizeof(header)) ||
	    write_part(request, "payload", payload, SEV_SECRET_PAYLOAD_BYTES(len)))
		return CLI_FAILURE;
	return cli_finish(CLI_OK);
}

static int load_and_seal(const struct request *request)
{
	struct keys keys;
	void *secret;
	size_t len;
	int code = owner_load_measurement(request->measurement, keys.measurement), err;

	if (!code)
		code = owner_load_key(request->tik, keys.tik);
	if (!code)
		code = owner_load_key(request->tek, keys.tek);
	if (code)
		goto out;
	err = util_read_file(request->secret, SEV_SECRET_BYTES_MAX, &secret, &len);
	if (err) {
		cli_error("%s: %s", request->secret,
			  err == -EFBIG ? "a secret has at most 16384 bytes" : strerror(-err));
		code = CLI_FAILURE;
		goto out;
	}
	code = seal(request, &keys, secret, len);
	util_free_secret(secret, len);
out:
	explicit_bzero(&keys, sizeof(keys));
	return code;
}

static int run(int argc, char **argv)
{
	struct request request = { .name = "vm" };
	int c;

	while ((c = cli_getopt(&owner_secret, argc, argv)) != -1) {
		switch (c) {
		case 't':
			request.tik = optarg;
			break;
		case 'e':
			request.tek = optarg;
			break;
		case 's':
			request.secret = optarg;
			break;
		case 'm':
			request.measurement = optarg;
			break;
		case 'n':
			request.name = optarg;
			break;
		case 'b':
			request.base64 = true;
			break;
		default:
			return c == CLI_OPT_HELP ? CLI_OK : CLI_USAGE;
		}
	}
	if (cli_no_operands(argc, argv))
		return CLI_USAGE;
	if (!request.tik || !request.tek || !request.secret || !request.measurement)
		return cli_usage(argv[0],
				 "--tik, --tek, --measurement and --secret are all needed");
	return load_and_seal(&request);
}

const struct cli_command owner_secret = {
	.name = "secret",
	.summary = "seal a secret for a guest whose measurement was verified",
	.synopsis = { "--tik FILE --tek FILE --measurement M --secret FILE [--name NAME] "
		      "[--base64]" },
	.about = "Seals a secret so that only the guest with this measurement gets it. Verify the "
		 "measurement first ('owner verify'); this command does not. Writes "
		 "NAME_secret_header.bin and NAME_secret_payload.bin for the host to inject.",
	.groups = { { NULL, options } },
	.run = run,
};
