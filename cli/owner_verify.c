/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/option_number.h"
#include "cli/owner.h"
#include "lib/sev/measurement.h"
#include "lib/sev/policy.h"
#include "lib/util/text.h"

static const struct cli_option options[] = {
	{ "digest", 'd', "HEX", NULL, "the expected launch digest, 64 hexadecimal digits" },
	{ "tik", 't', "FILE", "@file", "NAME_tik.bin of 'owner session'" },
	{ "measurement", 'm', "M", "@file",
	  "what the host reports: 48 bytes in base64, or a file with them (base64 or raw; '-': "
	  "standard input)" },
	{ "api", 'a', "MAJOR.MINOR", NULL,
	  "the host's firmware version, which is part of the measurement ('sevmirror platform "
	  "status' there shows it)" },
	{ "build", 'b', "ID", NULL, "the build id of the host's firmware, likewise" },
	{ "policy", 'p', "POLICY", NULL, "the policy of the session (default: NODBG|NOKS|SEV)" },
	{ "allow-weak-policy", 'w', NULL, NULL, CLI_WEAK_POLICY_HELP },
	{ "json", 'j', NULL, NULL, "the result as JSON" },
	{ 0 },
};

static const struct cli_status_text statuses[] = {
	{ CLI_OK, "it is the expected one" },
	{ CLI_FAILURE, "a file could not be read" },
	{ CLI_REFUSED, "it is not" },
	{ 0 },
};

struct request {
	struct sev_measured measured;
	const char *digest, *tik, *measurement;
	bool api, build, json, allow_weak;
};

static int parse_api(const char *command, const char *text, struct request *request)
{
	if (sev_api_version_parse(text, &request->measured.api_major, &request->measured.api_minor))
		return cli_usage(command,
				 "--api: invalid version '%s' (expected MAJOR.MINOR, as "
				 "in 0.24)",
				 text);
	request->api = true;
	return CLI_OK;
}

static int parse_build(const char *command, const char *text, struct request *request)
{
	struct why why = { "" };
	uint64_t build = 0;

	if (cli_number("--build", text, 0, 255, &build, &why))
		return cli_usage(command, "%s", why.text);
	request->measured.build = (uint8_t)build;
	request->build = true;
	return CLI_OK;
}

static int check_complete(const char *command, const struct request *request)
{
	if (!request->digest || !request->tik || !request->measurement || !request->api ||
	    !request->build)
		return cli_usage(
			command,
			"--digest, --tik, --measurement, --api and --build are all needed");
	return CLI_OK;
}

static int verify(struct request *request)
{
	uint8_t measurement[SEV_MEASUREMENT_BYTES], tik[SEV_KEY_BYTES];
	struct sev_error error;
	int code = owner_load_measurement(request->measurement, measurement), err;

	if (!code)
		code = owner_load_key(request->tik, tik);
	if (code)
		return code;
	err = sev_measurement_verify(&request->measured, tik, measurement, &error);
	explicit_bzero(tik, sizeof(tik));
	if (request->json)
		code = cli_print_json(json_pack("{s:b, s:s*}", "valid", !err, "reason",
						err ? error.message : NULL));
	else if (err)
		cli_error("%s", error.message);
	else
		puts("The measurement is the expected one.");
	if (code)
		return code;
	return cli_finish(err == -EBADMSG ? CLI_REFUSED : err ? CLI_FAILURE : CLI_OK);
}

static int run(int argc, char **argv)
{
	struct request request = { .measured.policy = SEV_POLICY_DEFAULT };
	int c, code = CLI_OK;

	while (!code && (c = cli_getopt(&owner_verify, argc, argv)) != -1) {
		switch (c) {
		case 'd':
			request.digest = optarg;
			if (util_hex_decode(optarg, request.measured.digest, SEV_DIGEST_BYTES))
				code = cli_usage(argv[0], "--digest: expected 64 hexadecimal "
							  "digits");
			break;
		case 't':
			request.tik = optarg;
			break;
		case 'm':
			request.measurement = optarg;
			break;
		case 'a':
			code = parse_api(argv[0], optarg, &request);
			break;
		case 'b':
			code = parse_build(argv[0], optarg, &request);
			break;
		case 'p':
			code = owner_parse_policy(argv[0], optarg, &request.measured.policy);
			break;
		case 'w':
			request.allow_weak = true;
			break;
		case 'j':
			request.json = true;
			break;
		default:
			return c == CLI_OPT_HELP ? CLI_OK : CLI_USAGE;
		}
	}
	if (!code)
		code = cli_no_operands(argc, argv);
	if (!code)
		code = check_complete(argv[0], &request);
	if (!code)
		code = owner_check_policy(argv[0], request.measured.policy, request.allow_weak);
	return code ? code : verify(&request);
}

const struct cli_command owner_verify = {
	.name = "verify",
	.summary = "compare a launched guest's measurement with the expected one",
	.synopsis = { "--digest HEX --tik FILE --measurement M --api MAJOR.MINOR --build ID "
		      "[--policy POLICY [--allow-weak-policy]] [--json]" },
	.about = "Compares the measurement of a launched guest with the expected launch digest "
		 "(from 'owner measure'). Only the firmware and the holder of the TIK can make a "
		 "measurement: if it matches, the host has started the guest that you measured, "
		 "with your policy.",
	.groups = { { NULL, options } },
	.statuses = statuses,
	.run = run,
};
