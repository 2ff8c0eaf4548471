/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/owner.h"
#include "lib/util/text.h"

static const struct cli_option options[] = {
	{ "root", 'r', "ROOT", OWNER_ROOTS,
	  "milan, genoa, turin: AMD's built-in roots; FILE: an ARK that you trust "
	  "(ask_ark_naples.cert, ask_ark_rome.cert, or X.509 in PEM); emulation: the root of "
	  "emulated hosts, which PROTECTS NOTHING, because its private key is public" },
	{ "json", 'j', NULL, NULL, "the result as JSON" },
	{ 0 },
};

const struct cli_status_text owner_chain_statuses[] = {
	{ CLI_OK, "the chain is valid" },
	{ CLI_FAILURE, "a file could not be read or written" },
	{ CLI_REFUSED, "the chain is not valid" },
	{ 0 },
};

static char *fingerprint(const void *bytes, size_t len, char text[2 * SEV_DIGEST_BYTES + 1])
{
	uint8_t digest[SEV_DIGEST_BYTES] = { 0 };

	if (sev_cert_fingerprint(bytes, len, digest))
		return NULL;
	return util_hex_encode(digest, sizeof(digest), text);
}

static json_t *links_json(const struct sev_chain *chain)
{
	json_t *links = json_object();

	for (unsigned int link = 0; link < SEV_CHAIN_LINKS; link++) {
		char text[2 * SEV_DIGEST_BYTES + 1];
		size_t len;
		const void *bytes = sev_chain_link_bytes(chain, link, &len);

		if (chain->present & 1U << link)
			json_object_set_new(links, sev_chain_link_name(link),
					    json_string(fingerprint(bytes, len, text)));
	}
	return links;
}

static void print_links(const struct sev_chain *chain)
{
	for (unsigned int link = SEV_CHAIN_LINKS; link-- > 0;) {
		char text[2 * SEV_DIGEST_BYTES + 1];
		size_t len;
		const void *bytes = sev_chain_link_bytes(chain, link, &len);

		printf("%s  %s\n", sev_chain_link_name(link), fingerprint(bytes, len, text));
	}
}

static int report(const struct sev_chain *chain, const char *root, const struct sev_error *why,
		  bool json)
{
	if (json)
		return cli_print_json(json_pack("{s:b, s:s, s:s*, s:o}", "valid", !why, "root",
						root, "reason", why ? why->message : NULL, "sha256",
						links_json(chain)));
	if (why) {
		cli_error("%s", why->message);
		return CLI_OK;
	}
	print_links(chain);
	printf("The chain is valid up to the root '%s'.\n", root);
	return cli_finish(CLI_OK);
}

static int verify(char *const *paths, int npaths, const char *root_name, bool json)
{
	struct sev_chain chain;
	struct sev_root root;
	struct sev_error error;
	bool emulation;
	int code = owner_load_root(root_name, &root, &emulation), err;

	if (!code)
		code = owner_load_chain(paths, npaths, emulation, &chain);
	if (code)
		return code;
	if (emulation)
		cli_warning("root 'emulation': an emulated host does not protect its guests");
	err = sev_chain_verify(&chain, &root, &error);
	code = report(&chain, root_name, err ? &error : NULL, json);
	return code ? code : err ? CLI_REFUSED : CLI_OK;
}

static int run(int argc, char **argv)
{
	const char *root = NULL;
	bool json = false;
	int c;

	while ((c = cli_getopt(&owner_verify_platform, argc, argv)) != -1) {
		switch (c) {
		case 'r':
			root = optarg;
			break;
		case 'j':
			json = true;
			break;
		default:
			return c == CLI_OPT_HELP ? CLI_OK : CLI_USAGE;
		}
	}
	if (!root)
		return cli_usage(argv[0], "--root is needed: the root that you trust");
	if (optind == argc)
		return cli_usage(argv[0], "certificate files are needed");
	return verify(argv + optind, argc - optind, root, json);
}

const struct cli_command owner_verify_platform = {
	.name = "verify-platform",
	.summary = "verify a host's certificate chain up to a root that you choose",
	.synopsis = { "--root ROOT [--json] PATH..." },
	.about = "Checks a host's certificates from its PDH up to the root of trust that you "
		 "choose: ARK > ASK > CEK > PEK (signed by the OCA, too) > PDH.\n\n"
		 "PATH is a file with certificates or a folder of such files, as written by "
		 "'sevmirror platform certs', by 'sevctl export' and by sev-tool. A later file "
		 "replaces a certificate of an earlier one. On real hardware the CEK from the "
		 "platform is not signed: add the signed one from AMD's key server ('sevmirror "
		 "platform certs' prints the address) and ask_ark_*.cert.",
	.groups = { { NULL, options } },
	.operands = "@file",
	.statuses = owner_chain_statuses,
	.run = run,
};
