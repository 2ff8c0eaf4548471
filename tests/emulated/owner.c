/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest owner and the platform owner, outside the emulated host: makes sessions, secrets and
 * certificates and checks what the host hands out. Exit status 0 if all is well, 1 with a message
 * if not. See usage() for the commands.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulator/psp/vendor.h"
#include "tests/emulated/owner_crypto.h"

#define SESSION_BYTES 128
#define HEADER_BYTES  52
#define MEASURE_BYTES 48
#define REPORT_BYTES  208
#define REPORT_SIGNED 52
#define ALGO_ECDSA    0x002
#define ALGO_ECDH     0x003
#define MAX_FILE      (1u << 20)

static size_t load(const char *path, void *buf, size_t min, size_t max)
{
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		die("cannot open %s", path);
	n = fread(buf, 1, max, f);
	if (n < min || fgetc(f) != EOF)
		die("%s has not the right length", path);
	fclose(f);
	return n;
}

static void store(const char *path, const void *buf, size_t len)
{
	FILE *f = fopen(path, "we");

	if (!f || fwrite(buf, 1, len, f) != len || fclose(f))
		die("cannot write %s", path);
}

/* DIR/NAME; the caller frees it. */
static char *in_dir(const char *dir, const char *name)
{
	char *path = NULL;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		die("out of memory");
	return path;
}

static void load_in(const char *dir, const char *name, void *buf, size_t len)
{
	char *path = in_dir(dir, name);

	load(path, buf, len, len);
	free(path);
}

static void store_in(const char *dir, const char *name, const void *buf, size_t len)
{
	char *path = in_dir(dir, name);

	store(path, buf, len);
	free(path);
}

static void vendor(char **args)
{
	store(args[0], psp_vendor_ask_ark, PSP_VENDOR_CERTS_BYTES);
}

static void expect_usage(const uint8_t *cert, uint32_t usage, const char *name)
{
	if (get_le32(cert) != 1 || get_le32(cert + 8) != usage)
		die("%s: version %u, usage %x", name, get_le32(cert), get_le32(cert + 8));
}

static void verify(char **args)
{
	uint8_t pdh[CERT_BYTES], chain[3 * CERT_BYTES], root[MAX_FILE / 64];
	const uint8_t *pek = chain, *oca = chain + CERT_BYTES, *cek = oca + CERT_BYTES;
	size_t len;
	const char *why;

	load(args[0], pdh, sizeof(pdh), sizeof(pdh));
	load(args[1], chain, sizeof(chain), sizeof(chain));
	len = load(args[2], root, 1, sizeof(root));
	expect_usage(pdh, USAGE_PDH, "PDH");
	expect_usage(pek, USAGE_PEK, "PEK");
	expect_usage(oca, USAGE_OCA, "OCA");
	expect_usage(cek, USAGE_CEK, "CEK");
	if (!cert_signed_by(pdh, pek))
		die("PDH is not signed by PEK");
	if (!cert_signed_by(pek, oca))
		die("PEK is not signed by OCA");
	if (!cert_signed_by(pek, cek))
		die("PEK is not signed by CEK");
	if (!cert_signed_by(oca, oca))
		die("OCA does not sign itself");
	if (!vendor_chain_good(root, len, cek, &why))
		die("%s", why);
}

static void session(char **args)
{
	uint8_t pdh[CERT_BYTES], dh_cert[CERT_BYTES], out[SESSION_BYTES], policy[4];
	uint8_t kek[KEY_BYTES], kik[KEY_BYTES], *nonce = out, *wrapped = out + 16, *iv = out + 48;
	EVP_PKEY *dh = ec_generate(), *peer;
	struct tek_tik keys;

	load(args[0], pdh, sizeof(pdh), sizeof(pdh));
	peer = cert_key(pdh);
	if (!peer)
		die("the PDH certificate has no public key");
	put_le32(policy, strtoul(args[1], NULL, 0));
	random_bytes(&keys, sizeof(keys));
	random_bytes(nonce, 16);
	random_bytes(iv, 16);
	session_keys(dh, peer, nonce, kek, kik);
	aes_ctr(kek, iv, &keys, wrapped, sizeof(keys));
	hmac(kik, &(struct part){ wrapped, sizeof(keys) }, 1, out + 64);
	hmac(keys.tik, &(struct part){ policy, sizeof(policy) }, 1, out + 96);
	cert_make(dh_cert, dh, USAGE_PDH, ALGO_ECDH);
	store_in(args[2], "godh.cert", dh_cert, sizeof(dh_cert));
	store_in(args[2], "session.bin", out, sizeof(out));
	store_in(args[2], "keys.bin", &keys, sizeof(keys));
	EVP_PKEY_free(peer);
	EVP_PKEY_free(dh);
}

/* MAJOR.MINOR.BUILD as bytes after the tag */
static void version_bytes(const char *version, uint8_t out[3])
{
	const char *p = version;
	char *end;

	for (int i = 0; i < 3; i++, p = end + 1) {
		out[i] = strtoul(p, &end, 10);
		if (end == p || (i < 2 && *end != '.'))
			die("a version is MAJOR.MINOR.BUILD, not '%s'", version);
	}
}

