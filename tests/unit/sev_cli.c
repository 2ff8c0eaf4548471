/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command `sevmirror` as a person uses it: the owner's whole way from a platform's certificates
 * to an injected secret, with the emulator's firmware as the host; exit codes, messages, files; and
 * what is wrong with files from elsewhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <jansson.h>

#include "emulator/psp/vendor.h"
#include "lib/sev/cert.h"
#include "lib/sev/measurement.h"
#include "lib/util/file.h"
#include "lib/util/text.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/sev_firmware.h"

extern char **environ;

struct bench {
	char folder[64];
	struct firmware *fw;
	struct sev_cert pdh, chain[3];
	char out[16384]; /* of the last command: standard output, then standard error */
	char err[16384];
};

static void in_folder(const struct bench *b, const char *name, char *path)
{
	snprintf(path, 128, "%s/%s", b->folder, name);
}

static void put_file(const struct bench *b, const char *name, const void *bytes, size_t len)
{
	char path[128];

	in_folder(b, name, path);
	assert_int_equal(util_write_file(path, bytes, len, 0600), 0);
}

static void slurp(const struct bench *b, const char *name, char *text, size_t max)
{
	char path[128];
	void *buf;
	size_t len;

	in_folder(b, name, path);
	assert_int_equal(util_read_file(path, max - 1, &buf, &len), 0);
	memcpy(text, buf, len + 1);
	free(buf);
	unlink(path);
}

#define MAX_ARGS 24

