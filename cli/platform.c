/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/emulation_root.h"
#include "lib/sev/cert.h"
#include "lib/sev/sev_cpuid.h"
#include "lib/sev/platform.h"
#include "lib/util/file.h"
#include "lib/util/text.h"

static const struct cli_option status_options[] = {
	{ "json", 'j', NULL, NULL, "the result as JSON" },
	{ 0 },
};

static const struct cli_option certs_options[] = {
	{ "out", 'o', "FOLDER", "@folder",
	  "the folder to write to (default: the current one; created if missing)" },
	{ "json", 'j', NULL, NULL,
	  "print the result as JSON; certificates are then written only if --out is given" },
	{ 0 },
};

static const struct cli_status_text statuses[] = {
	{ CLI_OK, "done" },
	{ CLI_FAILURE, "the firmware or a file caused an error; standard error has the reason" },
	{ CLI_UNSUPPORTED, "this host has no /dev/sev" },
	{ 0 },
};

#define CHIP_ID_BYTES 64 /* of one socket; GET_ID gives that of each */
#define KEY_SERVER    "https://kdsintf.amd.com/cek/id/"

struct request {
	const char *out;
	bool json;
};

static int fail(const struct sev_error *error)
{
	cli_error("%s", error->message);
	return CLI_FAILURE;
}

static const char *state_name(uint8_t state)
{
	static const char *const names[] = { "uninit", "init", "working" };

	return state < 3 ? names[state] : "unknown";
}

static int status_run(int fd, const struct request *request)
{
	struct sev_platform_status s;
	struct sev_cpuid cpuid;
	struct sev_error error;

	if (sev_platform_status(fd, &s, &error))
		return fail(&error);
	sev_cpuid_host(&cpuid);
	if (request->json)
		return cli_print_json(
			json_pack("{s:{s:i, s:i}, s:i, s:s, s:s, s:b, s:i, s:i}", "api", "major",
				  s.api_major, "minor", s.api_minor, "build", s.build, "state",
				  state_name(s.state), "owner", s.owned ? "external" : "self", "es",
				  s.es, "guests", (int)s.guests, "c-bit", (int)cpuid.c_bit));
	printf("firmware  API %u.%u, build %u  (for owner verify: --api %u.%u --build %u)\n",
	       s.api_major, s.api_minor, s.build, s.api_major, s.api_minor, s.build);
	printf("state     %s\n", state_name(s.state));
	printf("owner     %s\n",
	       s.owned ? "external: its OCA signed the PEK" : "the platform itself");
	printf("SEV-ES    %s\n", s.es ? "initialised" : "not initialised");
	printf("guests    %u\n", s.guests);
	printf("C-bit     %u  (for owner measure: --c-bit %u)\n", cpuid.c_bit, cpuid.c_bit);
	return cli_finish(CLI_OK);
}

struct certs {
	struct sev_cert pdh;
	struct sev_cert chain[3]; /* PEK, OCA, CEK */
	uint8_t id[2 * CHIP_ID_BYTES];
	uint32_t id_bytes;
	bool emulated;
};

/* The emulated chips' CEK is signed by the emulation's ASK; no other one is. */
static bool is_emulated(const struct sev_cert *cek)
{
	struct sev_vendor_cert ask;

	return !sev_vendor_cert_parse(&ask, emulation_ask_ark, EMULATION_CERTS_BYTES, NULL) &&
	       !sev_cert_check(cek, SEV_CERT_CEK, NULL) &&
	       !sev_cert_verify_by_vendor(cek, &ask, NULL);
}

static int read_certs(int fd, struct certs *certs)
{
	struct sev_error error;

	if (sev_platform_export_certs(fd, (uint8_t *)&certs->pdh, (uint8_t *)certs->chain, &error))
		return fail(&error);
	certs->id_bytes = sizeof(certs->id);
	if (sev_platform_get_id(fd, certs->id, &certs->id_bytes, &error) ||
	    certs->id_bytes < CHIP_ID_BYTES) {
		cli_warning("the chip's id cannot be read: %s", error.message);
		certs->id_bytes = 0;
	}
	certs->emulated = is_emulated(&certs->chain[2]);
	return CLI_OK;
}

static int write_cert(const char *folder, const char *name, const void *bytes, size_t len,
		      bool quiet)
{
	char path[4096];
	int err;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) >= sizeof(path)) {
		cli_error("the folder's name is too long");
		return CLI_FAILURE;
	}
	err = util_write_file(path, bytes, len, 0644);
	if (err) {
		cli_error("%s: %s", path, strerror(-err));
		return CLI_FAILURE;
	}
	if (!quiet)
		puts(path);
	return CLI_OK;
}

