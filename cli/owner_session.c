/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/owner.h"
#include "lib/sev/policy.h"
#include "lib/sev/owner_session.h"
#include "lib/util/file.h"
#include "lib/util/text.h"

static const struct cli_option options[] = {
	{ "root", 'r', "ROOT", OWNER_ROOTS, "the root of trust, as for 'owner verify-platform'" },
	{ "name", 'n', "NAME", "@file",
	  "beginning of the file names, with or without a folder "
	  "(default: vm)" },
	{ "policy", 'p', "POLICY", NULL,
	  "flags NODBG, NOKS, ES, NOSEND, DOMAIN, SEV, API=MAJOR.MINOR joined by '|', or a number "
	  "(default: NODBG|NOKS|SEV)" },
	{ "allow-weak-policy", 'w', NULL, NULL, CLI_WEAK_POLICY_HELP },
	{ "force", 'f', NULL, NULL, "replace files that exist" },
	{ "unverified", 'u', NULL, NULL,
	  "do not verify the chain; the PDH alone is enough. Use this only after you have verified "
	  "the chain." },
	{ 0 },
};

struct request {
	const char *name;
	const char *root;
	uint32_t policy;
	bool allow_weak;
	bool force, unverified;
};

enum { GODH, SESSION, TIK, TEK, NFILES };

static const char *const suffixes[NFILES] = { "_godh.b64", "_session.b64", "_tik.bin", "_tek.bin" };

static int file_name(const char *name, int which, char *path, size_t max)
{
	if ((size_t)snprintf(path, max, "%s%s", name, suffixes[which]) < max)
		return CLI_OK;
	cli_error("the name is too long");
	return CLI_FAILURE;
}

static int check_absent(const struct request *request)
{
	char path[4096];

	for (int i = 0; i < NFILES && !request->force; i++) {
		if (file_name(request->name, i, path, sizeof(path)))
			return CLI_FAILURE;
		if (access(path, F_OK) == 0) {
			cli_error("%s exists, and a guest may depend on it: --force replaces it, "
				  "--name chooses another name",
				  path);
			return CLI_FAILURE;
		}
	}
	return CLI_OK;
}

static int write_one(const char *name, int which, const void *bytes, size_t len)
{
	char path[4096];
	int err;

	if (file_name(name, which, path, sizeof(path)))
		return CLI_FAILURE;
	err = util_write_file(path, bytes, len, 0600);
	if (err) {
		cli_error("%s: %s", path, strerror(-err));
		return CLI_FAILURE;
	}
	puts(path);
	return CLI_OK;
}

static int write_files(const char *name, const struct sev_owner_session *session)
{
	char godh[UTIL_BASE64_BYTES(SEV_CERT_BYTES)];
	char blob[UTIL_BASE64_BYTES(sizeof(struct sev_session_blob))];

	util_base64_encode(session->start.dh_cert, SEV_CERT_BYTES, godh);
	util_base64_encode(&session->start.session, sizeof(session->start.session), blob);
	if (write_one(name, TIK, session->tik, SEV_KEY_BYTES) ||
	    write_one(name, TEK, session->tek, SEV_KEY_BYTES) ||
	    write_one(name, GODH, godh, strlen(godh)) ||
	    write_one(name, SESSION, blob, strlen(blob)))
		return CLI_FAILURE;
	return cli_finish(CLI_OK);
}

static int verify_chain(const struct request *request, const struct sev_chain *chain,
			const struct sev_root *root)
{
	struct sev_error error;

	if (request->unverified) {
		cli_warning("the platform is not verified: if this PDH is not an AMD chip's, "
			    "nothing protects the guest");
		if (chain->present & 1U << SEV_CHAIN_PDH)
			return CLI_OK;
		cli_error("there is no PDH certificate in these files");
		return CLI_FAILURE;
	}
	if (!sev_chain_verify(chain, root, &error))
		return CLI_OK;
	cli_error("%s", error.message);
	return CLI_REFUSED;
}

static int make_session(const struct request *request, char *const *paths, int npaths)
{
	struct sev_owner_session session;
	struct sev_chain chain;
	struct sev_root root;
	struct sev_error error;
	bool emulation = false;
	int code = check_absent(request);

	if (!code && request->root)
		code = owner_load_root(request->root, &root, &emulation);
	if (!code)
		code = owner_load_chain(paths, npaths, emulation, &chain);
	if (!code)
		code = verify_chain(request, &chain, &root);
	if (code)
		return code;
	if (emulation)
		cli_warning("root 'emulation': an emulated host does not protect its guests");
	if (sev_owner_session_create(&session, &chain.certs[SEV_CHAIN_PDH], request->policy,
				     &error)) {
		cli_error("%s", error.message);
		return CLI_FAILURE;
	}
	code = write_files(request->name, &session);
	sev_owner_session_wipe(&session);
	return code;
}

static int run(int argc, char **argv)
{
	struct request request = { .name = "vm", .policy = SEV_POLICY_DEFAULT };
	int c;

	while ((c = cli_getopt(&owner_session, argc, argv)) != -1) {
		switch (c) {
		case 'r':
			request.root = optarg;
			break;
		case 'n':
			request.name = optarg;
			break;
		case 'p':
			if (owner_parse_policy(argv[0], optarg, &request.policy))
				return CLI_USAGE;
			break;
		case 'w':
			request.allow_weak = true;
			break;
		case 'f':
			request.force = true;
			break;
		case 'u':
			request.unverified = true;
			break;
		default:
			return c == CLI_OPT_HELP ? CLI_OK : CLI_USAGE;
		}
	}
	if (owner_check_policy(argv[0], request.policy, request.allow_weak))
		return CLI_USAGE;
	if (request.policy & SEV_POLICY_ES)
		cli_warning("the policy is for SEV-ES: 'sevmirror run' cannot launch such a guest, "
			    "other tools can");
	if (!request.root == !request.unverified)
		return cli_usage(argv[0], "either --root ROOT or --unverified is needed");
	if (optind == argc)
		return cli_usage(argv[0], "certificate files are needed");
	return make_session(&request, argv + optind, argc - optind);
}

const struct cli_command owner_session = {
	.name = "session",
	.summary = "make the keys and the session for a guest's launch",
	.synopsis = { "--root ROOT [--name NAME] [--policy POLICY [--allow-weak-policy]] [--force] "
		      "PATH...",
		      "--unverified [--name NAME] [--policy POLICY [--allow-weak-policy]] "
		      "[--force] PATH..." },
	.about = "Makes the session for a guest's launch, for one host and one policy. First "
		 "verifies the host's chain, as 'owner verify-platform' does (with the same --root "
		 "and PATH). Writes the files that 'sevctl session' writes, readable by you "
		 "alone:\n\n"
		 "  NAME_godh.b64, NAME_session.b64  for the host: 'sevmirror run --dh-cert "
		 "--session', QEMU's\n"
		 "                                   dh-cert-file and session-file, libvirt's "
		 "dhCert and session\n"
		 "  NAME_tik.bin, NAME_tek.bin       SECRET, yours: for 'owner verify' and 'owner "
		 "secret'",
	.groups = { { NULL, options } },
	.operands = "@file",
	.statuses = owner_chain_statuses,
	.run = run,
};