static void measure(char **args)
{
	static uint8_t image[MAX_FILE];
	uint8_t head[8] = { PACKET_TAG_MEASURE }, blob[MEASURE_BYTES], digest[DIGEST_BYTES];
	uint8_t mac[DIGEST_BYTES];
	struct tek_tik keys;
	size_t len;

	load_in(args[0], "keys.bin", &keys, sizeof(keys));
	version_bytes(args[1], head + 1);
	put_le32(head + 4, strtoul(args[2], NULL, 0));
	len = load(args[3], image, 1, sizeof(image));
	load(args[4], blob, sizeof(blob), sizeof(blob));
	sha256(image, len, digest);
	hmac(keys.tik,
	     (struct part[]){ { head, 8 }, { digest, sizeof(digest) }, { blob + 32, 16 } }, 3, mac);
	if (memcmp(mac, blob, sizeof(mac)) != 0)
		die("the measurement is not that of the image");
}

static void secret(char **args)
{
	uint8_t blob[MEASURE_BYTES], header[HEADER_BYTES] = { 0 }, data[256] = { 0 }, out[256];
	uint8_t tag = PACKET_TAG_SECRET, flags[4] = { 0 }, lengths[8];
	size_t len = (strlen(args[2]) + 16) & ~15ul;
	struct tek_tik keys;

	if (len > sizeof(data))
		die("the secret is too long");
	load_in(args[0], "keys.bin", &keys, sizeof(keys));
	load(args[1], blob, sizeof(blob), sizeof(blob));
	memcpy(data, args[2], strlen(args[2]));
	random_bytes(header + 4, 16);
	aes_ctr(keys.tek, header + 4, data, out, len);
	put_le32(lengths, len);
	put_le32(lengths + 4, len);
	hmac(keys.tik,
	     (struct part[]){ { &tag, 1 },
			      { flags, 4 },
			      { header + 4, 16 },
			      { lengths, 8 },
			      { out, len },
			      { blob, 32 } },
	     6, header + 20);
	store(args[3], header, sizeof(header));
	store(args[4], out, len);
}

static void ca(char **args)
{
	EVP_PKEY *key = ec_generate();
	uint8_t cert[CERT_BYTES];

	cert_make(cert, key, USAGE_OCA, ALGO_ECDSA);
	cert_sign(cert, 0, key, USAGE_OCA);
	ec_store(key, args[0]);
	store(args[1], cert, sizeof(cert));
	EVP_PKEY_free(key);
}

static void sign(char **args)
{
	EVP_PKEY *key = ec_load(args[1]);
	uint8_t cert[CERT_BYTES];

	load(args[0], cert, sizeof(cert), sizeof(cert));
	expect_usage(cert, USAGE_PEK, "the CSR");
	cert_sign(cert, 0, key, USAGE_OCA);
	store(args[2], cert, sizeof(cert));
	EVP_PKEY_free(key);
}

static void report(char **args)
{
	static uint8_t image[MAX_FILE];
	uint8_t raw[REPORT_BYTES], chain[3 * CERT_BYTES], digest[DIGEST_BYTES];
	size_t len;
	EVP_PKEY *pek;

	load(args[0], raw, sizeof(raw), sizeof(raw));
	load(args[1], chain, sizeof(chain), sizeof(chain));
	len = load(args[2], image, 1, sizeof(image));
	sha256(image, len, digest);
	if (memcmp(raw + 16, digest, sizeof(digest)) != 0)
		die("the report's launch digest is not that of the image");
	if (get_le32(raw + 48) != strtoul(args[3], NULL, 0))
		die("the report's policy is %x", get_le32(raw + 48));
	if (get_le32(raw + 52) != USAGE_PEK)
		die("the report is signed by usage %x", get_le32(raw + 52));
	pek = cert_key(chain);
	if (!pek || !ec_verify(pek, get_le32(raw + 56), raw, REPORT_SIGNED, raw + 64))
		die("the report's signature is not the PEK's");
	EVP_PKEY_free(pek);
}

static const struct {
	const char *name;
	int nargs;
	void (*run)(char **args);
	const char *args;
} commands[] = {
	{ "vendor", 1, vendor, "OUT: the emulation's ASK and ARK" },
	{ "verify", 3, verify, "PDH CHAIN VENDOR: the platform's certificates up to the root" },
	{ "session", 3, session, "PDH POLICY DIR: makes godh.cert, session.bin, keys.bin" },
	{ "measure", 5, measure, "DIR VERSION POLICY IMAGE BLOB: checks a measurement" },
	{ "secret", 5, secret, "DIR BLOB TEXT OUT_HEADER OUT_DATA: a secret's packet" },
	{ "ca", 2, ca, "OUT_KEY OUT_OCA: a platform owner" },
	{ "sign", 3, sign, "CSR KEY OUT_PEK: the owner signs a platform's CSR" },
	{ "report", 4, report, "REPORT CHAIN IMAGE POLICY: checks an attestation report" },
};

int main(int argc, char **argv)
{
	const size_t n = sizeof(commands) / sizeof(commands[0]);

	for (size_t i = 0; i < n; i++) {
		if (argc > 1 && !strcmp(argv[1], commands[i].name) &&
		    argc - 2 == commands[i].nargs) {
			commands[i].run(argv + 2);
			return 0;
		}
	}
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, "owner %s %s\n", commands[i].name, commands[i].args);
	return 2;
}