static int write_certs(const struct certs *c, const char *folder, bool quiet)
{
	if (mkdir(folder, 0755) && errno != EEXIST) {
		cli_error("%s: %s", folder, strerror(errno));
		return CLI_FAILURE;
	}
	if (write_cert(folder, "pdh.cert", &c->pdh, SEV_CERT_BYTES, quiet) ||
	    write_cert(folder, "cert_chain.cert", c->chain, SEV_CERT_CHAIN_BYTES, quiet) ||
	    write_cert(folder, "pek.cert", &c->chain[0], SEV_CERT_BYTES, quiet) ||
	    write_cert(folder, "oca.cert", &c->chain[1], SEV_CERT_BYTES, quiet) ||
	    write_cert(folder, "cek.cert", &c->chain[2], SEV_CERT_BYTES, quiet))
		return CLI_FAILURE;
	if (c->emulated)
		return write_cert(folder, "ask_ark.cert", emulation_ask_ark, EMULATION_CERTS_BYTES,
				  quiet);
	return CLI_OK;
}

static void cek_address(const struct certs *c, char *text, size_t max)
{
	char id[2 * CHIP_ID_BYTES + 1];

	snprintf(text, max, "%s%s", KEY_SERVER, util_hex_encode(c->id, CHIP_ID_BYTES, id));
}

static json_t *base64_json(const void *bytes, size_t len)
{
	char text[UTIL_BASE64_BYTES(SEV_CERT_CHAIN_BYTES)];

	return json_string(util_base64_encode(bytes, len, text));
}

static int certs_json(const struct certs *c, const char *address)
{
	char id[2 * sizeof(c->id) + 1];

	return cli_print_json(json_pack("{s:o, s:o, s:s, s:b, s:s*}", "pdh",
					base64_json(&c->pdh, SEV_CERT_BYTES), "cert_chain",
					base64_json(c->chain, SEV_CERT_CHAIN_BYTES), "chip_id",
					util_hex_encode(c->id, c->id_bytes, id), "emulated",
					c->emulated, "cek_address", address));
}

static int certs_run(int fd, const struct request *request)
{
	char address[sizeof(KEY_SERVER) + 2 * CHIP_ID_BYTES] = "";
	struct certs certs;
	int code = read_certs(fd, &certs);
	bool hardware;

	if (code)
		return code;
	hardware = !certs.emulated && certs.id_bytes;
	if (hardware)
		cek_address(&certs, address, sizeof(address));
	if (request->out || !request->json)
		code = write_certs(&certs, request->out ? request->out : ".", request->json);
	if (code)
		return code;
	if (request->json)
		return certs_json(&certs, hardware ? address : NULL);
	if (certs.emulated)
		puts("This is an emulated host: its root protects nothing (owner --root "
		     "emulation).");
	if (hardware)
		printf("Replace cek.cert by the signed CEK from this address:\n"
		       "%s\n",
		       address);
	return cli_finish(CLI_OK);
}

static const struct cli_command platform_status, platform_certs;

static int with_device(const struct cli_command *command,
		       int (*run)(int fd, const struct request *request), int argc, char **argv)
{
	struct request request = { 0 };
	struct sev_error error;
	int c, fd, code;

	while ((c = cli_getopt(command, argc, argv)) != -1) {
		if (c == 'o')
			request.out = optarg;
		else if (c == 'j')
			request.json = true;
		else
			return c == CLI_OPT_HELP ? CLI_OK : CLI_USAGE;
	}
	if (cli_no_operands(argc, argv))
		return CLI_USAGE;
	fd = sev_device_open(&error);
	if (fd < 0) {
		cli_error("%s", error.message);
		return CLI_UNSUPPORTED;
	}
	code = run(fd, &request);
	close(fd);
	return code;
}

static int run_status(int argc, char **argv)
{
	return with_device(&platform_status, status_run, argc, argv);
}

static int run_certs(int argc, char **argv)
{
	return with_device(&platform_certs, certs_run, argc, argv);
}

static const struct cli_command platform_status = {
	.name = "status",
	.summary = "show firmware, state, owner and number of guests",
	.synopsis = { "[--json]" },
	.about = "Shows what this host's secure processor reports through /dev/sev: firmware "
		 "version, build id and C-bit (which the guest's owner needs), state, owner and "
		 "number of guests.",
	.groups = { { NULL, status_options } },
	.statuses = statuses,
	.run = run_status,
};

static const struct cli_command platform_certs = {
	.name = "certs",
	.summary = "export the certificates",
	.synopsis = { "[--out FOLDER] [--json]" },
	.about = "Writes this host's certificates for guest owners and for hosts that send guests "
		 "here: pdh.cert and cert_chain.cert (PEK, OCA, CEK; in the format of sev-tool and "
		 "QEMU), each certificate of the chain in its own file, too, and on an emulated "
		 "host ask_ark.cert. On real hardware it prints the address of the signed CEK on "
		 "AMD's key server; ask_ark_*.cert comes from AMD, too.",
	.groups = { { NULL, certs_options } },
	.statuses = statuses,
	.run = run_certs,
};

static const struct cli_command *const platform_commands[] = { &platform_status, &platform_certs,
							       NULL };

const struct cli_command cli_platform = {
	.name = "platform",
	.summary = "this host's secure processor: its state and certificates",
	.synopsis = { "COMMAND [ARGUMENTS]" },
	.about = "Shows this host's secure processor, through /dev/sev.",
	.commands = platform_commands,
};
