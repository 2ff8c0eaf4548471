/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/owner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/emulation_root.h"
#include "lib/sev/policy.h"
#include "lib/util/file.h"
#include "lib/util/text.h"

static const struct cli_command *const commands[] = {
	&owner_verify_platform, &owner_session, &owner_measure, &owner_verify, &owner_secret, NULL,
};

const struct cli_command cli_owner = {
	.name = "owner",
	.summary = "what the guest's owner does, on any machine: verify, measure, send secrets",
	.synopsis = { "COMMAND [ARGUMENTS]" },
	.about =
		"The guest owner's side of a launch. Needs no SEV machine; keep the key files away "
		"from the host that runs the guest. In order:\n\n"
		"  1. verify-platform  checks the host's certificates ('sevmirror platform certs' "
		"there)\n"
		"  2. session          makes NAME_godh.b64 and NAME_session.b64 for the host\n"
		"  3. measure          computes the launch digest from the guest's files\n"
		"  4. verify           compares the measurement that the host reports with the "
		"digest\n"
		"  5. secret           seals a secret for the guest",
	.commands = commands,
};

static int load_emulation_root(struct sev_root *root)
{
	struct sev_error error;

	if (sev_root_from_file_bytes(root, emulation_ask_ark, EMULATION_CERTS_BYTES, &error)) {
		cli_error("the emulation's root: %s", error.message);
		return CLI_FAILURE;
	}
	return CLI_OK;
}

int owner_load_root(const char *name, struct sev_root *root, bool *emulation)
{
	struct sev_error error;
	void *buf;
	size_t len;
	int err;

	*emulation = !strcmp(name, "emulation");
	if (*emulation)
		return load_emulation_root(root);
	err = sev_root_builtin(root, name, &error);
	if (!err)
		return CLI_OK;
	if (err == -ENOENT) {
		err = util_read_file(name, SEV_CHAIN_FILE_BYTES_MAX, &buf, &len);
		if (err) {
			cli_error("invalid root '%s' (expected emulation, milan, genoa, turin or a "
				  "file): %s",
				  name, strerror(-err));
			return CLI_FAILURE;
		}
		err = sev_root_from_file_bytes(root, buf, len, &error);
		free(buf);
	}
	if (err) {
		cli_error("%s: %s", name, error.message);
		return CLI_REFUSED;
	}
	return CLI_OK;
}

static int load_file(const char *path, struct sev_chain *chain)
{
	struct sev_error error;
	void *buf;
	size_t len;
	int err = util_read_file(path, SEV_CHAIN_FILE_BYTES_MAX, &buf, &len);

	if (err) {
		cli_error("%s: %s", path, strerror(-err));
		return CLI_FAILURE;
	}
	err = sev_chain_add(chain, buf, len, path, &error);
	free(buf);
	if (err) {
		cli_error("%s", error.message);
		return CLI_REFUSED;
	}
	return CLI_OK;
}

static int load_folder(const char *folder, struct sev_chain *chain)
{
	static const char *const names[] = { "cert_chain.cert", "pdh.cert", "pek.cert",
					     "oca.cert",	"cek.cert", "ask_ark.cert",
					     "ask.cert",	"ark.cert" };
	int found = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[4096];
		struct stat st;
		int code;

		if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, names[i]) >= sizeof(path))
			continue;
		if (stat(path, &st) && errno == ENOENT)
			continue;
		code = load_file(path, chain);
		if (code)
			return code;
		found++;
	}
	if (found)
		return CLI_OK;
	cli_error("%s: none of pdh.cert, cert_chain.cert, ... in this folder", folder);
	return CLI_FAILURE;
}

int owner_load_chain(char *const *paths, int npaths, bool emulation, struct sev_chain *chain)
{
	struct sev_error error;

	sev_chain_init(chain);
	if (emulation && sev_chain_add(chain, emulation_ask_ark, EMULATION_CERTS_BYTES,
				       "the emulation's root", &error)) {
		cli_error("%s", error.message);
		return CLI_FAILURE;
	}
	for (int i = 0; i < npaths; i++) {
		struct stat st;
		bool folder = !stat(paths[i], &st) && S_ISDIR(st.st_mode);
		int code = folder ? load_folder(paths[i], chain) : load_file(paths[i], chain);

		if (code)
			return code;
	}
	return CLI_OK;
}

int owner_load_key(const char *path, uint8_t key[SEV_KEY_BYTES])
{
	void *buf;
	size_t len;
	int err = util_read_file(path, SEV_KEY_BYTES, &buf, &len);

	if (err && err != -EFBIG) {
		cli_error("%s: %s", path, strerror(-err));
		return CLI_FAILURE;
	}
	if (err == -EFBIG || len != SEV_KEY_BYTES) {
		if (!err)
			util_free_secret(buf, len);
		cli_error("%s: a TIK or TEK file has exactly 16 bytes", path);
		return CLI_FAILURE;
	}
	memcpy(key, buf, SEV_KEY_BYTES);
	util_free_secret(buf, len);
	return CLI_OK;
}

static bool decode_measurement(const char *text, size_t len, uint8_t *measurement)
{
	size_t n;

	return util_base64_decode(text, len, measurement, SEV_MEASUREMENT_BYTES, &n) == 0 &&
	       n == SEV_MEASUREMENT_BYTES;
}

int owner_load_measurement(const char *arg, uint8_t measurement[SEV_MEASUREMENT_BYTES])
{
	void *buf;
	size_t len;
	int err;

	if (decode_measurement(arg, strlen(arg), measurement))
		return CLI_OK;
	err = util_read_file(arg, 1024, &buf, &len);
	if (err == -ENOENT) {
		cli_error("invalid measurement '%s' (expected 48 bytes in base64, or a file)", arg);
		return CLI_FAILURE;
	}
	if (err) {
		cli_error("%s: %s", arg, strerror(-err));
		return CLI_FAILURE;
	}
	err = len == SEV_MEASUREMENT_BYTES || decode_measurement(buf, len, measurement) ? 0 : -1;
	if (len == SEV_MEASUREMENT_BYTES)
		memcpy(measurement, buf, len);
	free(buf);
	if (err) {
		cli_error("%s: a measurement has 48 bytes, raw or in base64: truncated?", arg);
		return CLI_FAILURE;
	}
	return CLI_OK;
}

int owner_parse_policy(const char *command, const char *text, uint32_t *policy)
{
	const char *warning;

	if (sev_policy_parse(text, policy))
		return cli_usage(command,
				 "invalid policy '%s' (expected flags as in NODBG|NOKS|SEV, or a "
				 "number)",
				 text);
	for (unsigned int i = 0; (warning = sev_policy_warning(*policy, i)); i++)
		cli_warning("policy: %s", warning);
	return CLI_OK;
}

int owner_check_policy(const char *command, uint32_t policy, bool allow_weak)
{
	const char *weakness = sev_policy_weakness(policy);
	char text[SEV_POLICY_TEXT_BYTES];

	if (!weakness)
		return CLI_OK;
	sev_policy_format(policy, text, sizeof(text));
	if (!allow_weak)
		return cli_usage(command, "policy %s: %s (--allow-weak-policy accepts it)", text,
				 weakness);
	cli_warning("policy %s: %s", text, weakness);
	return CLI_OK;
}