/* Run sevmirror with these words (%D: the folder) and return its exit status. */
static int run_sevmirror(struct bench *b, const char *words)
{
	char line[2048] = "", *argv[MAX_ARGS + 1] = { getenv("SEVMIRROR") }, out[128], err[128];
	posix_spawn_file_actions_t files;
	int argc = 1, status;
	pid_t pid;

	assert_non_null(argv[0]);
	for (const char *at = words; *at; at++) {
		size_t used = strlen(line);

		if (at[0] == '%' && at[1] == 'D') {
			strcat(line, b->folder);
			at++;
		} else {
			line[used] = *at;
			line[used + 1] = '\0';
		}
	}
	for (char *word = strtok(line, " "); word && argc < MAX_ARGS; word = strtok(NULL, " "))
		argv[argc++] = word;
	in_folder(b, "stdout", out);
	in_folder(b, "stderr", err);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&files, 1, out, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	posix_spawn_file_actions_addopen(&files, 2, err, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	assert_int_equal(posix_spawn(&pid, argv[0], &files, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&files);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	slurp(b, "stdout", b->out, sizeof(b->out));
	slurp(b, "stderr", b->err, sizeof(b->err));
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int bench_up(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	strcpy(b->folder, "/tmp/sev_cli.XXXXXX");
	assert_non_null(mkdtemp(b->folder));
	b->fw = firmware_up(1);
	firmware_certs(b->fw, &b->pdh, b->chain);
	put_file(b, "pdh.cert", &b->pdh, SEV_CERT_BYTES);
	put_file(b, "cert_chain.cert", b->chain, SEV_CERT_CHAIN_BYTES);
	*state = b;
	return 0;
}

/* The folder holds exactly these files; they are removed. */
static void expect_files(struct bench *b, const char *const *names, size_t n)
{
	char path[128];

	for (size_t i = 0; i < n; i++) {
		in_folder(b, names[i], path);
		assert_int_equal(unlink(path), 0);
	}
}

static int bench_down(void **state)
{
	struct bench *b = *state;
	const char *names[] = { "pdh.cert", "cert_chain.cert" };
	int err;

	expect_files(b, names, 2);
	firmware_down(b->fw);
	err = rmdir(b->folder); /* fails when the command left something behind */
	free(b);
	return err;
}

static const char *const session_files[] = { "vm_godh.b64", "vm_session.b64", "vm_tik.bin",
					     "vm_tek.bin" };

static void read_base64(const struct bench *b, const char *name, void *bytes, size_t len)
{
	char path[128];
	void *text;
	size_t n;

	in_folder(b, name, path);
	assert_int_equal(util_read_file(path, 8192, &text, &n), 0);
	assert_int_equal(util_base64_decode(text, n, bytes, len, &n), 0);
	assert_int_equal(n, len);
	free(text);
}

static void expect_private(const struct bench *b, const char *name)
{
	struct stat st;
	char path[128];

	in_folder(b, name, path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

/* Launch with the files in the folder; the measurement goes into vm.measurement. */
static uint32_t launch(struct bench *b, const void *image, size_t len)
{
	uint8_t godh[SEV_CERT_BYTES], session[128], m[SEV_MEASUREMENT_BYTES];
	char text[UTIL_BASE64_BYTES(sizeof(m))];
	uint32_t handle;

	read_base64(b, "vm_godh.b64", godh, sizeof(godh));
	read_base64(b, "vm_session.b64", session, sizeof(session));
	assert_int_equal(firmware_launch_start(b->fw, 0x23, godh, session, &handle), 0);
	firmware_launch_data(b->fw, handle, image, len);
	firmware_launch_measure(b->fw, handle, m);
	util_base64_encode(m, sizeof(m), text);
	put_file(b, "vm.measurement", text, strlen(text));
	return handle;
}

static void digest_hex(const void *image, size_t len, char *text)
{
	uint8_t digest[SEV_DIGEST_BYTES];
	struct sev_digest *d;

	assert_int_equal(sev_digest_create(&d), 0);
	sev_digest_update(d, image, len);
	sev_digest_final(d, digest);
	sev_digest_destroy(d);
	util_hex_encode(digest, sizeof(digest), text);
}

static int owner_verify(struct bench *b, const char *digest, const char *more)
{
	char words[512];
	uint8_t major, minor, build;

	firmware_version(b->fw, &major, &minor, &build);
	snprintf(words, sizeof(words),
		 "owner verify --digest %s --tik %%D/vm_tik.bin --measurement %%D/vm.measurement "
		 "--api %u.%u --build %u %s",
		 digest, major, minor, build, more);
	return run_sevmirror(b, words);
}

static void inject(struct bench *b, uint32_t handle, const char *secret)
{
	uint8_t header[52], payload[64], guest[64];
	size_t bytes = (strlen(secret) + 15) & ~15UL;
	char path[128];
	void *buf;
	size_t len;

	in_folder(b, "vm_secret_header.bin", path);
	assert_int_equal(util_read_file(path, sizeof(header), &buf, &len), 0);
	assert_int_equal(len, sizeof(header));
	memcpy(header, buf, len);
	free(buf);
	in_folder(b, "vm_secret_payload.bin", path);
	assert_int_equal(util_read_file(path, sizeof(payload), &buf, &len), 0);
	assert_int_equal(len, bytes);
	memcpy(payload, buf, len);
	free(buf);
	assert_int_equal(firmware_launch_secret(b->fw, handle, header, payload, bytes, guest), 0);
	assert_memory_equal(guest, secret, strlen(secret));
}

/* Run a shell command with the folder in $D; its exit status. */
static int shell(const struct bench *b, const char *command)
{
	assert_int_equal(setenv("D", b->folder, 1), 0);
	return system(
		command); // NOLINT(bugprone-command-processor,cert-env33-c): a test's own words
}

/*
 * sev_formats.py, which knows the formats of sevctl and sev-tool from their specification alone,
 * reads every file to the last byte and opens the secret.
 */
static void expect_formats(struct bench *b, const char *digest, const char *secret)
{
	put_file(b, "ask_ark.cert", psp_vendor_ask_ark, PSP_VENDOR_CERTS_BYTES);
	setenv("DIGEST", digest, 1);
	setenv("SECRET", secret, 1);
	assert_int_equal(
		shell(b, "test \"$(/usr/bin/python3 $FORMATS check $D 0x23 0 24 15 $DIGEST)\" = "
			 "\"$SECRET\""),
		0);
	/* and it can tell */
	assert_int_not_equal(
		shell(b, "/usr/bin/python3 $FORMATS check $D 0x22 0 24 15 $DIGEST 2>/dev/null"), 0);
	expect_files(b, (const char *const[]){ "ask_ark.cert" }, 1);
}

static void the_owners_whole_way(void **state)
{
	struct bench *b = *state;
	static const char image[4096] = "what the guest starts from",
			  secret[] = "the guest's secret key";
	static const char *const rest[] = { "vm.measurement", "secret", "vm_secret_header.bin",
					    "vm_secret_payload.bin" };
	char digest[2 * SEV_DIGEST_BYTES + 1], other[4096];
	uint32_t handle;

	assert_int_equal(run_sevmirror(b, "owner verify-platform --root emulation %D"), 0);
	assert_non_null(strstr(b->out, "The chain is valid"));
	assert_non_null(strstr(b->err, "warning: root 'emulation'"));
	assert_int_equal(run_sevmirror(b, "owner session --root emulation --name %D/vm %D"), 0);
	for (int i = 0; i < 4; i++)
		expect_private(b, session_files[i]);
	assert_int_equal(run_sevmirror(b, "run --kernel /bin/sh --session %D/vm_godh.b64 --dh-cert "
					  "%D/vm_session.b64"),
			 1);
	assert_non_null(strstr(b->err, "are swapped"));
	handle = launch(b, image, sizeof(image));
	digest_hex(image, sizeof(image), digest);
	assert_int_equal(owner_verify(b, digest, ""), 0);
	assert_int_equal(owner_verify(b, digest, "--policy 0x22"), 3);
	memcpy(other, image, sizeof(other));
	other[4095] ^= 1;
	digest_hex(other, sizeof(other), digest);
	assert_int_equal(owner_verify(b, digest, "--json"), 3);
	assert_non_null(strstr(b->out, "\"valid\": false"));
	put_file(b, "secret", secret, strlen(secret));
	assert_int_equal(
		run_sevmirror(b,
			      "owner secret --tik %D/vm_tik.bin --tek %D/vm_tek.bin --measurement "
			      "%D/vm.measurement --secret %D/secret --name %D/vm"),
		0);
	inject(b, handle, secret);
	digest_hex(image, sizeof(image), digest);
	expect_formats(b, digest, secret);
	expect_files(b, session_files, 4);
	expect_files(b, rest, 4);
}

static void keys_are_not_overwritten(void **state)
{
	struct bench *b = *state;
	uint8_t first[128], now[128];

	assert_int_equal(run_sevmirror(b, "owner session --root emulation --name %D/vm %D"), 0);
	read_base64(b, "vm_session.b64", first, sizeof(first));
	assert_int_equal(run_sevmirror(b, "owner session --root emulation --name %D/vm %D"), 1);
	assert_non_null(strstr(b->err, "exists"));
	read_base64(b, "vm_session.b64", now, sizeof(now));
	assert_memory_equal(first, now, sizeof(now));
	assert_int_equal(run_sevmirror(b, "owner session --root emulation --force --name %D/vm %D"),
			 0);
	read_base64(b, "vm_session.b64", now, sizeof(now));
	assert_memory_not_equal(first, now, sizeof(now));
	expect_files(b, session_files, 4);
}

static void what_does_not_hold_exits_3(void **state)
{
	struct bench *b = *state;

	assert_int_equal(run_sevmirror(b, "owner verify-platform --root milan %D"), 3);
	assert_non_null(strstr(b->err, "missing ASK"));
	put_file(b, "ask_ark.cert", psp_vendor_ask_ark, PSP_VENDOR_CERTS_BYTES);
	assert_int_equal(run_sevmirror(b, "owner verify-platform --root milan %D"), 3);
	assert_non_null(strstr(b->err, "root that was chosen"));
	assert_int_equal(run_sevmirror(b, "owner verify-platform --root %D/ask_ark.cert %D"), 0);
	b->pdh.key.x[0] ^= 1;
	put_file(b, "pdh.cert", &b->pdh, SEV_CERT_BYTES);
	assert_int_equal(run_sevmirror(b, "owner verify-platform --json --root emulation %D"), 3);
	assert_non_null(strstr(b->err, "pdh.cert"));
	b->pdh.key.x[0] ^= 1;
	put_file(b, "pdh.cert", &b->pdh, SEV_CERT_BYTES - 84);
	assert_int_equal(run_sevmirror(b, "owner verify-platform --root emulation %D"), 3);
	assert_non_null(strstr(b->err,
			       "pdh.cert: at byte 0: a PDH certificate of 2000 bytes instead of "
			       "2084: the file is truncated"));
	b->pdh.api_minor++;
	put_file(b, "pdh.cert", &b->pdh, SEV_CERT_BYTES);
	assert_int_equal(run_sevmirror(b, "owner verify-platform --json --root emulation %D"), 3);
	assert_non_null(strstr(
		b->out, "\"reason\": \"the PDH certificate is not signed by the PEK's key\""));
	assert_int_equal(run_sevmirror(b, "owner session --root emulation --name %D/vm %D"), 3);
	expect_files(b, (const char *const[]){ "ask_ark.cert" }, 1);
}

static void json_is_json(void **state)
{
	struct bench *b = *state;
	json_error_t error;
	json_t *result;

	assert_int_equal(run_sevmirror(b, "owner verify-platform --json --root emulation %D"), 0);
	result = json_loads(b->out, 0, &error);
	assert_non_null(result);
	assert_true(json_is_true(json_object_get(result, "valid")));
	assert_int_equal(json_object_size(json_object_get(result, "sha256")), 6);
	json_decref(result);
}

static void damaged_files_are_explained(void **state)
{
	struct bench *b = *state;
	static const char *const files[] = { "tik", "m" };
	const char *verify =
		"owner verify --digest "
		"0000000000000000000000000000000000000000000000000000000000000000 --tik "
		"%D/tik --measurement %D/m --api 0.24 --build 15";

	put_file(b, "tik", "0123456789abcdef", 16);
	put_file(b, "m", "AAAA", 4);
	assert_int_equal(run_sevmirror(b, verify), 1);
	assert_non_null(strstr(b->err, "48 bytes"));
	put_file(b, "m", "0123456789abcdef0123456789abcdef0123456789abcdef", 48);
	assert_int_equal(run_sevmirror(b, verify), 3); /* raw, and wrong */
	for (size_t len = 0; len <= 17; len++) {
		if (len == 16)
			continue;
		put_file(b, "tik", "0123456789abcdefg", len);
		assert_int_equal(run_sevmirror(b, verify), 1);
		assert_non_null(strstr(b->err, "16 bytes"));
	}
	assert_int_equal(run_sevmirror(b, "owner verify-platform --root emulation %D/tik"), 3);
	assert_non_null(strstr(b->err, "truncated"));
	assert_int_equal(run_sevmirror(b, "owner verify-platform --root emulation %D/none"), 1);
	assert_non_null(strstr(b->err, "No such file"));
	expect_files(b, files, 2);
}

/* The digest that `owner measure` prints for these options, in b->out without its newline. */
static void measure(struct bench *b, const char *payload, const char *options)
{
	char words[512];

	snprintf(words, sizeof(words), "owner measure --payload %s %s", payload, options);
	assert_int_equal(run_sevmirror(b, words), 0);
	assert_int_equal(strlen(b->out), 2 * SEV_DIGEST_BYTES + 1);
	b->out[2 * SEV_DIGEST_BYTES] = '\0';
}

static void expect_other_digest(struct bench *b, const char *digest, const char *payload,
				const char *options)
{
	measure(b, payload, options);
	assert_string_not_equal(b->out, digest);
}

/* A guest of QEMU: the firmware's bytes come first, then the helper's core, which knows the memory.
 */
static void the_digest_of_firmware_and_helper(void **state)
{
	struct bench *b = *state;
	char hex[2 * SEV_DIGEST_BYTES + 1], path[128];
	uint8_t firmware[3 * 4096];
	void *image;
	size_t len;

	memset(firmware, 0xf1, sizeof(firmware));
	put_file(b, "firmware", firmware, sizeof(firmware));
	assert_int_equal(run_sevmirror(b, "owner measure --c-bit 47 --memory 512M --firmware "
					  "%D/firmware --dump-image %D/image"),
			 0);
	in_folder(b, "image", path);
	assert_int_equal(util_read_file(path, 64 << 20, &image, &len), 0);
	assert_true(len > sizeof(firmware));
	assert_memory_equal(image, firmware, sizeof(firmware));
	digest_hex(image, len, hex);
	free(image);
	assert_memory_equal(hex, b->out, sizeof(hex) - 1);
	assert_int_equal(run_sevmirror(b, "owner measure --c-bit 47 --memory 4G --firmware "
					  "%D/firmware"),
			 0);
	assert_memory_not_equal(hex, b->out, sizeof(hex) - 1);
	put_file(b, "firmware", firmware, 4095);
	assert_int_equal(run_sevmirror(b, "owner measure --c-bit 47 --memory 512M --firmware "
					  "%D/firmware"),
			 1);
	assert_non_null(strstr(b->err, "whole pages"));
	expect_files(b, (const char *const[]){ "firmware", "image" }, 2);
}

#define USUAL "--c-bit 47 --tsc-khz 2000000 --memory 12M --cpus 2 --arg 5"

static void the_digest_is_of_the_dumped_image(void **state)
{
	struct bench *b = *state;
	char hex[2 * SEV_DIGEST_BYTES + 1], path[128];
	void *image;
	size_t len;

	measure(b, getenv("PAYLOAD"), USUAL " --dump-image %D/image");
	in_folder(b, "image", path);
	assert_int_equal(util_read_file(path, 64 << 20, &image, &len), 0);
	digest_hex(image, len, hex);
	assert_string_equal(hex, b->out);
	free(image);
	measure(b, getenv("PAYLOAD"), USUAL);
	assert_string_equal(hex, b->out);
	expect_files(b, (const char *const[]){ "image" }, 1);
}

static void all_that_a_guest_starts_from_counts(void **state)
{
	struct bench *b = *state;
	const char *payload = getenv("PAYLOAD");
	char digest[2 * SEV_DIGEST_BYTES + 1], path[128];
	void *elf;
	size_t len;

	measure(b, payload, USUAL);
	strcpy(digest, b->out);
	expect_other_digest(b, digest, payload,
			    "--c-bit 51 --tsc-khz 2000000 --memory 12M --cpus 2 --arg 5");
	expect_other_digest(b, digest, payload,
			    "--c-bit 47 --tsc-khz 2000001 --memory 12M --cpus 2 --arg 5");
	expect_other_digest(b, digest, payload,
			    "--c-bit 47 --tsc-khz 2000000 --memory 66M --cpus 2 --arg 5");
	expect_other_digest(b, digest, payload,
			    "--c-bit 47 --tsc-khz 2000000 --memory 64M --cpus 3 --arg 5");
	expect_other_digest(b, digest, payload,
			    "--c-bit 47 --tsc-khz 2000000 --memory 64M --cpus 2 --arg 6");
	assert_int_equal(util_read_file(payload, 16 << 20, &elf, &len), 0);
	in_folder(b, "payload", path);
	put_file(b, "payload", elf, len);
	measure(b, path, USUAL);
	assert_string_equal(b->out, digest);
	((uint8_t *)elf)[0x1000] ^= 1; /* the first byte of its code */
	put_file(b, "payload", elf, len);
	expect_other_digest(b, digest, path, USUAL);
	free(elf);
	expect_files(b, (const char *const[]){ "payload" }, 1);
}

#define VALIDATE                                                                          \
	"/usr/bin/python3 /usr/bin/virt-qemu-sev-validate --firmware $D/image "           \
	"--tik $D/vm_tik.bin --tek $D/vm_tek.bin --measurement $(cat $D/vm.measurement) " \
	"--api-major 0 --api-minor 24 --build-id 15 --policy 35 >/dev/null 2>&1"

/*
 * libvirt's tool comes to the same verdict about a dumped image and a measurement by the firmware.
 */
static void libvirts_validator_agrees(void **state)
{
	struct bench *b = *state;
	static const char *const more[] = { "vm.measurement", "image" };
	char path[128];
	void *image;
	size_t len;

	if (shell(b, "/usr/bin/python3 /usr/bin/virt-qemu-sev-validate --help >/dev/null 2>&1") !=
	    0) {
		print_message(
			"# SKIP virt-qemu-sev-validate (libvirt-clients-qemu, python3-lxml) is not "
			"installed\n");
		skip();
	}
	measure(b, getenv("PAYLOAD"), USUAL " --dump-image %D/image");
	assert_int_equal(run_sevmirror(b, "owner session --root emulation --name %D/vm %D"), 0);
	in_folder(b, "image", path);
	assert_int_equal(util_read_file(path, 128 << 20, &image, &len), 0);
	launch(b, image, len);
	assert_int_equal(shell(b, VALIDATE), 0);
	((uint8_t *)image)[len / 2] ^= 1;
	put_file(b, "image", image, len);
	assert_int_not_equal(shell(b, VALIDATE), 0);
	free(image);
	expect_files(b, session_files, 4);
	expect_files(b, more, 2);
}

/* One file as sevctl exports it, or sev-tool's one for each certificate. */
static void exports_of_other_tools_are_read(void **state)
{
	struct bench *b = *state;
	static const char *const files[] = { "ask_ark.cert", "sevctl.export", "pek.cert",
					     "oca.cert",     "cek.cert",      "ask.cert",
					     "ark.cert" };

	put_file(b, "ask_ark.cert", psp_vendor_ask_ark, PSP_VENDOR_CERTS_BYTES);
	assert_int_equal(shell(b, "/usr/bin/python3 $FORMATS split $D"), 0);
	assert_int_equal(
		run_sevmirror(b, "owner verify-platform --root %D/ark.cert %D/sevctl.export"), 0);
	assert_int_equal(
		run_sevmirror(
			b, "owner verify-platform --root %D/ask_ark.cert %D/pdh.cert %D/pek.cert "
			   "%D/oca.cert %D/cek.cert %D/ask.cert %D/ark.cert"),
		0);
	assert_int_equal(run_sevmirror(b,
				       "owner verify-platform --root %D/ask_ark.cert %D/pdh.cert "
				       "%D/pek.cert %D/oca.cert %D/ask.cert %D/ark.cert"),
			 3);
	expect_files(b, files, 7);
}

static void wrong_usage_exits_2_and_points_to_the_help(void **state)
{
	struct bench *b = *state;
	static const char *const wrong[] = { "",
					     "bogus",
					     "owner",
					     "owner bogus",
					     "owner session",
					     "owner session --root emulation",
					     "owner session --root emulation --unverified x",
					     "owner session --policy SEVERE --root emulation x",
					     "owner session --bogus",
					     "owner session --root emulation --policy NODBG x",
					     "owner session --root emulation --policy ES,SEV x",
					     "owner session --name",
					     "owner verify",
					     "owner verify --digest 00",
					     "owner verify --api 0",
					     "owner verify --build 256",
					     "owner verify-platform x",
					     "owner measure",
					     "owner measure --c-bit 47",
					     "owner measure --c-bit 52 --kernel x",
					     "owner measure --kernel x",
					     "owner measure --c-bit 47 --kernel x --payload y",
					     "owner measure --c-bit 47 --payload x",
					     "owner measure --c-bit 47 --kernel x --memory 3M",
					     "owner measure --c-bit 47 --kernel x --firmware y",
					     "owner measure --c-bit 47 --firmware y --initrd x",
					     "owner measure --c-bit 47 --kernel x --cpus 0",
					     "owner secret",
					     "owner secret x",
					     "platform",
					     "platform bogus",
					     "platform status --out x",
					     "platform status x",
					     "doctor x",
					     "doctor --bogus" };

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(run_sevmirror(b, wrong[i]), 2);
		assert_non_null(strstr(b->err, "--help'."));
		assert_string_equal(b->out, "");
	}
}

/* The options that change nothing of what --firmware measures are refused, each by its name. */
static void firmware_refuses_what_it_does_not_measure(void **state)
{
	struct bench *b = *state;
	static const char *const options[] = { "initrd x", "cmdline x", "cpus 1",
					       "arg 1",	   "tsc-khz 1", "mirror-payload x" };
	char words[128], named[64];

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		snprintf(words, sizeof(words), "owner measure --c-bit 47 --firmware y --%s",
			 options[i]);
		snprintf(named, sizeof(named),
			 "cannot be combined with --%.*s:", (int)strcspn(options[i], " "),
			 options[i]);
		assert_int_equal(run_sevmirror(b, words), 2);
		assert_non_null(strstr(b->err, named));
		assert_string_equal(b->out, "");
	}
}

static void every_command_has_help(void **state)
{
	struct bench *b = *state;
	static const char *const commands[] = { "",
						"owner",
						"owner verify-platform",
						"owner session",
						"owner measure",
						"owner verify",
						"owner secret",
						"platform",
						"platform status",
						"platform certs",
						"doctor" };
	char words[64];

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		snprintf(words, sizeof(words), "%s --help", commands[i]);
		assert_int_equal(run_sevmirror(b, words), 0);
		assert_true(strncmp(b->out, "usage: sevmirror", 16) == 0);
		assert_string_equal(b->err, "");
	}
	assert_int_equal(run_sevmirror(b, "--version"), 0);
	assert_true(strncmp(b->out, "sevmirror ", 10) == 0);
}

/* On any machine: what doctor prints depends on it, that it agrees with itself does not. */
static void doctor_agrees_with_itself(void **state)
{
	struct bench *b = *state;
	int code = run_sevmirror(b, "doctor --json");
	json_t *result = json_loads(b->out, 0, NULL), *value;
	const char *key;
	bool all = true;
	size_t i;

	assert_non_null(result);
	json_object_foreach(json_object_get(result, "can"), key, value) all =
		all && json_is_true(value);
	assert_int_equal(code, all ? 0 : 4);
	json_array_foreach(json_object_get(result, "checks"), i, value)
	{
		const char *health = json_string_value(json_object_get(value, "health"));

		if (!strcmp(health, "bad"))
			assert_non_null(json_object_get(value, "advice"));
	}
	assert_true(i >= 5);
	json_decref(result);
}

static void a_host_without_sev_exits_4(void **state)
{
	struct bench *b = *state;

	if (access("/dev/sev", F_OK) == 0) {
		print_message("# skipped: this host has SEV\n");
		skip();
	}
	assert_int_equal(run_sevmirror(b, "platform status"), 4);
	assert_non_null(strstr(b->err, "/dev/sev"));
	assert_int_equal(run_sevmirror(b, "platform certs --out %D/certs"), 4);
}

#define test(f) cmocka_unit_test_setup_teardown(f, bench_up, bench_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(the_owners_whole_way),
		test(keys_are_not_overwritten),
		test(what_does_not_hold_exits_3),
		test(json_is_json),
		test(damaged_files_are_explained),
		test(the_digest_of_firmware_and_helper),
		test(the_digest_is_of_the_dumped_image),
		test(all_that_a_guest_starts_from_counts),
		test(libvirts_validator_agrees),
		test(exports_of_other_tools_are_read),
		test(wrong_usage_exits_2_and_points_to_the_help),
		test(firmware_refuses_what_it_does_not_measure),
		test(every_command_has_help),
		test(doctor_agrees_with_itself),
		test(a_host_without_sev_exits_4),
	};

	return cmocka_run_group_tests_name("sev_cli", tests, NULL, NULL);
}
